// Many prompts at a time: as many as the model has sequences are answered together (the scheduler joins their
// runs), and when one ends the next prompt takes its place.

import { throwIfAborted } from '../error.ts'
import { checkPrompt, type Generation, generate } from './generate.ts'
import type { GenerateOptions, Piece, ResolvedOptions, Summary } from './options.ts'

export interface BatchOptions extends Omit<GenerateOptions, 'onPrompt' | 'adapter'> {
  /** Name of an adapter for all prompts, or one for each; undefined: none. */
  readonly adapter?: string | readonly (string | undefined)[]
  /** Hears every piece of the answer to prompts[index] as it comes. */
  readonly onPiece?: (index: number, piece: Piece) => void
  /** Hears of every answer that is complete. */
  readonly onAnswer?: (index: number, summary: Summary) => void
}

/**
 * Answers in the order of the prompts. Prompt i is sampled with seed + i, so that its answer does not depend on
 * its company. All prompts are checked before the first is begun; the first failure ends the others.
 */
export async function generateBatch(
  generation: Generation,
  prompts: readonly (readonly number[])[],
  options: BatchOptions,
  resolved: ResolvedOptions,
): Promise<Summary[]> {
  for (const prompt of prompts) checkPrompt(prompt, generation)
  throwIfAborted(options.signal)
  const summaries = new Array<Summary>(prompts.length)
  const failure = new AbortController()
  const signal = options.signal ? AbortSignal.any([options.signal, failure.signal]) : failure.signal
  let following = 0
  const one = async (index: number): Promise<void> => {
    const own = { ...resolved, seed: resolved.seed + index }
    const adapter = typeof options.adapter === 'string' ? options.adapter : options.adapter?.[index]
    const pieces = generate(
      generation,
      prompts[index]!,
      { ...options, onPrompt: undefined, adapter, signal },
      own,
    )
    try {
      let result = await pieces.next()
      for (; !result.done; result = await pieces.next()) options.onPiece?.(index, result.value)
      summaries[index] = result.value
      options.onAnswer?.(index, result.value)
    } finally {
      // A listener may have thrown: the session must be given back.
      await pieces.return(undefined as never)
    }
  }
  const many = async (): Promise<void> => {
    while (following < prompts.length) await one(following++)
  }
  const lanes = Array.from({ length: Math.min(generation.pool.size, prompts.length) }, () =>
    many().catch((error: unknown) => {
      failure.abort()
      throw error
    }),
  )
  // All have ended before the call does: nothing of it runs on behind the caller's back.
  const outcomes = await Promise.allSettled(lanes)
  const failed = outcomes.filter((outcome) => outcome.status === 'rejected')
  if (failed.length > 0) throw firstCause(failed.map(({ reason }) => reason as unknown))
  return summaries
}

/** The error that ended the others, not one of the others' 'aborted'. */
function firstCause(reasons: readonly unknown[]): unknown {
  const aborted = (reason: unknown): boolean => (reason as { code?: unknown } | undefined)?.code === 'aborted'
  return reasons.find((reason) => !aborted(reason)) ?? reasons[0]
}
