import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { CacheDtype } from '../../graph/dtype.ts'
import { createTape, type RunInputs } from '../../graph/tape.ts'
import { append } from '../append/append.ts'
import { cache, expectSame, INLINE, input, type OpCase, runOf } from '../testing/harness.ts'
import { normals } from '../testing/stored.ts'
import { attention } from './attention.ts'

interface Shape {
  readonly heads?: number
  readonly kvHeads?: number
  readonly headDim?: number
  readonly window?: number
  readonly softcap?: number
  /** Slots of one sequence's ring. */
  readonly capacity: number
  readonly sequences?: number
  /** Deviation of queries and keys: scores grow with its square. */
  readonly deviation?: number
  readonly rows?: number
  readonly relative?: number
  readonly dtype?: CacheDtype
}

/** Appends each run's keys and values, then attends. Tokens pick rows of a table of queries, keys and values. */
function attentionCase(shape: Shape, runs: readonly RunInputs[]): OpCase {
  const { heads = 2, kvHeads = 1, headDim = 8, window = 0, softcap = 0, capacity, sequences = 1 } = shape
  const table = Math.max(...runs.map(({ tokens }) => Math.max(...tokens))) + 1
  const deviation = shape.deviation ?? 1
  const queries = input(heads * headDim, normals(table * heads * headDim, headDim, deviation))
  const keyTable = input(kvHeads * headDim, normals(table * kvHeads * headDim, headDim + 1, deviation))
  const valueTable = input(kvHeads * headDim, normals(table * kvHeads * headDim, headDim + 2))
  const keys = cache(sequences * capacity, kvHeads * headDim, shape.dtype)
  const values = cache(sequences * capacity, kvHeads * headDim, shape.dtype)
  const rows = shape.rows ?? Math.max(...runs.map((run) => run.rows))
  return {
    name: `attention ${heads}/${kvHeads} × ${headDim}, window ${window}, cap ${softcap}, ${capacity} slots, ${rows} rows`,
    capacity: rows,
    weights: [queries.entry, keyTable.entry, valueTable.entry],
    caches: [keys, values],
    build: (tape) => {
      const q = queries.on(tape)
      append(tape, keyTable.on(tape), keys, capacity)
      append(tape, valueTable.on(tape), values, capacity)
      const scale = headDim ** -0.5
      attention(tape, q, keys, values, { heads, kvHeads, headDim, scale, capacity, window, softcap })
    },
    runs,
    // Values are averaged, so an error of the scores shows as itself; a capped score is exact to 1e-7 of the cap.
    tolerance: (op) =>
      op === 'embed'
        ? { relative: 0 }
        : { relative: shape.relative ?? 2e-6 + 3e-7 * softcap, absolute: 1e-6 },
  }
}

/** One sequence in parts: prompt by `first` rows, then `step` rows at a time. */
function inParts(total: number, first: number, step: number): RunInputs[] {
  const runs: RunInputs[] = []
  for (let from = 0; from < total; from += runs.length === 1 ? first : step) {
    const rows = Math.min(runs.length === 0 ? first : step, total - from)
    const numbers = Array.from({ length: rows }, (_, i) => from + i)
    runs.push(runOf(rows, { tokens: numbers, positions: numbers }))
  }
  return runs
}

describe('attention', () => {
  test.each(['f16', 'int8'] as const)(
    'a cache of %s rounds like its definition, around the ring too',
    (dtype) =>
      expectSame([
        attentionCase({ capacity: 300, headDim: 32, heads: 4, kvHeads: 2, dtype }, inParts(280, 150, 9)),
        attentionCase({ capacity: 48, headDim: 20, window: 17, dtype }, inParts(120, 30, 7)),
        attentionCase({ capacity: 40, headDim: 12, heads: 3, kvHeads: 3, sequences: 2, dtype }, [
          runOf(2, { tokens: [0, 1], positions: [0, 0], sequences: [0, 1] }),
          runOf(2, { tokens: [2, 3], positions: [1, 1], sequences: [0, 1] }),
        ]),
      ]),
  )

  test('groups of 1, 2, 3, 4 and 8 query heads per key head, head sizes off the vector widths', () =>
    expectSame(
      [
        [1, 1],
        [4, 4],
        [4, 2],
        [3, 1],
        [6, 2],
        [4, 1],
        [8, 1],
        [16, 2],
      ].flatMap(([heads, kvHeads]) =>
        [4, 12, 16, 36, 64].map((headDim) =>
          attentionCase({ heads, kvHeads, headDim, capacity: 40 }, inParts(30, 19, 5)),
        ),
      ),
      INLINE,
    ))

  test('Gemma’s own head sizes, on every form of the backend', () =>
    expectSame([
      attentionCase({ heads: 8, kvHeads: 1, headDim: 256, capacity: 200 }, inParts(170, 150, 7)),
      attentionCase({ heads: 4, kvHeads: 4, headDim: 256, capacity: 200 }, inParts(150, 140, 9)),
      attentionCase({ heads: 8, kvHeads: 4, headDim: 128, capacity: 200, softcap: 50 }, inParts(150, 140, 9)),
    ]))

  test('contexts that end before, at and after a run of 128 keys, one row at a time', () =>
    expectSame([
      ...[1, 2, 127, 128, 129].map((n) =>
        attentionCase({ capacity: n, headDim: 4 }, inParts(n, Math.max(1, n - 2), 1)),
      ),
      attentionCase({ capacity: 700, headDim: 4, heads: 3 }, inParts(258, 254, 1)),
      // Plans of up to eight rows split the keys among the workers.
      attentionCase({ capacity: 700, headDim: 8, rows: 8 }, inParts(300, 8, 8)),
      attentionCase({ capacity: 1100, headDim: 8, rows: 1, heads: 1 }, inParts(400, 1, 1)),
    ]))

  test('windows: edges, rings that wrap, rows before the window is full', () =>
    expectSame([
      attentionCase({ window: 1, capacity: 8, headDim: 4 }, inParts(20, 7, 5)),
      attentionCase({ window: 4, capacity: 11, headDim: 4 }, inParts(50, 8, 8)),
      attentionCase({ window: 5, capacity: 5, headDim: 4 }, inParts(23, 1, 1)),
      attentionCase({ window: 16, capacity: 16 + 31, heads: 4, kvHeads: 2 }, inParts(200, 32, 32)),
      attentionCase({ window: 130, capacity: 130 + 63, headDim: 8 }, inParts(520, 64, 64)),
      attentionCase({ window: 300, capacity: 307, headDim: 8, rows: 8 }, inParts(700, 8, 8)),
      attentionCase({ window: 300, capacity: 100, headDim: 8, rows: 8 }, inParts(100, 8, 8)),
    ]))

  test('soft caps', () =>
    expectSame([
      attentionCase({ softcap: 50, capacity: 40, deviation: 3 }, inParts(40, 30, 3)),
      attentionCase({ softcap: 5, capacity: 40, deviation: 10 }, inParts(40, 30, 3)),
      attentionCase({ softcap: 20, window: 6, capacity: 14, deviation: 2 }, inParts(40, 8, 3)),
    ]))

  test('scores in the thousands: one key takes all', () =>
    expectSame([
      attentionCase({ capacity: 40, deviation: 60, relative: 2e-3 }, inParts(40, 30, 3)),
      attentionCase({ capacity: 40, deviation: 1e4, relative: 1e-6 }, inParts(6, 3, 1)),
    ]))

  test('several sequences in one run, at different positions', () => {
    const rounds = (sequences: number, count: number): RunInputs[] =>
      Array.from({ length: count }, (_, round) =>
        runOf(sequences, {
          tokens: Array.from({ length: sequences }, (_, i) => (round * sequences + i) % 60),
          // Sequence i is at round, at half its pace, or starts over and over.
          positions: Array.from({ length: sequences }, (_, i) => (i % 3 === 2 ? round % 4 : round)),
          sequences: Array.from({ length: sequences }, (_, i) => i),
        }),
      )
    const mixed = runOf(12, {
      tokens: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
      positions: [0, 1, 2, 0, 1, 0, 3, 4, 5, 6, 1, 2],
      sequences: [0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 2, 2],
    })
    return expectSame([
      attentionCase({ capacity: 20, sequences: 5, heads: 4, kvHeads: 2 }, rounds(5, 18)),
      attentionCase({ capacity: 20, sequences: 9, heads: 4, kvHeads: 2 }, rounds(9, 9)),
      attentionCase({ capacity: 13, sequences: 3, heads: 2, window: 5 }, [mixed]),
      attentionCase({ capacity: 20, sequences: 3, heads: 1, rows: 16 }, [mixed, mixed]),
    ])
  })

  test('any shape, any split of a prompt into parts', () =>
    fc.assert(
      fc.asyncProperty(
        fc.record({
          kvHeads: fc.integer({ min: 1, max: 3 }),
          group: fc.integer({ min: 1, max: 4 }),
          quarter: fc.integer({ min: 1, max: 9 }),
          window: fc.integer({ min: 0, max: 20 }),
          total: fc.integer({ min: 1, max: 60 }),
          first: fc.integer({ min: 1, max: 40 }),
          step: fc.integer({ min: 1, max: 12 }),
          softcap: fc.constantFrom(0, 30),
        }),
        ({ kvHeads, group, quarter, window, total, first, step, softcap }) => {
          const most = Math.max(first, step)
          const capacity = window > 0 ? Math.min(total, window + most - 1) : total
          const shape = { heads: kvHeads * group, kvHeads, headDim: 4 * quarter, window, softcap, capacity }
          return expectSame([attentionCase({ ...shape, rows: most }, inParts(total, first, step))], INLINE)
        },
      ),
      { numRuns: 40 },
    ))

  test('shapes that do not fit are refused while recording', () => {
    const tape = createTape(1)
    const query = input(8, new Float32Array(8)).on(tape)
    const options = { heads: 2, kvHeads: 1, headDim: 4, scale: 1, capacity: 4, window: 0, softcap: 0 }
    expect(() => attention(tape, query, cache(4, 8), cache(4, 8), options)).toThrow(/attention: query is/)
    expect(() => attention(tape, query, cache(4, 4), cache(4, 8), options)).toThrow(/attention: query is/)
  })
})
