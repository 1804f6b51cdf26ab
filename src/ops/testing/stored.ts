// Makes stored tensors out of numbers, in every encoding, as a checkpoint would hand them over. For tests.

import type { Encoding, StoredTensor } from '../../weights/checkpoint.ts'
import {
  blockSizes,
  decodeRows,
  encodedBytes,
  encodeRows,
  type WritableEncoding,
} from '../../weights/encodings.ts'
import { float32ToFloat16 } from '../../weights/float16.ts'

/** Reproducible uniform numbers in [0, 1) (mulberry32, Tommy Ettinger, public domain). */
export function seeded(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let z = Math.imul(state ^ (state >>> 15), state | 1)
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61)
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32
  }
}

/** `count` values of a bell curve with this deviation, as float32. */
export function normals(count: number, seed: number, deviation = 1): Float32Array {
  const random = seeded(seed)
  return Float32Array.from({ length: count }, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - random()))
    return deviation * radius * Math.cos(2 * Math.PI * random())
  })
}

/** A stored tensor over bytes in memory. */
export function storedTensor(
  encoding: Encoding,
  shape: readonly number[],
  bytes: Uint8Array,
  options: { readonly subtract?: number; readonly rowScales?: StoredTensor } = {},
): StoredTensor {
  const columns = shape[shape.length - 1]!
  const rowBytes = encodedBytes(encoding, columns)
  return {
    name: 'test',
    shape,
    encoding,
    rowBytes,
    subtract: options.subtract ?? 0,
    rowScales: options.rowScales,
    async readRows(from, into) {
      into.set(bytes.subarray(from * rowBytes, from * rowBytes + into.byteLength))
    },
  }
}

/** The values written in an encoding that can be written. */
export function storedValues(
  encoding: WritableEncoding,
  shape: readonly number[],
  values: Float32Array,
  subtract = 0,
): StoredTensor {
  const columns = shape[shape.length - 1]!
  const rows = values.length / columns
  const bytes = new Uint8Array(rows * encodedBytes(encoding, columns))
  const scales = new Float32Array(rows)
  encodeRows(encoding, values, rows, columns, bytes, 'test', scales)
  const rowScales = encoding === 'I8' ? storedTensor('F32', [rows], new Uint8Array(scales.buffer)) : undefined
  return storedTensor(encoding, shape, bytes, { subtract, rowScales })
}

/** Byte offsets, within one block, of its float16 scales; the rest of a block may hold anything. */
const SCALES_OF_BLOCK: Partial<Record<Encoding, readonly number[]>> = {
  Q8_0: [0],
  Q4_0: [0],
  Q4_1: [0, 2],
  Q5_0: [0],
  Q5_1: [0, 2],
  Q4_K: [0, 2],
  Q5_K: [0, 2],
  Q6_K: [208],
}

/** A matrix whose every quantised code is random: codes at the ends of the range come up too. */
export function randomStored(
  encoding: Encoding,
  rows: number,
  columns: number,
  seed: number,
  magnitude = 0.05,
): StoredTensor {
  const random = seeded(seed)
  const values = rows * columns
  if (encoding === 'F32') return storedValues('F32', [rows, columns], normals(values, seed, magnitude))
  if (encoding === 'F16' || encoding === 'BF16') {
    return storedValues(encoding, [rows, columns], normals(values, seed, magnitude))
  }
  const bytes = Uint8Array.from({ length: rows * encodedBytes(encoding, columns) }, () => random() * 256)
  if (encoding === 'I8') {
    const scales = Float32Array.from({ length: rows }, () => (magnitude / 64) * (0.5 + random()))
    const rowScales = storedTensor('F32', [rows], new Uint8Array(scales.buffer))
    return storedTensor('I8', [rows, columns], bytes, { rowScales })
  }
  const block = blockSizes[encoding].bytes
  const view = new DataView(bytes.buffer)
  for (let at = 0; at < bytes.length; at += block) {
    for (const offset of SCALES_OF_BLOCK[encoding]!) {
      view.setUint16(at + offset, float32ToFloat16((random() - 0.5) * magnitude * 0.25), true)
    }
  }
  return storedTensor(encoding, [rows, columns], bytes)
}

/** All values of a stored tensor by the plain decoders. */
export async function decoded(stored: StoredTensor): Promise<Float32Array> {
  const columns = stored.shape[stored.shape.length - 1]!
  const rows = stored.shape.length === 1 ? 1 : stored.shape[0]!
  const bytes = new Uint8Array(rows * stored.rowBytes)
  await stored.readRows(0, bytes)
  const scales = new Float32Array(rows)
  if (stored.rowScales) await stored.rowScales.readRows(0, new Uint8Array(scales.buffer))
  const values = new Float32Array(rows * columns)
  decodeRows(stored.encoding, bytes, rows, columns, values, scales)
  return values.map((value) => value - stored.subtract)
}
