// Calling a model function on a tape checks shapes and records steps; no arithmetic happens. A backend
// turns the recorded steps into a plan and replays it. The tape knows no op by name and no backend.

import type { Dtype } from './dtype.ts'

/**
 * - value: made by a step, lives while later steps need it
 * - weight, cache, constant: live as long as the backend
 * - state: float32 that training keeps beside a weight (its gradient, the optimiser's moments); steps change it
 */
export type Role = 'value' | 'weight' | 'cache' | 'constant' | 'state'

export interface Tensor {
  readonly id: number
  readonly role: Role
  /** [rows, columns] or [columns]; rows of values are a capacity, the valid count comes with each run. */
  readonly shape: readonly number[]
  readonly dtype: Dtype
  readonly name: string
}

export type Attributes = Readonly<Record<string, number | string | boolean | undefined>>

export interface TensorSpec {
  readonly shape: readonly number[]
  readonly dtype: Dtype
}

/** float32 as the fast backends hold them; float64 where the reference itself is examined. */
export type Values = Float32Array | Float64Array

/** What the reference sees of one step: logical values, whatever the dtype (packed weights are decoded). */
export interface ReferenceStep {
  readonly inputs: readonly Values[]
  readonly outputs: readonly Values[]
  readonly inputTensors: readonly Tensor[]
  readonly outputTensors: readonly Tensor[]
  readonly attributes: Attributes
  readonly run: RunInputs
}

/** What changes from run to run. Row i is one token: its id, its position, and the sequence it belongs to. */
export interface RunInputs {
  /** Valid rows, at most the capacity the plan was recorded for. */
  readonly rows: number
  readonly tokens: Int32Array
  readonly positions: Int32Array
  /** Index of the cache each row reads and writes. */
  readonly sequences: Int32Array
  /** For scoring: the token each row should predict; −1 where there is none. */
  readonly targets: Int32Array
  readonly sampling: SamplingInputs
  /** For training: what each row's −log p(target) counts in the loss; rows without a target count nothing. */
  readonly weights?: Float32Array
  /** For training: what random numbers (dropout) are drawn from, a 32-bit integer. */
  readonly seed?: number
  /** For training: numbers of the optimiser's step, at most MOST_SCALARS; their order is the op's matter. */
  readonly scalars?: Float32Array
}

export const MOST_SCALARS = 16

export interface SamplingInputs {
  /** 0 means the most likely token. */
  readonly temperature: number
  readonly topK: number
  readonly topP: number
  /** One uniform number in [0, 1) per row. */
  readonly uniform: Float64Array
}

/** One operation: its shape rule, its meaning in plain TypeScript, and how the WebAssembly backend calls it. */
export interface Op {
  readonly name: string
  /** The outputs' shapes; throws an Error (a fault of the caller in this library) when the inputs do not fit. */
  shape(inputs: readonly Tensor[], attributes: Attributes): readonly TensorSpec[]
  /** The definition of the op: plain arithmetic, no cleverness. */
  reference(step: ReferenceStep): void
}

export interface Step {
  readonly op: Op
  readonly inputs: readonly Tensor[]
  readonly outputs: readonly Tensor[]
  readonly attributes: Attributes
}

/** A low-rank addition to a matrix: x · Wᵀ + scale · dropout(x) · Aᵀ · Bᵀ (Hu et al. 2021, arXiv 2106.09685). */
export interface Adapter {
  /** A: [rank, columns of the weight] */
  readonly down: Tensor
  /** B: [rows of the weight, rank] */
  readonly up: Tensor
  readonly scale: number
  /** Probability with which a value of x is left out; 0 outside training. */
  readonly dropout: number
}

/** The adapters of a tape by the weight they add to. */
export type Adapters = ReadonlyMap<Tensor, Adapter>

export interface Tape {
  /** Capacity of rows this tape is recorded for. */
  readonly rows: number
  readonly adapters: Adapters
  readonly steps: Step[]
  /** Values that must be readable after the run. */
  readonly kept: Set<Tensor>
}

let nextTensorId = 1

/** A tensor that lives outside tapes: weights, caches, constants. */
export function persistentTensor(
  role: Exclude<Role, 'value'>,
  name: string,
  shape: readonly number[],
  dtype: Dtype,
): Tensor {
  return { id: nextTensorId++, role, shape, dtype, name }
}

const NO_ADAPTERS: Adapters = new Map()

export function createTape(rows: number, adapters: Adapters = NO_ADAPTERS): Tape {
  return { rows, adapters, steps: [], kept: new Set() }
}

/** Records one step and returns its outputs. */
export function record(
  tape: Tape,
  op: Op,
  inputs: readonly Tensor[],
  attributes: Attributes = {},
): readonly Tensor[] {
  const outputs = op.shape(inputs, attributes).map(
    (spec, index): Tensor => ({
      id: nextTensorId++,
      role: 'value',
      shape: spec.shape,
      dtype: spec.dtype,
      name: `${tape.steps.length}.${op.name}${index === 0 ? '' : `.${index}`}`,
    }),
  )
  tape.steps.push({ op, inputs, outputs, attributes })
  return outputs
}

/** Marks a value as readable after the run. */
export function keep(tape: Tape, tensor: Tensor): Tensor {
  tape.kept.add(tensor)
  return tensor
}

export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1)
}

/** Rows and columns of a matrix; a vector is one row. */
export function matrixSize(shape: readonly number[]): { rows: number; columns: number } {
  const columns = shape[shape.length - 1]!
  return { rows: elementCount(shape) / columns, columns }
}

/** For shape rules: throws with the op's name when a condition on the inputs does not hold. */
export function expectShape(condition: boolean, op: string, inputs: readonly Tensor[], rule: string): void {
  if (condition) return
  const shapes = inputs.map((tensor) => `${tensor.name} [${tensor.shape.join(', ')}]`).join(', ')
  throw new Error(`${op}: ${rule}; the inputs are ${shapes}`)
}
