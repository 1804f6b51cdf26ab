// How the numbers of a tensor lie in memory. Values that flow between steps are f32 (or i32 for tokens);
// weights may be narrower. The packed integer layouts are described here once: kernels, packers and the
// reference all take them from this file. Knows no op, no backend and no file format.

/**
 * - f32, i32: four bytes, row-major.
 * - bf16, f16: two bytes, row-major; exact forms of what a 16-bit checkpoint stores.
 * - int8: blocks of 32 values of a row share one f16 scale; value = q · scale.
 * - int8row: one f32 scale for a whole row (the form of Google's quantised checkpoints).
 * - int4: blocks of 32 share one f16 scale; value = (q − 8) · scale, q in 0..15.
 * - int4min: blocks of 32 share an f16 scale and an f16 minimum; value = q · scale + minimum.
 */
export type Dtype = 'f32' | 'i32' | 'bf16' | 'f16' | 'int8' | 'int8row' | 'int4' | 'int4min'

/** Values that share one scale, along a row. */
export const BLOCK = 32
/**
 * Rows of a packed matrix lie interleaved in groups of eight, so that a SIMD lane is a row and two vectors of
 * four rows share one stream and one set of activations.
 */
export const ROW_GROUP = 8

/** The number a kernel receives for a dtype; the kernels hold the same table (runtime.wasm.ts). */
export const DTYPE_CODE: Readonly<Record<Dtype, number>> = {
  f32: 0,
  bf16: 1,
  f16: 2,
  int8: 3,
  int8row: 4,
  int4: 5,
  int4min: 6,
  i32: 7,
}

export function isPacked(dtype: Dtype): boolean {
  return dtype === 'int8' || dtype === 'int8row' || dtype === 'int4' || dtype === 'int4min'
}

export interface Layout {
  /** Bytes of the whole tensor. */
  readonly bytes: number
  /** Byte offset of the scales from the start of the tensor (packed dtypes). */
  readonly scales: number
  /** Byte offset of the minima (int4min). */
  readonly minima: number
}

/**
 * Where data, scales and minima of a [rows, columns] matrix lie. Packed data: for each group of eight rows,
 * for each block of 32 columns, 128 bytes (int4) or 256 bytes (int8); scales: f16 [group, block, 8] or, for
 * int8row, f32 [rows]; minima like the scales.
 */
export function layoutOf(dtype: Dtype, rows: number, columns: number): Layout {
  const plain = (size: number): Layout => ({ bytes: rows * columns * size, scales: 0, minima: 0 })
  if (dtype === 'f32' || dtype === 'i32') return plain(4)
  if (dtype === 'bf16' || dtype === 'f16') return plain(2)
  const paddedRows = Math.ceil(rows / ROW_GROUP) * ROW_GROUP
  const blocks = Math.ceil(columns / BLOCK)
  const perBlock = dtype === 'int4' || dtype === 'int4min' ? BLOCK / 2 : BLOCK
  const data = paddedRows * blocks * perBlock
  const blockScales = paddedRows * blocks * 2
  if (dtype === 'int8row') return { bytes: data + paddedRows * 4, scales: data, minima: 0 }
  if (dtype === 'int4min') return { bytes: data + 2 * blockScales, scales: data, minima: data + blockScales }
  return { bytes: data + blockScales, scales: data, minima: 0 }
}

/** What keys and values may be kept in. */
export type CacheDtype = 'f32' | 'f16' | 'int8'

/**
 * Bytes of one row of a key or value cache. An int8 row holds its bytes, padded to whole words, then an f32
 * scale for each 32 of them.
 */
export function cacheRowBytes(dtype: Dtype, width: number): number {
  if (dtype === 'int8') return Math.ceil(width / 4) * 4 + Math.ceil(width / BLOCK) * 4
  return width * (dtype === 'f16' ? 2 : 4)
}
