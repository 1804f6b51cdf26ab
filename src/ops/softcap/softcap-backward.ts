// Gradient of y = c · tanh(x / c): dx = dy · (1 − (y / c)²).

import type { BackwardRule } from '../../graph/gradient.ts'
import { type Op, record } from '../../graph/tape.ts'
import { float, int, reads, type WasmLowering, writes } from '../lowering.ts'

/** inputs y, gradient [rows, width] → gradient of x */
export const softcapGradientOp: Op = {
  name: 'softcapGradient',
  shape: ([y]) => [{ shape: y!.shape, dtype: 'f32' }],
  reference({ inputs, outputs, inputTensors, attributes, run }) {
    const cap = attributes.cap as number
    const count = run.rows * inputTensors[0]!.shape[1]!
    for (let i = 0; i < count; i++) outputs[0]![i] = inputs[1]![i]! * (1 - (inputs[0]![i]! / cap) ** 2)
  },
}

export const softcapBackward: BackwardRule = (
  { inputs: [x], outputs: [y], attributes },
  [gradient],
  flow,
) => {
  flow.give(x!, record(flow.tape, softcapGradientOp, [y!, gradient!], attributes)[0]!)
}

export const softcapGradientWasm: WasmLowering = ({ inputs: [y, gradient], outputs, attributes }, lower) => {
  lower.call('softcapGradient', [
    reads(y!),
    reads(gradient!),
    writes(outputs[0]!),
    int(y!.shape[1]!),
    float(attributes.cap as number),
  ])
}
