// A session holds which tokens the caches of one sequence contain, and computes only what is new: a
// conversation that grows, or a prompt that shares a beginning with the last one, is not computed twice.

import type { SamplingInputs } from '../graph/tape.ts'
import type { Choice } from '../ops/sample/sample.ts'
import type { Engine, PlanKind, Row } from './engine.ts'

export interface Session {
  /** Tokens whose keys and values are cached. */
  readonly cached: readonly number[]
  /**
   * Brings the cache to `tokens` and draws the token after them. `onTokens` hears how many of them are done.
   * Throws GemmaError 'aborted'; what was computed until then is kept.
   */
  next(
    tokens: readonly number[],
    sampling: SamplingInputs,
    signal?: AbortSignal,
    onTokens?: (done: number) => void,
  ): Promise<Choice>
  /**
   * Runs `tokens` from the start in parts and hands over each part's output, [rows, columns]. `targets` go to
   * the plan (see ops/logprob).
   */
  each(
    kind: Exclude<PlanKind, 'next' | 'cache'>,
    tokens: readonly number[],
    visit: (output: Float32Array, from: number, rows: number) => void,
    signal?: AbortSignal,
  ): Promise<void>
}

export function createSession(engine: Engine, sequence = 0): Session {
  const cached: number[] = []
  // Positions from 0 to here have been written since the last start from nothing; rings forget the oldest.
  let written = 0
  const { config, state } = engine.model

  /** How much of the cache can serve `tokens`: the shared beginning, as far as the rings still hold it. */
  const reusable = (tokens: readonly number[], most: number): number => {
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
    sampling?: SamplingInputs,
    signal?: AbortSignal,
  ): Promise<Float32Array> => {
    const rows: Row[] = []
    for (let position = from; position < from + count; position++) {
      rows.push({ token: tokens[position]!, position, sequence, target: tokens[position + 1] ?? -1 })
    }
    // What is under way counts as overwritten until it is done.
    cached.length = from
    written = from === 0 ? count : Math.max(written, from + count)
    const output = await engine.run(kind, rows, sampling, signal)
    for (const row of rows) cached.push(row.token)
    return output
  }

  return {
    cached,
    async next(tokens, sampling, signal, onTokens) {
      let from = reusable(tokens, tokens.length - 1)
      onTokens?.(from)
      const most = engine.maxRows('next')
      while (tokens.length - from > most) {
        await runPart('cache', tokens, from, most, undefined, signal)
        from += most
        onTokens?.(from)
      }
      const [token, logprob] = await runPart('next', tokens, from, tokens.length - from, sampling, signal)
      return { token: token!, logprob: logprob! }
    },
    async each(kind, tokens, visit, signal) {
      const most = engine.maxRows(kind)
      for (let from = 0; from < tokens.length; from += most) {
        const count = Math.min(most, tokens.length - from)
        visit(await runPart(kind, tokens, from, count, undefined, signal), from, count)
      }
    },
  }
}
