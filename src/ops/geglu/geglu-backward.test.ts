import fc from 'fast-check'
import { describe, test } from 'vitest'
import { record } from '../../graph/tape.ts'
import { expectSame, INLINE, input, type OpCase, runOf } from '../testing/harness.ts'
import { normals } from '../testing/stored.ts'
import { gegluGradientOp } from './geglu-backward.ts'

interface Sizes {
  readonly rows: number
  readonly width: number
  readonly gates?: Float32Array
  readonly deviation?: number
}

function gradientCase({ rows, width, gates, deviation = 1 }: Sizes): OpCase {
  const count = rows * width
  const gate = input(width, gates ?? normals(count, count, deviation))
  const [up, gradient] = [input(width, normals(count, 2)), input(width, normals(count, 3))]
  return {
    name: `${rows} × ${width}, deviation ${deviation}`,
    capacity: rows + 1,
    training: true,
    weights: [gate, up, gradient].map(({ entry }) => entry),
    build(tape) {
      const inputs = [gate, up, gradient].map((one) => one.on(tape))
      record(tape, gegluGradientOp, inputs)
    },
    runs: [runOf(rows), runOf(1)],
    tolerance: { relative: 3e-6, absolute: 1e-6 },
  }
}

describe('the gradient of geglu', () => {
  test('sizes of every raggedness, on every form of the backend', () =>
    expectSame([
      gradientCase({ rows: 1, width: 1 }),
      gradientCase({ rows: 3, width: 7 }),
      gradientCase({ rows: 5, width: 33, deviation: 4 }),
      gradientCase({ rows: 40, width: 128 }),
    ]))

  test('gates from where nothing passes to where all does, and the least of the curve', () => {
    const width = 400
    const gates = Float32Array.from({ length: 2 * width }, (_, i) => (i - width) / 20)
    gates.set([0, -0, 1e-30, -1e-30, 1e4, -1e4, 88, -88, -0.7524614])
    return expectSame([gradientCase({ rows: 2, width, gates })])
  })

  test('any sizes and deviations', () =>
    fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: -3, max: 2 }),
        (rows, width, power) => expectSame([gradientCase({ rows, width, deviation: 10 ** power })], INLINE),
      ),
      { numRuns: 20 },
    ))
})
