// What a backend offers to the engine: it holds tensors, compiles tapes into plans, runs plans and reads
// values back. Knows no model.

import type { RunInputs, Tape, Tensor } from '../graph/tape.ts'
import type { StoredTensor } from '../weights/checkpoint.ts'
import type { OpenDevice } from './webgpu/device.ts'

/** A tape made ready to run. */
export interface Plan {
  readonly tape: Tape
}

export interface Backend {
  readonly name: string
  /** Workers that share the arithmetic. */
  readonly threads: number
  /** The GPU that it is on: others may be made on it, but only this one may close it. */
  readonly gpu?: OpenDevice
  /** One line for people: what runs where and how. */
  readonly description: string
  /** Whether, with integer weights, a row's values are the same bit for bit whatever rows stand beside it in a run. */
  readonly exactRows: boolean
  /** Fills a weight from a checkpoint; `onBytes` hears of every stretch of stored bytes that is done. */
  load(
    tensor: Tensor,
    stored: StoredTensor,
    onBytes?: (bytes: number) => void,
    signal?: AbortSignal,
  ): Promise<void>
  compile(tape: Tape): Plan
  /** Runs to the end, or throws GemmaError 'aborted'; runs must not overlap. */
  run(plan: Plan, inputs: RunInputs, signal?: AbortSignal): Promise<void>
  /**
   * Where runs can wait in line: starts one and gives its kept values; it may be called again before they are there.
   * `follows`: what the run that was started last has drawn ([1, 2], see ops/sample), which becomes the token of the first
   * row; undefined when that is not to be had any more, and nothing was started.
   */
  start?(
    plan: Plan,
    inputs: RunInputs,
    follows?: Tensor,
  ): Promise<ReadonlyMap<Tensor, Float32Array>> | undefined
  /** A copy of the first `rows` rows of a kept value. */
  read(plan: Plan, tensor: Tensor, rows: number): Float32Array
  /** A copy of the values of a float32 weight or state. */
  fetch(tensor: Tensor): Promise<Float32Array>
  /** Sets the values of a float32 weight or state. */
  put(tensor: Tensor, values: Float32Array): void
  /** Bytes held for weights (with what training keeps beside them), caches and scratch. */
  memoryBytes(): { weights: number; caches: number; scratch: number }
  dispose(): Promise<void>
}

/** Most rows one run may have; longer prompts are taken in parts. */
export const MAX_ROWS = 512
