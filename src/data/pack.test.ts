// Packing, cutting and mixing as arithmetic: no files.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Document, fitDocument } from './document.ts'
import { chooseSource, stageAt, stagesOf, weightsOf } from './mixture.ts'
import { packBestFit, packInOrder, packPrefix, rowsOf } from './pack.ts'
import { createGenerator, shuffle } from './shuffle.ts'
import { errorOf } from './testing/fixtures.ts'
import type { DataStage } from './training-data.ts'
import { countTargets } from './training-rows.ts'

const lengthsIn = (rows: number): fc.Arbitrary<number[]> =>
  fc.array(fc.integer({ min: 1, max: rows }), { minLength: 1, maxLength: 200 })
const packing = fc.integer({ min: 1, max: 100 }).chain((rows) => fc.tuple(fc.constant(rows), lengthsIn(rows)))

function expectWhole(packed: readonly number[][], lengths: readonly number[], rows: number): void {
  expect(packed.flat().sort((a, b) => a - b)).toEqual(lengths.map((_, i) => i))
  for (const run of packed) {
    expect(run.length).toBeGreaterThan(0)
    expect(run.reduce((sum, i) => sum + lengths[i]!, 0)).toBeLessThanOrEqual(rows)
  }
}

describe('packing', () => {
  test('puts every document into exactly one run, and none over the edge', () => {
    fc.assert(
      fc.property(packing, ([rows, lengths]) => {
        expectWhole(packBestFit(lengths, rows), lengths, rows)
        const inOrder = packInOrder(lengths, rows)
        expectWhole(inOrder, lengths, rows)
        expect(inOrder.flat()).toEqual(lengths.map((_, i) => i))
      }),
    )
  })

  test('is the best fit of its definition', () => {
    fc.assert(
      fc.property(packing, ([rows, lengths]) => {
        const rooms: number[] = []
        for (const length of [...lengths].sort((a, b) => b - a)) {
          const fitting = rooms.filter((room) => room >= length)
          if (fitting.length === 0) rooms.push(rows - length)
          else rooms[rooms.indexOf(Math.min(...fitting))]! -= length
        }
        const packed = packBestFit(lengths, rows)
        const left = packed.map((run) => rows - run.reduce((sum, i) => sum + lengths[i]!, 0))
        expect(left.sort((a, b) => a - b)).toEqual(rooms.sort((a, b) => a - b))
      }),
    )
  })

  test('of a beginning takes as many documents as fill so many runs', () => {
    fc.assert(
      fc.property(packing, fc.integer({ min: 1, max: 20 }), ([rows, lengths], runs) => {
        const { taken, packed } = packPrefix(lengths, rows, runs, packBestFit)
        expect(taken).toBeGreaterThan(0)
        expect(packed.length).toBeLessThanOrEqual(runs)
        expectWhole(packed, lengths.slice(0, taken), rows)
        if (taken < lengths.length) {
          expect(packBestFit(lengths.slice(0, taken + 1), rows).length).toBeGreaterThan(runs)
        }
      }),
    )
  })
})

describe('a run of rows', () => {
  const document = fc
    .array(fc.tuple(fc.nat({ max: 999 }), fc.boolean()), { minLength: 1, maxLength: 30 })
    .map(
      (tokens): Document => ({
        tokens: Int32Array.from(tokens, ([token]) => token),
        learned: Uint8Array.from(tokens, ([, learned], i) => (learned && i > 0 ? 1 : 0)),
      }),
    )

  test('restarts positions at each document and never predicts over its border', () => {
    fc.assert(
      fc.property(fc.array(document, { minLength: 1, maxLength: 8 }), (documents) => {
        const rows = rowsOf(documents)
        let at = 0
        documents.forEach(({ tokens, learned }, sequence) => {
          for (let i = 0; i < tokens.length; i++, at++) {
            expect(rows.tokens[at]).toBe(tokens[i])
            expect(rows.positions[at]).toBe(i)
            expect(rows.sequences[at]).toBe(sequence)
            expect(rows.targets[at]).toBe(learned[i + 1] === 1 ? tokens[i + 1] : -1)
          }
        })
        expect(rows.tokens.length).toBe(at)
        expect(countTargets(rows)).toBe(
          documents.flatMap(({ learned }) => [...learned]).filter(Boolean).length,
        )
      }),
    )
  })

  test('of a long document holds its pieces, each with <bos> in front, every learned token once', () => {
    fc.assert(
      fc.property(document, fc.integer({ min: 2, max: 12 }), (long, longest) => {
        const { documents, leftOut } = fitDocument(long, longest, 'split')
        const learned = ({ tokens, learned }: Document): number[] => [...tokens].filter((_, i) => learned[i])
        expect(documents.flatMap(learned)).toEqual(learned(long))
        for (const { tokens } of documents) {
          expect(tokens.length).toBeLessThanOrEqual(longest)
          expect(tokens[0]).toBe(long.tokens[0])
        }
        const pieces = long.tokens.length <= longest ? 1 : Math.ceil((long.tokens.length - 1) / (longest - 1))
        expect(documents.length + leftOut).toBe(pieces)
        if (long.tokens.length > longest) {
          expect(fitDocument(long, longest, 'drop')).toEqual({ documents: [], done: 'dropped', leftOut: 0 })
          const cut = fitDocument(long, longest, 'truncate')
          const start = [...long.tokens.slice(0, longest)]
          expect(cut.documents.map(({ tokens }) => [...tokens])).toEqual(
            cut.done === 'truncated' ? [start] : [],
          )
        }
      }),
    )
  })
})

describe('the mixture', () => {
  test('keeps shares by tokens, whatever the lengths of documents', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({ weight: fc.integer({ min: 1, max: 9 }), length: fc.integer({ min: 1, max: 99 }) }),
          {
            minLength: 1,
            maxLength: 5,
          },
        ),
        (sources) => {
          const weights = sources.map(({ weight }) => weight)
          const virtual = sources.map(() => 0)
          const open = sources.map(() => true)
          let total = 0
          for (let i = 0; i < 2000; i++) {
            const chosen = chooseSource(virtual, weights, open)
            virtual[chosen]! += sources[chosen]!.length / weights[chosen]!
            total += sources[chosen]!.length
          }
          const sum = weights.reduce((a, b) => a + b)
          sources.forEach(({ weight }, i) => {
            // Never off by more than the longest documents of all.
            expect(Math.abs(virtual[i]! * weight - (total * weight) / sum)).toBeLessThanOrEqual(
              100 * sources.length,
            )
          })
        },
      ),
    )
    expect(chooseSource([0, 5], [0, 1], [true, true])).toBe(1)
    expect(chooseSource([0, 5], [1, 1], [false, false])).toBe(-1)
  })

  const sources = [
    { name: 'web', files: ['w'] },
    { name: 'code', files: ['c'], weight: 3 },
  ]
  test('has stages by progress', () => {
    const stages: DataStage[] = [
      { until: 0.8, weights: { web: 1 } },
      { until: 1, weights: { web: 1, code: 2 } },
    ]
    const checked = stagesOf(sources, stages)
    expect([0, 0.79, 0.8, 1].map((progress) => stageAt(checked, progress))).toEqual([0, 0, 1, 1])
    expect(weightsOf(checked[0]!, sources)).toEqual([1, 0])
    expect(stagesOf(sources, undefined)).toEqual([{ until: 1, weights: { web: 1, code: 3 } }])
  })

  test.each<[string, DataStage[], string]>([
    ['an unknown source', [{ until: 1, weights: { maths: 1 } }], 'maths'],
    ['no weight', [{ until: 1, weights: { web: 0 } }], 'more than 0'],
    ['a negative weight', [{ until: 1, weights: { web: -1 } }], '-1'],
    ['an early end', [{ until: 0.5, weights: { web: 1 } }], 'until: 1'],
    [
      'no order',
      [
        { until: 1, weights: { web: 1 } },
        { until: 0.5, weights: { web: 1 } },
      ],
      'rise',
    ],
    ['nothing', [], 'until: 1'],
  ])('refuses stages with %s', async (_name, stages, words) => {
    const error = await errorOf(() => stagesOf(sources, stages))
    expect(error.code).toBe('usage')
    expect(error.message).toContain(words)
  })
})

describe('shuffling', () => {
  test('gives every order about as often, and the same for the same words', () => {
    const counts = new Map<string, number>()
    for (let i = 0; i < 6000; i++) {
      const items = ['a', 'b', 'c']
      shuffle(items, createGenerator(1, 'block', i))
      counts.set(items.join(''), (counts.get(items.join('')) ?? 0) + 1)
    }
    expect(counts.size).toBe(6)
    // 1000 expected with a standard deviation of 29.
    for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(130)
    const first = createGenerator(7, 'x')
    const second = createGenerator(7, 'x')
    expect([first(), first()]).toEqual([second(), second()])
    expect(createGenerator(7, 'y')()).not.toBe(createGenerator(7, 'x')())
    expect(createGenerator(1, 23)()).not.toBe(createGenerator(12, 3)())
  })
})
