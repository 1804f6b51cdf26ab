// Elementwise sum, the second part by a factor: residual connections, adapters, sums of gradients.

import { expectShape, type Op, record, type Tape, type Tensor } from '../../graph/tape.ts'
import { float, int, reads, type WasmLowering, writes } from '../lowering.ts'

export const addOp: Op = {
  name: 'add',
  shape(inputs) {
    const [a, b] = inputs
    expectShape(a!.shape[1] === b!.shape[1], 'add', inputs, 'both have one shape')
    return [{ shape: a!.shape, dtype: 'f32' }]
  },
  reference({ inputs, outputs, inputTensors, attributes, run }) {
    const scale = attributes.scale as number
    const count = Math.min(run.rows, inputTensors[0]!.shape[0]!) * inputTensors[0]!.shape[1]!
    for (let i = 0; i < count; i++) outputs[0]![i] = inputs[0]![i]! + scale * inputs[1]![i]!
  },
}

/** a, b [rows, width] → a + scale · b */
export function add(tape: Tape, a: Tensor, b: Tensor, scale = 1): Tensor {
  return record(tape, addOp, [a, b], { scale })[0]!
}

export const addWasm: WasmLowering = ({ inputs: [a, b], outputs: [out], attributes }, lower) => {
  const { scale } = attributes as { scale: number }
  lower.call('add', [reads(a!), reads(b!), writes(out!), int(a!.shape[0]!), int(a!.shape[1]!), float(scale)])
}
