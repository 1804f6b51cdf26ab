// Rows of the embedding on the GPU. The table may lie in several pieces; each has a dispatch that fills the rows of its tokens.

import { matrixSize } from '../../graph/tape.ts'
import { elementwise, type WebGpuLoweringRule } from '../lowering-webgpu.ts'
import { kernel, kernelOf } from '../wgsl/kernel.ts'
import { decoder, partsOf, type WeightDtype } from '../wgsl/weight.ts'

const embedKernel = kernelOf((dtype: WeightDtype) =>
  kernel(`embed ${dtype}`, {
    reads: { weight: 'u32', scales: 'u32', minima: 'u32' },
    writes: { out: 'f32' },
    numbers: { columns: 'u32', first: 'u32', count: 'u32', above: 'u32', scale: 'f32' },
    size: 64,
    functions: [decoder(dtype)],
    main: /* wgsl */ `
  if (id.x >= numbers.columns || id.y >= run.rows) { return; }
  // Of a token before the piece this is a very large number.
  let row = u32(runRows[id.y].token) - numbers.first;
  if (row >= numbers.count) { return; }
  out[id.y * numbers.columns + id.x] = decode(numbers.above + row, id.x) * numbers.scale;
`,
  }),
)

export const embedWebGpu: WebGpuLoweringRule = ({ inputs: [table], outputs: [out], attributes }, lower) => {
  const { columns } = matrixSize(table!.shape)
  const { scale } = attributes as { scale: number }
  for (const piece of lower.pieces(table!)) {
    const numbers = { columns, first: piece.first, count: piece.rows, above: piece.above, scale }
    lower.dispatch(
      embedKernel(table!.dtype as WeightDtype),
      { ...partsOf(piece), out: out! },
      numbers,
      elementwise(columns),
    )
  }
}
