import fc from 'fast-check'
import { describe, test } from 'vitest'
import { record } from '../../graph/tape.ts'
import { expectSame, INLINE, input, type OpCase, runOf } from '../testing/harness.ts'
import { normals } from '../testing/stored.ts'
import { scaleOp } from './add-backward.ts'

function scaleCase(rows: number, columns: number, scale: number, capacity = rows): OpCase {
  const x = input(columns, normals(rows * columns, rows + columns))
  return {
    name: `${scale} times ${rows} × ${columns}`,
    capacity,
    training: true,
    weights: [x.entry],
    build: (tape) => void record(tape, scaleOp, [x.on(tape)], { scale }),
    runs: [runOf(rows), runOf(1)],
    tolerance: { relative: 1.5e-7 },
  }
}

describe('the gradient of what is added by a factor', () => {
  test('sizes of every raggedness, on every form of the backend', () =>
    expectSame([scaleCase(1, 1, 0.3), scaleCase(3, 7, -2, 5), scaleCase(9, 33, 1e-4), scaleCase(64, 128, 0)]))

  test('any sizes and factors', () =>
    fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 40 }),
        fc.float({ min: -100, max: 100, noNaN: true }),
        (rows, columns, scale) => expectSame([scaleCase(rows, columns, scale, rows + 2)], INLINE),
      ),
      { numRuns: 20 },
    ))
})
