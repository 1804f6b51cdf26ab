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

export type EventValue = string | number | boolean | null | undefined

/** What the model writes after a step when it is given a prompt. */
export interface SampleRecord {
  readonly step: number
  readonly prompt: string
  readonly text: string
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
  /** Anything else worth a line: `event('checkpoint', 50, { path })`, `event('end', 1000, { reason: 'finished' })`. */
  event(name: string, step: number, details?: Readonly<Record<string, EventValue>>): void
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
