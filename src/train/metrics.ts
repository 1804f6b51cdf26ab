// What is written down while a model learns: the records of a run and their form as lines of JSON. Knows no file,
// no model and nobody who reads them.

/** One step of the optimiser. What a caller does not know, it leaves out. */
export interface StepRecord {
  /** 1 for the first. */
  readonly step: number
  /** Mean −log p of the batch's targets, natural logarithm. */
  readonly loss: number
  /** Share of targets that were the most likely token, 0 … 1. */
  readonly meanTokenAccuracy?: number
  readonly learningRate?: number
  /** Euclidean norm over all gradients before they are clipped. */
  readonly gradientNorm?: number
  /** Tokens learned from since step 0, over all sessions of the run. */
  readonly tokens?: number
  readonly tokensPerSecond?: number
  /** Seconds of training since step 0, over all sessions of the run. */
  readonly seconds?: number
  /** Passes over the data since step 0, with fractions. */
  readonly epoch?: number
}

/** What the held-out rows said after a step. */
export interface EvaluationRecord {
  /** Steps taken so far; 0 before the first. */
  readonly step: number
  /** Mean −log p of the held-out targets, natural logarithm. Its exponential is the perplexity. */
  readonly loss: number
  /** Share of targets that were the most likely token, 0 … 1. */
  readonly accuracy?: number
  /** Targets that the loss is the mean of. */
  readonly targets?: number
  /** Seconds that the evaluation took. */
  readonly seconds?: number
  /** Which held-out source, where there are several. */
  readonly source?: string
}

/** What a run is, said once at the start of each session. */
export interface RunStart {
  /** Steps that the whole run shall have. */
  readonly steps?: number
  /** Numbers in the model. */
  readonly parameters?: number
  /** Numbers that learn: all of them, or the adapters. */
  readonly trainableParameters?: number
  /** Largest gradient norm that is not scaled down. */
  readonly clip?: number
  /** What the model is and runs on, in a line for people. */
  readonly description?: string
  /** 'pretrain' or 'sft'. */
  readonly stage?: string
}

/** How a session ended. A run without one is still going, or was killed. */
export interface RunEnd {
  /** Steps taken so far. */
  readonly step: number
  readonly reason: 'finished' | 'interrupted' | 'failed'
  /** What went wrong. */
  readonly message?: string
}

/** What the model writes after a step when it is given a prompt. */
export interface SampleRecord {
  readonly step: number
  readonly prompt: string
  readonly text: string
}

export type MetricValue = string | number | boolean | null | undefined

/** One line of metrics.jsonl. */
export interface MetricsLine {
  readonly step: number
  readonly [name: string]: MetricValue
}

/**
 * Writes a run's records as they come; `openMetrics` in metrics.node.ts makes one. Every call but `close` hands the
 * record to the operating system before it returns, so that a process that is killed loses none, and throws
 * GemmaError 'file' when it cannot (a full disk, say); what was written before stays whole.
 */
export interface MetricsWriter {
  /** The first record of a session. */
  start(record: RunStart): void
  step(record: StepRecord): void
  evaluation(record: EvaluationRecord): void
  /** Into RUN/samples.jsonl. */
  sample(record: SampleRecord): void
  /** Anything else worth a line: `event('checkpoint', 50, { path })`. */
  event(name: string, step: number, details?: Readonly<Record<string, MetricValue>>): void
  end(record: RunEnd): void
  /** Puts everything onto the disk. Harmless when called twice. */
  close(): Promise<void>
}

export interface OpenMetricsOptions {
  /**
   * The step of the checkpoint that training goes on from: records of later steps are cut off. 0 keeps what was
   * recorded before the first step. Without it the run begins anew and what an earlier one recorded is removed.
   */
  readonly resumeAtStep?: number
}

/** The names of a step's values in metrics.jsonl, after those of other training programs. */
const STEP_NAMES: ReadonlyArray<readonly [keyof StepRecord, string, decimals?: number]> = [
  ['loss', 'loss'],
  ['meanTokenAccuracy', 'mean_token_accuracy', 6],
  ['learningRate', 'learning_rate'],
  ['gradientNorm', 'grad_norm'],
  ['tokens', 'num_tokens'],
  ['tokensPerSecond', 'tokens_per_second', 2],
  ['seconds', 'seconds', 3],
  ['epoch', 'epoch', 6],
]

export function stepLine(record: StepRecord): MetricsLine {
  const values = STEP_NAMES.flatMap(([field, name, decimals]) => {
    const value = record[field]
    return value === undefined ? [] : [[name, rounded(value, decimals)] as const]
  })
  return { step: record.step, ...Object.fromEntries(values) }
}

export function evaluationLine(record: EvaluationRecord): MetricsLine {
  const { step, loss, accuracy, targets, seconds, source } = record
  return {
    step,
    eval_loss: loss,
    eval_perplexity: Math.exp(loss),
    ...(accuracy === undefined ? {} : { eval_accuracy: rounded(accuracy, 6) }),
    ...(targets === undefined ? {} : { eval_num_targets: targets }),
    ...(seconds === undefined ? {} : { eval_seconds: rounded(seconds, 3) }),
    ...(source === undefined ? {} : { eval_source: source }),
  }
}

export function startLine(record: RunStart, step: number): MetricsLine {
  return {
    event: 'start',
    step,
    stage: record.stage,
    steps: record.steps,
    parameters: record.parameters,
    trainable_parameters: record.trainableParameters,
    clip: record.clip,
    description: record.description,
  }
}

/** Fewer digits for what is read by people; losses keep all of theirs, so that runs can be compared exactly. */
function rounded(value: number, decimals: number | undefined): number {
  return decimals === undefined || !Number.isFinite(value) ? value : Number(value.toFixed(decimals))
}

/**
 * One line of JSON. JSON has no NaN and no infinities: they are written as the strings "NaN", "Infinity" and
 * "-Infinity", as in protobuf's JSON (https://protobuf.dev/programming-guides/json), which Number() of JavaScript
 * and float() of Python read back.
 */
export function formatMetricsLine(line: Readonly<Record<string, MetricValue>>): string {
  const text = JSON.stringify(line, (_, value: unknown) =>
    typeof value === 'number' && !Number.isFinite(value) ? String(value) : value,
  )
  return `${text}\n`
}

/** The way back; undefined for what is no line of metrics: broken JSON, no object, no step. */
export function parseMetricsLine(text: string): MetricsLine | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined // a line that a kill or a hand has torn
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const { step } = value as { step?: unknown }
  return Number.isSafeInteger(step) && (step as number) >= 0 ? (value as MetricsLine) : undefined
}

/** A number of a line, NaN and infinities included; undefined where there is none. */
export function metricNumber(value: unknown): number | undefined {
  if (typeof value === 'number') return value
  if (value === 'NaN') return Number.NaN
  if (value === 'Infinity') return Number.POSITIVE_INFINITY
  return value === '-Infinity' ? Number.NEGATIVE_INFINITY : undefined
}

/** Curves that TensorBoard shall show of a line; none for events. */
export function scalarsOf(line: MetricsLine): { tag: string; value: number }[] {
  if (line.event !== undefined) return []
  const source = typeof line.eval_source === 'string' ? `${line.eval_source}/` : ''
  return Object.entries(line).flatMap(([name, stored]) => {
    const value = metricNumber(stored)
    if (value === undefined || name === 'step' || name === 'time') return []
    const tag = name.startsWith('eval_') ? `eval/${source}${name.slice(5)}` : `train/${name}`
    return [{ tag, value }]
  })
}
