// Dropout (Srivastava et al. 2014, JMLR 15): each value is left out with a probability, the others are scaled up
// so that the mean stays. Which are left out is a hash of the run's seed, the step's own number, the row and the
// column: the backward pass and a recomputed forward pass draw the same, whatever the number of threads.

import { type Op, record, type Tape, type Tensor } from '../../graph/tape.ts'
import { float, int, reads, type WasmLowering, writes } from '../lowering.ts'

export const dropoutOp: Op = {
  name: 'dropout',
  shape: ([x]) => [{ shape: x!.shape, dtype: 'f32' }],
  reference({ inputs, outputs, inputTensors, attributes, run }) {
    const { rate, salt } = attributes as { rate: number; salt: number }
    const width = inputTensors[0]!.shape[1]!
    const seed = mix((run.seed ?? 0) + salt)
    const kept = 1 / (1 - rate)
    for (let i = 0; i < run.rows * width; i++) {
      const left = uniform(seed, i) < rate
      outputs[0]![i] = left ? 0 : inputs[0]![i]! * kept
    }
  },
}

/** A 32-bit finaliser with full avalanche (MurmurHash3, Appleby, public domain). */
export function mix(value: number): number {
  let h = value >>> 0
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/** The i-th number in [0, 1) of a seed: 24 random bits, exact in float32. */
export function uniform(seed: number, i: number): number {
  return (mix((seed + Math.imul(i, 0x9e3779b9)) >>> 0) >>> 8) / 2 ** 24
}

/** x [rows, width] → x with values left out; the place on the tape tells one dropout from another. */
export function dropout(tape: Tape, x: Tensor, rate: number): Tensor {
  return record(tape, dropoutOp, [x], { rate: Math.fround(rate), salt: mix(tape.steps.length) })[0]!
}

export const dropoutWasm: WasmLowering = ({ inputs: [x], outputs: [out], attributes }, lower) => {
  const { rate, salt } = attributes as { rate: number; salt: number }
  lower.call('dropout', [
    reads(x!),
    writes(out!),
    int(x!.shape[1]!),
    float(rate),
    // Words of a program are signed.
    int(salt | 0),
  ])
}
