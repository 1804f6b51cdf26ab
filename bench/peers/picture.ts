// The comparison as a picture for the README: bars by hand, readable on light and on dark pages.

import type { Summary } from './report.ts'

const WIDTH = 820
const LABEL = 190
const PANEL = (WIDTH - LABEL) / 2
const NUMBER = 64
const BAR = 18
const GAP = 6
const TITLE = 58
const GROUP = 30

/** Own bars in one colour, others in another; both have contrast on white and on GitHub's dark background. */
const STYLE = `
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.strong { font-weight: 600 }
.faint { fill: #59636e }
.own { fill: #0969da }
.peer { fill: #8c959f }
.line { stroke: #d1d9e0 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .faint { fill: #9198a1 }
  .own { fill: #4493f8 }
  .peer { fill: #6e7681 }
  .line { stroke: #3d444d }
}`

interface Group {
  readonly title: string
  readonly rows: readonly Summary[]
}

/** An SVG; `subtitle` says what was measured on what. */
export function drawPicture(summaries: readonly Summary[], subtitle: string): string {
  const groups = groupsOf(summaries)
  const height =
    TITLE + groups.reduce((sum, { rows }) => sum + GROUP + rows.length * (BAR + GAP), 0) + 2 * GAP
  const parts: string[] = []
  parts.push(text(0, 16, 'Tokens per second', 'strong'), text(0, 34, subtitle, 'faint'))
  parts.push(text(LABEL, TITLE - 4, 'reading a prompt', 'strong'))
  parts.push(text(LABEL + PANEL, TITLE - 4, 'writing an answer', 'strong'))
  let y = TITLE
  for (const { title, rows } of groups) {
    parts.push(`<line class="line" x1="0" x2="${WIDTH}" y1="${y + 6.5}" y2="${y + 6.5}"/>`)
    parts.push(text(0, y + GROUP - 6, title, 'faint'))
    y += GROUP
    for (const row of rows) {
      parts.push(text(0, y + BAR - 4, row.engine))
      for (const [panel, pick] of [(r: Summary) => r.prefill, (r: Summary) => r.decode].entries()) {
        const most = Math.max(...rows.map(pick))
        parts.push(bar(LABEL + panel * PANEL, y, pick(row), most, row.engine === 'gemma-ts'))
      }
      y += BAR + GAP
    }
  }
  const description = summaries
    .map(({ engine, where, type, threads, prefill, decode }) =>
      [`${engine} in ${where}, ${type}, threads ${threads}:`, rate(prefill), 'and', rate(decode)].join(' '),
    )
    .join('; ')
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">`,
    `<title>Tokens per second of gemma-ts and others</title><desc>${escaped(description)}</desc>`,
    `<style>${STYLE}</style>`,
    ...parts,
    '</svg>\n',
  ].join('\n')
}

/** Weights and place together, with the most threads that were measured; only where there is somebody to compare with. */
function groupsOf(summaries: readonly Summary[]): Group[] {
  const groups = new Map<string, Summary[]>()
  for (const row of summaries) {
    const threads = Math.max(
      ...summaries
        .filter(({ type, where }) => type === row.type && where === row.where)
        .map((r) => r.threads),
    )
    if (row.threads !== threads) continue
    const title = `${row.type.toUpperCase()} in ${row.where}, ${threads} thread${threads === 1 ? '' : 's'}`
    groups.set(title, [...(groups.get(title) ?? []), row])
  }
  return [...groups].map(([title, rows]) => ({ title, rows })).filter(({ rows }) => rows.length > 1)
}

function bar(x: number, y: number, value: number, most: number, own: boolean): string {
  const width = Math.max(1, ((PANEL - NUMBER) * value) / most)
  return (
    `<rect class="${own ? 'own' : 'peer'}" x="${x}" y="${y}" width="${width.toFixed(1)}" height="${BAR}" rx="3"/>` +
    text(x + width + 8, y + BAR - 4, rate(value))
  )
}

function rate(value: number): string {
  return value.toFixed(value < 100 ? 1 : 0)
}

function text(x: number, y: number, content: string, style?: string): string {
  const look = style === undefined ? '' : ` class="${style}"`
  return `<text${look} x="${x.toFixed(1)}" y="${y}">${escaped(content)}</text>`
}

function escaped(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}
