// Rounding to 8 bits in blocks of 32 on the GPU, as linear.ts defines it.

import { BLOCK } from '../../graph/dtype.ts'
import { matrixSize, type Tensor } from '../../graph/tape.ts'
import type { ScratchBuffer } from '../lowering.ts'
import type { WebGpuLowering } from '../lowering-webgpu.ts'
import { kernel } from '../wgsl/kernel.ts'

/** Functions over an array of f32: the largest magnitude of a block, and its values rounded, four to a word. */
export const ROUND_BLOCK = (array: string): string => /* wgsl */ `
fn largestIn(at: u32, count: u32) -> f32 {
  var largest = 0.0;
  for (var i = 0u; i < count; i++) { largest = max(largest, abs(${array}[at + i])); }
  return largest;
}
// A block with nothing larger counts as zero: the inverse of its scale would overflow.
fn inverseOf(largest: f32) -> f32 { return select(0.0, 127.0 / max(largest, 1e-30), largest > 1e-30); }
fn roundedWord(at: u32, count: u32, word: u32, inverse: f32) -> u32 {
  var bytes = 0u;
  for (var j = 0u; j < 4u; j++) {
    let i = 4u * word + j;
    if (i < count) { bytes |= (bitcast<u32>(i32(round(${array}[at + i] * inverse))) & 255u) << (8u * j); }
  }
  return bytes;
}`

const quantizeKernel = kernel('quantize', {
  reads: { x: 'f32' },
  writes: { data: 'u32', scales: 'vec2f' },
  numbers: { rows: 'u32', columns: 'u32' },
  size: 64,
  functions: [ROUND_BLOCK('x')],
  main: /* wgsl */ `
  let blocks = (numbers.columns + 31u) / 32u;
  if (id.x >= blocks || id.y >= min(numbers.rows, run.rows)) { return; }
  let at = id.y * numbers.columns + 32u * id.x;
  let count = min(32u, numbers.columns - 32u * id.x);
  let largest = largestIn(at, count);
  let inverse = inverseOf(largest);
  let block = id.y * blocks + id.x;
  var sum = 0;
  for (var word = 0u; word < 8u; word++) {
    let bytes = roundedWord(at, count, word, inverse);
    sum += dot4I8Packed(bytes, 0x01010101u);
    data[block * 8u + word] = bytes;
  }
  let scale = largest / 127.0;
  scales[block] = vec2f(scale, scale * f32(sum));
`,
})

/** Rounded rows: eight words to a block; beside them for each block its scale, and the scale times the sum of its integers. */
export interface RoundedRows {
  readonly data: ScratchBuffer
  readonly scales: ScratchBuffer
}

/** Rounds x once for all the products that read it. */
export function rounded(x: Tensor, lower: WebGpuLowering): RoundedRows {
  return lower.shared(`rounded ${x.id}`, () => {
    const { rows, columns } = matrixSize(x.shape)
    const blocks = Math.ceil(columns / BLOCK)
    const made = { data: lower.scratch(rows * blocks * BLOCK), scales: lower.scratch(rows * blocks * 8) }
    lower.dispatch(quantizeKernel, { x, ...made }, { rows, columns }, (valid) => [
      Math.ceil(blocks / 64),
      Math.min(rows, valid),
      1,
    ])
    return made
  })
}
