// One model on one backend: records the plans that inference needs, and runs them. Works on tokens and
// positions; knows no text, no file and no session.

import { type Backend, MAX_ROWS, type Plan } from '../backends/backend.ts'
import { throwIfAborted } from '../error.ts'
import { isPacked } from '../graph/dtype.ts'
import {
  type Adapters,
  createTape,
  keep,
  type RunInputs,
  type SamplingInputs,
  type Tape,
  type Tensor,
} from '../graph/tape.ts'
import type { ModelState, Trace } from '../model/blocks.ts'
import type { ModelConfig } from '../model/config.ts'
import { head, models } from '../model/model.ts'
import type { Parameters } from '../model/parameters.ts'
import { last } from '../ops/last/last.ts'
import { logprob } from '../ops/logprob/logprob.ts'
import { sample } from '../ops/sample/sample.ts'

import { createLookAhead } from './look-ahead.ts'

export interface Model {
  readonly config: ModelConfig
  readonly parameters: Parameters
  readonly state: ModelState
  /** Longest context the caches have room for. */
  readonly contextLength: number
  /** Sequences the caches have room for. */
  readonly sequences: number
  /** Tokens that may be drawn: published embeddings can have more rows than the tokenizer has pieces. */
  readonly pieces: number
  /** Low-rank adapters by the names that requests call them by. */
  readonly adapters: ReadonlyMap<string, Adapters>
}

/**
 * - cache: fill the caches, give nothing
 * - next: draw a token after the last row
 * - choices: draw a token after every row
 * - logits: logits of every row
 * - score: running softmax state of every row (see ops/logprob)
 */
export type PlanKind = 'cache' | 'next' | 'choices' | 'logits' | 'score'

interface Recorded {
  readonly plan: Plan
  readonly output: Tensor | undefined
}

/** Rows that plans are recorded for; a run takes the smallest that holds it. */
const ROW_SIZES = [1, 8, 32, 128, MAX_ROWS] as const
/**
 * Most rows that one run draws for: sampling takes twenty bytes of scratch per row and piece of the vocabulary.
 * Up to the smaller size attention divides the keys as it does for one row.
 */
export const MOST_CHOICES = 16
const CHOICE_SIZES = [1, 8, MOST_CHOICES] as const
/**
 * Bytes that the two branches of a feed-forward layer and their product may take in one run: more rows are read no faster,
 * and would only make the scratch, and what the processor's caches cannot hold, larger.
 */
const BRANCH_BYTES = 48 << 20
/** Bytes of logits that one run may make. */
const LOGITS_BYTES = 32 << 20
/** Vocabulary rows per slice when scoring. */
const SCORE_SLICE = 8192

export const GREEDY: SamplingInputs = {
  temperature: 0,
  topK: 1,
  topP: 1,
  uniform: new Float64Array(MAX_ROWS),
}

export interface Row {
  readonly token: number
  readonly position: number
  readonly sequence: number
  /** For 'score': the token to predict; −1: none. */
  readonly target?: number
}

export interface RunOptions {
  readonly sampling?: SamplingInputs
  /** Name of the adapter that all rows run with; default: none. */
  readonly adapter?: string
  /**
   * The run draws one token, and one after it will most likely be asked for with the same sampling and `uniform[1]`: it may
   * be computed already. It writes the caches one position further.
   */
  readonly ahead?: boolean
  readonly signal?: AbortSignal
}

export interface Engine {
  readonly model: Model
  /**
   * Whether a few rows in one run give, bit for bit, what each gives alone. Integer products do; float
   * products, those of adapters too, are added in another order for one row than for several.
   */
  exactRows(adapter?: string): boolean
  /** Whether `ahead` is heeded. */
  readonly looksAhead: boolean
  readonly backend: Backend
  /** Most rows a run of this kind may have. */
  maxRows(kind: PlanKind): number
  /** Runs rows (at most maxRows) and returns the plan's output for them, [rows or 1, columns]. */
  run(kind: PlanKind, rows: readonly Row[], options?: RunOptions): Promise<Float32Array>
}

export function createEngine(model: Model, backend: Backend): Engine {
  const plans = new Map<string, Recorded>()
  const planFor = (asked: PlanKind, rows: number, adapter: string | undefined): Recorded => {
    // For a single row they are the same.
    const kind = asked === 'choices' && rows === 1 ? 'next' : asked
    const sizes: readonly number[] = kind === 'choices' ? CHOICE_SIZES : ROW_SIZES
    const size = sizes.find((s) => s >= rows) ?? MAX_ROWS
    const capacity = Math.min(size, maxRows(model.config, kind))
    const key = adapter === undefined ? `${kind} ${capacity}` : `${kind} ${capacity} ${adapter}`
    const known = plans.get(key)
    if (known) return known
    const { tape, output } = recordPlan(model, kind, capacity, { adapter })
    const recorded = { plan: backend.compile(tape), output }
    plans.set(key, recorded)
    return recorded
  }
  const exact = backend.exactRows && hasExactRows(model)
  const lookAhead = backend.start && createLookAhead(backend.start)
  const drawOne = (
    rows: readonly Row[],
    { plan, output }: Recorded,
    { sampling = GREEDY, adapter, ahead, signal }: RunOptions,
  ): Promise<Float32Array> => {
    throwIfAborted(signal)
    const { position, sequence } = rows.at(-1)!
    const run = { plan, output: output!, inputs: inputsOf(rows, sampling) }
    if (!ahead) return lookAhead!.draw(run)
    const next = planFor('next', 1, adapter)
    const row = { token: 0, position: position + 1, sequence }
    const inputs = inputsOf([row], { ...sampling, uniform: sampling.uniform.subarray(1) })
    return lookAhead!.draw(run, { plan: next.plan, output: next.output!, inputs })
  }
  return {
    model,
    exactRows: (adapter) => exact && adapter === undefined,
    looksAhead: lookAhead !== undefined,
    backend,
    maxRows: (kind) => maxRows(model.config, kind),
    async run(kind, rows, options = {}) {
      const { sampling = GREEDY, adapter, signal } = options
      const recorded = planFor(kind, rows.length, adapter)
      const { plan, output } = recorded
      if (lookAhead && output?.shape[0] === 1 && (kind === 'next' || kind === 'choices')) {
        return drawOne(rows, recorded, options)
      }
      await backend.run(plan, inputsOf(rows, sampling), signal)
      if (!output) return new Float32Array(0)
      return backend.read(plan, output, Math.min(rows.length, output.shape[0]!))
    },
  }
}

function hasExactRows({ parameters }: Model): boolean {
  const layers = parameters.layers.flatMap((layer) => Object.values(layer) as (Tensor | undefined)[])
  const matrices = [parameters.embedding, ...layers].filter((tensor) => tensor?.shape.length === 2)
  return matrices.every((tensor) => isPacked(tensor!.dtype))
}

function maxRows({ vocabSize, intermediateSize }: ModelConfig, kind: PlanKind): number {
  if (kind === 'choices') return MOST_CHOICES
  const rows = Math.min(MAX_ROWS, Math.max(32, floorTo32(BRANCH_BYTES / (12 * intermediateSize))))
  return kind === 'logits' ? Math.max(1, Math.min(rows, Math.floor(LOGITS_BYTES / (4 * vocabSize)))) : rows
}

/** The largest multiple of 32 up to `rows`. */
function floorTo32(rows: number): number {
  return 32 * Math.floor(rows / 32)
}

/** The tapes that need the most scratch, alone and with the adapter that needs most. */
export function sizingTapes(model: Model): Tape[] {
  const sizes = [
    ['next', maxRows(model.config, 'next')],
    ['next', 1],
    ['choices', MOST_CHOICES],
  ] as const
  const widths = [...model.adapters].map(([name, adapters]) => {
    return { name, ranks: Math.max(...[...adapters.values()].map(({ down }) => down.shape[0]!)) }
  })
  const widest = widths.sort((a, b) => b.ranks - a.ranks)[0]
  const adapters = widest ? [undefined, widest.name] : [undefined]
  return adapters.flatMap((adapter) =>
    sizes.map(([kind, rows]) => recordPlan(model, kind, rows, { adapter }).tape),
  )
}

export interface RecordOptions {
  /** Name of the adapter to record with. */
  readonly adapter?: string
  readonly trace?: Trace
}

/** Records the model for so many rows, with what the kind of plan adds after the last norm. */
export function recordPlan(
  { config, parameters, state, pieces, adapters }: Model,
  kind: PlanKind,
  rows: number,
  { adapter, trace }: RecordOptions = {},
): { tape: Tape; output: Tensor | undefined } {
  const added = adapter === undefined ? undefined : adapters.get(adapter)
  if (adapter !== undefined && !added) throw new Error(`there is no adapter ${adapter}`)
  const tape = createTape(rows, added)
  const hidden = models[config.generation](tape, config, parameters, state, trace)
  if (kind === 'cache') return { tape, output: undefined }
  const wanted = kind === 'next' && rows > 1 ? last(tape, hidden) : hidden
  if (kind !== 'score') {
    const draws = kind === 'next' || kind === 'choices'
    const count = draws ? pieces : config.vocabSize
    const logits = head(tape, config, parameters, wanted, { from: 0, count })
    return { tape, output: keep(tape, draws ? sample(tape, logits) : logits) }
  }
  let scores: Tensor | undefined
  for (let from = 0; from < config.vocabSize; from += SCORE_SLICE) {
    const slice = { from, count: Math.min(SCORE_SLICE, config.vocabSize - from) }
    scores = logprob(tape, head(tape, config, parameters, hidden, slice), from, scores)
  }
  return { tape, output: keep(tape, scores!) }
}

export function inputsOf(rows: readonly Row[], sampling: SamplingInputs = GREEDY): RunInputs {
  return {
    rows: rows.length,
    tokens: Int32Array.from(rows, (row) => row.token),
    positions: Int32Array.from(rows, (row) => row.position),
    sequences: Int32Array.from(rows, (row) => row.sequence),
    targets: Int32Array.from(rows, (row) => row.target ?? -1),
    sampling,
  }
}
