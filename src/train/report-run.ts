// What a report says of one run in words and numbers: how it ended, where its losses are, what it took. Knows
// nothing about pages and pictures.

import type { MetricsLine, SampleRecord } from './metrics.ts'
import type { Evaluation, RunHistory } from './metrics-read.node.ts'
import { formatCount } from './report-numbers.ts'
import { extent, smooth, smoothLogarithms } from './report-series.ts'

/** Everything that a report shows of a run. */
export interface ReportedRun {
  readonly history: RunHistory
  readonly samples: readonly SampleRecord[]
  /** recipe.resolved.yaml; undefined where there is none. */
  readonly recipe: string | undefined
  /** What the report calls the run; different for each run of one report. */
  readonly label: string
}

export interface RunSummary {
  readonly status: 'finished' | 'interrupted' | 'failed' | 'open'
  readonly message: string
  readonly stage: string
  readonly description: string
  readonly steps: number
  /** Steps that there shall be; undefined when the run does not say. */
  readonly plannedSteps: number | undefined
  readonly parameters: number | undefined
  readonly trainableParameters: number | undefined
  readonly clip: number | undefined
  /** Means over the last `lastSteps` steps; NaN where nothing is known. */
  readonly loss: number
  readonly accuracy: number
  readonly lastSteps: number
  readonly firstLoss: number
  readonly tokens: number
  readonly seconds: number
  readonly epochs: number
  readonly heldOut: readonly HeldOut[]
  /** Steps that training went on from after a pause. */
  readonly resumedAt: readonly number[]
  /** Steps whose loss or gradient norm was NaN or infinite. */
  readonly holes: { readonly loss: readonly number[]; readonly grad_norm: readonly number[] }
}

/** What one held-out source said. */
export interface HeldOut {
  readonly source: string
  readonly evaluations: readonly Evaluation[]
  readonly last: Evaluation
  /** Of the lowest loss. */
  readonly best: Evaluation
}

/** Of a run's length, what counts as its end, and how far a smoothed curve looks to each side. */
const END = 0.02
const SMOOTHING = 0.006
/** Held-out sources that are drawn. */
const MOST_SOURCES = 6

export function summarize({ history }: ReportedRun): RunSummary {
  const { steps, columns, events } = history
  const starts = events.filter(({ event }) => event === 'start')
  const start = starts.at(-1)
  const end = events.slice(start === undefined ? 0 : events.indexOf(start)).findLast(isEnd)
  const lastSteps = Math.max(1, Math.min(100, Math.round(steps.length * END)))
  return {
    status: statusOf(end),
    message: textOf(end, 'message'),
    stage: textOf(start, 'stage'),
    description: textOf(start, 'description'),
    steps: Math.max(steps.at(-1) ?? 0, history.evaluations.at(-1)?.step ?? 0),
    plannedSteps: countOf(start, 'steps'),
    parameters: countOf(start, 'parameters'),
    trainableParameters: countOf(start, 'trainable_parameters'),
    clip: countOf(start, 'clip'),
    loss: mean(columns.loss.slice(-lastSteps)),
    accuracy: mean(columns.mean_token_accuracy.slice(-lastSteps)),
    lastSteps,
    firstLoss: columns.loss.find(Number.isFinite) ?? Number.NaN,
    tokens: lastOf(columns.num_tokens),
    seconds: lastOf(columns.seconds),
    epochs: lastOf(columns.epoch),
    heldOut: heldOutOf(history.evaluations),
    resumedAt: [...new Set(starts.map(({ step }) => step))].filter((step) => step > 0),
    holes: { loss: holesOf(history, 'loss'), grad_norm: holesOf(history, 'grad_norm') },
  }
}

/** A column's mean over about a hundredth of the run to each side. */
export function smoothed(
  history: RunHistory,
  column: 'loss' | 'grad_norm' | 'mean_token_accuracy' | 'tokens_per_second',
): Float64Array {
  const width = history.steps.length * SMOOTHING
  const values = history.columns[column]
  return column === 'grad_norm' ? smoothLogarithms(values, width) : smooth(values, width)
}

/** 'fell from 9.01 to 1.53', as one says it of a curve; and how far it went beyond both ends. */
export function describeCourse(values: ArrayLike<number>, format: (value: number) => string): string {
  const finite = Array.from(values).filter(Number.isFinite)
  if (finite.length === 0) return 'has no values yet'
  const [first, last] = [finite[0], finite.at(-1)!]
  if (finite.length === 1) return `was ${format(first)}`
  const [low, high] = extent(finite)
  const size = Math.max(Math.abs(low), Math.abs(high))
  if (high - low <= 0.05 * size) return `stayed at about ${format(last)}`
  const beyond = 0.1 * (high - low)
  const [above, below] = [high - Math.max(first, last) > beyond, Math.min(first, last) - low > beyond]
  const extremes = `${above ? `, at most ${format(high)}` : ''}${below ? `, at least ${format(low)}` : ''}`
  const way = above || below ? 'went' : last < first ? 'fell' : 'rose'
  return `${way} from ${format(first)} to ${format(last)}${extremes}`
}

function isEnd({ event }: MetricsLine): boolean {
  return event === 'end'
}

function statusOf(end: MetricsLine | undefined): RunSummary['status'] {
  const reason = end?.reason
  return reason === 'finished' || reason === 'interrupted' || reason === 'failed' ? reason : 'open'
}

function textOf(line: MetricsLine | undefined, name: string): string {
  const value = line?.[name]
  return typeof value === 'string' ? value : ''
}

function countOf(line: MetricsLine | undefined, name: string): number | undefined {
  const value = line?.[name]
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : undefined
}

function lastOf(values: Float64Array): number {
  return values.findLast(Number.isFinite) ?? Number.NaN
}

function mean(values: Float64Array): number {
  return values.length === 0 ? Number.NaN : values.reduce((sum, value) => sum + value, 0) / values.length
}

function heldOutOf(evaluations: readonly Evaluation[]): HeldOut[] {
  const groups = Map.groupBy(evaluations, ({ source }) => source)
  return [...groups].slice(0, MOST_SOURCES).map(([source, ofSource]) => ({
    source,
    evaluations: ofSource,
    last: ofSource.at(-1)!,
    best: ofSource.reduce((best, one) => (one.loss < best.loss || Number.isNaN(best.loss) ? one : best)),
  }))
}

/** Of several runs, what the one held-out source says that most of them share; undefined for runs without it. */
export function sharedHeldOut(runs: readonly RunSummary[]): (HeldOut | undefined)[] {
  const counts = new Map<string, number>()
  for (const { source } of runs.flatMap(({ heldOut }) => heldOut)) {
    counts.set(source, (counts.get(source) ?? 0) + 1)
  }
  const most = Math.max(...counts.values())
  const shared = [...counts].find(([, count]) => count === most)?.[0]
  return runs.map(({ heldOut }) => heldOut.find(({ source }) => source === shared))
}

/** A column that was never written has no holes. */
function holesOf({ steps, columns }: RunHistory, column: 'loss' | 'grad_norm'): number[] {
  const values = columns[column]
  if (values.every(Number.isNaN) && column !== 'loss') return []
  const holes: number[] = []
  for (let at = 0; at < steps.length; at++) if (!Number.isFinite(values[at])) holes.push(steps[at])
  return holes
}

/** '1, 2, 3 and 40 more'. */
export function listSteps(steps: readonly number[]): string {
  const shown = steps.slice(0, 5).map(formatCount)
  return steps.length > shown.length
    ? `${shown.join(', ')} and ${steps.length - shown.length} more`
    : shown.join(', ')
}
