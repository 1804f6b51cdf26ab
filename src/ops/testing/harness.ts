// One harness for the cases of every op: runs a recorded tape on the reference backend and on the
// WebAssembly backend in all its forms, and compares every value of every step. Knows no op but embed, which
// is how a test's own numbers come onto a tape.

import { expect } from 'vitest'
import type { Backend } from '../../backends/backend.ts'
import { createReferenceBackend } from '../../backends/reference.ts'
import { FIRST_ADDRESS } from '../../backends/wasm/addresses.ts'
import { createWasmBackend } from '../../backends/wasm/backend.ts'
import { STAGING_BYTES } from '../../backends/wasm/load.ts'
import { align, bufferBytes } from '../../backends/wasm/program.ts'
import type { KernelBuild } from '../../backends/wasm/variant.ts'
import { createWebGpuBackend } from '../../backends/webgpu/backend.ts'
import { missingWebGpu, sharedDevice } from '../../backends/webgpu/testing/webgpu.node.ts'
import type { Dtype } from '../../graph/dtype.ts'
import {
  createTape,
  keep,
  persistentTensor,
  type RunInputs,
  type Tape,
  type Tensor,
} from '../../graph/tape.ts'
import type { StoredTensor } from '../../weights/checkpoint.ts'
import { embed } from '../embed/embed.ts'
import type { IntegerVariant } from '../lowering.ts'
import { trainingLowerings } from '../wasm-training.ts'
import { webGpuTrainingLowerings } from '../webgpu-training.ts'
import { storedValues } from './stored.ts'

export interface OpCase {
  readonly name: string
  /** Rows the tape is recorded for. */
  readonly capacity: number
  /** In the order of use, as a model brings them. */
  readonly weights?: readonly (readonly [Tensor, StoredTensor])[]
  readonly caches?: readonly Tensor[]
  /** Weights that share buffers on WebGPU, where those have room. */
  readonly together?: readonly (readonly Tensor[])[]
  /** What steps change in place, with its first values; compared after every run. Needs `training`. */
  readonly states?: readonly (readonly [Tensor, Float32Array])[]
  /** Whether the tape has steps that only training knows. */
  readonly training?: boolean
  readonly constants?: ReadonlyMap<Tensor, Float32Array>
  readonly build: (tape: Tape) => void
  /** Compares only values that no step reads: what lies between may then never be anywhere by itself, as in a model. */
  readonly endsOnly?: boolean
  /** Taken one after the other; caches stay. */
  readonly runs: readonly RunInputs[]
  /**
   * A value may differ by `relative` times the largest magnitude of its row, and by `absolute` on top: a
   * function, where steps of one tape need different ones.
   */
  readonly tolerance: Tolerance | ((op: string) => Tolerance)
}

export interface Tolerance {
  readonly relative: number
  readonly absolute?: number
}

export interface Variant {
  readonly name: string
  readonly threads: number
  readonly build: KernelBuild | 'auto'
  readonly integers?: IntegerVariant
  /** Memories so small that every tensor has its own. */
  readonly split?: boolean
}

/** Every form of the WebAssembly backend. */
export const VARIANTS: readonly Variant[] = [
  { name: 'in the calling thread', threads: 0, build: 'auto' },
  { name: '2 threads', threads: 2, build: 'auto' },
  { name: '3 threads', threads: 3, build: 'auto' },
  { name: 'baseline', threads: 0, build: 'baseline' },
  { name: '4-bit products in fours', threads: 0, build: 'auto', integers: { int4: 'dot8', int8: 'dot16' } },
  { name: '4-bit products in pairs', threads: 0, build: 'auto', integers: { int4: 'pairs8', int8: 'dot16' } },
  { name: 'several memories', threads: 0, build: 'auto', split: true },
  { name: 'several memories, baseline, 2 threads', threads: 2, build: 'baseline', split: true },
]

/** The forms without workers: for the many cases of property tests. */
export const INLINE: readonly Variant[] = VARIANTS.filter(({ threads }) => threads === 0)

/**
 * The forms on WebGPU, where there is one: as it is, and without its features, with bindings so small that tensors lie in many
 * pieces.
 */
const GPU_VARIANTS = [
  { name: 'WebGPU', plain: false, largestBinding: undefined },
  { name: 'WebGPU without features, small pieces', plain: true, largestBinding: 1 },
] as const

/** Runs all cases on the reference and on each variant, on WebGPU too where there is one, and expects every value to agree and to be finite. */
export async function expectSame(
  cases: readonly OpCase[],
  variants: readonly Variant[] = VARIANTS,
): Promise<void> {
  const expected = await runCases(cases, referenceFor)
  const check = (variant: string, actual: readonly Value[][], every = 1, rounding = 1): void => {
    for (const [index, { name, tolerance }] of cases.entries()) {
      if (index % every !== 0) continue
      for (const [place, value] of expected[index]!.entries()) {
        const { relative, absolute = 0 } = typeof tolerance === 'function' ? tolerance(value.op) : tolerance
        compare(`${name}, ${variant}, run ${value.run}, ${value.op}`, value, actual[index / every]![place]!, {
          relative: rounding * relative,
          absolute: rounding * absolute,
        })
      }
    }
  }
  for (const variant of variants) {
    const make: MakeBackend = (tensors, constants, training) => wasmFor(variant, tensors, constants, training)
    // Alone in its memories, a case's own tensors decide where one memory ends and the next begins.
    const actual =
      variant.split && variant.threads === 0 ? await runApart(cases, make) : await runCases(cases, make)
    check(variant.name, actual)
  }
  if ((await missingWebGpu()) !== undefined) return
  const training = cases.some((one) => one.training)
  const every = training ? Math.ceil(cases.length / MOST_TRAINING_CASES) : 1
  const chosen = cases.filter((_, index) => index % every === 0)
  for (const { name, plain, largestBinding } of GPU_VARIANTS) {
    const together = chosen.flatMap((one) => one.together ?? [])
    const make: MakeBackend = async (tensors, constants) =>
      createWebGpuBackend({
        ...{ open: await sharedDevice(plain), tensors, constants, largestBinding, together },
        lowerings: webGpuTrainingLowerings,
      })
    check(name, await runCases(chosen, make), every, GPU_ROUNDING)
  }
}

/**
 * A GPU's sums may be this many times as far off as those of WebAssembly: a value of a tile is one chain of additions, where
 * vectors have four and more, and how exactly it divides and exponentiates is the driver's matter.
 */
const GPU_ROUNDING = 4

/** A software driver takes milliseconds for each tile of a product: of more cases than these every second, third, … runs. */
const MOST_TRAINING_CASES = 60

interface Value {
  readonly op: string
  readonly run: number
  readonly columns: number
  readonly values: Float32Array
}

type MakeBackend = (
  tensors: readonly Tensor[],
  constants: ReadonlyMap<Tensor, Float32Array>,
  training: boolean,
) => Promise<Backend>

const referenceFor: MakeBackend = async (tensors, constants) => createReferenceBackend({ tensors, constants })

export function wasmFor(
  { threads, build, integers, split }: Variant,
  tensors: readonly Tensor[],
  constants: ReadonlyMap<Tensor, Float32Array>,
  training = false,
): Promise<Backend> {
  const memoryLimit = split ? smallestLimit(tensors, constants) : undefined
  const kernels = training ? { lowerings: trainingLowerings, kernels: 'kernels-training' as const } : {}
  return createWasmBackend({
    ...{ threads, build, integers, tensors, constants, memoryLimit },
    sizing: [],
    ...kernels,
  })
}

/** The smallest memories in which every tensor still fits: what is set aside anyway, and the largest tensor. */
export function smallestLimit(
  tensors: readonly Tensor[],
  constants: ReadonlyMap<Tensor, Float32Array>,
): number {
  const aside = (4 << 20) + FIRST_ADDRESS + STAGING_BYTES
  const fixed = [...constants.keys()].reduce((sum, tensor) => sum + align(bufferBytes(tensor)), 0)
  // Caches of one layer stay together, so there must be room for those that follow each other.
  let largest = 0
  let together = 0
  for (const tensor of tensors) {
    const bytes = align(bufferBytes(tensor))
    // State follows the weight it belongs to and stays with it.
    const joins = tensor.role === 'cache' || tensor.role === 'state'
    together = joins ? together + bytes : bytes
    largest = Math.max(largest, bytes, together)
  }
  return aside + fixed + largest
}

/** Runs every case on one backend; each case's values in the order of its runs and steps. */
async function runCases(cases: readonly OpCase[], makeBackend: MakeBackend): Promise<Value[][]> {
  const weights = new Map(cases.flatMap((one) => [...(one.weights ?? [])]))
  const constants = new Map(cases.flatMap((one) => [...(one.constants ?? [])]))
  const tensors = cases.flatMap((one) => [
    ...(one.weights ?? []).map(([tensor]) => tensor),
    ...(one.caches ?? []),
    ...(one.states ?? []).map(([tensor]) => tensor),
  ])
  const training = cases.some((one) => one.training)
  const backend = await makeBackend([...new Set(tensors)], constants, training)
  try {
    for (const [tensor, stored] of weights) await backend.load(tensor, stored)
    for (const [tensor, values] of cases.flatMap((one) => [...(one.states ?? [])]))
      backend.put(tensor, values)
    const results: Value[][] = []
    for (const one of cases) results.push(await runCase(backend, one))
    return results
  } finally {
    await backend.dispose()
  }
}

async function runApart(cases: readonly OpCase[], makeBackend: MakeBackend): Promise<Value[][]> {
  const results: Value[][] = []
  for (const one of cases) results.push(...(await runCases([one], makeBackend)))
  return results
}

async function runCase(backend: Backend, one: OpCase): Promise<Value[]> {
  const tape = recordCase(one)
  const plan = backend.compile(tape)
  const results: Value[] = []
  for (const [run, inputs] of one.runs.entries()) {
    await backend.run(plan, inputs)
    for (const { op, outputs } of tape.steps) {
      for (const tensor of outputs.filter((one) => tape.kept.has(one))) {
        const [capacity, columns] = tensor.shape as [number, number]
        const values = backend.read(plan, tensor, Math.min(capacity, inputs.rows))
        results.push({ op: op.name, run, columns, values })
      }
    }
    for (const [tensor] of one.states ?? []) {
      const columns = tensor.shape.at(-1)!
      results.push({ op: tensor.name, run, columns, values: await backend.fetch(tensor) })
    }
  }
  return results
}

/** Records a case with every value kept that it compares. */
export function recordCase(one: OpCase): Tape {
  const tape = createTape(one.capacity)
  one.build(tape)
  const read = new Set(tape.steps.flatMap(({ inputs }) => inputs))
  for (const tensor of tape.steps.flatMap(({ outputs }) => outputs)) {
    if (!one.endsOnly || !read.has(tensor)) keep(tape, tensor)
  }
  return tape
}

function compare(where: string, expected: Value, actual: Value, { relative, absolute = 0 }: Tolerance): void {
  const { columns } = expected
  expect(actual.values.length, where).toBe(expected.values.length)
  for (let from = 0; from < expected.values.length; from += columns) {
    let largest = 0
    for (let i = from; i < from + columns; i++) largest = Math.max(largest, Math.abs(expected.values[i]!))
    const allowed = relative * largest + absolute
    for (let i = from; i < from + columns; i++) {
      const [wanted, got] = [expected.values[i]!, actual.values[i]!]
      if (Number.isFinite(wanted) && Math.abs(wanted - got) <= allowed) continue
      expect.fail(
        `${where}: row ${from / columns}, column ${i - from}: expected ${wanted}, got ${got}, allowed ± ${allowed}`,
      )
    }
  }
}

/** A weight with its stored form. */
export function weight(dtype: Dtype, stored: StoredTensor): readonly [Tensor, StoredTensor] {
  return [persistentTensor('weight', `weight ${stored.encoding} ${dtype}`, stored.shape, dtype), stored]
}

export function cache(slots: number, width: number, dtype: Dtype = 'f32'): Tensor {
  return persistentTensor('cache', 'cache', [slots, width], dtype)
}

/** Something that steps change in place, beginning with these values. */
export function state(
  name: string,
  shape: readonly number[],
  values: Float32Array = new Float32Array(shape.reduce((a, b) => a * b)),
): readonly [Tensor, Float32Array] {
  return [persistentTensor('state', name, shape, 'f32'), values]
}

export interface Input {
  readonly entry: readonly [Tensor, StoredTensor]
  readonly values: Float32Array
  /** The numbers as a value on the tape: row t of a run is row tokens[t]. */
  on(tape: Tape): Tensor
}

/** A table of a test's own numbers; runs take rows of it by token. */
export function input(columns: number, values: Float32Array): Input {
  const entry = weight('f32', storedValues('F32', [values.length / columns, columns], values))
  return { entry, values, on: (tape) => embed(tape, entry[0], 1) }
}

/** A run of `rows` rows: tokens 0, 1, … at positions 0, 1, … of sequence 0, unless told otherwise. */
export function runOf(
  rows: number,
  options: Partial<{
    tokens: readonly number[]
    positions: readonly number[]
    sequences: readonly number[]
    targets: readonly number[]
    sampling: RunInputs['sampling']
  }> = {},
): RunInputs {
  const numbers = (list: readonly number[] | undefined, otherwise: (i: number) => number): Int32Array =>
    Int32Array.from({ length: rows }, (_, i) => list?.[i] ?? otherwise(i))
  return {
    rows,
    tokens: numbers(options.tokens, (i) => i),
    positions: numbers(options.positions, (i) => i),
    sequences: numbers(options.sequences, () => 0),
    targets: numbers(options.targets, () => -1),
    sampling: options.sampling ?? { temperature: 0, topK: 1, topP: 1, uniform: new Float64Array(rows) },
  }
}
