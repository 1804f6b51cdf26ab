// Gradients of a + s · b: the gradient itself for a, s times it for b.

import type { BackwardRule } from '../../graph/gradient.ts'
import { type Op, record } from '../../graph/tape.ts'
import { float, int, reads, type WasmLowering, writes } from '../lowering.ts'

/** input x [rows, width] → s · x */
export const scaleOp: Op = {
  name: 'scale',
  shape: ([x]) => [{ shape: x!.shape, dtype: 'f32' }],
  reference({ inputs, outputs, inputTensors, attributes, run }) {
    const scale = attributes.scale as number
    const count = run.rows * inputTensors[0]!.shape[1]!
    for (let i = 0; i < count; i++) outputs[0]![i] = scale * inputs[0]![i]!
  },
}

export const addBackward: BackwardRule = ({ inputs: [a, b], attributes }, [gradient], flow) => {
  flow.give(a!, gradient!)
  if (!flow.wants(b!)) return
  const { scale } = attributes as { scale: number }
  flow.give(b!, scale === 1 ? gradient! : record(flow.tape, scaleOp, [gradient!], { scale })[0]!)
}

export const scaleWasm: WasmLowering = ({ inputs: [x], outputs: [out], attributes }, lower) => {
  lower.call('scale', [reads(x!), writes(out!), int(x!.shape[1]!), float(attributes.scale as number)])
}
