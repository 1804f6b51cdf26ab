// How the values of a stored tensor are written as bytes: sizes, decoding to float32 and (with
// encode-blocks.ts) encoding from it. Knows nothing about files; a caller brings whole rows.

import { GemmaError } from '../error.ts'
import type { Encoding, StoredTensor } from './checkpoint.ts'
import {
  type BlockDecoder,
  decodeQ4_0,
  decodeQ4_1,
  decodeQ4_K,
  decodeQ5_0,
  decodeQ5_1,
  decodeQ5_K,
  decodeQ6_K,
  decodeQ8_0,
} from './decode-blocks.ts'
import { encodeInt8Rows, encodeQ4_0, encodeQ8_0 } from './encode-blocks.ts'
import { decodeBfloat16, decodeFloat16, encodeBfloat16, encodeFloat16 } from './float16.ts'

/** Values and bytes of one block of each encoding; plain formats have blocks of one value. */
export const blockSizes: Readonly<Record<Encoding, { readonly values: number; readonly bytes: number }>> = {
  F32: { values: 1, bytes: 4 },
  F16: { values: 1, bytes: 2 },
  BF16: { values: 1, bytes: 2 },
  I8: { values: 1, bytes: 1 },
  Q8_0: { values: 32, bytes: 34 },
  Q4_0: { values: 32, bytes: 18 },
  Q4_1: { values: 32, bytes: 20 },
  Q5_0: { values: 32, bytes: 22 },
  Q5_1: { values: 32, bytes: 24 },
  Q4_K: { values: 256, bytes: 144 },
  Q5_K: { values: 256, bytes: 176 },
  Q6_K: { values: 256, bytes: 210 },
}

const blockDecoders: Partial<Record<Encoding, BlockDecoder>> = {
  Q8_0: decodeQ8_0,
  Q4_0: decodeQ4_0,
  Q4_1: decodeQ4_1,
  Q5_0: decodeQ5_0,
  Q5_1: decodeQ5_1,
  Q4_K: decodeQ4_K,
  Q5_K: decodeQ5_K,
  Q6_K: decodeQ6_K,
}

/** Whether rows of this many values can be written in the encoding at all. */
export function fitsBlocks(encoding: Encoding, columns: number): boolean {
  return columns % blockSizes[encoding].values === 0
}

/** Bytes of `values` values; throws GemmaError 'file' when they are not whole blocks or past 2^53. */
export function encodedBytes(encoding: Encoding, values: number): number {
  const block = blockSizes[encoding]
  const bytes = (values / block.values) * block.bytes
  if (
    !Number.isSafeInteger(values) ||
    values < 0 ||
    values % block.values !== 0 ||
    !Number.isSafeInteger(bytes)
  ) {
    throw new GemmaError(
      'file',
      `${values} values cannot be written as ${encoding} blocks of ${block.values}.`,
    )
  }
  return bytes
}

/**
 * Decodes whole rows to float32, row after row. `bytes` holds at least `rows` encoded rows; `scales`, one
 * per row, is needed for 'I8' and ignored otherwise. Asserts what readers have checked: sizes.
 */
export function decodeRows(
  encoding: Encoding,
  bytes: Uint8Array,
  rows: number,
  columns: number,
  into: Float32Array,
  scales?: Float32Array,
): void {
  const values = rows * columns
  if (bytes.byteLength < rows * encodedBytes(encoding, columns) || into.length < values) {
    throw new GemmaError(
      'usage',
      `decodeRows: ${rows} × ${columns} ${encoding} values do not fit the buffers.`,
    )
  }
  if (encoding === 'I8') decodeInt8(bytes, rows, columns, into, scales)
  else decodeValues(encoding, bytes, values, into)
}

/** Decodes `count` consecutive values (whole blocks) of any encoding but 'I8' into the front of `into`. */
export function decodeValues(encoding: Encoding, bytes: Uint8Array, count: number, into: Float32Array): void {
  if (encoding === 'F32') into.set(asFloat32(bytes, count))
  else if (encoding === 'F16') decodeFloat16(asUint16(bytes, count), count, into, 0)
  else if (encoding === 'BF16') decodeBfloat16(asUint16(bytes, count), count, into, 0)
  else {
    const decode = blockDecoders[encoding]
    if (decode === undefined)
      throw new GemmaError('usage', `${encoding} values need row scales: use decodeRows.`)
    decode(bytes, 0, count / blockSizes[encoding].values, into, 0)
  }
}

function decodeInt8(
  bytes: Uint8Array,
  rows: number,
  columns: number,
  into: Float32Array,
  scales: Float32Array | undefined,
): void {
  if (scales === undefined || scales.length < rows) {
    throw new GemmaError(
      'usage',
      `int8 rows need one scale each: ${rows} rows, ${scales?.length ?? 0} scales.`,
    )
  }
  const codes = new Int8Array(bytes.buffer, bytes.byteOffset, rows * columns)
  for (let row = 0, i = 0; row < rows; row++) {
    const scale = scales[row]
    for (let column = 0; column < columns; column++, i++) into[i] = codes[i] * scale
  }
}

/** Encodings that `encodeRows` can write. */
export type WritableEncoding = 'F32' | 'F16' | 'BF16' | 'I8' | 'Q8_0' | 'Q4_0'

/**
 * Encodes whole rows of float32. `into` takes rows × encodedBytes(encoding, columns) bytes; 'I8' also fills
 * `scales`, one per row. Throws GemmaError 'unsupported', with `name` in it, for values the encoding cannot
 * hold (beyond float16's range; NaN or infinity in integer formats).
 */
export function encodeRows(
  encoding: WritableEncoding,
  values: Float32Array,
  rows: number,
  columns: number,
  into: Uint8Array,
  name: string,
  scales?: Float32Array,
): void {
  const count = rows * columns
  const bytes = rows * encodedBytes(encoding, columns)
  if (values.length < count || into.byteLength < bytes) {
    throw new GemmaError(
      'usage',
      `encodeRows: ${rows} × ${columns} values of ${name} do not fit the buffers.`,
    )
  }
  if (encoding === 'F32') into.set(new Uint8Array(values.buffer, values.byteOffset, bytes))
  else if (encoding === 'Q8_0') encodeQ8_0(values, count, into, name)
  else if (encoding === 'Q4_0') encodeQ4_0(values, count, into, name)
  else if (encoding === 'I8') {
    if (scales === undefined || scales.length < rows) {
      throw new GemmaError('usage', `encodeRows: int8 rows of ${name} need room for ${rows} scales.`)
    }
    const codes = new Int8Array(into.buffer, into.byteOffset, count)
    encodeInt8Rows(values, rows, columns, codes, scales, name)
  } else {
    const aligned = into.byteOffset % 2 === 0
    const halves = aligned ? new Uint16Array(into.buffer, into.byteOffset, count) : new Uint16Array(count)
    if (encoding === 'F16') encodeFloat16(values, count, halves, name)
    else encodeBfloat16(values, count, halves)
    if (!aligned) into.set(new Uint8Array(halves.buffer))
  }
}

// Typed views need an aligned start; bytes read into the middle of a buffer may not have one.
function asUint16(bytes: Uint8Array, count: number): Uint16Array {
  if (bytes.byteOffset % 2 === 0) return new Uint16Array(bytes.buffer, bytes.byteOffset, count)
  return new Uint16Array(bytes.slice(0, 2 * count).buffer)
}

function asFloat32(bytes: Uint8Array, count: number): Float32Array {
  if (bytes.byteOffset % 4 === 0) return new Float32Array(bytes.buffer, bytes.byteOffset, count)
  return new Float32Array(bytes.slice(0, 4 * count).buffer)
}

/** Rows and columns of a stored tensor; a vector is one row. */
export function rowsAndColumns(shape: readonly number[]): { rows: number; columns: number } {
  return shape.length === 1 ? { rows: 1, columns: shape[0] } : { rows: shape[0], columns: shape[1] }
}

/**
 * Reads rows [from, from + count) of any stored tensor as float32 into `into` [count × columns]: decoded,
 * with row scales applied and `subtract` taken off. `count` defaults to all that follow.
 */
export async function readFloatRows(
  tensor: StoredTensor,
  from: number,
  count: number,
  into: Float32Array,
): Promise<void> {
  const { columns } = rowsAndColumns(tensor.shape)
  const bytes = new Uint8Array(count * tensor.rowBytes)
  await tensor.readRows(from, bytes)
  let scales: Float32Array | undefined
  if (tensor.rowScales !== undefined)
    scales = (await readFloats(tensor.rowScales)).subarray(from, from + count)
  decodeRows(tensor.encoding, bytes, count, columns, into, scales)
  if (tensor.subtract !== 0) {
    for (let i = 0; i < count * columns; i++) into[i] -= tensor.subtract
  }
}

/** The whole of a stored tensor as float32, row-major. */
export async function readFloats(tensor: StoredTensor): Promise<Float32Array> {
  const { rows, columns } = rowsAndColumns(tensor.shape)
  const values = new Float32Array(rows * columns)
  await readFloatRows(tensor, 0, rows, values)
  return values
}
