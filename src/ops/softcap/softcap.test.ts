import fc from 'fast-check'
import { describe, test } from 'vitest'
import { last } from '../last/last.ts'
import { expectSame, INLINE, input, type OpCase, runOf } from '../testing/harness.ts'
import { normals } from '../testing/stored.ts'
import { softcap } from './softcap.ts'

function softcapCase(
  columns: number,
  rows: number,
  values: Float32Array,
  cap: number,
  capacity = rows,
): OpCase {
  const x = input(columns, values)
  return {
    name: `softcap ${cap} of ${rows} of ${capacity} × ${columns}`,
    capacity,
    weights: [x.entry],
    build: (tape) => void softcap(tape, x.on(tape), cap),
    runs: [runOf(rows)],
    // Near zero, 1 − 2 / (e²ˣ + 1) loses digits: what remains is exact to about 1e-7 of the cap.
    tolerance: { relative: 2e-7, absolute: 2e-7 * cap },
  }
}

describe('softcap', () => {
  test('ragged sizes', () =>
    expectSame(
      [1, 3, 4, 50, 1025].flatMap((columns) => [
        softcapCase(columns, 1, normals(columns, 3, 20), 30),
        softcapCase(columns, 5, normals(5 * columns, 4, 50), 50, 8),
      ]),
    ))

  test('values far past the cap, tiny values, zeros of both signs', () =>
    expectSame([
      softcapCase(
        14,
        1,
        Float32Array.of(1e5, -1e5, 1e30, -1e30, 1e-5, -1e-5, 0, -0, 29, -29, 30, 60, 300, -300),
        30,
      ),
      softcapCase(4, 1, Float32Array.of(3e38, -3e38, 1, -1), 50),
    ]))

  test('the one row that last leaves of many', () => {
    const x = input(37, normals(6 * 37, 5, 30))
    return expectSame([
      {
        name: 'softcap after last',
        capacity: 8,
        weights: [x.entry],
        build: (tape) => void softcap(tape, last(tape, x.on(tape)), 30),
        runs: [runOf(6), runOf(1), runOf(3)],
        tolerance: { relative: 2e-7, absolute: 6e-6 },
      },
    ])
  })

  test('any sizes and values', () =>
    fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 8 }),
        fc.integer({ min: 1, max: 100 }),
        fc.integer({ min: -3, max: 5 }),
        fc.integer(),
        (columns, rows, cap, power, seed) =>
          expectSame([softcapCase(columns, rows, normals(rows * columns, seed, 10 ** power), cap)], INLINE),
      ),
      { numRuns: 30 },
    ))
})
