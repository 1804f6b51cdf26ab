// The loop of generation: bring the cache to the tokens so far, draw the next (or several, where the text could
// be guessed), and hand them out until the caller, the model or the context ends it.

import { GemmaError } from '../error.ts'
import type { Tokenizer } from '../tokenizer/index.ts'
import { type Answer, createAnswer } from './answer.ts'
import type { GenerateOptions, Piece, ResolvedOptions, Summary } from './options.ts'
import { createUniforms, type Uniforms } from './random.ts'
import type { Scheduler } from './scheduler.ts'
import type { Session } from './session.ts'
import type { SessionPool } from './session-pool.ts'
import { createSpeculation, type StepCosts } from './speculation.ts'

export interface Generation {
  readonly scheduler: Scheduler
  readonly pool: SessionPool
  readonly costs: StepCosts
  readonly tokenizer: Tokenizer
  readonly contextLength: number
  readonly vocabSize: number
  /** Tokens that end an answer unless the caller names others. */
  readonly stopTokens: readonly number[]
}

/** Throws unless the prompt can be answered at all. */
export function checkPrompt(
  prompt: readonly number[],
  { contextLength, vocabSize }: Pick<Generation, 'contextLength' | 'vocabSize'>,
): void {
  if (prompt.length === 0) {
    throw new GemmaError('usage', 'The prompt is empty: expected at least one token.', 'Begin with <bos>.')
  }
  const wrong = prompt.find((token) => !Number.isSafeInteger(token) || token < 0 || token >= vocabSize)
  if (wrong !== undefined) {
    throw new GemmaError('usage', `The prompt holds ${wrong}, expected token ids from 0 to ${vocabSize - 1}.`)
  }
  if (prompt.length >= contextLength) {
    throw new GemmaError(
      'context',
      `The prompt has ${prompt.length} tokens, but the context has room for ${contextLength}, the answer included.`,
      'Shorten the prompt, or load the model with a longer contextLength.',
    )
  }
}

/** Continues a prompt on a session of the pool, which it gives back at the end. */
export async function* generate(
  generation: Generation,
  prompt: readonly number[],
  options: GenerateOptions,
  resolved: ResolvedOptions,
): AsyncGenerator<Piece, Summary> {
  checkPrompt(prompt, generation)
  const { pool, scheduler, tokenizer, contextLength } = generation
  const stopTokens = options.stopTokens ?? generation.stopTokens
  const { maxTokens, stop } = resolved
  const answer = createAnswer(prompt, { tokenizer, contextLength, maxTokens, stopTokens, stop })
  const clock = createClock(prompt.length - 1)
  const { session, end } = pool.take(prompt, options.adapter)
  const leave = scheduler.enter()
  try {
    const step = createStepper(generation, session, answer, options, resolved, clock)
    while (answer.finishReason() === undefined) {
      for (const choice of await step.next()) {
        clock.tokenDone()
        const piece = answer.take(choice)
        if (piece) yield piece
        // What was drawn past the end of the answer is nobody's.
        if (answer.finishReason() !== undefined) break
      }
    }
    return summarise(answer, contextLength, clock, step.drafts())
  } finally {
    leave()
    end()
  }
}

interface Stepper {
  next(): ReturnType<Session['next']>
  drafts(): Summary['drafts']
}

/** One run after the other, with drafts where they pay. */
function createStepper(
  { scheduler, costs }: Generation,
  session: Session,
  answer: Answer,
  options: GenerateOptions,
  { temperature, topK, topP, seed, speculative }: ResolvedOptions,
  clock: Clock,
): Stepper {
  const uniforms: Uniforms = createUniforms(seed)
  // What 'auto' does depends on measured times; the text must not.
  const { adapter } = options
  const mode = speculative === 'auto' && !scheduler.engine.exactRows(adapter) ? false : speculative
  const speculation = createSpeculation(mode, costs)
  let offered = 0
  let accepted = 0
  return {
    async next() {
      const { tokens, promptTokens } = answer
      const prefilling = tokens.length === promptTokens
      const alone = scheduler.active() === 1
      // Where several sequences share a run its rows are put to better use.
      const guess = !prefilling && (alone || speculative === true)
      const draft = speculation.draft(tokens, guess ? answer.room() - 1 : 0)
      // Several sequences share runs, and drafts make another run of the next.
      const ahead = scheduler.engine.looksAhead && alone && mode === false && answer.room() > 1
      const start = performance.now()
      const choices = await session.next({
        tokens,
        draft,
        sampling: { temperature, topK, topP, uniform: uniforms.peek(1 + draft.length + (ahead ? 1 : 0)) },
        ahead,
        adapter,
        signal: options.signal,
        onTokens: prefilling ? (done) => heardPrompt(done, promptTokens, options, clock) : undefined,
      })
      // Costs are kept for the bare model: an adapter's runs take longer.
      const undisturbed = !prefilling && alone && scheduler.active() === 1 && adapter === undefined
      const drawn = choices.map(({ token }) => token)
      speculation.learn(drawn, undisturbed ? performance.now() - start : undefined)
      uniforms.drop(choices.length)
      offered += draft.length
      accepted += choices.length - 1
      return choices
    },
    drafts: () => ({ offered, accepted }),
  }
}

function summarise(answer: Answer, contextLength: number, clock: Clock, drafts: Summary['drafts']): Summary {
  const { tokens, promptTokens } = answer
  const completion = tokens.slice(promptTokens)
  return {
    finishReason: answer.finishReason()!,
    tokens: completion,
    text: answer.text(),
    usage: { promptTokens, cachedTokens: clock.cachedTokens(), completionTokens: completion.length },
    timing: clock.timing(),
    context: { used: tokens.length, length: contextLength },
    drafts,
  }
}

function heardPrompt(done: number, total: number, { onPrompt }: GenerateOptions, clock: Clock): void {
  clock.promptDone(done)
  onPrompt?.(done, total)
}

interface Clock {
  /** Heard first before anything is computed: with what was cached. */
  promptDone(tokens: number): void
  tokenDone(): void
  cachedTokens(): number
  timing(): Summary['timing']
}

/** Times the prompt (until the first token) and the tokens after it. */
function createClock(promptTokens: number): Clock {
  const start = performance.now()
  let cached: number | undefined
  let first: number | undefined
  let last = start
  let later = 0
  return {
    promptDone(tokens) {
      cached ??= tokens
    },
    tokenDone() {
      last = performance.now()
      if (first === undefined) first = last
      else later++
    },
    cachedTokens: () => cached ?? 0,
    timing() {
      const prefillMs = (first ?? start) - start
      const decodeMs = last - (first ?? start)
      const computed = promptTokens + 1 - (cached ?? 0)
      const rate = (count: number, ms: number): number => (ms > 0 ? (count / ms) * 1000 : 0)
      return {
        prefillMs,
        decodeMs,
        prefillTokensPerSecond: rate(computed, prefillMs),
        decodeTokensPerSecond: rate(later, decodeMs),
      }
    },
  }
}
