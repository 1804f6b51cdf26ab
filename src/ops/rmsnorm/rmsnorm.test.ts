import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createTape, persistentTensor } from '../../graph/tape.ts'
import { expectSame, INLINE, input, type OpCase, runOf, weight } from '../testing/harness.ts'
import { normals, storedValues } from '../testing/stored.ts'
import { rmsNorm } from './rmsnorm.ts'

interface Sizes {
  readonly width: number
  readonly groups?: number
  readonly rows: number
  readonly capacity?: number
  readonly values?: Float32Array
  readonly epsilon?: number
  readonly relative?: number
}

function normCase({ width, groups = 1, rows, capacity = rows, values, ...more }: Sizes): OpCase {
  const columns = width * groups
  const x = input(columns, values ?? normals(rows * columns, width + rows, 3))
  const gain = weight('f32', storedValues('F32', [width], normals(width, width + 1, 0.5)))
  return {
    name: `rmsNorm of ${rows} of ${capacity} rows of ${groups} × ${width}`,
    capacity,
    weights: [x.entry, gain],
    build: (tape) => void rmsNorm(tape, x.on(tape), gain[0], more.epsilon ?? 1e-6),
    runs: [runOf(rows)],
    tolerance: { relative: more.relative ?? 3e-7 },
  }
}

describe('rmsNorm', () => {
  test('rows and heads of every raggedness, on every form of the backend', () =>
    expectSame(
      [1, 2, 3, 4, 5, 7, 8, 12, 31, 32, 33, 64, 96, 255, 2048].flatMap((width) => [
        normCase({ width, rows: 1 }),
        normCase({ width, rows: 5, capacity: 8 }),
        normCase({ width, rows: 33, capacity: 64 }),
        normCase({ width, groups: 3, rows: 7, capacity: 8 }),
      ]),
    ))

  test('hidden states as large as Gemma’s, zeros, constants and negative zeros', () => {
    const width = 100
    const rows = 8
    const values = normals(rows * width, 1, 1e5)
    values.fill(0, 0, width)
    values.fill(-0, width, 2 * width)
    values.fill(7, 2 * width, 3 * width)
    values.fill(1e5, 3 * width, 4 * width)
    values.fill(1e-6, 4 * width, 5 * width)
    values[5 * width] = 1e9
    return expectSame([normCase({ width, rows, values })])
  })

  test('any sizes and values', () =>
    fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 70 }),
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 10 }),
        fc.integer({ min: 0, max: 6 }),
        fc.integer({ min: -6, max: 6 }),
        fc.integer(),
        async (width, groups, rows, spare, power, seed) => {
          const values = normals(rows * width * groups, seed, 10 ** power)
          await expectSame([normCase({ width, groups, rows, capacity: rows + spare, values })], INLINE)
        },
      ),
      { numRuns: 40 },
    ))

  test('a weight whose length does not divide the row is refused while recording', () => {
    const x = input(10, new Float32Array(10))
    const tape = createTape(1)
    const gain = persistentTensor('weight', 'gain', [4], 'f32')
    expect(() => rmsNorm(tape, x.on(tape), gain, 1e-6)).toThrow(/rmsNorm: the weight’s length divides/)
  })
})
