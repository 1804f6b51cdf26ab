// The gated unit of Gemma's feed-forward layer (Shazeer 2020, arXiv 2002.05202): gelu(gate) · up, with the
// tanh form of GELU (Hendrycks & Gimpel 2016, arXiv 1606.08415), which is what Gemma was trained with even
// where an early configuration says "gelu".

import { expectShape, type Op, record, type Tape, type Tensor, type Values } from '../../graph/tape.ts'
import { int, reads, type WasmLowering, writesOver } from '../lowering.ts'

export const gegluOp: Op = {
  name: 'geglu',
  shape(inputs) {
    const [gate, up] = inputs
    expectShape(gate!.shape[1] === up!.shape[1], 'geglu', inputs, 'gate and up have one shape')
    return [{ shape: gate!.shape, dtype: 'f32' }]
  },
  reference({ inputs, outputs, inputTensors, run }) {
    const [gate, up] = inputs as [Values, Values]
    const count = run.rows * inputTensors[0]!.shape[1]!
    for (let i = 0; i < count; i++) {
      const x = gate[i]!
      const gelu = 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))
      outputs[0]![i] = gelu * up[i]!
    }
  },
}

/** gate, up [rows, width] → gelu(gate) · up */
export function geglu(tape: Tape, gate: Tensor, up: Tensor): Tensor {
  return record(tape, gegluOp, [gate, up])[0]!
}

export const gegluWasm: WasmLowering = ({ inputs: [gate, up], outputs: [out] }, lower) => {
  lower.call('geglu', [reads(gate!), reads(up!), writesOver(gate!, out!), int(gate!.shape[1]!)])
}
