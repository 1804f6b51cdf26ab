// The library's face: Gemma.load gives an object that encodes, scores, generates and chats. Everything it
// does is done elsewhere; this file puts the parts together.

import { GemmaError, throwIfAborted } from './error.ts'
import { chatPrompt } from './generate/chat.ts'
import type { Engine } from './generate/engine.ts'
import { checkPrompt, type Generation, generate } from './generate/generate.ts'
import {
  type GenerateOptions,
  type Piece,
  resolveOptions,
  type SamplingDefaults,
  type Summary,
} from './generate/options.ts'
import { createSession, type Session } from './generate/session.ts'
import type { ModelConfig } from './model/config.ts'
import { LOGPROB_STATE } from './ops/logprob/logprob.ts'
import type { ChatMessage, Tokenizer } from './tokenizer/index.ts'

export interface ChatGenerateOptions extends GenerateOptions {
  /** Hears when the oldest messages no longer fit and were left out. */
  readonly onDropped?: (messages: number) => void
}

export interface Score {
  /** Natural log-probability of each token given those before it; null for the first. */
  readonly logprobs: readonly (number | null)[]
  /** Sum of the log-probabilities of tokens[from …]. */
  readonly sum: number
  /** Whether each of tokens[from …] is the most likely one at its place. */
  readonly greedy: boolean
}

export interface Gemma {
  readonly config: ModelConfig
  readonly tokenizer: Tokenizer
  /** Tokens that prompt and answer may have together. */
  readonly contextLength: number
  /** What runs where, for people. */
  readonly description: string
  readonly loadMs: number
  /** Bytes held. */
  memory(): { weights: number; caches: number; scratch: number }
  /** Logits of every position, [tokens.length × vocabSize], row-major. */
  logits(tokens: readonly number[], options?: { signal?: AbortSignal }): Promise<Float32Array>
  /** Log-probabilities of a text's own tokens; `from` (default 1) is the first that counts. */
  score(tokens: readonly number[], options?: { from?: number; signal?: AbortSignal }): Promise<Score>
  /** Continues a text (<bos> is put in front) or tokens (taken as they are). Returns a summary at the end. */
  generate(prompt: string | readonly number[], options?: GenerateOptions): AsyncGenerator<Piece, Summary>
  /** Answers a conversation in the checkpoint's own prompt format. */
  chat(messages: readonly ChatMessage[], options?: ChatGenerateOptions): AsyncGenerator<string, Summary>
  /** Ends the workers and lets the memory go; running calls end with an error. */
  dispose(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** Tokens kept free for an answer when a conversation is cut to fit. */
const ANSWER_ROOM = 256

export interface GemmaParts {
  readonly engine: Engine
  readonly tokenizer: Tokenizer
  readonly defaults: SamplingDefaults
  readonly loadMs: number
  /** Called once, at dispose. */
  readonly close: () => Promise<void>
}

export function createGemma({ engine, tokenizer, defaults, loadMs, close }: GemmaParts): Gemma {
  const { config, contextLength } = engine.model
  const session = createSession(engine)
  const exclusive = createLock()
  let disposed: Promise<void> | undefined
  const stopTokens = [...config.eosTokenIds]
  if (tokenizer.endOfTurnId !== undefined) stopTokens.push(tokenizer.endOfTurnId)
  const generation: Generation = {
    session: locked(session, exclusive),
    tokenizer,
    contextLength,
    vocabSize: config.vocabSize,
    stopTokens,
  }
  const alive = (): void => {
    if (disposed) throw new GemmaError('disposed', 'The model has been disposed of.', 'Load it again.')
  }
  const checkTokens = (tokens: readonly number[]): void => {
    alive()
    // Scoring needs no room for an answer.
    checkPrompt(tokens, { ...generation, contextLength: contextLength + 1 })
  }
  const gemma: Gemma = {
    config,
    tokenizer,
    contextLength,
    description: engine.backend.description,
    loadMs,
    memory: () => engine.backend.memoryBytes(),
    async logits(tokens, { signal } = {}) {
      checkTokens(tokens)
      const logits = new Float32Array(tokens.length * config.vocabSize)
      await generation.session.each(
        'logits',
        tokens,
        (output, from) => logits.set(output, from * config.vocabSize),
        signal,
      )
      return logits
    },
    async score(tokens, { from = 1, signal } = {}) {
      checkTokens(tokens)
      const logprobs: (number | null)[] = [null]
      let greedy = true
      await generation.session.each(
        'score',
        tokens,
        (output, first, rows) => {
          for (let i = 0; i < rows; i++) {
            const target = tokens[first + i + 1]
            if (target === undefined) continue
            const [largest, sum, logit, best] = output.subarray(i * LOGPROB_STATE, (i + 1) * LOGPROB_STATE)
            logprobs.push(logit! - largest! - Math.log(sum!))
            if (first + i + 1 >= from && best !== target) greedy = false
          }
        },
        signal,
      )
      const sum = logprobs.slice(Math.max(1, from)).reduce<number>((total, value) => total + value!, 0)
      return { logprobs, sum, greedy }
    },
    async *generate(prompt, options = {}) {
      alive()
      throwIfAborted(options.signal)
      const resolved = resolveOptions(options, defaults)
      const tokens = typeof prompt === 'string' ? tokenizer.encode(prompt, { bos: true }) : prompt
      return yield* generate(generation, tokens, options, resolved)
    },
    async *chat(messages, options = {}) {
      alive()
      throwIfAborted(options.signal)
      const resolved = resolveOptions(options, defaults)
      const room = Math.min(resolved.maxTokens, ANSWER_ROOM, Math.floor(contextLength / 4))
      const { tokens, dropped } = chatPrompt(tokenizer, messages, contextLength, room)
      if (dropped > 0) options.onDropped?.(dropped)
      const pieces = generate(generation, tokens, options, resolved)
      for (;;) {
        const { value, done } = await pieces.next()
        if (done) return value
        if (value.text !== '') yield value.text
      }
    },
    dispose() {
      disposed ??= (async () => {
        await engine.backend.dispose()
        await close()
      })()
      return disposed
    },
    [Symbol.asyncDispose]: () => gemma.dispose(),
  }
  return gemma
}

type Lock = <T>(work: () => Promise<T>) => Promise<T>

/** Runs one piece of work after the other: a model has one set of caches. */
function createLock(): Lock {
  let last: Promise<unknown> = Promise.resolve()
  return <T>(work: () => Promise<T>): Promise<T> => {
    const run = last.then(work, work)
    last = run.catch(() => {})
    return run
  }
}

/** Two generations at once take turns, token by token; each brings the cache back to its own tokens. */
function locked(session: Session, lock: Lock): Session {
  return {
    cached: session.cached,
    next: (...args) => lock(() => session.next(...args)),
    each: (...args) => lock(() => session.each(...args)),
  }
}
