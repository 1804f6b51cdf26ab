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
        for (const { dropped, added, draft } of steps) {
          tokens = [...tokens.slice(0, Math.max(0, tokens.length - dropped)), ...added].slice(0, 76)
          reused += session.reusable(tokens)
          const choices = await session.next({ tokens, draft, sampling: SAMPLING })
          const all = [...tokens]
          for (const { token } of choices) {
            expect(token).toBe(choose(toyLogits(all, all.slice(-window), 1), SAMPLING, 0).token)
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
