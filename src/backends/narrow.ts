// Float32 rows rounded to 8 or 4 bits while they are loaded: what the packing kernels of WebAssembly do (packInt8, packInt8Row
// and packInt4 in ops/linear/pack.wasm.ts), in the same float32 steps, so that a model holds the same numbers on every backend.
// The encoders that write files (weights/encode-blocks.ts) follow llama.cpp instead. Knows no backend.

import { GemmaError } from '../error.ts'
import { BLOCK } from '../graph/dtype.ts'
import { float16Table, float32ToFloat16 } from '../weights/float16.ts'

/** The stored forms that are narrow. */
export type NarrowEncoding = 'Q8_0' | 'Q4_0' | 'I8'

export interface Narrowing {
  readonly values: Float32Array
  readonly rows: number
  readonly columns: number
  /** Columns of a row of the result, the ones past `columns` zero: whole blocks, but for I8. */
  readonly padded: number
  /** For messages. */
  readonly name: string
}

/** Writes rows as `encoding` lays them out; the scales of I8 into `rowScales`. */
export function narrowRows(
  encoding: NarrowEncoding,
  { values, rows, columns, padded, name }: Narrowing,
  into: Uint8Array,
  rowScales: Float32Array,
): void {
  let at = 0
  for (let r = 0; r < rows; r++) {
    const row = values.subarray(r * columns, (r + 1) * columns)
    checkFinite(row, name)
    if (encoding === 'I8') {
      const largest = largestOf(row)
      rowScales[r] = largest / 127
      roundInto(row, largest > 0 ? Math.fround(127 / largest) : 0, into, at)
      at += padded
      continue
    }
    for (let from = 0; from < padded; from += BLOCK) {
      const block = row.subarray(from, Math.min(from + BLOCK, columns))
      at = encoding === 'Q8_0' ? narrowTo8(block, into, at) : narrowTo4(block, into, at)
    }
  }
}

function checkFinite(row: Float32Array, name: string): void {
  let sum = 0
  for (let i = 0; i < row.length; i++) sum += Math.abs(row[i]!)
  if (Number.isFinite(sum)) return
  throw new GemmaError('unsupported', `${name} holds NaN or infinity, which no integer format can hold.`)
}

function largestOf(values: Float32Array): number {
  let largest = 0
  for (let i = 0; i < values.length; i++) largest = Math.max(largest, Math.abs(values[i]!))
  return largest
}

/** The nearest f16, at most the largest there is. */
function scaleBits(scale: number): number {
  return float32ToFloat16(Math.max(-65504, Math.min(65504, Math.fround(scale))))
}

function nearest(value: number): number {
  const rounded = Math.round(value)
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded
}

/** Signed bytes: values · inverse. */
function roundInto(values: Float32Array, inverse: number, into: Uint8Array, at: number): void {
  for (let i = 0; i < values.length; i++) {
    into[at + i] = Math.max(-127, Math.min(127, nearest(Math.fround(values[i]! * inverse))))
  }
}

/** f16 scale = largest magnitude / 127, then the block in units of it. Returns where the next one begins. */
function narrowTo8(block: Float32Array, into: Uint8Array, at: number): number {
  const bits = scaleBits(largestOf(block) / 127)
  into[at] = bits
  into[at + 1] = bits >> 8
  const scale = float16Table()[bits]!
  roundInto(block, scale > 0 ? Math.fround(1 / scale) : 0, into, at + 2)
  return at + 2 + BLOCK
}

/** f16 scale, then nibbles (element i low, i + 16 high), which count from −8. */
function narrowTo4(block: Float32Array, into: Uint8Array, at: number): number {
  const bits = bestScale(block)
  into[at] = bits
  into[at + 1] = bits >> 8
  const scale = float16Table()[bits]!
  const inverse = scale !== 0 ? Math.fround(1 / scale) : 0
  const code = (i: number): number =>
    i < block.length ? Math.max(0, Math.min(15, nearest(Math.fround(block[i]! * inverse)) + 8)) : 8
  for (let i = 0; i < BLOCK / 2; i++) into[at + 2 + i] = code(i) | (code(i + 16) << 4)
  return at + 2 + BLOCK / 2
}

/** Codes that the extreme of a block may get. */
const REACHES = [-8, -8.4, -7.8, -7.2, -6.5, 7.3, 6.6].map(Math.fround)

/**
 * For the codes q of a candidate the best scale is Σwq / Σq², which leaves Σw² − (Σwq)² / Σq². Sums are taken in four, as
 * vectors take them, and what is left over is added last.
 */
function bestScale(block: Float32Array): number {
  let extreme = 0
  for (let i = 0; i < block.length; i++) if (Math.abs(block[i]!) > Math.abs(extreme)) extreme = block[i]!
  if (extreme === 0) return 0
  let bestGain = -1
  let best = Math.fround(extreme / -8)
  const products = new Float32Array(4)
  const whole = block.length & ~3
  for (const reach of REACHES) {
    const inverse = Math.fround(reach / extreme)
    products.fill(0)
    let square = 0
    let product = 0
    for (let i = 0; i < block.length; i++) {
      if (i === whole) product = together(products)
      const w = block[i]!
      const q = Math.max(-8, Math.min(7, nearest(Math.fround(w * inverse))))
      if (i < whole) products[i & 3]! += Math.fround(w * q)
      else product = Math.fround(product + Math.fround(w * q))
      square += q * q
    }
    if (square === 0) continue
    if (whole === block.length) product = together(products)
    const gain = Math.fround(Math.fround(product * product) / square)
    if (gain > bestGain) {
      bestGain = gain
      best = Math.fround(product / square)
    }
  }
  return scaleBits(best)
}

function together([a, b, c, d]: Float32Array): number {
  return Math.fround(Math.fround(a! + b!) + Math.fround(c! + d!))
}
