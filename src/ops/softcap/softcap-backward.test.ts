import fc from 'fast-check'
import { describe, test } from 'vitest'
import { record } from '../../graph/tape.ts'
import { expectSame, INLINE, input, type OpCase, runOf } from '../testing/harness.ts'
import { normals } from '../testing/stored.ts'
import { softcap } from './softcap.ts'
import { softcapGradientOp } from './softcap-backward.ts'

function gradientCase(rows: number, columns: number, cap: number, deviation = 1): OpCase {
  const x = input(columns, normals(rows * columns, rows + columns, deviation * cap))
  const gradient = input(columns, normals(rows * columns, columns))
  return {
    name: `${rows} × ${columns}, cap ${cap}, deviation ${deviation}`,
    capacity: rows + 1,
    training: true,
    weights: [x.entry, gradient.entry],
    build(tape) {
      const y = softcap(tape, x.on(tape), cap)
      record(tape, softcapGradientOp, [y, gradient.on(tape)], { cap })
    },
    runs: [runOf(rows), runOf(1)],
    tolerance: { relative: 1e-6, absolute: 1e-6 * Math.max(1, cap) },
  }
}

describe('the gradient of the soft cap', () => {
  test('sizes of every raggedness, small values and values at the cap', () =>
    expectSame([
      gradientCase(1, 1, 30),
      gradientCase(3, 7, 50),
      gradientCase(9, 33, 2, 10),
      gradientCase(40, 64, 30, 0.01),
    ]))

  test('any sizes', () =>
    fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 60 }),
        (rows, columns, cap) => expectSame([gradientCase(rows, columns, cap)], INLINE),
      ),
      { numRuns: 20 },
    ))
})
