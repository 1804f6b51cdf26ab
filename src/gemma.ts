// The library's face: Gemma.load gives an object that encodes, scores, generates and chats. Everything it
// does is done elsewhere; this file puts the parts together.

import { GemmaError, throwIfAborted } from './error.ts'
import { type BatchOptions, generateBatch } from './generate/batch.ts'
import { chatPrompt } from './generate/chat.ts'
import type { Engine } from './generate/engine.ts'
import { checkPrompt, type Generation, generate } from './generate/generate.ts'
import {
  checkAdapterName,
  type GenerateOptions,
  type Piece,
  resolveOptions,
  type SamplingDefaults,
  type Summary,
} from './generate/options.ts'
import { createScheduler, type Scheduler } from './generate/scheduler.ts'
import { createSession, type Session } from './generate/session.ts'
import { createSessionPool } from './generate/session-pool.ts'
import { createStepCosts } from './generate/speculation.ts'
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

/** What a text is run with. */
export interface RunTextOptions {
  /** Name of an adapter the model was loaded with; default: none. */
  readonly adapter?: string
  readonly signal?: AbortSignal
}

export interface Gemma {
  readonly config: ModelConfig
  readonly tokenizer: Tokenizer
  /** Names of the adapters that were loaded (see LoadOptions); each request may name one. */
  readonly adapters: readonly string[]
  /** Tokens that prompt and answer may have together. */
  readonly contextLength: number
  /** What runs where, for people. */
  readonly description: string
  /** Answers that can grow at once without computing their prompts again (see LoadOptions). */
  readonly sequences: number
  readonly loadMs: number
  /** Bytes held. */
  memory(): { weights: number; caches: number; scratch: number }
  /** Logits of every position, [tokens.length × vocabSize], row-major. */
  logits(tokens: readonly number[], options?: RunTextOptions): Promise<Float32Array>
  /** Log-probabilities of a text's own tokens; `from` (default 1) is the first that counts. */
  score(tokens: readonly number[], options?: RunTextOptions & { readonly from?: number }): Promise<Score>
  /**
   * Continues a text (<bos> is put in front) or tokens (taken as they are). Returns a summary at the end.
   * Several at once take turns; when the model was loaded with several sequences they share their runs.
   */
  generate(prompt: string | readonly number[], options?: GenerateOptions): AsyncGenerator<Piece, Summary>
  /**
   * Continues many prompts, as many at a time as the model has sequences, and gives their summaries in order.
   * Prompt i is sampled with seed + i, so that no answer depends on the others.
   */
  generateBatch(prompts: readonly (string | readonly number[])[], options?: BatchOptions): Promise<Summary[]>
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

const schedulers = new WeakMap<Gemma, Scheduler>()

/** The scheduler behind a model, for what trains it or looks into it. */
export function schedulerOf(gemma: Gemma): Scheduler {
  const scheduler = schedulers.get(gemma)
  if (!scheduler) throw new GemmaError('usage', 'This is no model that Gemma.load gave.')
  return scheduler
}

export function createGemma({ engine, tokenizer, defaults, loadMs, close }: GemmaParts): Gemma {
  const { config, contextLength } = engine.model
  const scheduler = createScheduler(engine)
  const { sequences } = engine.model
  const sessions = Array.from({ length: sequences }, (_, sequence) => createSession(scheduler, sequence))
  const pool = createSessionPool(sessions)
  let disposed: Promise<void> | undefined
  const stopTokens = [...config.eosTokenIds]
  if (tokenizer.endOfTurnId !== undefined) stopTokens.push(tokenizer.endOfTurnId)
  const generation: Generation = {
    scheduler,
    pool,
    costs: createStepCosts(),
    tokenizer,
    contextLength,
    vocabSize: config.vocabSize,
    stopTokens,
  }
  const alive = (): void => {
    if (disposed) throw new GemmaError('disposed', 'The model has been disposed of.', 'Load it again.')
  }
  const adapters = [...engine.model.adapters.keys()]
  const checkTokens = (tokens: readonly number[], { adapter }: RunTextOptions): void => {
    alive()
    checkAdapterName(adapter, adapters)
    // Scoring needs no room for an answer.
    checkPrompt(tokens, { ...generation, contextLength: contextLength + 1 })
  }
  const encode = (prompt: string | readonly number[]): readonly number[] =>
    typeof prompt === 'string' ? tokenizer.encode(prompt, { bos: true }) : prompt
  const each: Session['each'] = async (...args) => {
    const { session, end } = pool.take([])
    try {
      await session.each(...args)
    } finally {
      end()
    }
  }
  const gemma: Gemma = {
    config,
    tokenizer,
    adapters,
    contextLength,
    description: engine.backend.description,
    sequences,
    loadMs,
    memory: () => engine.backend.memoryBytes(),
    async logits(tokens, options = {}) {
      checkTokens(tokens, options)
      const logits = new Float32Array(tokens.length * config.vocabSize)
      await each('logits', tokens, (output, from) => logits.set(output, from * config.vocabSize), options)
      return logits
    },
    async score(tokens, { from = 1, ...options } = {}) {
      checkTokens(tokens, options)
      const logprobs: (number | null)[] = [null]
      let greedy = true
      await each(
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
        options,
      )
      const sum = logprobs.slice(Math.max(1, from)).reduce<number>((total, value) => total + value!, 0)
      return { logprobs, sum, greedy }
    },
    async *generate(prompt, options = {}) {
      alive()
      throwIfAborted(options.signal)
      checkAdapterName(options.adapter, adapters)
      const resolved = resolveOptions(options, defaults)
      return yield* generate(generation, encode(prompt), options, resolved)
    },
    async generateBatch(prompts, options = {}) {
      alive()
      checkBatchAdapters(options, prompts.length, adapters)
      const resolved = resolveOptions(options, defaults)
      return generateBatch(generation, prompts.map(encode), options, resolved)
    },
    async *chat(messages, options = {}) {
      alive()
      throwIfAborted(options.signal)
      checkAdapterName(options.adapter, adapters)
      const resolved = resolveOptions(options, defaults)
      const room = Math.min(resolved.maxTokens, ANSWER_ROOM, Math.floor(contextLength / 4))
      const { tokens, dropped } = chatPrompt(tokenizer, messages, contextLength, room)
      if (dropped > 0) options.onDropped?.(dropped)
      const pieces = generate(generation, tokens, options, resolved)
      try {
        for (;;) {
          const { value, done } = await pieces.next()
          if (done) return value
          if (value.text !== '') yield value.text
        }
      } finally {
        // The caller may leave early: the session must be given back.
        await pieces.return(undefined as never)
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
  schedulers.set(gemma, scheduler)
  return gemma
}

function checkBatchAdapters({ adapter }: BatchOptions, prompts: number, loaded: readonly string[]): void {
  const listed = Array.isArray(adapter)
  for (const one of listed ? adapter : [adapter]) checkAdapterName(one, loaded)
  if (!listed || adapter.length === prompts) return
  throw new GemmaError(
    'usage',
    `adapter lists ${adapter.length} names for ${prompts} prompts.`,
    'Give one for each, or one name for all.',
  )
}
