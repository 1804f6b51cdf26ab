// Keeps values within ±cap smoothly: cap · tanh(x / cap) (Gemma 2 report, arXiv 2408.00118, §2).

import { type Op, record, type Tape, type Tensor } from '../../graph/tape.ts'
import { float, int, reads, type WasmLowering, writes } from '../lowering.ts'

export const softcapOp: Op = {
  name: 'softcap',
  shape: ([x]) => [{ shape: x!.shape, dtype: 'f32' }],
  reference({ inputs, outputs, inputTensors, outputTensors, attributes, run }) {
    const cap = attributes.cap as number
    const count = Math.min(run.rows, outputTensors[0]!.shape[0]!) * inputTensors[0]!.shape[1]!
    for (let i = 0; i < count; i++) outputs[0]![i] = cap * Math.tanh(inputs[0]![i]! / cap)
  },
}

/** x [rows, width] → cap · tanh(x / cap) */
export function softcap(tape: Tape, x: Tensor, cap: number): Tensor {
  return record(tape, softcapOp, [x], { cap })[0]!
}

export const softcapWasm: WasmLowering = ({ inputs: [x], outputs: [out], attributes }, lower) => {
  lower.call('softcap', [
    reads(x!),
    writes(out!),
    int(x!.shape[0]!),
    int(x!.shape[1]!),
    float(attributes.cap as number),
  ])
}
