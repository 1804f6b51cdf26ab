// Elementwise sum: the residual connections.

import { expectShape, type Op, record, type Tape, type Tensor } from '../../graph/tape.ts'
import { int, reads, type WasmLowering, writes } from '../lowering.ts'

export const addOp: Op = {
  name: 'add',
  shape(inputs) {
    const [a, b] = inputs
    expectShape(a!.shape[1] === b!.shape[1], 'add', inputs, 'both have one shape')
    return [{ shape: a!.shape, dtype: 'f32' }]
  },
  reference({ inputs, outputs, inputTensors, run }) {
    const count = run.rows * inputTensors[0]!.shape[1]!
    for (let i = 0; i < count; i++) outputs[0]![i] = inputs[0]![i]! + inputs[1]![i]!
  },
}

/** a, b [rows, width] → a + b */
export function add(tape: Tape, a: Tensor, b: Tensor): Tensor {
  return record(tape, addOp, [a, b])[0]!
}

export const addWasm: WasmLowering = ({ inputs: [a, b], outputs: [out] }, lower) => {
  lower.call('add', [reads(a!), reads(b!), writes(out!), int(a!.shape[1]!)])
}
