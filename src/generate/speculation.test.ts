import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LONGEST_MATCH, lookUpDraft } from './draft.ts'
import { createRandom } from './random.ts'
import { createSpeculation, createStepCosts, LONGEST_DRAFT } from './speculation.ts'

describe('looking up', () => {
  test('finds what followed the longest, latest occurrence', () => {
    //                        1 2 3 → 9        2 3 → 8     1 2 3
    expect(lookUpDraft([1, 2, 3, 9, 5, 2, 3, 8, 1, 2, 3], 3)).toEqual({ tokens: [9, 5, 2], matched: 3 })
    expect(lookUpDraft([2, 3, 7, 2, 3, 8, 2, 3], 2)).toEqual({ tokens: [8, 2], matched: 2 })
    expect(lookUpDraft([1, 2, 3], 4)).toEqual({ tokens: [], matched: 0 })
    expect(lookUpDraft([], 4)).toEqual({ tokens: [], matched: 0 })
    expect(lookUpDraft([1, 1], 0)).toEqual({ tokens: [], matched: 0 })
  })

  test('goes round with a text that goes round', () => {
    expect(lookUpDraft([5, 5], 4)).toEqual({ tokens: [5, 5, 5, 5], matched: 1 })
    expect(lookUpDraft([1, 2, 3, 1, 2], 7)).toEqual({ tokens: [3, 1, 2, 3, 1, 2, 3], matched: 2 })
  })

  test('against trying every place', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat({ max: 3 }), { maxLength: 40 }),
        fc.integer({ min: 1, max: 8 }),
        (text, most) => {
          const { tokens, matched } = lookUpDraft(text, most)
          let best = 0
          let follows = -1
          for (let end = 1; end < text.length; end++) {
            let length = 0
            while (
              length < LONGEST_MATCH &&
              length < end &&
              text[end - 1 - length] === text[text.length - 1 - length]
            )
              length++
            if (length > 0 && length >= best) [best, follows] = [length, end]
          }
          expect(matched).toBe(best)
          const repeated = [...text]
          for (let i = 0; i < most && best > 0; i++) repeated.push(repeated[follows + i]!)
          expect(tokens).toEqual(repeated.slice(text.length))
        },
      ),
      { numRuns: 2000 },
    )
  })
})

/** A machine on which a run of r rows takes cost(r), and a text whose guesses are right with a chance. */
function simulate(
  cost: (rows: number) => number,
  chance: number,
  runs: number,
): { speed: number; drafted: number } {
  const speculation = createSpeculation('auto', createStepCosts())
  const random = createRandom(3)
  const text = [1, 2, 3, 4]
  let time = 0
  let made = 0
  let drafted = 0
  for (let run = 0; run < runs; run++) {
    const draft = speculation.draft(text, 100)
    const next = (): number => text[text.length - 4]!
    const drawn: number[] = []
    for (let i = 0; i <= draft.length; i++) {
      const token = random() < chance ? next() : 10
      // A surprise that does not change what follows it.
      drawn.push(token)
      text.push(next())
      if (token !== draft[i]) break
    }
    speculation.learn(drawn, cost(1 + draft.length))
    time += cost(1 + draft.length)
    made += drawn.length
    if (draft.length > 0) drafted++
  }
  return { speed: made / time, drafted }
}

describe('deciding', () => {
  const FLAT = (rows: number): number => 100 + 3 * rows
  const STEEP = (rows: number): number => 100 * rows
  const STEPS = (rows: number): number => (rows === 1 ? 100 : rows <= 4 ? 350 : 380)

  test('long drafts where rows are cheap and guesses right', () => {
    expect(simulate(FLAT, 1, 400).speed).toBeGreaterThan(
      0.95 * ((1 + LONGEST_DRAFT) / FLAT(1 + LONGEST_DRAFT)),
    )
  })

  test('nothing where every row costs as much as a run', () => {
    const { speed, drafted } = simulate(STEEP, 0.97, 4000)
    expect(speed).toBeGreaterThan(0.98 / STEEP(1))
    expect(drafted).toBeLessThan(40)
  })

  test('nothing where guesses are mostly wrong', () => {
    const { speed } = simulate(STEPS, 0.2, 2000)
    expect(speed).toBeGreaterThan(0.98 / STEPS(1))
  })

  test('finds the length that pays when the costs come in steps', () => {
    expect(simulate(STEPS, 1, 1000).speed).toBeGreaterThan(0.9 * (8 / STEPS(8)))
    const best = 3.5 / STEPS(4) // about what any length promises at a chance of 0.8
    expect(simulate(STEPS, 0.8, 2000).speed).toBeGreaterThan(0.9 * Math.max(best, 1 / STEPS(1)))
  })

  test('comes back after the machine was busy for a while', () => {
    const costs = createStepCosts()
    const speculation = createSpeculation('auto', costs)
    const text = [1, 2, 3, 4, 1, 2, 3, 4]
    let busy = true
    let late = 0
    for (let run = 0; run < 3000; run++) {
      if (run === 300) busy = false
      const draft = speculation.draft(text, 100)
      if (run > 2900 && draft.length > 0) late++
      const drawn = Array.from({ length: 1 + draft.length }, () => {
        text.push(text[text.length - 4]!)
        return text.at(-1)!
      })
      speculation.learn(drawn, FLAT(1 + draft.length) * (busy && draft.length > 0 ? 20 : 1))
      if (text.length > 200) text.splice(0, 100)
    }
    expect(late).toBeGreaterThan(90)
  })

  test('never asks for more than there is room for, and nothing when it is off', () => {
    for (const mode of [true, false, 'auto'] as const) {
      const speculation = createSpeculation(mode, createStepCosts())
      for (let most = -1; most < 20; most++) {
        const draft = speculation.draft([1, 2, 1, 2, 1], most)
        const allowed = mode === false ? 0 : Math.max(0, Math.min(most, LONGEST_DRAFT))
        expect(draft.length).toBeLessThanOrEqual(allowed)
        if (mode === true) expect(draft.length).toBe(allowed)
        speculation.learn([2], 1)
      }
    }
  })
})
