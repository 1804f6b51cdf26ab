// Root-mean-square normalisation (Zhang & Sennrich 2019, arXiv 1910.07467) with Gemma's gain of 1 + w:
// y = x / √(mean(x²) + ε) · (1 + w). When the weight is shorter than a row, each group of that length is
// normalised by itself (Gemma 3 normalises queries and keys per head).

import {
  expectShape,
  matrixSize,
  type Op,
  record,
  type Tape,
  type Tensor,
  type Values,
} from '../../graph/tape.ts'
import { float, int, reads, type WasmLowering, writes } from '../lowering.ts'

export const rmsNormOp: Op = {
  name: 'rmsNorm',
  shape(inputs) {
    const [x, weight] = inputs
    const { columns } = matrixSize(x!.shape)
    const width = weight!.shape[0]!
    expectShape(
      weight!.shape.length === 1 && columns % width === 0,
      'rmsNorm',
      inputs,
      'the weight’s length divides the row length',
    )
    return [{ shape: x!.shape, dtype: 'f32' }]
  },
  reference({ inputs, outputs, inputTensors, attributes, run }) {
    const [x, weight] = inputs as [Values, Values]
    const width = inputTensors[1]!.shape[0]!
    const groups = (run.rows * matrixSize(inputTensors[0]!.shape).columns) / width
    for (let g = 0; g < groups; g++) {
      let squares = 0
      for (let i = 0; i < width; i++) squares += x[g * width + i]! ** 2
      const factor = 1 / Math.sqrt(squares / width + (attributes.epsilon as number))
      for (let i = 0; i < width; i++)
        outputs[0]![g * width + i] = x[g * width + i]! * factor * (1 + weight[i]!)
    }
  },
}

/** x [rows, n · width], weight [width] → [rows, n · width] */
export function rmsNorm(tape: Tape, x: Tensor, weight: Tensor, epsilon: number): Tensor {
  return record(tape, rmsNormOp, [x, weight], { epsilon })[0]!
}

export const rmsNormWasm: WasmLowering = ({ inputs: [x, weight], outputs: [out], attributes }, lower) => {
  const width = weight!.shape[0]!
  lower.call('rmsNorm', [
    reads(x!),
    reads(weight!),
    writes(out!),
    int(width),
    int(matrixSize(x!.shape).columns / width),
    float(attributes.epsilon as number),
  ])
}
