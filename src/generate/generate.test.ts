import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { GemmaError } from '../error.ts'
import { generate } from './generate.ts'
import { type GenerateOptions, GREEDY_DEFAULTS, type Piece, resolveOptions, type Summary } from './options.ts'
import {
  createToyEngine,
  TOY_VOCABULARY,
  type ToyOptions,
  toyAnswer,
  toyGeneration,
  toyLogits,
} from './testing/toy-engine.ts'

type Toy = ReturnType<typeof toyGeneration>

async function answer(
  toy: Toy,
  prompt: readonly number[],
  options: GenerateOptions,
): Promise<{ pieces: Piece[]; summary: Summary }> {
  const pieces: Piece[] = []
  const running = generate(toy, prompt, options, resolveOptions(options, GREEDY_DEFAULTS))
  for (;;) {
    const { value, done } = await running.next()
    if (done) return { pieces, summary: value }
    pieces.push(value)
  }
}

const token = fc.nat({ max: TOY_VOCABULARY - 1 })
const speculative = fc.constantFrom(false, true, 'auto' as const)
const choice = fc.record({
  maxTokens: fc.nat({ max: 40 }),
  temperature: fc.constantFrom(0, 0.3, 1),
  topK: fc.constantFrom(1, 3, TOY_VOCABULARY),
  topP: fc.constantFrom(0.5, 1),
  seed: fc.nat(),
  stop: fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 1, maxLength: 3 }), {
    maxLength: 2,
  }),
  stopTokens: fc.array(token, { maxLength: 1 }),
  speculative,
  adapter: fc.constantFrom(undefined, undefined, 'one', 'two'),
})
const toys = fc.record({
  contextLength: fc.integer({ min: 8, max: 48 }),
  window: fc.integer({ min: 1, max: 9 }),
  rows: fc.integer({ min: 1, max: 9 }),
  noise: fc.constantFrom(0, 0.3, 2),
  sequences: fc.integer({ min: 1, max: 3 }),
})

describe('against the plain definition', () => {
  test('any prompt with any options, drafted or not, on caches used before', async () => {
    let accepted = 0
    await fc.assert(
      fc.asyncProperty(
        toys,
        fc.array(fc.tuple(fc.array(token, { minLength: 1, maxLength: 7 }), choice), {
          minLength: 1,
          maxLength: 4,
        }),
        async (options, requests) => {
          const toy = toyGeneration(createToyEngine(options))
          for (const [prompt, asked] of requests) {
            const { pieces, summary } = await answer(toy, prompt, asked)
            const resolved = resolveOptions(asked, GREEDY_DEFAULTS)
            const wanted = toyAnswer(prompt, resolved, options, asked.stopTokens, asked.adapter)
            expect(pieces).toEqual(wanted.pieces)
            expect(summary.finishReason).toBe(wanted.finishReason)
            expect(summary.text).toBe(pieces.map(({ text }) => text).join(''))
            expect(summary.context.used).toBe(prompt.length + summary.tokens.length)
            expect(summary.drafts.accepted).toBeLessThanOrEqual(summary.drafts.offered)
            accepted += summary.drafts.accepted
          }
        },
      ),
      { numRuns: 300 },
    )
    // Otherwise nothing was tried.
    expect(accepted).toBeGreaterThan(100)
  })

  test('several at once on any number of sequences, taken up in any order', async () => {
    await fc.assert(
      fc.asyncProperty(
        toys,
        fc.array(fc.tuple(fc.array(token, { minLength: 1, maxLength: 7 }), choice), {
          minLength: 2,
          maxLength: 5,
        }),
        fc.infiniteStream(fc.nat()),
        async (options, requests, order) => {
          const toy = toyGeneration(createToyEngine(options))
          const open = requests.map(([prompt, asked]) => ({
            prompt,
            asked,
            pieces: [] as Piece[],
            running: generate(toy, prompt, asked, resolveOptions(asked, GREEDY_DEFAULTS)),
          }))
          let left = [...open]
          while (left.length > 0) {
            const together = left.filter((_, i) => i === 0 || order.next().value % 2 === 0)
            const results = await Promise.all(together.map(({ running }) => running.next()))
            results.forEach(({ value, done }, i) => {
              if (done) left = left.filter((entry) => entry !== together[i])
              else together[i]!.pieces.push(value as Piece)
            })
          }
          for (const { prompt, asked, pieces } of open) {
            const resolved = resolveOptions(asked, GREEDY_DEFAULTS)
            expect(pieces).toEqual(
              toyAnswer(prompt, resolved, options, asked.stopTokens, asked.adapter).pieces,
            )
          }
          expect(toy.scheduler.active()).toBe(0)
        },
      ),
      { numRuns: 200 },
    )
  })
})

describe('drafts', () => {
  const CIRCLE: ToyOptions = { noise: 0, contextLength: 512, rows: 64 }

  test('save runs where the text repeats itself, and stop at the limits', async () => {
    for (const maxTokens of [1, 2, 9, 33, 200]) {
      const engine = createToyEngine(CIRCLE)
      const { pieces, summary } = await answer(toyGeneration(engine), [1, 2], {
        maxTokens,
        temperature: 0,
        speculative: true,
      })
      expect(pieces).toHaveLength(maxTokens)
      expect(summary.finishReason).toBe('length')
      // The last token is drawn, not run.
      const rows = engine.runs.flatMap((run) => run.rows)
      expect(Math.max(...rows.map(({ position }) => position))).toBeLessThanOrEqual(maxTokens)
      if (maxTokens === 200) expect(engine.runs.length).toBeLessThan(60)
    }
  })

  test('end with the context', async () => {
    const engine = createToyEngine({ ...CIRCLE, contextLength: 50 })
    const { pieces, summary } = await answer(toyGeneration(engine), [1, 2], {
      temperature: 0,
      speculative: true,
    })
    expect(pieces).toHaveLength(48)
    expect(summary.finishReason).toBe('context')
  })

  test('what was drawn past a stop is not used, and the next answer is right', async () => {
    const toy = toyGeneration(createToyEngine(CIRCLE))
    const asked = { temperature: 0, maxTokens: 60, speculative: true } as const
    const whole = (await answer(toy, [1, 2], asked)).summary.text
    // A stop string whose first letter ends a run of accepted guesses somewhere in the circle.
    for (let at = 20; at < 40; at++) {
      const stop = whole.slice(at, at + 2)
      const { summary } = await answer(toy, [1, 2], { ...asked, stop })
      expect(summary.text).toBe(whole.slice(0, whole.indexOf(stop)))
      expect(summary.finishReason).toBe('stop')
      expect((await answer(toy, [1, 2], asked)).summary.text).toBe(whole)
    }
  })

  test("'auto' stays off where runs of several rows may round differently", async () => {
    const engine = { ...createToyEngine(CIRCLE), exactRows: () => false }
    const asked = { temperature: 0, maxTokens: 100 }
    expect((await answer(toyGeneration(engine), [1, 2], asked)).summary.drafts.offered).toBe(0)
    const always = await answer(toyGeneration(engine), [1, 2], { ...asked, speculative: true })
    expect(always.summary.drafts.accepted).toBeGreaterThan(50)
  })

  test('leave the distribution as it is: χ² of 40 000 draws', async () => {
    // With no noise the model is a Markov chain over pairs of tokens, whose probabilities are known.
    const toy = toyGeneration(createToyEngine({ ...CIRCLE, contextLength: 300 }))
    const counts = new Map<string, number[]>()
    let accepted = 0
    for (let seed = 0; seed < 150; seed++) {
      const { summary } = await answer(toy, [1, 2], {
        temperature: 0.5,
        maxTokens: 270,
        seed,
        speculative: true,
      })
      accepted += summary.drafts.accepted
      const all = [1, 2, ...summary.tokens]
      for (let i = 2; i < all.length; i++) {
        const state = `${all[i - 2]},${all[i - 1]}`
        if (!counts.has(state)) counts.set(state, new Array<number>(TOY_VOCABULARY).fill(0))
        counts.get(state)![all[i]!]!++
      }
    }
    expect(accepted).toBeGreaterThan(4000)
    let chiSquare = 0
    let freedom = 0
    for (const [state, observed] of counts) {
      const [first, second] = state.split(',').map(Number) as [number, number]
      const total = observed.reduce((a, b) => a + b, 0)
      const probabilities = transition(first, second)
      if (Math.min(...probabilities) * total < 5) continue
      freedom += TOY_VOCABULARY - 1
      observed.forEach((count, i) => {
        chiSquare += (count - total * probabilities[i]!) ** 2 / (total * probabilities[i]!)
      })
    }
    expect(freedom).toBeGreaterThan(50)
    // Mean `freedom`, deviation √(2 · freedom): five deviations are never reached by chance.
    expect(chiSquare).toBeLessThan(freedom + 5 * Math.sqrt(2 * freedom))
  }, 60_000)
})

describe('edges', () => {
  test('refuses prompts that cannot be answered', async () => {
    const toy = toyGeneration(createToyEngine({ contextLength: 16 }))
    const failure = (prompt: number[]): Promise<unknown> =>
      answer(toy, prompt, {}).then(
        () => undefined,
        (error: unknown) => (error instanceof GemmaError ? error.code : error),
      )
    expect(await failure([])).toBe('usage')
    expect(await failure([TOY_VOCABULARY])).toBe('usage')
    expect(await failure([1.5])).toBe('usage')
    expect(await failure([-1])).toBe('usage')
    expect(await failure(new Array(16).fill(1))).toBe('context')
    expect(await failure(new Array(15).fill(1))).toBeUndefined()
    expect(toy.scheduler.active()).toBe(0)
  })

  test('maxTokens 0 runs nothing', async () => {
    const engine = createToyEngine()
    const { pieces, summary } = await answer(toyGeneration(engine), [1], { maxTokens: 0 })
    expect([pieces, engine.runs, summary.finishReason]).toEqual([[], [], 'length'])
  })

  test('an abandoned generation gives its session back', async () => {
    const toy = toyGeneration(createToyEngine({ sequences: 1 }))
    for await (const _ of generate(toy, [1, 2], {}, resolveOptions({}, GREEDY_DEFAULTS))) break
    expect(toy.scheduler.active()).toBe(0)
    const { session } = toy.pool.take([1, 2])
    expect(session.reusable([1, 2, 3])).toBe(2)
  })

  test('reports what of the prompt was cached', async () => {
    const toy = toyGeneration(createToyEngine({ rows: 4, contextLength: 64 }))
    const heard: number[] = []
    const asked = { maxTokens: 1, onPrompt: (done: number) => void heard.push(done) }
    const prompt = Array.from({ length: 11 }, (_, i) => i % 5)
    const first = await answer(toy, prompt, asked)
    expect(heard).toEqual([0, 4, 8])
    heard.length = 0
    const second = await answer(toy, [...prompt, 1, 1], asked)
    expect(heard).toEqual([11])
    expect([first, second].map(({ summary }) => summary.usage)).toEqual([
      { promptTokens: 11, cachedTokens: 0, completionTokens: 1 },
      { promptTokens: 13, cachedTokens: 11, completionTokens: 1 },
    ])
  })
})

function transition(first: number, second: number): number[] {
  const logits = toyLogitsOf(first, second)
  const weights = logits.map((l) => Math.exp(l / 0.5))
  const total = weights.reduce((a, b) => a + b, 0)
  return weights.map((w) => w / total)
}

function toyLogitsOf(first: number, second: number): number[] {
  return [...toyLogits([first, second], [], 0)]
}
