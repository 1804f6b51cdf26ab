// The last valid row alone: the output head of a prompt needs no other, and the head is the widest product.

import { type Op, record, type Tape, type Tensor } from '../../graph/tape.ts'
import { int, reads, type WasmLowering, writes } from '../lowering.ts'

export const lastOp: Op = {
  name: 'last',
  shape: ([x]) => [{ shape: [1, x!.shape[1]!], dtype: 'f32' }],
  reference({ inputs, outputs, inputTensors, run }) {
    const width = inputTensors[0]!.shape[1]!
    outputs[0]!.set(inputs[0]!.subarray((run.rows - 1) * width, run.rows * width))
  },
}

/** x [rows, width] → [1, width] */
export function last(tape: Tape, x: Tensor): Tensor {
  return record(tape, lastOp, [x])[0]!
}

export const lastWasm: WasmLowering = ({ inputs: [x], outputs: [out] }, lower) => {
  lower.call('last', [reads(x!), writes(out!), int(x!.shape[1]!)])
}
