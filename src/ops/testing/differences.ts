// Judges gradients by differences: runs a tape on the reference in float64, moves each value of each tensor that is
// learned a little to both sides, and compares what the loss does with what the way back says. Knows no op.

import { expect } from 'vitest'
import { createReferenceBackend, type ReferenceBackend } from '../../backends/reference.ts'
import { createBackward, removeUnused } from '../../graph/gradient.ts'
import {
  createTape,
  elementCount,
  persistentTensor,
  type RunInputs,
  type Tape,
  type Tensor,
} from '../../graph/tape.ts'
import { add } from '../add/add.ts'
import { backwardRules } from '../gradients.ts'
import { exactStep } from '../linear/linear-backward.ts'
import type { OpCase } from './harness.ts'
import { normals, seeded, storedValues } from './stored.ts'

export type Numbers = readonly (readonly [Tensor, ArrayLike<number>])[]

export interface Learning {
  /** Adapters of the tape. */
  readonly adapters?: Tape['adapters']
  readonly learned: Numbers
  /** Weights that stay as they are, and constants. */
  readonly fixed?: Numbers
  /** A loss is the sum of the output's values, each by a factor of its own. */
  readonly build: (tape: Tape) => Tensor
  readonly run: RunInputs
  /** Rows the tape is recorded for, where they are more than those of the run. */
  readonly capacity?: number
}

export interface LearningTape {
  readonly tape: Tape
  /** The gradient of each learned tensor, [as the tensor]. */
  readonly accumulators: ReadonlyMap<Tensor, Tensor>
  /** The factors of the output's values: its gradient. */
  readonly factors: readonly [Tensor, Float32Array]
}

/** Forward and backward steps in one; `checkpointing`: all forward steps once more before the way back. */
export function recordLearning(
  one: Learning,
  { checkpointing = false }: { readonly checkpointing?: boolean } = {},
): LearningTape {
  const tape = createTape(one.capacity ?? one.run.rows, one.adapters)
  const output = one.build(tape)
  tape.steps.splice(0, tape.steps.length, ...tape.steps.map(exactStep))
  const accumulators = new Map(
    one.learned.map(([tensor]) => [
      tensor,
      persistentTensor('state', `gradient of ${tensor.name}`, tensor.shape, 'f32'),
    ]),
  )
  const factors = persistentTensor('constant', 'factors', output.shape, 'f32')
  const numbers = normals(output.shape[0]! * output.shape[1]!, 99)
  const flow = createBackward(tape, { rules: backwardRules, accumulators, sum: add })
  const forward = [...tape.steps]
  flow.follow(forward)
  flow.give(output, factors)
  flow.through(checkpointing ? flow.again(forward) : forward)
  return { tape, accumulators, factors: [factors, numbers] }
}

/** Gradients of every learned tensor by the way back, in float64. */
export async function gradientsOf(
  one: Learning,
  options: { readonly checkpointing?: boolean } = {},
): Promise<ReadonlyMap<Tensor, Float64Array>> {
  const { tape, accumulators, factors } = recordLearning(one, options)
  removeUnused(tape)
  const backend = hold(one, [...accumulators.values()], [factors])
  await backend.run(backend.compile(tape), one.run)
  return new Map([...accumulators].map(([tensor, at]) => [tensor, backend.held(at) as Float64Array]))
}

export interface Closeness {
  /** Relative to the largest gradient of the tensor; default 1e-6. */
  readonly relative?: number
  /** Of a tensor with more values than this, so many are examined. */
  readonly most?: number
  /** Whether the loss may depend on a learned tensor not at all. */
  readonly idle?: boolean
}

/** Expects every gradient to be what differences of the loss say. */
export async function expectDifferences(one: Learning, closeness: Closeness = {}): Promise<void> {
  const tape = createTape(one.capacity ?? one.run.rows, one.adapters)
  const output = one.build(tape)
  tape.steps.splice(0, tape.steps.length, ...tape.steps.map(exactStep))
  const numbers = normals(output.shape[0]! * output.shape[1]!, 99)
  const backend = hold(one)
  const plan = backend.compile(tape)
  const loss = async (): Promise<number> => {
    await backend.run(plan, one.run)
    const values = backend.valueOf(plan, output)
    let sum = 0
    for (let i = 0; i < one.run.rows * output.shape[1]!; i++) sum += numbers[i]! * values[i]!
    return sum
  }
  await expectSlopes(one.learned, await gradientsOf(one), backend, loss, closeness)
}

/** Expects gradients to be the slopes of a loss that is computed from what the backend holds. */
export async function expectSlopes(
  learned: Numbers,
  gradients: ReadonlyMap<Tensor, ArrayLike<number>>,
  backend: ReferenceBackend,
  loss: () => Promise<number>,
  { relative = 1e-6, most = 400, idle = false }: Closeness = {},
): Promise<void> {
  for (const [tensor] of learned) {
    const values = backend.held(tensor)
    const actual = gradients.get(tensor)!
    const slopes = new Map<number, number>()
    for (const i of places(values.length, most)) slopes.set(i, await slope(values, i, loss))
    let largest = 0
    for (const wanted of slopes.values()) largest = Math.max(largest, Math.abs(wanted))
    // A loss that does not move would agree with anything that forgets it.
    if (!idle) expect(largest, `slopes of ${tensor.name}`).toBeGreaterThan(1e-6)
    for (const [i, wanted] of slopes) {
      const where = `${tensor.name}[${i}]: differences say ${wanted}, the way back ${actual[i]}`
      expect(Math.abs(actual[i]! - wanted), where).toBeLessThanOrEqual(relative * largest + 1e-10)
    }
  }
}

/** (8 (f(+h) − f(−h)) − (f(+2h) − f(−2h))) / 12h: wrong by the fourth power of h. */
async function slope(
  values: { [i: number]: number },
  i: number,
  loss: () => Promise<number>,
): Promise<number> {
  const before = values[i]!
  const h = 1e-3
  const at = async (shift: number): Promise<number> => {
    values[i] = before + shift
    return await loss()
  }
  const near = (await at(h)) - (await at(-h))
  const far = (await at(2 * h)) - (await at(-2 * h))
  values[i] = before
  return (8 * near - far) / (12 * h)
}

function places(length: number, most: number): number[] {
  if (length <= most) return [...Array(length).keys()]
  const random = seeded(length)
  return Array.from({ length: most }, () => Math.floor(random() * length))
}

/** A reference in float64 that holds everything a test names. */
function hold(one: Learning, states: readonly Tensor[] = [], more: Numbers = []): ReferenceBackend {
  const all = [...one.learned, ...(one.fixed ?? []), ...more]
  const tensors = [...all.map(([tensor]) => tensor), ...states]
  const backend = createReferenceBackend({ tensors, constants: new Map(), precision: 'f64' })
  for (const [tensor, values] of all) backend.held(tensor).set(values)
  return backend
}

/** The same as a case of the harness: every value and every gradient, on the kernels and on the reference. */
export function learningCase(
  name: string,
  one: Learning,
  options: { readonly checkpointing?: boolean } = {},
): OpCase {
  const { tape: recorded, accumulators, factors } = recordLearning(one, options)
  const held = [...one.learned, ...(one.fixed ?? [])]
  const isConstant = ([{ role }]: Numbers[number]): boolean => role === 'constant'
  const weights = held.filter((entry) => !isConstant(entry))
  const constants = held
    .filter(isConstant)
    .map(([tensor, values]) => [tensor, Float32Array.from(values)] as const)
  return {
    name: options.checkpointing ? `${name}, recomputed` : name,
    capacity: recorded.rows,
    training: true,
    weights: weights.map(([tensor, values]) => [
      tensor,
      storedValues('F32', tensor.shape, Float32Array.from(values)),
    ]),
    constants: new Map([...constants, factors]),
    states: [...accumulators.values()].map((tensor) => [
      tensor,
      new Float32Array(elementCount(tensor.shape)),
    ]),
    build: (tape) => void tape.steps.push(...recorded.steps),
    runs: [one.run],
    tolerance: { relative: 2e-5, absolute: 2e-5 },
  }
}

/** Numbers for a weight. */
export function numbers(
  name: string,
  shape: readonly number[],
  seed: number,
  deviation = 1,
): readonly [Tensor, Float32Array] {
  const values = normals(
    shape.reduce((a, b) => a * b),
    seed,
    deviation,
  )
  return [persistentTensor('weight', name, shape, 'f32'), values]
}

/** Positions of documents of these lengths, one after the other. */
export function positionsOf(documents: readonly number[]): number[] {
  return documents.flatMap((length) => [...Array(length).keys()])
}
