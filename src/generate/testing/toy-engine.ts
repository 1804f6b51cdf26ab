// An engine whose "model" is arithmetic on the tokens that its caches really hold: every slot remembers the
// position and the token that was written last, so a session that trusts a slot it has lost gets an error, and
// one that trusts a stale token gets another text. Small, exact and fast enough for property tests.

import { MAX_ROWS } from '../../backends/backend.ts'
import { choose } from '../../ops/sample/sample.ts'
import type { Tokenizer } from '../../tokenizer/index.ts'
import { createAnswer } from '../answer.ts'
import { type Engine, GREEDY, MOST_CHOICES, type Model, type Row } from '../engine.ts'
import { checkPrompt, type Generation } from '../generate.ts'
import type { Piece, ResolvedOptions } from '../options.ts'
import { createUniforms } from '../random.ts'
import { createScheduler } from '../scheduler.ts'
import { createSession } from '../session.ts'
import { createSessionPool } from '../session-pool.ts'
import { createStepCosts } from '../speculation.ts'

export const TOY_VOCABULARY = 7

export interface ToyOptions {
  readonly contextLength?: number
  readonly sequences?: number
  readonly window?: number
  /** Slots of the sliding layer's ring; default: as the real one, as far as runs of toyRows need. */
  readonly ring?: number
  /** Most rows of a prompt's run. */
  readonly rows?: number
  /** How much the whole context moves the logits that the last two tokens give. */
  readonly noise?: number
}

export interface ToyEngine extends Engine {
  /** Kind and rows of every run so far. */
  readonly runs: { kind: string; rows: readonly Row[]; adapter: string | undefined }[]
}

interface Slot {
  readonly position: number
  readonly token: number
  readonly adapter: string | undefined
}

/** Logits after `full` where a sliding layer sees only `recent`. */
export function toyLogits(
  full: readonly number[],
  recent: readonly number[],
  noise: number,
  adapter = '',
): Float32Array {
  const changed = hash([...adapter].map((letter) => letter.charCodeAt(0)))
  const last = (full.at(-1) ?? 0) * 31 + (full.at(-2) ?? 0) + (adapter === '' ? 0 : changed)
  const whole = hash([...full, -1, ...recent])
  return Float32Array.from({ length: TOY_VOCABULARY }, (_, token) => {
    const base = hash([last, token]) / 2 ** 32
    return 3 * base + noise * (hash([whole, token]) / 2 ** 32)
  })
}

function hash(values: readonly number[]): number {
  let h = 0x811c9dc5
  for (const value of values) {
    h = Math.imul(h ^ (value + 2), 0x01000193)
    h ^= h >>> 13
  }
  h = Math.imul(h, 0x5bd1e995)
  return (h ^ (h >>> 15)) >>> 0
}

export function createToyEngine(options: ToyOptions = {}): ToyEngine {
  const { contextLength = 64, sequences = 1, window = 5, rows: most = 8, noise = 1 } = options
  const ring = Math.min(contextLength, options.ring ?? window + Math.max(most, MOST_CHOICES) - 1)
  const capacities = [ring, contextLength]
  const caches = capacities.map((capacity) => new Array<Slot | undefined>(capacity * sequences))
  const runs: ToyEngine['runs'] = []

  const read = (
    layer: number,
    { position, sequence }: Row,
    from: number,
    adapter: string | undefined,
  ): number[] => {
    const tokens: number[] = []
    for (let p = Math.max(0, from); p <= position; p++) {
      const slot = caches[layer]![sequence * capacities[layer]! + (p % capacities[layer]!)]
      if (slot?.position !== p)
        throw new Error(`layer ${layer} has lost position ${p}, seen from ${position}`)
      if (slot.adapter !== adapter)
        throw new Error(`position ${p} was computed with ${slot.adapter}, not with ${adapter}`)
      tokens.push(slot.token)
    }
    return tokens
  }

  return {
    runs,
    exactRows: () => true,
    looksAhead: false,
    model: {
      config: { layerTypes: ['sliding', 'full'], slidingWindow: window, vocabSize: TOY_VOCABULARY },
      state: { caches: capacities.map((capacity) => ({ capacity })) },
      contextLength,
      sequences,
    } as unknown as Model,
    backend: undefined as never,
    maxRows: (kind) => (kind === 'choices' ? MOST_CHOICES : Math.min(most, MAX_ROWS)),
    async run(kind, rows, { sampling = GREEDY, adapter } = {}) {
      runs.push({ kind, rows, adapter })
      for (const { token, position, sequence } of rows) {
        if (position >= contextLength) throw new Error(`position ${position} lies beyond the context`)
        capacities.forEach((capacity, layer) => {
          caches[layer]![sequence * capacity + (position % capacity)] = { position, token, adapter }
        })
      }
      await Promise.resolve()
      const logits = rows.map((row) => {
        const full = read(1, row, 0, adapter)
        return toyLogits(full, read(0, row, row.position - window + 1, adapter), noise, adapter)
      })
      if (kind === 'cache') return new Float32Array(0)
      if (kind === 'logits') return Float32Array.from(logits.flatMap((row) => [...row]))
      const drawn = kind === 'next' ? logits.slice(-1) : logits
      return Float32Array.from(
        drawn.flatMap((row, i) => {
          const { token, logprob } = choose(row, sampling, i)
          return [token, logprob]
        }),
      )
    },
  }
}

/** Tokens as letters: 0 is 'a'. */
export const toyTokenizer: Tokenizer = {
  encode: (text: string) => [...text].map((letter) => letter.charCodeAt(0) - 97),
  stream: () => ({ push: (id: number) => String.fromCharCode(97 + id), flush: () => '' }),
} as unknown as Tokenizer

export function toyGeneration(engine: Engine): Generation {
  const scheduler = createScheduler(engine)
  const { contextLength, sequences, config } = engine.model
  return {
    scheduler,
    pool: createSessionPool(Array.from({ length: sequences }, (_, i) => createSession(scheduler, i))),
    costs: createStepCosts(),
    tokenizer: toyTokenizer,
    contextLength,
    vocabSize: config.vocabSize,
    stopTokens: [],
  }
}

/** What the toy model must say, with no cache, no session and no draft. */
export function toyAnswer(
  prompt: readonly number[],
  resolved: ResolvedOptions,
  { contextLength = 64, window = 5, noise = 1 }: ToyOptions = {},
  stopTokens: readonly number[] = [],
  adapter?: string,
): { pieces: Piece[]; finishReason: string } {
  checkPrompt(prompt, { contextLength, vocabSize: TOY_VOCABULARY })
  const { maxTokens, stop } = resolved
  const answer = createAnswer(prompt, { tokenizer: toyTokenizer, contextLength, maxTokens, stop, stopTokens })
  const uniforms = createUniforms(resolved.seed)
  const pieces: Piece[] = []
  while (answer.finishReason() === undefined) {
    const { tokens } = answer
    const choice = choose(
      toyLogits(tokens, tokens.slice(-window), noise, adapter),
      { ...resolved, uniform: uniforms.peek(1) },
      0,
    )
    uniforms.drop(1)
    const { token, logprob } = choice
    const piece = answer.take({ token, logprob: Math.fround(logprob) })
    if (piece) pieces.push(piece)
  }
  return { pieces, finishReason: answer.finishReason()! }
}
