// Looks up one row of the embedding per token and scales it. Gemma scales by √hiddenSize (report, §2).

import { DTYPE_CODE, layoutOf } from '../../graph/dtype.ts'
import { expectShape, matrixSize, type Op, record, type Tape, type Tensor } from '../../graph/tape.ts'
import { float, int, packingOrder, reads, type WasmLowering, writes } from '../lowering.ts'

export const embedOp: Op = {
  name: 'embed',
  shape(inputs, { rows }) {
    const [table] = inputs
    expectShape(table!.shape.length === 2, 'embed', inputs, 'the table is a matrix [vocabulary, width]')
    return [{ shape: [rows as number, table!.shape[1]!], dtype: 'f32' }]
  },
  reference({ inputs, outputs, inputTensors, attributes, run }) {
    const width = inputTensors[0]!.shape[1]!
    const scale = attributes.scale as number
    for (let t = 0; t < run.rows; t++) {
      const row = run.tokens[t]! * width
      for (let i = 0; i < width; i++) outputs[0]![t * width + i] = inputs[0]![row + i]! * scale
    }
  },
}

/** [rows, width] = table[tokens] · scale */
export function embed(tape: Tape, table: Tensor, scale: number): Tensor {
  return record(tape, embedOp, [table], { rows: tape.rows, scale: Math.fround(scale) })[0]!
}

export const embedWasm: WasmLowering = ({ inputs: [table], outputs: [out], attributes }, lower) => {
  const { rows, columns } = matrixSize(table!.shape)
  const { scales, minima } = layoutOf(table!.dtype, rows, columns)
  lower.call('embed', [
    reads(table!),
    reads(table!, scales),
    reads(table!, minima),
    writes(out!),
    int(DTYPE_CODE[table!.dtype]),
    int(columns),
    float(attributes.scale as number),
    int(packingOrder(table!.dtype, lower.integers)),
  ])
}
