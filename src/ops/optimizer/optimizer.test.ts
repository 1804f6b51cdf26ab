import { describe, test } from 'vitest'
import { type Op, record } from '../../graph/tape.ts'
import { expectSame, type OpCase, runOf, state } from '../testing/harness.ts'
import { normals } from '../testing/stored.ts'
import { adafactorOp, adamwOp, squaresOp, zeroOp } from './optimizer.ts'

/** Three steps; the gradient is zero from the second on. `fresh`: no moments yet, and nothing learned in the first row. */
function optimizerCase(
  op: Op,
  shape: readonly number[],
  attributes: Record<string, number>,
  fresh = false,
): OpCase {
  const count = shape.reduce((a, b) => a * b)
  const gradient = normals(count, 2, 0.01)
  if (fresh) gradient.fill(0, 0, shape.at(-1))
  const moments = op === adamwOp ? [shape, shape] : shape.length === 2 ? [[shape[0]!], [shape[1]!]] : [shape]
  const states = [
    state('weight', shape, normals(count, 1)),
    state('gradient', shape, gradient),
    ...moments.map((one, i) => {
      const length = one.reduce((a, b) => a * b)
      return state(`moment ${i}`, one, normals(length, 3 + i, fresh ? 0 : 0.001).map(Math.abs))
    }),
  ]
  const steps = [1, 2, 3].map((step) =>
    Float32Array.of(0.01, 0.7, 1 - 0.9 ** step, 1 - 0.999 ** step, 1 - step ** -0.8),
  )
  return {
    name: `${op.name} of ${fresh ? 'fresh ' : ''}[${shape.join(', ')}]`,
    capacity: 1,
    training: true,
    states,
    build: (tape) =>
      void record(
        tape,
        op,
        states.map(([tensor]) => tensor),
        attributes,
      ),
    runs: steps.map((scalars) => ({ ...runOf(0), scalars })),
    // Where β₁ m and (1 − β₁) g nearly cancel, float32 leaves what is small beside both.
    tolerance: { relative: 1e-6, absolute: 1e-9 },
  }
}

const ADAMW = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 0.1 }
const ADAFACTOR = { epsilon: 1e-30, clipThreshold: 1, decay: 0.1 }
const SHAPES = [[1], [3], [129], [1, 1], [5, 3], [33, 70], [3, 1000], [400, 2]]

describe('the optimiser', () => {
  test('AdamW', () => expectSame(SHAPES.map((shape) => optimizerCase(adamwOp, shape, ADAMW))))

  test('Adafactor', () =>
    expectSame([
      ...SHAPES.map((shape) => optimizerCase(adafactorOp, shape, ADAFACTOR)),
      ...[[7], [1, 6], [9, 30]].map((shape) => optimizerCase(adafactorOp, shape, ADAFACTOR, true)),
    ]))

  test('sums of squares, and zeros', () =>
    expectSame(
      [[1], [7], [16384], [5, 16383], [3, 16385], [21, 3001]].flatMap((shape) => {
        const count = shape.reduce((a, b) => a * b)
        const one = state('x', shape, normals(count, count))
        const other = state('y', shape, normals(count, count))
        return [
          {
            name: `squares of [${shape.join(', ')}]`,
            capacity: 1,
            training: true,
            states: [one, other],
            build(tape) {
              record(tape, squaresOp, [one[0]])
              record(tape, zeroOp, [other[0]])
            },
            runs: [{ ...runOf(100), tokens: new Int32Array(100) }],
            tolerance: { relative: 1e-6 },
          } satisfies OpCase,
        ]
      }),
    ))
})
