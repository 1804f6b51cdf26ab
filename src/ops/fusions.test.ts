// What WebGPU lowers as one: which kernels a stretch of a layer becomes, and that the numbers are those of its parts.

import { describe, expect, test } from 'vitest'
import { createWebGpuBackend } from '../backends/webgpu/backend.ts'
import { compileProgram } from '../backends/webgpu/program.ts'
import { cutTensors } from '../backends/webgpu/store.ts'
import { missingWebGpu, sharedDevice } from '../backends/webgpu/testing/webgpu.node.ts'
import type { CacheDtype, Dtype } from '../graph/dtype.ts'
import { persistentTensor, type RunInputs, type Tape, type Tensor } from '../graph/tape.ts'
import type { StoredTensor } from '../weights/checkpoint.ts'
import { add } from './add/add.ts'
import { append } from './append/append.ts'
import { attention } from './attention/attention.ts'
import { geglu } from './geglu/geglu.ts'
import { linear } from './linear/linear.ts'
import type { WebGpuFusion } from './lowering-webgpu.ts'
import { rmsNorm } from './rmsnorm/rmsnorm.ts'
import { rope, ropeTable } from './rope/rope.ts'
import {
  cache,
  expectSame,
  INLINE,
  input,
  type OpCase,
  recordCase,
  runOf,
  weight,
} from './testing/harness.ts'
import { normals, randomStored, storedValues } from './testing/stored.ts'
import { webGpuFusions, webGpuLowerings } from './webgpu.ts'

const missing = await missingWebGpu()

const matrix = (dtype: Dtype, rows: number, columns: number): readonly [Tensor, StoredTensor] => {
  if (dtype === 'int4min') return weight(dtype, randomStored('Q4_1', rows, columns, rows))
  return weight(dtype, storedValues('F32', [rows, columns], normals(rows * columns, rows, columns ** -0.5)))
}
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
  const held = [...tensorsOf(one), ...(one.constants?.keys() ?? [])]
  const cuts = cutTensors(held, 1 << 27, one.together)
  const { dispatches } = compileProgram(recordCase(one), kernels, cuts)
  return dispatches.map(({ kernel }) => kernel.name)
}

/** The last run's kept values on WebGPU. */
async function valuesOf(one: OpCase, fusions: readonly WebGpuFusion[]): Promise<Float32Array[]> {
  const constants = one.constants ?? new Map<Tensor, Float32Array>()
  const given = { open: await sharedDevice(), tensors: tensorsOf(one), constants, fusions }
  const backend = await createWebGpuBackend({ ...given, together: one.together })
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

/** The feed-forward half of a layer; `shared`: whether gate and up lie together. */
function branchesCase(
  dtype: Dtype,
  [columns, width]: readonly [number, number],
  rows: number,
  shared = true,
): OpCase {
  const x = input(columns, normals(rows * columns, rows))
  const [gate, up] = [matrix(dtype, width, columns), matrix(dtype, width, columns)]
  const down = matrix(dtype, 16, width)
  return {
    name: `branches of ${rows} rows, ${width} × ${columns} in ${dtype}`,
    capacity: rows,
    weights: [x.entry, gate, up, down],
    together: shared ? [[gate[0], up[0]]] : [],
    build(tape) {
      const hidden = x.on(tape)
      const gated = geglu(tape, linear(tape, hidden, gate[0]), linear(tape, hidden, up[0]))
      linear(tape, gated, down[0])
    },
    endsOnly: true,
    runs: [runOf(rows)],
    tolerance: { relative: dtype === 'f32' ? 3e-6 : 1e-2, absolute: 1e-6 },
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
  test('are one product for few rows, where they lie together', () => {
    const names = (...given: Parameters<typeof branchesCase>): string[] =>
      kernelsOf(branchesCase(...given)).slice(1)
    expect(names('f32', [32, 64], 1)).toEqual(['linear f32, wide, 1, gated', 'linear f32, wide, 1'])
    const packed = ['quantize', 'linear int4, 4, gated', 'quantize', 'linear int4, 4']
    expect(names('int4', [32, 64], 5)).toEqual(packed)
    expect(names('f32', [32, 64], 1, false)).toContain('geglu')
    expect(names('f32', [32, 64], 9)).toContain('geglu')
    expect(kernelsOf({ ...branchesCase('f32', [32, 64], 1), endsOnly: false })).toContain('geglu')
  })

  test('give what the parts give', () =>
    expectFused(
      (['f32', 'bf16', 'f16', 'int8', 'int8row', 'int4', 'int4min'] as const).flatMap((dtype) => [
        branchesCase(dtype, [32, 64], 1),
        branchesCase(dtype, [dtype === 'int4min' ? 96 : 100, 64], 3),
        branchesCase(dtype, [dtype === 'int4min' ? 160 : 65, 32], 8),
        branchesCase(dtype, [64, dtype === 'int4min' ? 96 : 12], 1),
      ]),
    ))

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

interface Layer {
  readonly heads?: number
  readonly kvHeads?: number
  readonly headDim: number
  readonly rows: number
  readonly capacity?: number
  /** Of queries, keys and values. */
  readonly dtypes?: readonly [Dtype, Dtype, Dtype]
  readonly cacheDtype?: CacheDtype
  /** Whether queries and keys are normalised (Gemma 3). */
  readonly norms?: boolean
  readonly together?: boolean
}

const POSITIONS = 24

/** The first half of a layer from its products to what attention gives. */
function attentionCase(layer: Layer): OpCase {
  const { heads = 2, kvHeads = 1, headDim, rows, capacity = rows, norms = false, cacheDtype = 'f32' } = layer
  const { dtypes = ['f32', 'f32', 'f32'], together = true } = layer
  const x = input(32, normals(rows * 32, rows))
  const counts = [heads, kvHeads, kvHeads].map((count) => count * headDim)
  const weights = counts.map((count, i) => matrix(dtypes[i]!, count, 32))
  const gains = [gain(headDim), gain(headDim)]
  const table = persistentTensor('constant', 'angles', [POSITIONS, headDim], 'f32')
  const caches = [0, 1].map(() => cache(2 * POSITIONS, kvHeads * headDim, cacheDtype))
  const places = (from: number): RunInputs =>
    runOf(rows, {
      positions: Array.from({ length: rows }, (_, i) => from + (i >> 1)),
      sequences: Array.from({ length: rows }, (_, i) => i % 2),
    })
  const exact = dtypes.every((dtype) => dtype === 'f32') && cacheDtype === 'f32'
  return {
    name: `${heads}/${kvHeads} heads × ${headDim}, ${rows} of ${capacity} rows, ${dtypes}, cache ${cacheDtype}, ${norms ? '' : 'no '}norms`,
    capacity,
    weights: [x.entry, ...weights, ...gains],
    caches,
    constants: new Map([[table, ropeTable(POSITIONS, headDim, 10_000)]]),
    together: together ? [weights.map(([tensor]) => tensor)] : [],
    build(tape) {
      const hidden = x.on(tape)
      const turned = (i: 0 | 1): Tensor => {
        const y = linear(tape, hidden, weights[i]![0])
        return rope(tape, norms ? rmsNorm(tape, y, gains[i]![0], 1e-6) : y, table)
      }
      const [query, key] = [turned(0), turned(1)]
      const value = linear(tape, hidden, weights[2]![0])
      append(tape, key, caches[0]!, POSITIONS)
      append(tape, value, caches[1]!, POSITIONS)
      const options = { heads, kvHeads, headDim, scale: headDim ** -0.5, window: 0, softcap: 0 }
      attention(tape, query, caches[0]!, caches[1]!, { ...options, capacity: POSITIONS })
    },
    endsOnly: true,
    runs: [places(0), places((rows + 1) >> 1)],
    tolerance: { relative: exact ? 3e-6 : 1e-2, absolute: 1e-6 },
  }
}

describe('heads', () => {
  const names = (layer: Partial<Layer>): string[] =>
    kernelsOf(attentionCase({ headDim: 32, rows: 1, ...layer })).slice(1)

  test('are one product and one kernel that turns and keeps them', () => {
    expect(names({})).toEqual(['linear f32, wide, 1', 'heads into f32', 'attention f32, 4'])
    const rounded = ['quantize', 'linear int8, 1', 'heads into f16, normalised', 'attention f16, 4']
    expect(names({ dtypes: ['int8', 'int8', 'int8'], cacheDtype: 'f16', norms: true })).toEqual(rounded)
    const mixed = names({ dtypes: ['int4', 'int4', 'int8'] })
    expect(mixed.filter((name) => name.startsWith('linear'))).toEqual([
      ...['linear int4, 1', 'linear int4, 1', 'linear int8, 1'],
    ])
    expect(mixed).toContain('heads into f32')
    // A scale of the cache would belong to two heads.
    expect(names({ headDim: 16, cacheDtype: 'int8' })).toContain('append int8')
    expect(kernelsOf({ ...attentionCase({ headDim: 32, rows: 1 }), endsOnly: false })).toContain('rope')
  })

  test('give what the parts give', () =>
    expectFused([
      attentionCase({ headDim: 8, rows: 1 }),
      attentionCase({ headDim: 256, rows: 1, norms: true }),
      attentionCase({ headDim: 32, rows: 3, capacity: 8, norms: true, cacheDtype: 'f16' }),
      attentionCase({ headDim: 32, heads: 4, kvHeads: 2, rows: 5, cacheDtype: 'int8' }),
      attentionCase({ headDim: 64, heads: 3, kvHeads: 3, rows: 20, capacity: 32, norms: true }),
      attentionCase({ headDim: 32, rows: 1, dtypes: ['int8', 'int8', 'int8'] }),
      attentionCase({ headDim: 16, heads: 4, kvHeads: 4, rows: 10, dtypes: ['int4', 'int4', 'int4'] }),
      attentionCase({ headDim: 16, rows: 2, dtypes: ['bf16', 'bf16', 'bf16'] }),
      attentionCase({ headDim: 32, rows: 2, dtypes: ['int4', 'int4', 'int8'] }),
      attentionCase({ headDim: 32, rows: 2, together: false, cacheDtype: 'int8' }),
    ]))
})
