// The gradient of the embedding on the GPU. Of the rows with one token the first gathers for all, in their order: no sum
// depends on which invocation comes first.

import { elementwise, type WebGpuLoweringRule } from '../lowering-webgpu.ts'
import { kernel } from '../wgsl/kernel.ts'

const embedGradientKernel = kernel('embed gradient', {
  reads: { gradient: 'f32' },
  writes: { table: 'f32' },
  numbers: { columns: 'u32', first: 'u32', count: 'u32', scale: 'f32' },
  size: 64,
  main: /* wgsl */ `
  if (id.x >= numbers.columns || id.y >= run.rows) { return; }
  let token = runRows[id.y].token;
  // Of a token before the piece this is a very large number.
  let row = u32(token) - numbers.first;
  if (row >= numbers.count) { return; }
  for (var t = 0u; t < id.y; t++) {
    if (runRows[t].token == token) { return; }
  }
  var sum = 0.0;
  for (var t = id.y; t < run.rows; t++) {
    if (runRows[t].token == token) { sum += gradient[t * numbers.columns + id.x]; }
  }
  table[row * numbers.columns + id.x] += numbers.scale * sum;
`,
})

export const embedTableGradientWebGpu: WebGpuLoweringRule = (
  { inputs: [gradient, table], attributes },
  lower,
) => {
  const columns = table!.shape[1]!
  for (const piece of lower.pieces(table!)) {
    const numbers = { columns, first: piece.first, count: piece.rows, scale: attributes.scale as number }
    const bindings = { gradient: gradient!, table: { piece, part: 'data' as const } }
    lower.dispatch(embedGradientKernel, bindings, numbers, elementwise(columns))
  }
}
