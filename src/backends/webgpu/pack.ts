// Brings stored rows into the form that kernels on the GPU read (ops/wgsl/weight.ts): blocks of integers, their scales
// and their minima apart. Works on whole rows in memory; knows no device.

import { BLOCK, type Dtype } from '../../graph/dtype.ts'
import type { Encoding } from '../../weights/checkpoint.ts'
import { sixBitMinimum, sixBitScale } from '../../weights/decode-blocks.ts'
import {
  blockSizes,
  decodeRows,
  encodedBytes,
  encodeRows,
  type WritableEncoding,
} from '../../weights/encodings.ts'
import { decodeFloat16, float32ToFloat16 } from '../../weights/float16.ts'
import { narrowRows } from '../narrow.ts'
import { SAME_FORM } from '../same-form.ts'

/** Bytes of each part of so many rows. */
export interface PartBytes {
  readonly data: number
  readonly scales: number
  readonly minima: number
}

export function partBytes(dtype: Dtype, rows: number, columns: number): PartBytes {
  const blocks = rows * Math.ceil(columns / BLOCK)
  switch (dtype) {
    case 'f32':
    case 'i32':
      return { data: rows * columns * 4, scales: 0, minima: 0 }
    case 'bf16':
    case 'f16':
      return { data: rows * columns * 2, scales: 0, minima: 0 }
    case 'int8':
      return { data: blocks * BLOCK, scales: blocks * 2, minima: 0 }
    case 'int8row':
      return { data: blocks * BLOCK, scales: rows * 4, minima: 0 }
    case 'int4':
      return { data: (blocks * BLOCK) / 2, scales: blocks * 2, minima: 0 }
    case 'int4min':
      return { data: (blocks * BLOCK) / 2, scales: blocks * 2, minima: blocks * 2 }
  }
}

export interface Packed {
  readonly data: Uint8Array<ArrayBuffer>
  readonly scales: Uint8Array<ArrayBuffer>
  readonly minima: Uint8Array<ArrayBuffer>
}

/** Rows as they are stored. */
export interface StoredRows {
  readonly encoding: Encoding
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly rows: number
  readonly columns: number
  /** Of 'I8': one per row. */
  readonly rowScales?: Float32Array<ArrayBuffer>
  readonly subtract: number
  /** For messages. */
  readonly name: string
}

const NONE = new Uint8Array(0)

export function pack(stored: StoredRows, dtype: Dtype): Packed {
  const { encoding, bytes, rows, columns, rowScales, subtract } = stored
  if (subtract === 0) {
    if (SAME_FORM[encoding] === dtype) return { data: bytes, scales: NONE, minima: NONE }
    const direct = DIRECT[`${encoding} ${dtype}`]
    if (direct) return direct(stored)
  }
  const values = new Float32Array(rows * columns)
  decodeRows(encoding, bytes, rows, columns, values, rowScales)
  if (subtract !== 0) for (let i = 0; i < values.length; i++) values[i]! -= subtract
  if (dtype === 'f32') return { data: new Uint8Array(values.buffer), scales: NONE, minima: NONE }
  return packValues(stored, values, dtype)
}

const ROUNDED: Readonly<Partial<Record<Dtype, WritableEncoding>>> = {
  bf16: 'BF16',
  f16: 'F16',
  int8: 'Q8_0',
  int8row: 'I8',
  int4: 'Q4_0',
}

/** Values rounded as loading rounds them, by way of the stored encoding that is laid out so. */
function packValues(stored: StoredRows, values: Float32Array, dtype: Dtype): Packed {
  const encoding = ROUNDED[dtype]
  if (!encoding) throw new Error(`${stored.name}: ${stored.encoding} does not come into ${dtype}`)
  const { rows, columns, name } = stored
  const narrow = encoding === 'Q8_0' || encoding === 'Q4_0' || encoding === 'I8'
  const padded = narrow ? Math.ceil(columns / BLOCK) * BLOCK : columns
  const bytes = new Uint8Array(rows * encodedBytes(encoding, padded))
  const rowScales = new Float32Array(rows)
  if (narrow) narrowRows(encoding, { values, rows, columns, padded, name }, bytes, rowScales)
  else encodeRows(encoding, values, rows, columns, bytes, name, rowScales)
  return pack({ encoding, bytes, rows, columns: padded, rowScales, subtract: 0, name }, dtype)
}

const DIRECT: Readonly<Partial<Record<`${Encoding} ${Dtype}`, (stored: StoredRows) => Packed>>> = {
  'Q8_0 int8': (stored) => splitBlocks(stored, 32, false),
  'Q4_0 int4': (stored) => splitBlocks(stored, 16, false),
  'Q4_1 int4min': (stored) => splitBlocks(stored, 16, true),
  'Q4_K int4min': splitQ4K,
  'I8 int8row': padRows,
}

/** Blocks of an f16 scale, perhaps an f16 minimum, and integers. Every part is whole 16-bit words, and so are the moves. */
function splitBlocks({ bytes, encoding }: StoredRows, integers: number, hasMinimum: boolean): Packed {
  const size = blockSizes[encoding].bytes
  const blocks = bytes.length / size
  const from = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2)
  const data = new Uint16Array((blocks * integers) / 2)
  const scales = new Uint16Array(blocks)
  const minima = new Uint16Array(hasMinimum ? blocks : 0)
  const header = hasMinimum ? 2 : 1
  let to = 0
  for (let b = 0, at = 0; b < blocks; b++, at += size / 2) {
    scales[b] = from[at]!
    if (hasMinimum) minima[b] = from[at + 1]!
    const end = at + size / 2
    for (let i = at + header; i < end; i++) data[to++] = from[i]!
  }
  const asBytes = ({ buffer }: Uint16Array<ArrayBuffer>): Uint8Array<ArrayBuffer> => new Uint8Array(buffer)
  return { data: asBytes(data), scales: asBytes(scales), minima: asBytes(minima) }
}

/** Rows of bytes, each filled up to whole blocks. */
function padRows({ bytes, rows, columns, rowScales }: StoredRows): Packed {
  const padded = Math.ceil(columns / BLOCK) * BLOCK
  const scales = new Uint8Array(rowScales!.buffer, rowScales!.byteOffset, rows * 4)
  if (padded === columns) return { data: bytes, scales, minima: NONE }
  const data = new Uint8Array(rows * padded)
  for (let r = 0; r < rows; r++) data.set(bytes.subarray(r * columns, (r + 1) * columns), r * padded)
  return { data, scales, minima: NONE }
}

/**
 * Q4_K: 256 values: f16 scale, f16 minimum, eight 6-bit pairs (scale, minimum), 128 bytes; of each 32 bytes the low
 * nibbles are one block of 32 and the high ones the next. value = scale · s · q − minimum · m, each product rounded to f16.
 */
function splitQ4K({ bytes }: StoredRows): Packed {
  const size = blockSizes.Q4_K.bytes
  const blocks = (bytes.length / size) * 8
  const data = new Uint8Array(blocks * 16)
  const scales = new Uint8Array(blocks * 2)
  const minima = new Uint8Array(blocks * 2)
  const halves = new Uint16Array(2)
  const wide = new Float32Array(2)
  const scaleWords = new Uint16Array(scales.buffer)
  const minimumWords = new Uint16Array(minima.buffer)
  for (let at = 0, b = 0; at < bytes.length; at += size) {
    halves[0] = bytes[at]! | (bytes[at + 1]! << 8)
    halves[1] = bytes[at + 2]! | (bytes[at + 3]! << 8)
    decodeFloat16(halves, 2, wide, 0)
    for (let j = 0; j < 8; j++, b++) {
      scaleWords[b] = float32ToFloat16(wide[0]! * sixBitScale(bytes, at + 4, j))
      minimumWords[b] = float32ToFloat16(-wide[1]! * sixBitMinimum(bytes, at + 4, j))
      const from = at + 16 + (j >> 1) * 32
      const shift = (j & 1) * 4
      for (let i = 0; i < 16; i++) {
        const low = (bytes[from + i]! >> shift) & 15
        const high = (bytes[from + 16 + i]! >> shift) & 15
        data[b * 16 + i] = low | (high << 4)
      }
    }
  }
  return { data, scales, minima }
}
