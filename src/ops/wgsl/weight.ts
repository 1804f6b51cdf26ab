// How WGSL reads weights. Every row lies by itself, columns in order: f32 as they are, bf16 and f16 two to a word, int8
// four to a word, int4 in blocks of 32 as llama.cpp has them (byte j of sixteen: element j low, element j + 16 high). Rows of
// narrow integers are padded to whole blocks with zeros. Scales and minima lie in buffers of their own: f16 in the order of
// the blocks, two to a word, or one f32 per row (int8row).

import type { Dtype } from '../../graph/dtype.ts'
import type { Piece, PiecePart } from '../lowering-webgpu.ts'

export type WeightDtype = Exclude<Dtype, 'i32'>

/** The buffers of a piece as kernels with a decoder name them; a part that a dtype has not is its data once more. */
export function partsOf(piece: Piece): Record<'weight' | 'scales' | 'minima', PiecePart> {
  const { dtype } = piece.tensor
  const blocks = dtype === 'int8' || dtype === 'int8row' || dtype === 'int4' || dtype === 'int4min'
  return {
    weight: { piece, part: 'data' },
    scales: { piece, part: blocks ? 'scales' : 'data' },
    minima: { piece, part: dtype === 'int4min' ? 'minima' : 'data' },
  }
}

/**
 * fn decode(row, column): one value of weight: array<u32>, scales: array<u32> and minima: array<u32>, rows counted within
 * the piece, numbers.columns to a row.
 */
export function decoder(dtype: WeightDtype): string {
  return DECODE[dtype]
}

/** fn half(word, index): f16 number `index` of an array, of which the word index / 2 is at hand. */
export const HALF: string = /* wgsl */ `
fn half(word: u32, index: u32) -> f32 { return unpack2x16float(word)[index & 1u]; }`

const BLOCK_OF = /* wgsl */ `
fn blockOf(row: u32, column: u32) -> u32 { return row * ((numbers.columns + 31u) / 32u) + column / 32u; }`

const EIGHT = /* wgsl */ `${HALF}${BLOCK_OF}
fn integerAt(block: u32, column: u32) -> f32 {
  return f32(extractBits(bitcast<i32>(weight[block * 8u + (column % 32u) / 4u]), (column % 4u) * 8u, 8u));
}`

const FOUR = /* wgsl */ `${HALF}${BLOCK_OF}
fn integerAt(block: u32, column: u32) -> f32 {
  let i = column % 32u;
  return f32(extractBits(weight[block * 4u + (i % 16u) / 4u], (i % 4u) * 8u + (i / 16u) * 4u, 4u));
}`

const DECODE: Readonly<Record<WeightDtype, string>> = {
  f32: /* wgsl */ `
fn decode(row: u32, column: u32) -> f32 { return bitcast<f32>(weight[row * numbers.columns + column]); }`,
  bf16: /* wgsl */ `
fn decode(row: u32, column: u32) -> f32 {
  let i = row * numbers.columns + column;
  return bitcast<f32>((weight[i / 2u] << (16u * (1u - (i & 1u)))) & 0xffff0000u);
}`,
  f16: /* wgsl */ `
fn decode(row: u32, column: u32) -> f32 {
  let i = row * numbers.columns + column;
  return unpack2x16float(weight[i / 2u])[i & 1u];
}`,
  int8: /* wgsl */ `${EIGHT}
fn decode(row: u32, column: u32) -> f32 {
  let block = blockOf(row, column);
  return integerAt(block, column) * half(scales[block / 2u], block);
}`,
  int8row: /* wgsl */ `${EIGHT}
fn decode(row: u32, column: u32) -> f32 {
  return integerAt(blockOf(row, column), column) * bitcast<f32>(scales[row]);
}`,
  int4: /* wgsl */ `${FOUR}
fn decode(row: u32, column: u32) -> f32 {
  let block = blockOf(row, column);
  return (integerAt(block, column) - 8.0) * half(scales[block / 2u], block);
}`,
  int4min: /* wgsl */ `${FOUR}
fn decode(row: u32, column: u32) -> f32 {
  let block = blockOf(row, column);
  return integerAt(block, column) * half(scales[block / 2u], block) + half(minima[block / 2u], block);
}`,
}
