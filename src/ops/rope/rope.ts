// Rotary position embedding (Su et al. 2021, arXiv 2104.09864) in the half-split layout of Gemma's code:
// element i of the first half of a head turns together with element i of the second half, by the angle
// position · θ^(−2i/headDim). Angles come from a table, made once in float32 as Google's code makes them.

import {
  expectShape,
  matrixSize,
  type Op,
  record,
  type Tape,
  type Tensor,
  type Values,
} from '../../graph/tape.ts'
import { int, reads, type WasmLowering, writes } from '../lowering.ts'

export const ropeOp: Op = {
  name: 'rope',
  shape(inputs) {
    const [x, table] = inputs
    expectShape(
      matrixSize(x!.shape).columns % table!.shape[1]! === 0,
      'rope',
      inputs,
      'the table’s width is one head, and a row holds whole heads',
    )
    return [{ shape: x!.shape, dtype: 'f32' }]
  },
  reference({ inputs, outputs, inputTensors, attributes, run }) {
    const [x, table] = inputs as [Values, Values]
    const turn = attributes.inverse === true ? -1 : 1
    const headDim = inputTensors[1]!.shape[1]!
    const half = headDim / 2
    const { columns } = matrixSize(inputTensors[0]!.shape)
    for (let t = 0; t < run.rows; t++) {
      const angles = run.positions[t]! * headDim
      for (let head = t * columns; head < (t + 1) * columns; head += headDim) {
        for (let i = 0; i < half; i++) {
          const cosine = table[angles + i]!
          const sine = turn * table[angles + half + i]!
          const a = x[head + i]!
          const b = x[head + half + i]!
          outputs[0]![head + i] = a * cosine - b * sine
          outputs[0]![head + half + i] = a * sine + b * cosine
        }
      }
    }
  },
}

/** x [rows, heads · headDim], table [positions, headDim] from ropeTable → rotated x; `inverse`: turned back */
export function rope(tape: Tape, x: Tensor, table: Tensor, inverse = false): Tensor {
  return record(tape, ropeOp, [x, table], { inverse })[0]!
}

/**
 * cos and sin of every angle: [positions, headDim], the first half of a row cosines, the second half sines.
 * `factor` divides the positions (linear scaling of Gemma 3's long contexts). Every intermediate is rounded
 * to float32, as in google/gemma_pytorch: angles of thousands of radians show the difference.
 */
export function ropeTable(positions: number, headDim: number, theta: number, factor = 1): Float32Array {
  const half = headDim / 2
  const table = new Float32Array(positions * headDim)
  for (let i = 0; i < half; i++) {
    const power = Math.fround(Math.fround(theta) ** Math.fround((2 * i) / headDim))
    const frequency = Math.fround(Math.fround(1 / power) / factor)
    for (let p = 0; p < positions; p++) {
      const angle = Math.fround(p * frequency)
      table[p * headDim + i] = Math.cos(angle)
      table[p * headDim + half + i] = Math.sin(angle)
    }
  }
  return table
}

export const ropeWasm: WasmLowering = ({ inputs: [x, table], outputs: [out], attributes }, lower) => {
  const headDim = table!.shape[1]!
  lower.call('rope', [
    reads(x!),
    reads(table!),
    writes(out!),
    int(headDim),
    int(matrixSize(x!.shape).columns / headDim),
    int(attributes.inverse === true ? 1 : 0),
  ])
}
