import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createTape, persistentTensor, type Tensor } from '../../graph/tape.ts'
import { expectSame, INLINE, input, type OpCase, runOf } from '../testing/harness.ts'
import { normals, seeded } from '../testing/stored.ts'
import { logprob, logprobOp } from './logprob.ts'

/** Slices of a vocabulary of these widths, one after the other. */
function logprobCase(widths: readonly number[], rows: number, deviation: number, capacity = rows): OpCase {
  const slices = widths.map((width, i) => input(width, normals(rows * width, width + i, deviation)))
  const vocabulary = widths.reduce((a, b) => a + b, 0)
  const random = seeded(vocabulary + rows)
  const targets = Array.from({ length: rows }, (_, t) =>
    t % 5 === 4 ? -1 : Math.floor(random() * vocabulary),
  )
  return {
    name: `logprob ${rows} of ${capacity} × ${widths.join(' + ')}, deviation ${deviation}`,
    capacity,
    weights: slices.map(({ entry }) => entry),
    build: (tape) => {
      let from = 0
      let state: Tensor | undefined
      slices.forEach((slice, i) => {
        state = logprob(tape, slice.on(tape), from, state)
        from += widths[i]!
      })
    },
    runs: [runOf(rows, { targets })],
    // The sum of exponentials is one column of the state, beside token ids that must be exact: see below.
    tolerance: { relative: 1e-6, absolute: 0 },
  }
}

describe('logprob', () => {
  test('vocabularies in one slice and in several, ragged', () =>
    expectSame([
      logprobCase([1], 1, 1),
      logprobCase([3], 2, 1),
      logprobCase([1000], 1, 4),
      logprobCase([1025], 9, 4, 16),
      logprobCase([1024, 1024, 777], 5, 4),
      logprobCase([512, 1, 2, 3, 64], 33, 10, 64),
    ]))

  test('large logits of both signs', () =>
    expectSame([
      logprobCase([100, 100], 7, 1e4),
      logprobCase([100, 100], 7, 1e5),
      logprobCase([64, 5], 3, 1e-6),
    ]))

  test('any slices', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 5 }),
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: -2, max: 3 }),
        (widths, rows, power) => expectSame([logprobCase(widths, rows, 10 ** power)], INLINE),
      ),
      { numRuns: 30 },
    ))

  test('the best token is exact, the first of equals, and the slices give the whole softmax', () => {
    const logits = Float32Array.of(1, 3, 2, 3, -1, 0.5, 3, 3)
    const tensor = { id: 0, role: 'value', shape: [1, 4], dtype: 'f32', name: 'x' } as const
    const run = runOf(1, { targets: [2] })
    const step = (part: Float32Array, from: number, before?: Float32Array): Float32Array => {
      const outputs = [new Float32Array(4)]
      const inputs = before ? [part, before] : [part]
      logprobOp.reference({
        inputs,
        outputs,
        inputTensors: [tensor],
        outputTensors: [tensor],
        attributes: { from },
        run,
      })
      return outputs[0]!
    }
    const [largest, sum, target, best] = step(logits.subarray(4), 4, step(logits.subarray(0, 4), 0))
    expect(best).toBe(1)
    const total = logits.reduce((all, logit) => all + Math.exp(logit), 0)
    expect(target! - largest! - Math.log(sum!)).toBeCloseTo(2 - Math.log(total), 6)
  })

  test('ties between slices and within them, on every form of the backend', () => {
    const tied = input(6, Float32Array.of(2, 5, 5, 1, 5, 5))
    const again = input(6, Float32Array.of(5, 5, 0, 0, 0, 5.5))
    return expectSame([
      {
        name: 'ties',
        capacity: 1,
        weights: [tied.entry, again.entry],
        build: (tape) => {
          const first = logprob(tape, tied.on(tape), 0)
          const second = logprob(tape, tied.on(tape), 6, first)
          logprob(tape, again.on(tape), 12, second)
        },
        runs: [runOf(1, { targets: [4] })],
        tolerance: { relative: 1e-7 },
      },
    ])
  })

  test('a state of other rows is refused while recording', () => {
    const x = input(10, new Float32Array(10))
    const tape = createTape(1)
    const state = persistentTensor('cache', 'state', [2, 4], 'f32')
    expect(() => logprob(tape, x.on(tape), 0, state)).toThrow(/logprob: state is/)
  })
})
