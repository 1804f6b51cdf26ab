// Which curves a report draws of its runs, and the numbers that its read-outs show. One run: everything of a kind in
// one chart. Several: a colour for each, training and held-out losses apart. Knows no page.

import type { Chart, Curve } from './report-chart.ts'
import { shorten } from './report-markup.ts'
import { formatNumber, formatPercent, formatShortCount } from './report-numbers.ts'
import {
  describeCourse,
  type HeldOut,
  listSteps,
  type ReportedRun,
  type RunSummary,
  sharedHeldOut,
  smoothed,
} from './report-run.ts'
import { type Axis, extent, linearAxis, logarithmicAxis, spread } from './report-series.ts'

export interface ChartedRun {
  readonly run: ReportedRun
  readonly summary: RunSummary
}

/** What a read-out says at a step: of each list of steps the nearest one's values. */
export interface Readouts {
  readonly lastStep: number
  readonly steps: readonly (readonly number[])[]
  readonly charts: Readonly<Record<string, readonly Readout[]>>
  readonly units: Readonly<Record<string, Chart['unit']>>
}

interface Readout {
  readonly label: string
  readonly color: number
  /** Index into `steps`. */
  readonly at: number
  /** null where a value was not finite. */
  readonly values: readonly (number | null)[]
}

/** From how many runs on single values are no longer drawn behind their means. */
const MOST_FAINT = 3
/** A loss that was ever this many times its median is drawn on a logarithmic scale. */
const STEEP = 4

/** More evaluations than these are drawn as a line: their dots would run together. */
const MOST_DOTS = 80

type Trend = 'loss' | 'grad_norm' | 'mean_token_accuracy' | 'tokens_per_second'

/** Step at which the x axis of all charts ends. */
export function lastStepOf(runs: readonly ChartedRun[]): number {
  return Math.max(0, ...runs.map(({ summary }) => summary.steps))
}

/** The charts that there are values for. */
export function chartRuns(runs: readonly ChartedRun[]): Chart[] {
  const charts = [
    ...lossCharts(runs),
    accuracyChart(runs),
    gradientChart(runs),
    learningRateChart(runs),
    speedChart(runs),
  ]
  return charts.filter((chart) => chart !== undefined)
}

/** A mean that is drawn as a line, with the single values behind it. */
function trend({ run }: ChartedRun, column: Trend, color: number, label: string, faint: boolean): Curve[] {
  const { steps: x, columns } = run.history
  const line: Curve = { label, color, form: 'line', x, y: smoothed(run.history, column) }
  return faint
    ? [{ label: `${label}, single step`, color, form: 'faint', x, y: columns[column] }, line]
    : [line]
}

function points(heldOut: HeldOut, value: 'loss' | 'accuracy', color: number, label: string): Curve {
  const x = heldOut.evaluations.map(({ step }) => step)
  const form = x.length <= MOST_DOTS ? 'points' : 'line'
  return { label, color, form, x, y: heldOut.evaluations.map((one) => one[value]) }
}

/** One run: a colour for each source, after that of training. */
function heldOutCurves({ summary }: ChartedRun, value: 'loss' | 'accuracy'): Curve[] {
  return summary.heldOut.map((heldOut, index) => {
    const label = heldOut.source === '' ? 'Held out' : `Held out: ${shorten(heldOut.source, 60)}`
    return points(heldOut, value, 1 + index, label)
  })
}

function trends(runs: readonly ChartedRun[], column: Trend, name: string): Curve[] {
  const faint = runs.length <= MOST_FAINT
  return runs.flatMap((one, index) =>
    trend(one, column, index, runs.length === 1 ? name : one.run.label, faint),
  )
}

function lossCharts(runs: readonly ChartedRun[]): (Chart | undefined)[] {
  const training = trends(runs, 'loss', 'Training')
  const common = { unit: 'number', wide: true } as const
  const suffix = 'Mean −log p per token, in nats.'
  if (runs.length > 1) {
    const curves = training
    const axis = lossAxis(curves)
    const own = { ...common, axis, curves, suffix, holes: holes(runs, 'loss') }
    return [build({ ...own, id: 'loss', title: 'Training loss' }), comparedHeldOut(runs, suffix)]
  }
  const curves = [...training, ...heldOutCurves(runs[0], 'loss')]
  const marks = runs[0].summary.resumedAt.slice(0, 100)
  const paused = marks.length === 0 ? '' : ` Training went on from step ${listSteps(marks)} (dotted).`
  const own = { ...common, axis: lossAxis(curves), curves, marks, holes: holes(runs, 'loss') }
  return [build({ ...own, id: 'loss', title: 'Loss', suffix: suffix + paused })]
}

function comparedHeldOut(runs: readonly ChartedRun[], suffix: string): Chart | undefined {
  const shared = sharedHeldOut(runs.map(({ summary }) => summary))
  const curves = shared.flatMap((heldOut, index) =>
    heldOut === undefined ? [] : [points(heldOut, 'loss', index, runs[index].run.label)],
  )
  const source = shared.find((heldOut) => heldOut !== undefined)?.source ?? ''
  const title = source === '' ? 'Held-out loss' : `Held-out loss: ${shorten(source, 60)}`
  return build({ id: 'held-out', title, curves, axis: lossAxis(curves), unit: 'number', wide: true, suffix })
}

function accuracyChart(runs: readonly ChartedRun[]): Chart | undefined {
  const curves = [
    ...trends(runs, 'mean_token_accuracy', 'Training'),
    // Several runs have one colour each: their held-out accuracies stand in the table.
    ...(runs.length === 1 ? heldOutCurves(runs[0], 'accuracy') : []),
  ]
  const suffix = 'Share of tokens that were thought the most likely.'
  const axis = linearAxis(valuesOf(curves), { fromZero: true })
  return build({ id: 'accuracy', title: 'Accuracy', curves, axis, unit: 'percent', suffix })
}

function gradientChart(runs: readonly ChartedRun[]): Chart | undefined {
  const curves = trends(runs, 'grad_norm', 'Gradient norm')
  const clips = [...new Set(runs.map(({ summary }) => summary.clip ?? 0))].filter((clip) => clip > 0)
  const values = [...valuesOf(curves), ...clips]
  const axis = logarithmicAxis(values) ?? linearAxis(values)
  const guides = clips.map((value) => ({ value, label: `clipped above ${formatNumber(value)}` }))
  const suffix = `Before clipping${axis.logarithmic ? '; logarithmic scale' : ''}.`
  const common = { unit: 'number', guides, holes: holes(runs, 'grad_norm') } as const
  return build({ ...common, id: 'gradient', title: 'Gradient norm', curves, axis, suffix })
}

function learningRateChart(runs: readonly ChartedRun[]): Chart | undefined {
  const curves = runs.map(({ run }, color): Curve => {
    const { steps, columns } = run.history
    const label = runs.length === 1 ? 'Learning rate' : run.label
    return { label, color, form: 'line', x: steps, y: columns.learning_rate }
  })
  const axis = linearAxis(valuesOf(curves), { fromZero: true })
  return build({ id: 'rate', title: 'Learning rate', curves, axis, unit: 'number', suffix: '' })
}

function speedChart(runs: readonly ChartedRun[]): Chart | undefined {
  const curves = trends(runs, 'tokens_per_second', 'Speed')
  const axis = linearAxis(valuesOf(curves), { fromZero: true })
  return build({ id: 'speed', title: 'Speed', curves, axis, unit: 'count', suffix: 'Tokens per second.' })
}

/** Undefined for a chart without a value. */
function build(parts: Omit<Chart, 'summary'> & { readonly suffix: string }): Chart | undefined {
  const { suffix, ...chart } = parts
  const curves = chart.curves.filter(({ y }) => Array.from(y).some(Number.isFinite))
  if (curves.length === 0) return undefined
  const courses = curves
    .filter(({ form }) => form !== 'faint')
    .map(({ label, y }) => `${label} ${describeCourse(y, (value) => formatValue(value, chart.unit))}.`)
  // Of many runs the table says it better.
  const shown = courses.length <= 2 ? courses : []
  const scale = chart.axis.logarithmic && !suffix.includes('logarithmic') ? 'Logarithmic scale.' : ''
  return { ...chart, curves, summary: [...shown, suffix, scale].filter((text) => text !== '').join(' ') }
}

function formatValue(value: number, unit: Chart['unit']): string {
  if (unit === 'percent') return formatPercent(value)
  return unit === 'count' ? formatShortCount(value) : formatNumber(value)
}

function* valuesOf(curves: readonly Curve[]): Generator<number> {
  for (const { y } of curves) for (let at = 0; at < y.length; at++) yield y[at]
}

function lossAxis(curves: readonly Curve[]): Axis {
  const [, high] = extent(valuesOf(curves))
  const lines = curves.filter(({ form }) => form !== 'faint')
  const middle = Math.max(...lines.map(({ y }) => median(y)).filter(Number.isFinite))
  const steep = middle > 0 && high / middle > STEEP ? logarithmicAxis(valuesOf(curves)) : undefined
  return steep ?? linearAxis(valuesOf(curves))
}

function median(values: ArrayLike<number>): number {
  const finite = Float64Array.from(values).filter(Number.isFinite).sort()
  return finite[finite.length >> 1] ?? Number.NaN
}

function holes(runs: readonly ChartedRun[], column: 'loss' | 'grad_norm'): number[] {
  return [...new Set(runs.flatMap(({ summary }) => summary.holes[column].slice(0, 100)))]
}

/** `rows`: how many steps of each curve a read-out knows. */
export function readoutsOf(charts: readonly Chart[], lastStep: number, rows: number): Readouts {
  const steps: number[][] = []
  const known = new Map<ArrayLike<number>, { at: number; chosen: number[] }>()
  const chosenOf = (x: ArrayLike<number>): { at: number; chosen: number[] } => {
    const before = known.get(x)
    if (before !== undefined) return before
    const chosen = spread(x.length, rows)
    const entry = { at: steps.push(chosen.map((index) => x[index])) - 1, chosen }
    known.set(x, entry)
    return entry
  }
  const readout = ({ label, color, x, y }: Curve): Readout => {
    const { at, chosen } = chosenOf(x)
    const values = chosen.map((index) => (Number.isFinite(y[index]) ? Number(y[index].toPrecision(4)) : null))
    return { label, color, at, values }
  }
  return {
    lastStep,
    steps,
    charts: Object.fromEntries(charts.map(({ id, curves }) => [id, curves.map(readout)])),
    units: Object.fromEntries(charts.map(({ id, unit }) => [id, unit])),
  }
}
