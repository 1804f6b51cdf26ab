// Reads a run's records back, for reports and for whoever compares runs. Takes what a kill or a hand has left of
// the files; says how much of it could not be read. Knows nothing about how records are shown. Node only.

import { basename, join, resolve } from 'node:path'
import { GemmaError } from '../error.ts'
import { METRICS_FILE, MOST_LINE_BYTES, MOST_SAMPLE_BYTES, SAMPLES_FILE } from './metrics.node.ts'
import { type MetricsLine, metricNumber, parseMetricsLine, type SampleRecord } from './metrics.ts'
import { readLines } from './metrics-lines.node.ts'

/** Columns that a report can draw, by their names in metrics.jsonl. */
export const COLUMNS = [
  'loss',
  'mean_token_accuracy',
  'learning_rate',
  'grad_norm',
  'num_tokens',
  'tokens_per_second',
  'seconds',
  'epoch',
] as const
export type Column = (typeof COLUMNS)[number]

export interface Evaluation {
  readonly step: number
  /** NaN where it is not known. */
  readonly loss: number
  readonly accuracy: number
  /** '' where there is only one held-out source. */
  readonly source: string
}

export interface RunHistory {
  readonly directory: string
  readonly name: string
  /** Rising, each step once. */
  readonly steps: Float64Array
  /** One number per step; NaN where none was written. */
  readonly columns: Readonly<Record<Column, Float64Array>>
  /** By step; each step and source once. */
  readonly evaluations: readonly Evaluation[]
  /** Everything else, in the order of writing; the last ones if there are very many. */
  readonly events: readonly MetricsLine[]
  /** Lines of metrics.jsonl that say nothing. */
  readonly unreadable: number
}

/** Past this the arrays of a report would need gigabytes; a file of so many steps is broken or not ours. */
const MOST_STEPS = 2_000_000
const MOST_EVALUATIONS = 200_000
const MOST_EVENTS = 1000
/** Samples of the beginning and of the end; what lies between is left out. */
const MOST_SAMPLES = 200

/** The records of the run in `runDirectory`. Throws GemmaError 'file' when there are none, or too many. */
export async function readRun(runDirectory: string): Promise<RunHistory> {
  const path = join(runDirectory, METRICS_FILE)
  const steps: number[] = []
  const columns = COLUMNS.map((): number[] => [])
  const evaluations: Evaluation[] = []
  const events: MetricsLine[] = []
  let unreadable = 0
  for await (const text of linesOfRun(path)) {
    const line = text === undefined ? undefined : parseMetricsLine(text)
    if (line === undefined) {
      unreadable++
    } else if (line.event !== undefined) {
      events.push(line)
      if (events.length > 2 * MOST_EVENTS) events.splice(0, MOST_EVENTS)
    } else if (line.eval_loss !== undefined) {
      evaluations.push(evaluationOf(line))
    } else {
      steps.push(line.step)
      COLUMNS.forEach((name, index) => {
        columns[index].push(metricNumber(line[name]) ?? Number.NaN)
      })
    }
    if (steps.length > MOST_STEPS || evaluations.length > MOST_EVALUATIONS) throw tooMany(path)
  }
  const order = risingOrder(steps)
  const pick = (values: readonly number[]): Float64Array => Float64Array.from(order, (at) => values[at])
  const named = COLUMNS.map((name, index) => [name, pick(columns[index])])
  return {
    directory: runDirectory,
    name: basename(resolve(runDirectory)),
    steps: pick(steps),
    columns: Object.fromEntries(named) as Record<Column, Float64Array>,
    evaluations: lastOfEach(evaluations),
    events: events.slice(-MOST_EVENTS),
    unreadable,
  }
}

/** What the model wrote as it learned; none when there is no such file. */
export async function readSamples(runDirectory: string): Promise<SampleRecord[]> {
  const samples: SampleRecord[] = []
  for await (const text of linesIfThere(join(runDirectory, SAMPLES_FILE))) {
    const line = text === undefined ? undefined : parseMetricsLine(text)
    if (typeof line?.prompt !== 'string' || typeof line.text !== 'string') continue
    samples.push({ step: line.step, prompt: line.prompt, text: line.text })
    if (samples.length > MOST_SAMPLES) samples.splice(MOST_SAMPLES / 2, 1)
  }
  return samples
}

async function* linesOfRun(path: string): AsyncGenerator<string | undefined> {
  try {
    yield* readLines(path, MOST_LINE_BYTES)
  } catch (cause) {
    if (!isMissing(cause)) throw cause
    throw new GemmaError(
      'file',
      `${path} does not exist.`,
      "Name a run's directory: what `output` in its recipe says.",
      { cause },
    )
  }
}

async function* linesIfThere(path: string): AsyncGenerator<string | undefined> {
  try {
    yield* readLines(path, MOST_SAMPLE_BYTES)
  } catch (cause) {
    if (!isMissing(cause)) throw cause
  }
}

function isMissing(error: unknown): boolean {
  const cause = error instanceof GemmaError ? error.cause : undefined
  return (cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT'
}

function tooMany(path: string): GemmaError {
  return new GemmaError(
    'file',
    `${path} holds more than ${MOST_STEPS} steps or ${MOST_EVALUATIONS} evaluations.`,
    'Keep every n-th line of it and try again.',
  )
}

function evaluationOf(line: MetricsLine): Evaluation {
  return {
    step: line.step,
    loss: metricNumber(line.eval_loss) ?? Number.NaN,
    accuracy: metricNumber(line.eval_accuracy) ?? Number.NaN,
    source: typeof line.eval_source === 'string' ? line.eval_source : '',
  }
}

/** Indices so that steps rise; of a step that was written twice the later line counts. */
function risingOrder(steps: readonly number[]): number[] {
  const rises = steps.every((step, at) => at === 0 || step > steps[at - 1])
  const order = steps.map((_, at) => at)
  if (rises) return order
  order.sort((one, other) => steps[one] - steps[other] || one - other)
  return order.filter((at, place) => steps[order[place + 1]] !== steps[at])
}

function lastOfEach(evaluations: readonly Evaluation[]): Evaluation[] {
  const last = new Map(evaluations.map((one) => [`${one.step} ${one.source}`, one]))
  return [...last.values()].sort((one, other) => one.step - other.step)
}
