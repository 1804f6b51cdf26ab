// Rounding to 8 bits in blocks of 32 on the GPU, as linear.ts defines it.

import { BLOCK, isPacked } from '../../graph/dtype.ts'
import { matrixSize, type Tensor } from '../../graph/tape.ts'
import type { ScratchBuffer } from '../lowering.ts'
import type { WebGpuLowering } from '../lowering-webgpu.ts'
import { kernel } from '../wgsl/kernel.ts'
import { linearOp } from './linear.ts'

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

/** fn roundBlock: the block of `count` values at `at` of an array goes to data and scales, as quantize writes them. */
export const ROUND_TO = (array: string): string => /* wgsl */ `${ROUND_BLOCK(array)}
fn roundBlock(at: u32, count: u32, block: u32) {
  let largest = largestIn(at, count);
  let inverse = inverseOf(largest);
  var sum = 0;
  for (var word = 0u; word < 8u; word++) {
    let bytes = roundedWord(at, count, word, inverse);
    sum += dot4I8Packed(bytes, 0x01010101u);
    data[block * 8u + word] = bytes;
  }
  let scale = largest / 127.0;
  scales[block] = vec2f(scale, scale * f32(sum));
}`

/** The buffers that roundBlock writes, as a kernel declares them. */
export const ROUNDED_WRITES = { data: 'u32', scales: 'vec2f' } as const

const quantizeKernel = kernel('quantize', {
  reads: { x: 'f32' },
  writes: ROUNDED_WRITES,
  numbers: { rows: 'u32', columns: 'u32' },
  size: 64,
  functions: [ROUND_TO('x')],
  main: /* wgsl */ `
  let blocks = (numbers.columns + 31u) / 32u;
  if (id.x >= blocks || id.y >= min(numbers.rows, run.rows)) { return; }
  let count = min(32u, numbers.columns - 32u * id.x);
  roundBlock(id.y * numbers.columns + 32u * id.x, count, id.y * blocks + id.x);
`,
})

/** Rounded rows: eight words to a block; beside them for each block its scale, and the scale times the sum of its integers. */
export interface RoundedRows {
  readonly data: ScratchBuffer
  readonly scales: ScratchBuffer
}

/** Rounds x once for all the products that read it, unless the kernel that made x has done it. */
export function rounded(x: Tensor, lower: WebGpuLowering): RoundedRows {
  return lower.shared(keyOf(x), () => {
    const { rows, columns } = matrixSize(x.shape)
    const made = scratchFor(x, lower)
    lower.dispatch(quantizeKernel, { x, ...made }, { rows, columns }, (valid) => [
      Math.ceil(columns / BLOCK / 64),
      Math.min(rows, valid),
      1,
    ])
    return made
  })
}

/**
 * For the kernel that makes x: the buffers into which it also rounds it, where products with packed weights will read it;
 * else nothing.
 */
export function roundsToo(x: Tensor, lower: WebGpuLowering): RoundedRows | undefined {
  const wanted = lower
    .readersOf(x)
    .some(({ op, inputs }) => op === linearOp && inputs[0] === x && isPacked(inputs[1]!.dtype))
  return wanted ? lower.shared(keyOf(x), () => scratchFor(x, lower)) : undefined
}

function keyOf(x: Tensor): string {
  return `rounded ${x.id}`
}

function scratchFor(x: Tensor, lower: WebGpuLowering): RoundedRows {
  const { rows, columns } = matrixSize(x.shape)
  const blocks = Math.ceil(columns / BLOCK)
  return { data: lower.scratch(rows * blocks * BLOCK), scales: lower.scratch(rows * blocks * 8) }
}
