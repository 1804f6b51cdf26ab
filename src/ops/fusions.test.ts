// What WebGPU lowers as one: which kernels a stretch of a layer becomes, and that the numbers are those of its parts.

import { describe, expect, test } from 'vitest'
import { createWebGpuBackend } from '../backends/webgpu/backend.ts'
import { compileProgram } from '../backends/webgpu/program.ts'
import { cutTensors } from '../backends/webgpu/store.ts'
import { missingWebGpu, sharedDevice } from '../backends/webgpu/testing/webgpu.node.ts'
import type { Dtype } from '../graph/dtype.ts'
import type { Tape, Tensor } from '../graph/tape.ts'
import type { StoredTensor } from '../weights/checkpoint.ts'
import { add } from './add/add.ts'
import { geglu } from './geglu/geglu.ts'
import { linear } from './linear/linear.ts'
import type { WebGpuFusion } from './lowering-webgpu.ts'
import { rmsNorm } from './rmsnorm/rmsnorm.ts'
import { expectSame, INLINE, input, type OpCase, recordCase, runOf, weight } from './testing/harness.ts'
import { normals, storedValues } from './testing/stored.ts'
import { webGpuFusions, webGpuLowerings } from './webgpu.ts'

const missing = await missingWebGpu()

const matrix = (dtype: Dtype, rows: number, columns: number): readonly [Tensor, StoredTensor] =>
  weight(dtype, storedValues('F32', [rows, columns], normals(rows * columns, rows, columns ** -0.5)))
const gain = (width: number): readonly [Tensor, StoredTensor] =>
  weight('f32', storedValues('F32', [width], normals(width, width + 1, 0.5)))

function tensorsOf({ weights = [], caches = [] }: OpCase): Tensor[] {
  return [...weights.map(([tensor]) => tensor), ...caches]
}

/** Names of the kernels that a case becomes. */
function kernelsOf(
  one: OpCase,
  fusions: readonly WebGpuFusion[] = webGpuFusions,
  mostBuffers = 10,
): string[] {
  const kernels = { lowerings: webGpuLowerings, fusions, mostBuffers }
  const { dispatches } = compileProgram(recordCase(one), kernels, cutTensors(tensorsOf(one), 1 << 27))
  return dispatches.map(({ kernel }) => kernel.name)
}

/** The last run's kept values on WebGPU. */
async function valuesOf(one: OpCase, fusions: readonly WebGpuFusion[]): Promise<Float32Array[]> {
  const constants = one.constants ?? new Map<Tensor, Float32Array>()
  const given = { open: await sharedDevice(), tensors: tensorsOf(one), constants, fusions }
  const backend = await createWebGpuBackend(given)
  for (const [tensor, stored] of one.weights ?? []) await backend.load(tensor, stored)
  const tape: Tape = recordCase(one)
  const plan = backend.compile(tape)
  for (const run of one.runs) await backend.run(plan, run)
  const { rows } = one.runs.at(-1)!
  const values = [...tape.kept].map((tensor) => backend.read(plan, tensor, Math.min(rows, tensor.shape[0]!)))
  await backend.dispose()
  return values
}

/** On every backend like the reference, and on WebGPU bit for bit what the parts give. */
async function expectFused(cases: readonly OpCase[]): Promise<void> {
  await expectSame(cases, INLINE.slice(0, 1))
  if (missing !== undefined) return
  for (const one of cases) {
    const [fused, apart] = [await valuesOf(one, webGpuFusions), await valuesOf(one, [])]
    expect(fused, one.name).toEqual(apart)
    for (const values of fused) expect(values.every(Number.isFinite), one.name).toBe(true)
  }
}

interface Sizes {
  readonly width: number
  readonly rows: number
  readonly capacity?: number
  readonly dtype?: Dtype
  /** Whether what is added is normalised too (Gemma 2 and 3). */
  readonly inner?: boolean
}

/** residual + x, its norm, and a product that reads the norm; the sum goes on too. */
function sumCase({ width, rows, capacity = rows, dtype = 'f32', inner = false }: Sizes): OpCase {
  const residual = input(width, normals(rows * width, width, 3))
  const x = input(width, normals(rows * width, width + 1, 2))
  const [gains, innerGains, weights] = [gain(width), gain(width), matrix(dtype, 24, width)]
  return {
    name: `${inner ? 'norm, ' : ''}sum and norm of ${rows} of ${capacity} × ${width} before ${dtype}`,
    capacity,
    weights: [residual.entry, x.entry, gains, innerGains, weights],
    build(tape) {
      const [base, more] = [residual.on(tape), x.on(tape)]
      const total = add(tape, base, inner ? rmsNorm(tape, more, innerGains[0], 1e-5) : more, 0.5)
      linear(tape, rmsNorm(tape, total, gains[0], 1e-6), weights[0])
      geglu(tape, total, total)
    },
    endsOnly: true,
    runs: [runOf(rows)],
    // Where a value lies between two integers, rounding may go either way.
    tolerance: { relative: dtype === 'f32' ? 2e-6 : 5e-3, absolute: 1e-6 },
  }
}

/** gelu(gate) · up and a product that reads it. */
function gatedCase(width: number, rows: number, capacity = rows): OpCase {
  const [gate, up] = [1, 2].map((seed) => input(width, normals(rows * width, seed, 2)))
  const weights = matrix('int8', 16, width)
  return {
    name: `geglu of ${rows} of ${capacity} × ${width}, rounded`,
    capacity,
    weights: [gate!.entry, up!.entry, weights],
    build: (tape) => void linear(tape, geglu(tape, gate!.on(tape), up!.on(tape)), weights[0]),
    runs: [runOf(rows)],
    tolerance: (op) => (op === 'linear' ? { relative: 5e-3 } : { relative: 5e-7, absolute: 4e-9 }),
  }
}

describe('sums and norms', () => {
  test('are one kernel, with the rounding after it', () => {
    const names = (sizes: Partial<Sizes>, buffers = 10): string[] =>
      kernelsOf(sumCase({ width: 64, rows: 1, ...sizes }), webGpuFusions, buffers).slice(2)
    expect(names({})).toEqual(['rmsNorm of sum', 'linear f32, wide, 1', 'geglu'])
    expect(names({ dtype: 'int8' })).toEqual(['rmsNorm of sum, rounded', 'linear int8, 1', 'geglu'])
    const both = ['rmsNorm of sum of norm, rounded', 'linear int4, 1', 'geglu']
    expect(names({ dtype: 'int4', inner: true })).toEqual(both)
    // A device with eight buffers has one too few.
    expect(names({ dtype: 'int4', inner: true }, 8)).toContain('rmsNorm of sum, rounded')
    expect(kernelsOf({ ...sumCase({ width: 64, rows: 1, inner: true }), endsOnly: false })).not.toContain(
      'rmsNorm of sum of norm',
    )
  })

  test('give what the parts give', () =>
    expectFused(
      [1, 31, 32, 100, 520].flatMap((width) =>
        [false, true].flatMap((inner) => [
          sumCase({ width, rows: 1, inner }),
          sumCase({ width, rows: 3, capacity: 8, dtype: 'int8', inner }),
          sumCase({ width, rows: 20, capacity: 32, dtype: 'int4', inner }),
        ]),
      ),
    ))
})

describe('gated branches', () => {
  test('are rounded by the kernel that makes them', () => {
    expect(kernelsOf(gatedCase(64, 1)).slice(2)).toEqual(['geglu, rounded', 'linear int8, 1'])
    return expectFused([
      gatedCase(5, 1),
      gatedCase(32, 3, 8),
      gatedCase(300, 2),
      gatedCase(1000, 1),
      gatedCase(257, 20, 32),
    ])
  })
})
