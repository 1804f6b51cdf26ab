import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { SamplingInputs } from '../graph/tape.ts'
import { choose } from '../ops/sample/sample.ts'
import { createScheduler } from './scheduler.ts'
import { createSession } from './session.ts'
import { createToyEngine, TOY_VOCABULARY, toyLogits } from './testing/toy-engine.ts'

const ROWS = 3
const SAMPLING: SamplingInputs = {
  temperature: 1,
  topK: TOY_VOCABULARY,
  topP: 1,
  uniform: new Float64Array(ROWS).fill(0.4),
}

/** How a text turns into the next one: so much is dropped at its end, and this is added. */
const turns = fc.array(
  fc.record({
    dropped: fc.nat({ max: 16 }),
    added: fc.array(fc.nat({ max: TOY_VOCABULARY - 1 }), { minLength: 1, maxLength: 14 }),
    draft: fc.array(fc.nat({ max: TOY_VOCABULARY - 1 }), { maxLength: ROWS - 1 }),
    adapter: fc.constantFrom(undefined, undefined, undefined, 'one'),
  }),
  { minLength: 1, maxLength: 25 },
)

test('a text may turn back anywhere, again and again: no ring is trusted with what it has lost', async () => {
  let reused = 0
  await fc.assert(
    fc.asyncProperty(
      turns,
      fc.integer({ min: 1, max: 12 }),
      fc.nat({ max: 12 }),
      async (steps, window, more) => {
        const ring = window + ROWS - 1 + more
        const engine = createToyEngine({ contextLength: 80, window, rows: ROWS, ring })
        const session = createSession(createScheduler(engine))
        let tokens: number[] = []
        for (const { dropped, added, draft, adapter } of steps) {
          tokens = [...tokens.slice(0, Math.max(0, tokens.length - dropped)), ...added].slice(0, 76)
          reused += session.reusable(tokens, adapter)
          const choices = await session.next({ tokens, draft, adapter, sampling: SAMPLING })
          const all = [...tokens]
          for (const { token } of choices) {
            const logits = toyLogits(all, all.slice(-window), 1, adapter)
            expect(token).toBe(choose(logits, SAMPLING, 0).token)
            all.push(token)
          }
          const agreed = choices.slice(0, -1).map(({ token }) => token)
          expect(agreed).toEqual(draft.slice(0, agreed.length))
        }
      },
    ),
    { numRuns: 500 },
  )
  expect(reused).toBeGreaterThan(5000)
})

test('what an adapter has computed serves that adapter alone', async () => {
  const engine = createToyEngine()
  const session = createSession(createScheduler(engine))
  const tokens = [1, 2, 3, 4]
  const next = async (adapter?: string): Promise<void> => {
    await session.next({ tokens, adapter, sampling: SAMPLING })
  }
  await next('one')
  expect(session.reusable(tokens, 'one')).toBe(3)
  expect([undefined, 'two'].map((other) => session.reusable(tokens, other))).toEqual([0, 0])
  await next()
  expect([undefined, 'one'].map((other) => session.reusable(tokens, other))).toEqual([3, 0])
  await session.each('score', tokens, () => {}, { adapter: 'two' })
  expect([undefined, 'one', 'two'].map((other) => session.reusable(tokens, other))).toEqual([0, 0, 3])
  expect(engine.runs.map(({ rows, adapter }) => [rows.length, adapter])).toEqual([
    [4, 'one'],
    [4, undefined],
    [4, 'two'],
  ])
})

test('scoring starts from nothing and leaves its text cached', async () => {
  const engine = createToyEngine({ rows: 4 })
  const session = createSession(createScheduler(engine))
  const text = [1, 2, 3, 4, 5, 6, 0, 1, 2]
  await session.next({ tokens: text, sampling: SAMPLING })
  const parts: [number, number][] = []
  const logits: number[] = []
  await session.each('logits', text, (output, from, rows) => {
    parts.push([from, rows])
    logits.push(...output)
  })
  expect(parts).toEqual([
    [0, 4],
    [4, 4],
    [8, 1],
  ])
  expect(logits).toEqual(
    text.flatMap((_, i) => {
      const seen = text.slice(0, i + 1)
      return [...toyLogits(seen, seen.slice(-5), 1)]
    }),
  )
  expect(session.cached).toEqual(text)
  expect(session.reusable([...text, 3])).toBe(9)
})
