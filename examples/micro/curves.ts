// The loss of a training run as a small SVG for the model card. Knows nothing of what was trained.

export interface Curve {
  readonly label: string
  readonly color: string
  /** [step, loss], in order. */
  readonly points: readonly (readonly [number, number])[]
}

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT] = [640, 300, 48, 36, 30, 12]

/** `floor`: a line across, such as the entropy, with its label. */
export function drawCurves(
  title: string,
  curves: readonly Curve[],
  floor?: { readonly value: number; readonly label: string },
): string {
  const last = Math.max(...curves.flatMap(({ points }) => points.map(([step]) => step)))
  // The first losses are far above all others, and say nothing.
  const highest = Math.min(3, Math.max(...curves.flatMap(({ points }) => points.map(([, loss]) => loss))))
  const across = (step: number): number => LEFT + (step / last) * (WIDTH - LEFT - RIGHT)
  const up = (loss: number): number =>
    HEIGHT - BOTTOM - (Math.min(loss, highest) / highest) * (HEIGHT - BOTTOM - TOP)
  const text = (x: number, y: number, words: string, anchor = 'start', color = '#444'): string =>
    `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" fill="${color}">${words}</text>`
  const rows = [0, 1, 2, 3, 4].map((i) => (highest * i) / 4)
  const grid = rows.map(
    (loss) =>
      `<path d="M${LEFT} ${up(loss).toFixed(1)}H${WIDTH - RIGHT}" stroke="#ddd"/>${text(LEFT - 6, up(loss) + 4, loss.toFixed(2), 'end')}`,
  )
  const steps = [0, 0.25, 0.5, 0.75, 1].map((share) =>
    text(across(share * last), HEIGHT - 14, String(Math.round(share * last)), share === 1 ? 'end' : 'middle'),
  )
  const lines = curves.map(({ color, points }) => {
    const path = points.map(([step, loss]) => `${across(step).toFixed(1)} ${up(loss).toFixed(1)}`).join('L')
    return `<path d="M${path}" fill="none" stroke="${color}" stroke-width="1.5"/>`
  })
  const legend = curves.map(({ label, color }, i) => text(LEFT + 120 + 150 * i, 18, label, 'start', color))
  const across0 =
    floor === undefined
      ? ''
      : `<path d="M${LEFT} ${up(floor.value).toFixed(1)}H${WIDTH - RIGHT}" stroke="#888" stroke-dasharray="4 3"/>` +
        text(WIDTH - RIGHT, up(floor.value) - 5, floor.label, 'end')
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" font-family="sans-serif" font-size="11">` +
    `<title>${title}</title><rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>${text(LEFT, 18, title, 'start', '#000')}` +
    `${grid.join('')}${steps.join('')}${across0}${lines.join('')}${legend.join('')}</svg>\n`
  )
}

/** Means of so many values in a row, so that a curve shows where it goes. */
export function smoothed(points: readonly (readonly [number, number])[], count: number): [number, number][] {
  const size = Math.max(1, Math.floor(points.length / count))
  const groups = Array.from({ length: Math.floor(points.length / size) }, (_, i) =>
    points.slice(i * size, (i + 1) * size),
  )
  return groups.map((group) => [
    group.at(-1)![0],
    group.reduce((sum, [, loss]) => sum + loss, 0) / group.length,
  ])
}
