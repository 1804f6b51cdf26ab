// The two 16-bit float formats of weight files, to and from float32, whole arrays at a time. JavaScript's
// own Float16Array is not in every engine we run on (Node 22 lacks it). Knows nothing about files.

import { GemmaError } from '../error.ts'

// The 65,536 half-precision values as float32: one look-up per value beats decoding the bits each time.
let halfTable: Float32Array | undefined

/** float32 value of each of the 65,536 IEEE 754 binary16 bit patterns. */
export function float16Table(): Float32Array {
  if (halfTable === undefined) {
    halfTable = new Float32Array(65536)
    const bits = new Uint32Array(halfTable.buffer)
    for (let half = 0; half < 65536; half++) bits[half] = widenHalf(half)
  }
  return halfTable
}

function widenHalf(half: number): number {
  const sign = (half & 0x8000) << 16
  const exponent = (half >> 10) & 31
  let fraction = half & 1023
  if (exponent === 31) return (sign | 0x7f800000 | (fraction << 13)) >>> 0
  if (exponent !== 0) return (sign | ((exponent + 112) << 23) | (fraction << 13)) >>> 0
  if (fraction === 0) return sign >>> 0
  let shift = 0 // a subnormal half is a normal float32: move its leading bit to the hidden place
  while ((fraction & 1024) === 0) {
    fraction <<= 1
    shift++
  }
  return (sign | ((113 - shift) << 23) | ((fraction & 1023) << 13)) >>> 0
}

/** The float32 value of one binary16 bit pattern. */
export function float16ToFloat32(half: number): number {
  return float16Table()[half & 0xffff]
}

/**
 * Bits of the binary16 nearest to the float32 with these bits, ties to even. A finite value past the range
 * becomes infinity; NaN stays NaN.
 */
export function halfBits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000
  const magnitude = bits & 0x7fffffff
  if (magnitude >= 0x7f800000) return sign | 0x7c00 | (magnitude > 0x7f800000 ? 0x200 : 0)
  if (magnitude >= 0x477ff000) return sign | 0x7c00 // 65520 and above round to infinity
  if (magnitude >= 0x38800000) {
    // Normal: drop 13 bits; adding half of the dropped unit (less one when the kept part is even) rounds
    // and carries into the exponent by itself.
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13)
  }
  if (magnitude <= 0x33000000) return sign // at or below half of the smallest subnormal
  const shift = 126 - (magnitude >>> 23) // 14..24
  const fraction = (magnitude & 0x7fffff) | 0x800000
  const kept = fraction >>> shift
  const rest = fraction - kept * 2 ** shift
  const half = 2 ** (shift - 1)
  return sign | (kept + (rest > half || (rest === half && (kept & 1) === 1) ? 1 : 0))
}

const scratch = new Float32Array(1)
const scratchBits = new Uint32Array(scratch.buffer)

/** Bits of the binary16 nearest to a number (rounded to float32 first); see `halfBits`. */
export function float32ToFloat16(value: number): number {
  scratch[0] = value
  return halfBits(scratchBits[0])
}

/** Widens `count` binary16 values into `into[at…]`. */
export function decodeFloat16(halves: Uint16Array, count: number, into: Float32Array, at: number): void {
  const table = float16Table()
  for (let i = 0; i < count; i++) into[at + i] = table[halves[i]]
}

/** Widens `count` bfloat16 values: the upper halves of float32. */
export function decodeBfloat16(halves: Uint16Array, count: number, into: Float32Array, at: number): void {
  const bits = new Uint32Array(into.buffer, into.byteOffset + 4 * at, count)
  for (let i = 0; i < count; i++) bits[i] = halves[i] << 16
}

/** Rounds `count` float32 values to binary16. `name` is used by the error for a value past ±65504. */
export function encodeFloat16(values: Float32Array, count: number, into: Uint16Array, name: string): void {
  const bits = new Uint32Array(values.buffer, values.byteOffset, count)
  for (let i = 0; i < count; i++) {
    const half = halfBits(bits[i])
    if ((half & 0x7fff) === 0x7c00 && (bits[i] & 0x7fffffff) !== 0x7f800000) {
      throw new GemmaError(
        'unsupported',
        `${name} holds ${values[i]}, which is beyond ±65504, the range of float16.`,
        'Convert to bf16 or f32 instead.',
      )
    }
    into[i] = half
  }
}

/** Rounds `count` float32 values to bfloat16, ties to even; NaN stays NaN, a large value becomes infinity. */
export function encodeBfloat16(values: Float32Array, count: number, into: Uint16Array): void {
  const bits = new Uint32Array(values.buffer, values.byteOffset, count)
  for (let i = 0; i < count; i++) {
    const value = bits[i]
    // A NaN whose payload sits in the dropped half would turn into infinity: set the quiet bit.
    if ((value & 0x7fffffff) > 0x7f800000) into[i] = (value >>> 16) | 0x40
    else into[i] = (value + 0x7fff + ((value >>> 16) & 1)) >>> 16
  }
}
