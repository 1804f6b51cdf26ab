// Every op's way back against differences, one by one.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { persistentTensor, type Tape, type Tensor } from '../graph/tape.ts'
import { add } from './add/add.ts'
import { dropout } from './dropout/dropout.ts'
import { embed } from './embed/embed.ts'
import { geglu } from './geglu/geglu.ts'
import { linear } from './linear/linear.ts'
import { rmsNorm } from './rmsnorm/rmsnorm.ts'
import { rope, ropeTable } from './rope/rope.ts'
import { type RowAttentionOptions, rowAttention } from './row-attention/row-attention.ts'
import { softcap } from './softcap/softcap.ts'
import {
  expectDifferences,
  gradientsOf,
  type Learning,
  learningCase,
  type Numbers,
  numbers,
  positionsOf,
} from './testing/differences.ts'
import { expectSame, INLINE, runOf } from './testing/harness.ts'

const ROWS = 5

/** The loss through one op of values that are all learned: tables of which row t is token t's. */
function ofOp(
  widths: readonly number[],
  build: (tape: Tape, values: readonly Tensor[]) => Tensor,
  more: Partial<Learning> = {},
): Learning {
  const tables = widths.map((width, i) => numbers(`input ${i}`, [ROWS, width], i + width))
  return {
    run: runOf(ROWS),
    ...more,
    learned: [...tables, ...(more.learned ?? [])],
    build: (tape) =>
      build(
        tape,
        tables.map(([table]) => embed(tape, table, 1)),
      ),
  }
}

describe('the way back through one op', () => {
  test('embed, with tokens that come up again and a scale', async () => {
    const table = numbers('table', [4, 6], 1)
    const run = runOf(ROWS, { tokens: [2, 0, 2, 3, 2] })
    await expectDifferences({ learned: [table], build: (tape) => embed(tape, table[0], 2.5), run })
  })

  test('add, the second by a factor; both the same', async () => {
    await expectDifferences(ofOp([6, 6], (tape, [a, b]) => add(tape, a!, b!, -0.3)))
    await expectDifferences(ofOp([6, 6], (tape, [a, b]) => add(tape, a!, b!)))
    await expectDifferences(ofOp([6], (tape, [a]) => add(tape, a!, a!, 0.7)))
  })

  test('rmsNorm of rows and of heads, the weight too', async () => {
    const whole = numbers('weight', [8], 3, 0.4)
    const heads = numbers('weight', [4], 4, 0.4)
    const normOf = (gain: Numbers[number]): Learning =>
      ofOp([8], (tape, [x]) => rmsNorm(tape, x!, gain[0], 1e-2), { learned: [gain] })
    await expectDifferences(normOf(whole))
    await expectDifferences(normOf(heads))
  })

  test('geglu, softcap', async () => {
    await expectDifferences(ofOp([7, 7], (tape, [gate, up]) => geglu(tape, gate!, up!)))
    await expectDifferences(ofOp([7], (tape, [x]) => softcap(tape, x!, 1.5)))
  })

  test('rope', async () => {
    const table = persistentTensor('constant', 'angles', [9, 4], 'f32')
    const run = runOf(ROWS, { positions: [0, 1, 2, 7, 8] })
    const fixed: Numbers = [[table, ropeTable(9, 4, 100)]]
    await expectDifferences(ofOp([8], (tape, [x]) => rope(tape, x!, table), { run, fixed }))
  })

  test('dropout leaves out the same values on the way back', async () => {
    const run = { ...runOf(ROWS), seed: 12345 }
    await expectDifferences(ofOp([30], (tape, [x]) => dropout(tape, x!, 0.4), { run }))
  })

  test('linear: all rows of a weight, a slice, two slices of the same', async () => {
    const w = numbers('weight', [24, 6], 5)
    const learned = [w]
    await expectDifferences(ofOp([6], (tape, [x]) => linear(tape, x!, w[0]), { learned }))
    await expectDifferences(
      ofOp([6], (tape, [x]) => linear(tape, x!, w[0], { from: 8, count: 5 }), { learned }),
    )
    const both = (tape: Tape, x: Tensor): Tensor =>
      add(
        tape,
        linear(tape, x, w[0], { from: 0, count: 10 }),
        linear(tape, x, w[0], { from: 8, count: 10 }),
        2,
      )
    await expectDifferences(ofOp([6], (tape, [x]) => both(tape, x!), { learned }))
  })

  test.each([
    { name: 'one head', heads: 1, kvHeads: 1 },
    { name: 'heads that share keys', heads: 4, kvHeads: 2 },
    { name: 'window', window: 2 },
    { name: 'soft cap', softcap: 0.8 },
    { name: 'window and soft cap', window: 3, softcap: 2, heads: 2, kvHeads: 2 },
  ])('attention of rows: $name', async ({ name: _, ...given }) => {
    const options: RowAttentionOptions = {
      ...{ heads: 2, kvHeads: 1, headDim: 4, scale: 0.6, window: 0, softcap: 0 },
      ...given,
    }
    const widths = [options.heads, options.kvHeads, options.kvHeads].map((n) => n * options.headDim)
    const build = (tape: Tape, [q, k, v]: readonly Tensor[]): Tensor =>
      rowAttention(tape, q!, k!, v!, options)
    for (const documents of [[5], [2, 3], [1, 1, 3]]) {
      const run = runOf(ROWS, { positions: positionsOf(documents) })
      await expectDifferences(ofOp(widths, build, { run }))
    }
  })

  test('any tape of ops that use values more than once', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat({ max: 4 }), fc.nat(), fc.nat()), { minLength: 1, maxLength: 7 }),
        async (choices) => {
          const w = numbers('weight', [8, 8], 7, 0.3)
          const gain = numbers('gain', [8], 8, 0.3)
          const build = (tape: Tape, inputs: readonly Tensor[]): Tensor => {
            const values = [...inputs]
            for (const [op, first, second] of choices) {
              const a = values[first % values.length]!
              const b = values[second % values.length]!
              const makers = [
                () => add(tape, a, b, 0.5),
                () => geglu(tape, a, b),
                () => linear(tape, a, w[0]),
                () => rmsNorm(tape, a, gain[0], 0.1),
                () => softcap(tape, a, 2),
              ]
              values.push(makers[op]!())
            }
            return values.at(-1)!
          }
          const one = ofOp([8, 8], build, { learned: [w, gain] })
          await expectDifferences(one, { most: 12, idle: true })
          const straight = await gradientsOf(one)
          expect(await gradientsOf(one, { checkpointing: true })).toEqual(straight)
        },
      ),
      { numRuns: 25 },
    ))
})

describe('what no output depends on', () => {
  test('keeps a gradient of zero', async () => {
    const [used, unused] = [numbers('used', [8, 6], 1), numbers('unused', [8, 6], 2)]
    const one = ofOp(
      [6],
      (tape, [x]) => {
        linear(tape, x!, unused[0])
        return linear(tape, x!, used[0])
      },
      { learned: [used, unused] },
    )
    const gradients = await gradientsOf(one)
    expect(gradients.get(unused[0])!.every((value) => value === 0)).toBe(true)
    expect(gradients.get(used[0])!.every((value) => value !== 0)).toBe(true)
  })
})

const VOCABULARY = 11

describe('an embedding that is also the output head', () => {
  test('gains the sum of what two separate ones would gain', async () => {
    const shape = [VOCABULARY, 8]
    const run = runOf(8, { tokens: [3, 1, 4, 1, 5, 9, 2, 6] })
    const [tied, copy] = [numbers('tied', shape, 5), numbers('copy', shape, 5)]
    const through = (into: Tensor, out: Tensor) => (tape: Tape) =>
      linear(tape, softcap(tape, embed(tape, into, 2), 1), out)
    const together = await gradientsOf({ learned: [tied], build: through(tied[0], tied[0]), run })
    const apart = await gradientsOf({
      learned: [tied, copy],
      build: through(tied[0], copy[0]),
      run,
    })
    const [first, second] = [apart.get(tied[0])!, apart.get(copy[0])!]
    const sum = first.map((value, i) => value + second[i]!)
    expect(first.some((value) => value !== 0) && second.some((value) => value !== 0)).toBe(true)
    together.get(tied[0])!.forEach((value, i) => void expect(value).toBeCloseTo(sum[i]!, 12))
  })
})

test('accumulators gain from run to run', () => {
  const [w, table] = [numbers('weight', [8, 6], 1), numbers('table', [ROWS, 6], 2)]
  const one: Learning = {
    learned: [w, table],
    build: (tape) => linear(tape, embed(tape, table[0], 1), w[0]),
    run: runOf(ROWS),
  }
  const runs = [one.run, one.run, runOf(2)]
  return expectSame([{ ...learningCase('linear', one), runs }], INLINE)
})
