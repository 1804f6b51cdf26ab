// The loop of generation: bring the cache to the tokens so far, draw the next, turn it into text, and stop
// where the caller, the model or the context says so.

import { MAX_ROWS } from '../backends/backend.ts'
import { GemmaError } from '../error.ts'
import type { Tokenizer } from '../tokenizer/index.ts'
import type { FinishReason, GenerateOptions, Piece, ResolvedOptions, Summary } from './options.ts'
import { createRandom } from './random.ts'
import type { Session } from './session.ts'
import { createStopText } from './stop-text.ts'

export interface Generation {
  readonly session: Session
  readonly tokenizer: Tokenizer
  readonly contextLength: number
  readonly vocabSize: number
  /** Tokens that end an answer unless the caller names others. */
  readonly stopTokens: readonly number[]
}

/** Throws unless the prompt can be answered at all. */
export function checkPrompt(prompt: readonly number[], { contextLength, vocabSize }: Generation): void {
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

export async function* generate(
  generation: Generation,
  prompt: readonly number[],
  options: GenerateOptions,
  resolved: ResolvedOptions,
): AsyncGenerator<Piece, Summary> {
  checkPrompt(prompt, generation)
  const { session, tokenizer, contextLength } = generation
  const stopTokens = new Set(options.stopTokens ?? generation.stopTokens)
  const random = createRandom(resolved.seed)
  const { temperature, topK, topP } = resolved
  const uniform = new Float64Array(MAX_ROWS)
  const text = createStopText(resolved.stop)
  const stream = tokenizer.stream()
  const tokens = [...prompt]
  const clock = createClock(prompt.length - 1)
  let shown = ''
  let finishReason: FinishReason | undefined = resolved.maxTokens === 0 ? 'length' : undefined
  while (finishReason === undefined) {
    uniform[0] = random()
    const prefilling = tokens.length === prompt.length
    const { token, logprob } = await session.next(
      tokens,
      { temperature, topK, topP, uniform },
      options.signal,
      prefilling ? (done) => heardPrompt(done, prompt.length, options, clock) : undefined,
    )
    clock.tokenDone()
    if (stopTokens.has(token)) {
      finishReason = 'stop'
      const rest = text.push(stream.flush()).text + text.flush()
      shown += rest
      // Half a character or the beginning of a stop string was held back: it belongs to the answer after all.
      if (rest !== '') yield { token, text: rest, logprob }
      break
    }
    tokens.push(token)
    const full = tokens.length >= contextLength
    const ended = tokens.length - prompt.length >= resolved.maxTokens
    const pushed = text.push(stream.push(token))
    if (pushed.stopped) finishReason = 'stop'
    else if (ended) finishReason = 'length'
    else if (full) finishReason = 'context'
    const rest = finishReason && !pushed.stopped ? text.push(stream.flush()).text + text.flush() : ''
    shown += pushed.text + rest
    yield { token, text: pushed.text + rest, logprob }
  }
  const completion = tokens.slice(prompt.length)
  return {
    finishReason,
    tokens: completion,
    text: shown,
    usage: { promptTokens: prompt.length, completionTokens: completion.length },
    timing: clock.timing(),
    context: { used: tokens.length, length: contextLength },
  }
}

function heardPrompt(
  done: number,
  total: number,
  { onPrompt }: GenerateOptions,
  clock: ReturnType<typeof createClock>,
): void {
  clock.reused(done)
  onPrompt?.(done, total)
}

/** Times the prompt (until the first token) and the tokens after it. */
function createClock(promptTokens: number): {
  reused(tokens: number): void
  tokenDone(): void
  timing(): Summary['timing']
} {
  const start = performance.now()
  let reusedTokens: number | undefined
  let first: number | undefined
  let last = start
  let later = 0
  return {
    reused(tokens) {
      reusedTokens ??= tokens
    },
    tokenDone() {
      last = performance.now()
      if (first === undefined) first = last
      else later++
    },
    timing() {
      const prefillMs = (first ?? start) - start
      const decodeMs = last - (first ?? start)
      const computed = promptTokens + 1 - (reusedTokens ?? 0)
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
