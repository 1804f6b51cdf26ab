// Gradient of the embedding: each row of the table gathers the gradients of the places where its token stood.

import type { BackwardRule } from '../../graph/gradient.ts'
import { expectShape, type Op, record } from '../../graph/tape.ts'
import { float, int, reads, updates, type WasmLowering } from '../lowering.ts'

export const embedTableGradientOp: Op = {
  name: 'embedTableGradient',
  shape(inputs) {
    const [gradient, table] = inputs
    expectShape(gradient!.shape[1] === table!.shape[1], 'embedTableGradient', inputs, 'rows have one length')
    return []
  },
  reference({ inputs, inputTensors, attributes, run }) {
    const width = inputTensors[0]!.shape[1]!
    const scale = attributes.scale as number
    for (let t = 0; t < run.rows; t++) {
      const row = run.tokens[t]! * width
      for (let i = 0; i < width; i++) inputs[1]![row + i]! += scale * inputs[0]![t * width + i]!
    }
  },
}

export const embedBackward: BackwardRule = ({ inputs: [table], attributes }, [gradient], flow) => {
  const accumulator = flow.accumulator(table!)
  if (accumulator)
    record(flow.tape, embedTableGradientOp, [gradient!, accumulator], { scale: attributes.scale })
}

export const embedTableGradientWasm: WasmLowering = ({ inputs: [gradient, table], attributes }, lower) => {
  lower.call('embedTableGradient', [
    reads(gradient!),
    updates(table!),
    int(table!.shape[1]!),
    float(attributes.scale as number),
  ])
}
