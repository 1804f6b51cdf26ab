import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createTape } from '../../graph/tape.ts'
import { linear } from '../linear/linear.ts'
import { cache, expectSame, INLINE, input, type OpCase, runOf } from '../testing/harness.ts'
import { normals } from '../testing/stored.ts'
import { append } from './append.ts'

interface Batch {
  readonly positions: readonly number[]
  readonly sequences: readonly number[]
}

/** Appends batches of rows; what the cache holds is read as its product with unit vectors. */
function appendCase(width: number, capacity: number, sequences: number, batches: readonly Batch[]): OpCase {
  const most = Math.max(width, ...batches.map(({ positions }) => positions.length))
  const values = input(width, normals(most * width, width))
  const units = new Float32Array(most * width)
  for (let i = 0; i < width; i++) units[i * width + i] = 1
  const unit = input(width, units)
  const slots = cache(Math.ceil((sequences * capacity) / 8) * 8, width)
  return {
    name: `append into ${sequences} × ${capacity} slots of ${width}`,
    capacity: most,
    weights: [values.entry, unit.entry],
    caches: [slots],
    build: (tape) => {
      const x = values.on(tape)
      const e = unit.on(tape)
      append(tape, x, slots, capacity)
      linear(tape, e, slots)
    },
    runs: batches.map((batch) => runOf(batch.positions.length, batch)),
    tolerance: { relative: 0 },
  }
}

describe('append', () => {
  test('in order, around the ring, and for several sequences in one run', () =>
    expectSame([
      appendCase(1, 3, 1, [{ positions: [0, 1, 2], sequences: [0, 0, 0] }]),
      appendCase(5, 4, 1, [
        { positions: [0, 1, 2], sequences: [0, 0, 0] },
        { positions: [3, 4, 5, 6], sequences: [0, 0, 0, 0] },
        { positions: [7], sequences: [0] },
      ]),
      appendCase(8, 8, 3, [
        { positions: [0, 0, 0], sequences: [0, 1, 2] },
        { positions: [5, 9, 1], sequences: [2, 0, 1] },
        { positions: [10, 11, 6], sequences: [0, 0, 2] },
      ]),
    ]))

  test('any batches', () =>
    fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 0, max: 40 }),
        async (width, capacity, sequences, start) => {
          // A run never writes one slot twice: at most `capacity` positions in a row.
          const positions = Array.from({ length: capacity }, (_, i) => start + i)
          const batch = (sequence: number): Batch => ({ positions, sequences: positions.map(() => sequence) })
          const batches = Array.from({ length: sequences }, (_, sequence) => batch(sequence))
          await expectSame([appendCase(width, capacity, sequences, batches)], INLINE)
        },
      ),
      { numRuns: 25 },
    ))

  test('rows that do not fit the cache are refused while recording', () => {
    const tape = createTape(1)
    const x = input(4, new Float32Array(4)).on(tape)
    expect(() => append(tape, x, cache(8, 5), 8)).toThrow(/append: rows and cache rows/)
  })
})
