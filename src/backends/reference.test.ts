import { describe, expect, test } from 'vitest'
import type { Tape } from '../graph/tape.ts'
import { geglu } from '../ops/geglu/geglu.ts'
import { linear } from '../ops/linear/linear.ts'
import { rmsNorm } from '../ops/rmsnorm/rmsnorm.ts'
import { INLINE, input, recordCase, runOf, VARIANTS, wasmFor, weight } from '../ops/testing/harness.ts'
import { normals, storedValues } from '../ops/testing/stored.ts'
import { createReferenceBackend, firstDifference } from './reference.ts'

/** A feed-forward half whose weights can be told apart: steps embed, rmsNorm, linear ×2, geglu, linear. */
function halfLayer() {
  const x = input(48, normals(5 * 48, 1))
  const gain = weight('f32', storedValues('F32', [48], normals(48, 2, 0.1)))
  const gate = weight('bf16', storedValues('BF16', [64, 48], normals(64 * 48, 3, 0.1)))
  const up = weight('bf16', storedValues('BF16', [64, 48], normals(64 * 48, 4, 0.1)))
  const down = weight('bf16', storedValues('BF16', [48, 64], normals(48 * 64, 5, 0.1)))
  const weights = [x.entry, gain, gate, up, down] as const
  const build = (tape: Tape): void => {
    const normed = rmsNorm(tape, x.on(tape), gain[0], 1e-6)
    const wide = geglu(tape, linear(tape, normed, gate[0]), linear(tape, normed, up[0]))
    linear(tape, wide, down[0])
  }
  return {
    weights,
    tape: recordCase({ name: 'half a layer', capacity: 8, build, runs: [], tolerance: { relative: 0 } }),
  }
}

describe('firstDifference', () => {
  test('finds nothing where the backends agree', async () => {
    const { weights, tape } = halfLayer()
    const tensors = weights.map(([tensor]) => tensor)
    const reference = createReferenceBackend({ tensors, constants: new Map() })
    for (const variant of VARIANTS) {
      const other = await wasmFor(variant, tensors, new Map())
      for (const [tensor, stored] of weights) {
        await reference.load(tensor, stored)
        await other.load(tensor, stored)
      }
      const plans = [reference.compile(tape), other.compile(tape)] as const
      await reference.run(plans[0], runOf(5))
      await other.run(plans[1], runOf(5))
      expect(firstDifference(reference, plans[0], other, plans[1], 5, 1e-5)).toBeUndefined()
      await other.dispose()
    }
  })

  test.each([
    ['rmsNorm', 1, 1],
    ['linear', 2, 2],
    ['linear', 3, 3],
    ['linear', 5, 4],
  ])('names %s, step %i, when its weight is another one', async (op, step, spoilt) => {
    const { weights, tape } = halfLayer()
    const tensors = weights.map(([tensor]) => tensor)
    const reference = createReferenceBackend({ tensors, constants: new Map() })
    const other = await wasmFor(INLINE[0]!, tensors, new Map())
    for (const [i, [tensor, stored]] of weights.entries()) {
      await reference.load(tensor, stored)
      const size = stored.shape.reduce((a, b) => a * b, 1)
      const changed = storedValues(
        stored.encoding === 'F32' ? 'F32' : 'BF16',
        stored.shape,
        normals(size, 99, 0.1),
      )
      await other.load(tensor, i === spoilt ? changed : stored)
    }
    const plans = [reference.compile(tape), other.compile(tape)] as const
    await reference.run(plans[0], runOf(5))
    await other.run(plans[1], runOf(5))
    const difference = firstDifference(reference, plans[0], other, plans[1], 5, 1e-4)
    expect(difference).toMatchObject({ op, step })
    expect(Math.abs(difference!.expected - difference!.actual)).toBeCloseTo(difference!.largest, 5)
    await other.dispose()
  })

  test('notices NaN', async () => {
    const { weights, tape } = halfLayer()
    const tensors = weights.map(([tensor]) => tensor)
    const reference = createReferenceBackend({ tensors, constants: new Map() })
    const other = await wasmFor(INLINE[0]!, tensors, new Map())
    for (const [i, [tensor, stored]] of weights.entries()) {
      await reference.load(tensor, stored)
      const broken = storedValues('F32', [48], normals(48, 2, 0.1).fill(Number.NaN, 7, 8))
      await other.load(tensor, i === 1 ? broken : stored)
    }
    const plans = [reference.compile(tape), other.compile(tape)] as const
    await reference.run(plans[0], runOf(3))
    await other.run(plans[1], runOf(3))
    const difference = firstDifference(reference, plans[0], other, plans[1], 3, 1e-3)
    expect(difference).toMatchObject({ op: 'rmsNorm', step: 1, at: 7, actual: Number.NaN })
    await other.dispose()
  })
})
