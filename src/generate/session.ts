// A session holds which tokens the caches of one sequence contain, and computes only what is new: a
// conversation that grows, or a prompt that shares a beginning with the last one, is not computed twice.

import type { SamplingInputs } from '../graph/tape.ts'
import type { Choice } from '../ops/sample/sample.ts'
import type { PlanKind, Row, RunOptions } from './engine.ts'
import { createLock } from './lock.ts'
import type { Scheduler } from './scheduler.ts'

export interface Step {
  /** The prompt and what was drawn so far. */
  readonly tokens: readonly number[]
  /** Guesses of the tokens after them; used when all of `tokens` but the last is cached. */
  readonly draft?: readonly number[]
  /** uniform[i] belongs to the i-th token that is drawn: 1 + draft.length of them, one more with `ahead`. */
  readonly sampling: SamplingInputs
  /** Another token will most likely be asked for after this one (see RunOptions in engine.ts); only without a draft. */
  readonly ahead?: boolean
  /** Name of the adapter to run with. */
  readonly adapter?: string
  readonly signal?: AbortSignal
  /** Hears how many of `tokens` are done. */
  readonly onTokens?: (done: number) => void
}

/** How a text is run through the model. */
export interface EachOptions {
  readonly adapter?: string
  readonly signal?: AbortSignal
}

export interface Session {
  /** Tokens whose keys and values are cached. */
  readonly cached: readonly number[]
  /** How many of `tokens` need not be computed. What another adapter has computed cannot be used. */
  reusable(tokens: readonly number[], adapter?: string): number
  /**
   * Brings the cache to `tokens` and draws the token after them. With a draft the model is run over it in the
   * same go; as long as what is drawn agrees with the draft, the next draw counts too: the choices are the
   * same as without a draft, only more of them at a time. Throws GemmaError 'aborted'; what was computed until
   * then is kept.
   */
  next(step: Step): Promise<Choice[]>
  /**
   * Runs `tokens` from the start in parts and hands over each part's output, [rows, columns]. `targets` go to
   * the plan (see ops/logprob).
   */
  each(
    kind: 'logits' | 'score',
    tokens: readonly number[],
    visit: (output: Float32Array, from: number, rows: number) => void,
    options?: EachOptions,
  ): Promise<void>
}

export function createSession(scheduler: Scheduler, sequence = 0): Session {
  const cached: number[] = []
  // Positions from 0 to here have been written since the last start from nothing; rings forget the oldest.
  let written = 0
  // Keys and values of other weights are other keys and values.
  let cachedWith: string | undefined
  const { engine } = scheduler
  const { config, state } = engine.model
  const exclusive = createLock()

  /** How much of the cache can serve `tokens`: the shared beginning, as far as the rings still hold it. */
  const reusable = (tokens: readonly number[], most: number, adapter: string | undefined): number => {
    if (adapter !== cachedWith) return 0
    let shared = 0
    const end = Math.min(cached.length, most)
    while (shared < end && cached[shared] === tokens[shared]) shared++
    const forgotten = config.layerTypes.some((type, layer) => {
      if (type === 'full') return false
      const oldestNeeded = Math.max(0, shared - config.slidingWindow + 1)
      return oldestNeeded < written - state.caches[layer]!.capacity
    })
    return forgotten ? 0 : shared
  }

  const runPart = async (
    kind: PlanKind,
    tokens: readonly number[],
    from: number,
    count: number,
    options: RunOptions,
  ): Promise<Float32Array> => {
    const rows: Row[] = []
    for (let position = from; position < from + count; position++) {
      rows.push({ token: tokens[position]!, position, sequence, target: tokens[position + 1] ?? -1 })
    }
    // What is under way counts as overwritten until it is done.
    cached.length = from
    cachedWith = options.adapter
    const end = from + count + (options.ahead ? 1 : 0)
    written = from === 0 ? end : Math.max(written, end)
    const output = await scheduler.run({ kind, rows, ...options })
    for (const row of rows) cached.push(row.token)
    return output
  }

  /**
   * The last token and the draft in one run. What lies in the cache past the first disagreement is what the
   * draft would have needed: the next run compares tokens, and overwrites it.
   */
  const verify = async ({
    tokens,
    draft = [],
    sampling,
    adapter,
    ahead,
    signal,
  }: Step): Promise<Choice[]> => {
    const from = tokens.length - 1
    const all = draft.length > 0 ? [...tokens, ...draft] : tokens
    const output = await runPart('choices', all, from, 1 + draft.length, { sampling, adapter, ahead, signal })
    const choices: Choice[] = []
    for (let i = 0; i <= draft.length; i++) {
      choices.push(choiceAt(output, i))
      if (choices[i]!.token !== draft[i]) break
    }
    return choices
  }

  const next = async (step: Step): Promise<Choice[]> => {
    const { tokens, sampling, adapter, ahead, signal, onTokens } = step
    let from = reusable(tokens, tokens.length - 1, adapter)
    onTokens?.(from)
    if (from === tokens.length - 1) return verify(step)
    const most = engine.maxRows('next')
    while (tokens.length - from > most) {
      await runPart('cache', tokens, from, most, { adapter, signal })
      from += most
      onTokens?.(from)
    }
    const output = await runPart('next', tokens, from, tokens.length - from, {
      sampling,
      adapter,
      ahead,
      signal,
    })
    return [choiceAt(output, 0)]
  }

  const each: Session['each'] = async (kind, tokens, visit, { adapter, signal } = {}) => {
    const most = engine.maxRows(kind)
    for (let from = 0; from < tokens.length; from += most) {
      const count = Math.min(most, tokens.length - from)
      visit(await runPart(kind, tokens, from, count, { adapter, signal }), from, count)
    }
  }

  return {
    cached,
    reusable: (tokens, adapter) => reusable(tokens, tokens.length - 1, adapter),
    // Two generations may share a session: each brings the cache back to its own tokens.
    next: (step) => exclusive(() => next(step)),
    each: (...args) => exclusive(() => each(...args)),
  }
}

function choiceAt(output: Float32Array, row: number): Choice {
  return { token: output[2 * row]!, logprob: output[2 * row + 1]! }
}
