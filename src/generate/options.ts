// What a caller may ask of generation, what it gets, and the checks of both. Knows no engine.

import { GemmaError } from '../error.ts'

export interface GenerateOptions {
  /** Most new tokens; default: what is left of the context. */
  readonly maxTokens?: number
  /** 0 takes the most likely token each time. Default: 0, or 1 when topK or topP is given, or the checkpoint's own. */
  readonly temperature?: number
  /** Only so many of the most likely tokens; default: all. */
  readonly topK?: number
  /** Only the most likely tokens that hold this share of the probability; default: 1, all. */
  readonly topP?: number
  /** Makes sampling repeatable; default: different each time. */
  readonly seed?: number
  /** Text that ends the answer and is not part of it. */
  readonly stop?: string | readonly string[]
  /** Tokens that end the answer; default: the checkpoint's end tokens and <end_of_turn>. [] never stops. */
  readonly stopTokens?: readonly number[]
  /**
   * Check several guessed tokens in one run where the text repeats itself; what is drawn stays the same.
   * 'auto' (the default) does so while it saves time, and only where that cannot change a bit: with integer
   * weights and no adapter. Elsewhere true may move log-probabilities by a rounding.
   */
  readonly speculative?: boolean | 'auto'
  /** Name of the adapter to answer with, one of those the model was loaded with; default: none. */
  readonly adapter?: string
  readonly signal?: AbortSignal
  /** Hears how many tokens of the prompt are done. */
  readonly onPrompt?: (done: number, total: number) => void
}

export interface Piece {
  readonly token: number
  /** The text this token completes; '' while a character or a stop string is unfinished. */
  readonly text: string
  /** Natural logarithm of the token's probability under the model (temperature 1, nothing dropped). */
  readonly logprob: number
}

/**
 * - stop: an end token or a stop string
 * - length: maxTokens reached
 * - context: the context is full
 */
export type FinishReason = 'stop' | 'length' | 'context'

export interface Summary {
  readonly finishReason: FinishReason
  /** All generated tokens, the end token not included. */
  readonly tokens: readonly number[]
  readonly text: string
  readonly usage: {
    readonly promptTokens: number
    /** Of the prompt's tokens those that an earlier prompt began with too, whose keys and values were still there. */
    readonly cachedTokens: number
    readonly completionTokens: number
  }
  readonly timing: {
    readonly prefillMs: number
    readonly decodeMs: number
    /** Prompt tokens that had to be computed (not cached) per second. */
    readonly prefillTokensPerSecond: number
    readonly decodeTokensPerSecond: number
  }
  /** Tokens of context in use after the answer, and how many there are. */
  readonly context: { readonly used: number; readonly length: number }
  /** Tokens that were guessed and checked, and how many of them were right (see speculative). */
  readonly drafts: { readonly offered: number; readonly accepted: number }
}

/** The checkpoint's own wishes (generation_config.json), where it has any. */
export interface SamplingDefaults {
  readonly temperature: number
  readonly topK: number
  readonly topP: number
}

export interface ResolvedOptions extends SamplingDefaults {
  readonly maxTokens: number
  readonly seed: number
  readonly stop: readonly string[]
  readonly speculative: boolean | 'auto'
}

const NO_LIMIT = 0x7fffffff

export const GREEDY_DEFAULTS: SamplingDefaults = { temperature: 0, topK: NO_LIMIT, topP: 1 }

/** Gemma 3's generation_config.json asks for sampling; earlier ones are silent, which means greedy here. */
export function samplingDefaults(generationConfig: Readonly<Record<string, unknown>>): SamplingDefaults {
  const { do_sample: sampling, temperature, top_k: topK, top_p: topP } = generationConfig
  if (sampling !== true) return GREEDY_DEFAULTS
  return {
    temperature: typeof temperature === 'number' && temperature >= 0 ? temperature : 1,
    topK: typeof topK === 'number' && topK > 0 ? topK : NO_LIMIT,
    topP: typeof topP === 'number' && topP > 0 && topP <= 1 ? topP : 1,
  }
}

/** Fills in defaults and refuses what makes no sense, GemmaError 'usage'. */
export function resolveOptions(
  options: Omit<GenerateOptions, 'adapter'>,
  defaults: SamplingDefaults,
): ResolvedOptions {
  const { maxTokens, temperature, topK, topP, seed, stop, speculative = 'auto' } = options
  check('maxTokens', maxTokens, 'a whole number from 0', (v) => Number.isSafeInteger(v) && v >= 0)
  check('temperature', temperature, 'a number from 0', (v) => Number.isFinite(v) && v >= 0)
  check('topK', topK, 'a whole number from 1', (v) => Number.isSafeInteger(v) && v >= 1)
  check('topP', topP, 'a number above 0, at most 1', (v) => v > 0 && v <= 1)
  check('seed', seed, 'a whole number', (v) => Number.isSafeInteger(v))
  if (typeof speculative !== 'boolean' && speculative !== 'auto') {
    const came = JSON.stringify(speculative)
    throw new GemmaError('usage', `speculative is ${came}, expected true, false or 'auto'.`)
  }
  const stops = stop === undefined ? [] : typeof stop === 'string' ? [stop] : [...stop]
  if (!stops.every((text) => typeof text === 'string' && text !== '')) {
    throw new GemmaError('usage', 'stop must be a text or a list of texts, none of them empty.')
  }
  const asked = topK !== undefined || topP !== undefined
  const base = temperature === undefined && !asked ? defaults : { ...GREEDY_DEFAULTS, temperature: 1 }
  return {
    maxTokens: maxTokens ?? NO_LIMIT,
    temperature: temperature ?? base.temperature,
    topK: Math.min(topK ?? base.topK, NO_LIMIT),
    topP: topP ?? base.topP,
    seed: seed ?? Math.floor(Math.random() * 2 ** 32),
    stop: stops,
    speculative,
  }
}

/** Throws GemmaError 'usage' unless `adapter` is undefined or the name of an adapter that was loaded. */
export function checkAdapterName(adapter: unknown, loaded: readonly string[]): void {
  if (adapter === undefined || loaded.some((name) => name === adapter)) return
  throw new GemmaError(
    'usage',
    `There is no adapter ${JSON.stringify(adapter)}: the model was loaded with ${loaded.length === 0 ? 'none' : loaded.map((name) => JSON.stringify(name)).join(', ')}.`,
    'Name adapters when loading: { adapters: { name: directory } }.',
  )
}

function check(name: string, value: unknown, expected: string, fits: (value: number) => boolean): void {
  if (value === undefined || (typeof value === 'number' && fits(value))) return
  throw new GemmaError('usage', `${name} is ${JSON.stringify(value)}, expected ${expected}.`)
}
