// The plain backend: runs a tape step by step by the ops' own definitions, on logical values. Slow, simple,
// and the judge of the others: `compareBackends` names the first step where a backend differs from it.

import type { Dtype } from '../graph/dtype.ts'
import {
  elementCount,
  matrixSize,
  type RunInputs,
  type Tape,
  type Tensor,
  type Values,
} from '../graph/tape.ts'
import type { Encoding, StoredTensor } from '../weights/checkpoint.ts'
import {
  blockSizes,
  decodeRows,
  encodedBytes,
  encodeRows,
  type WritableEncoding,
} from '../weights/encodings.ts'
import type { Backend, Plan } from './backend.ts'
import { narrowRows } from './narrow.ts'

interface ReferencePlan extends Plan {
  readonly values: Map<Tensor, Values>
}

export interface ReferenceBackend extends Backend {
  /** Every value of the last run of a plan, not only the kept ones. */
  valueOf(plan: Plan, tensor: Tensor): Values
  /** The values of a weight, cache or state as they lie here: changes are seen by the next run. */
  held(tensor: Tensor): Values
}

export function createReferenceBackend(options: {
  readonly tensors: readonly Tensor[]
  readonly constants: ReadonlyMap<Tensor, Float32Array>
  /** What everything is held in; default 'f32', as the fast backends do. */
  readonly precision?: 'f32' | 'f64'
}): ReferenceBackend {
  const zeros = (length: number): Values =>
    options.precision === 'f64' ? new Float64Array(length) : new Float32Array(length)
  const held = new Map<Tensor, Values>(options.constants)
  for (const tensor of options.tensors) held.set(tensor, zeros(elementCount(tensor.shape)))

  const find = (plan: Plan, tensor: Tensor): Values => {
    const value = (plan as ReferencePlan).values.get(tensor) ?? held.get(tensor)
    if (!value) throw new Error(`${tensor.name} has no value`)
    return value
  }
  return {
    name: 'reference',
    exactRows: true,
    threads: 1,
    description: 'plain TypeScript',
    async load(tensor, stored, onBytes) {
      const { rows } = matrixSize(stored.shape)
      held.get(tensor)!.set(await logicalValues(tensor, stored))
      onBytes?.(rows * stored.rowBytes)
    },
    compile: (tape: Tape): ReferencePlan => ({ tape, values: new Map() }),
    async run(plan, inputs: RunInputs) {
      const { values } = plan as ReferencePlan
      values.clear()
      for (const { op, inputs: inputTensors, outputs: outputTensors, attributes } of plan.tape.steps) {
        const outputs = outputTensors.map((tensor) => zeros(elementCount(tensor.shape)))
        outputTensors.forEach((tensor, i) => void values.set(tensor, outputs[i]!))
        const stepInputs = inputTensors.map((tensor) => find(plan, tensor))
        op.reference({ inputs: stepInputs, outputs, inputTensors, outputTensors, attributes, run: inputs })
      }
    },
    read: (plan, tensor, rows) => Float32Array.from(find(plan, tensor).subarray(0, rows * tensor.shape[1]!)),
    fetch: async (tensor) => Float32Array.from(held.get(tensor)!),
    put: (tensor, values) => held.get(tensor)!.set(values),
    valueOf: find,
    held: (tensor) => held.get(tensor)!,
    memoryBytes: () => ({
      weights: [...held.values()].reduce((sum, value) => sum + value.byteLength, 0),
      caches: 0,
      scratch: 0,
    }),
    async dispose() {
      held.clear()
    },
  }
}

const ROUNDING: Partial<Record<Dtype, WritableEncoding>> = {
  bf16: 'BF16',
  f16: 'F16',
  int8: 'Q8_0',
  int8row: 'I8',
  int4: 'Q4_0',
}

/** The encoding whose rounding a dtype brings; undefined where the stored values are kept as they are. */
function roundingOf(tensor: Tensor, stored: Encoding): WritableEncoding | undefined {
  const rounding = ROUNDING[tensor.dtype]
  return rounding === stored ? undefined : rounding
}

async function logicalValues(tensor: Tensor, stored: StoredTensor): Promise<Float32Array> {
  const { rows, columns } = matrixSize(stored.shape)
  const bytes = new Uint8Array(rows * stored.rowBytes)
  await stored.readRows(0, bytes)
  let scales: Float32Array | undefined
  if (stored.rowScales) {
    scales = new Float32Array(rows)
    await stored.rowScales.readRows(0, new Uint8Array(scales.buffer))
  }
  const values = new Float32Array(rows * columns)
  decodeRows(stored.encoding, bytes, rows, columns, values, scales)
  if (stored.subtract !== 0) for (let i = 0; i < values.length; i++) values[i]! -= stored.subtract
  const rounding = roundingOf(tensor, stored.encoding)
  return rounding ? rounded(values, columns, rounding, tensor.name) : values
}

/** What loading in a narrower dtype leaves of the values. */
function rounded(
  values: Float32Array,
  columns: number,
  encoding: WritableEncoding,
  name: string,
): Float32Array {
  const rows = values.length / columns
  const block = blockSizes[encoding].values
  const padded = Math.ceil(columns / block) * block
  const encoded = new Uint8Array(rows * encodedBytes(encoding, padded))
  const rowScales = new Float32Array(rows)
  if (encoding === 'Q8_0' || encoding === 'Q4_0' || encoding === 'I8') {
    narrowRows(encoding, { values, rows, columns, padded, name }, encoded, rowScales)
  } else encodeRows(encoding, values, rows, columns, encoded, name, rowScales)
  const wide = new Float32Array(rows * padded)
  decodeRows(encoding, encoded, rows, padded, wide, rowScales)
  return values.map((_, i) => wide[Math.floor(i / columns) * padded + (i % columns)]!)
}

export interface Difference {
  /** Index of the step on the tape, and the name of its op and output. */
  readonly step: number
  readonly op: string
  readonly tensor: string
  readonly largest: number
  readonly at: number
  readonly expected: number
  readonly actual: number
}

/**
 * Compares the values of one run, step by step, and returns the first step where any differs by more than
 * `tolerance` (absolute, or relative to the largest expected magnitude where that is above one). The other
 * backend's plan must have kept every output.
 */
export function firstDifference(
  reference: ReferenceBackend,
  referencePlan: Plan,
  other: Backend,
  otherPlan: Plan,
  rows: number,
  tolerance: number,
): Difference | undefined {
  for (const [step, { op, outputs }] of referencePlan.tape.steps.entries()) {
    for (const tensor of outputs) {
      const valid = Math.min(rows, tensor.shape[0]!)
      const expected = reference.valueOf(referencePlan, tensor).subarray(0, valid * tensor.shape[1]!)
      const actual = other.read(otherPlan, tensor, valid)
      let scale = 1
      for (const value of expected) scale = Math.max(scale, Math.abs(value))
      const worst = largestDifference(expected, actual)
      if (!(worst.largest <= tolerance * scale)) return { step, op: op.name, tensor: tensor.name, ...worst }
    }
  }
  return undefined
}

function largestDifference(
  expected: Values,
  actual: Float32Array,
): Pick<Difference, 'largest' | 'at' | 'expected' | 'actual'> {
  let at = 0
  let largest = 0
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(expected[i]! - actual[i]!)
    if (difference <= largest) continue
    largest = difference
    at = i
    if (Number.isNaN(difference)) break
  }
  return { largest, at, expected: expected[at]!, actual: actual[at]! }
}
