import fc from 'fast-check'
import { describe, test } from 'vitest'
import { record } from '../../graph/tape.ts'
import { expectSame, INLINE, input, type OpCase, runOf, state, weight } from '../testing/harness.ts'
import { normals, storedValues } from '../testing/stored.ts'
import { rmsNormInputGradientOp, rmsNormWeightGradientOp } from './rmsnorm-backward.ts'

interface Sizes {
  readonly width: number
  readonly groups?: number
  readonly rows: number
  readonly values?: Float32Array
  readonly epsilon?: number
}

function gradientCase({ width, groups = 1, rows, values, epsilon = 1e-6 }: Sizes): OpCase {
  const columns = width * groups
  const x = input(columns, values ?? normals(rows * columns, width + rows, 3))
  const gradient = input(columns, normals(rows * columns, width))
  const gain = weight('f32', storedValues('F32', [width], normals(width, width + 1, 0.5)))
  const accumulator = state('accumulator', [width], normals(width, 9))
  return {
    name: `${rows} rows of ${groups} × ${width}`,
    capacity: rows + 2,
    training: true,
    weights: [x.entry, gradient.entry, gain],
    states: [accumulator],
    build(tape) {
      const [on, back] = [x.on(tape), gradient.on(tape)]
      record(tape, rmsNormInputGradientOp, [on, gain[0], back], { epsilon })
      record(tape, rmsNormWeightGradientOp, [on, back, accumulator[0]], { epsilon })
    },
    runs: [runOf(rows), runOf(rows), runOf(1)],
    // The fewer values a group has, the more of its gradient cancels: of a single one all but what ε leaves.
    tolerance: { relative: 3e-6, absolute: width < 8 ? 2e-5 : 1e-6 },
  }
}

describe('the gradients of rmsNorm', () => {
  test('rows and heads of every raggedness, on every form of the backend', () =>
    expectSame(
      [1, 2, 3, 4, 5, 12, 31, 64, 130].flatMap((width) => [
        gradientCase({ width, rows: 1 }),
        gradientCase({ width, rows: 33 }),
        gradientCase({ width, groups: 3, rows: 7 }),
      ]),
    ))

  test('rows of zeros, of constants, and much larger and smaller than one', () => {
    const [width, rows] = [20, 4]
    const values = normals(rows * width, 1, 1e3)
    values.fill(0, 0, width)
    values.fill(7, width, 2 * width)
    values.fill(1e-4, 2 * width, 3 * width)
    return expectSame([gradientCase({ width, rows, values, epsilon: 1e-2 })])
  })

  test('any sizes', () =>
    fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 70 }),
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 20 }),
        (width, groups, rows) => expectSame([gradientCase({ width, groups, rows })], INLINE),
      ),
      { numRuns: 20 },
    ))
})
