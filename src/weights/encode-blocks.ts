// Encoders of the block formats and of int8 rows: float32 to codes and scales. Layouts are those of
// decode-blocks.ts. Knows nothing about files.

import { GemmaError } from '../error.ts'
import { float16Table, float32ToFloat16 } from './float16.ts'

/** The largest magnitude of values [from, to); throws when one is NaN or infinite. */
function largestMagnitude(values: Float32Array, from: number, to: number, name: string): number {
  let largest = 0
  let sum = 0
  for (let i = from; i < to; i++) {
    const magnitude = Math.abs(values[i])
    if (magnitude > largest) largest = magnitude
    sum += magnitude // in double precision: finite unless a value is not
  }
  if (Number.isFinite(sum)) return largest
  throw new GemmaError('unsupported', `${name} holds NaN or infinity, which no integer format can hold.`)
}

function halfScale(scale: number, name: string): number {
  const half = float32ToFloat16(scale)
  if ((half & 0x7fff) < 0x7c00) return half
  throw new GemmaError(
    'unsupported',
    `${name} holds values so large that a block's scale, ${scale}, passes the range of float16.`,
    'Convert to bf16 or f32 instead.',
  )
}

/** Rounds half away from zero, like C's roundf. */
function roundAway(value: number): number {
  return value < 0 ? -Math.floor(0.5 - value) : Math.floor(value + 0.5)
}

/** Rounds half to even, like torch.round. */
function roundToEven(value: number): number {
  const rounded = Math.round(value)
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded
}

/** Q8_0: scale = largest magnitude / 127, in llama.cpp's arithmetic, so that the bytes are its own. */
export function encodeQ8_0(values: Float32Array, count: number, into: Uint8Array, name: string): void {
  let p = 0
  for (let first = 0; first < count; first += 32) {
    const scale = Math.fround(largestMagnitude(values, first, first + 32, name) / 127)
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale)
    const half = halfScale(scale, name)
    into[p] = half
    into[p + 1] = half >> 8
    p += 2
    for (let i = first; i < first + 32; i++) {
      // 1/scale of a scale below 2^-128 is infinite; such a block is all zero in float16 anyway.
      into[p++] = inverse === Number.POSITIVE_INFINITY ? 0 : roundAway(Math.fround(values[i] * inverse))
    }
  }
}

/** int8 rows as in google/gemma_pytorch: scale = largest magnitude of the row / 127, value = code × scale. */
export function encodeInt8Rows(
  values: Float32Array,
  rows: number,
  columns: number,
  codes: Int8Array,
  scales: Float32Array,
  name: string,
): void {
  for (let row = 0; row < rows; row++) {
    const first = row * columns
    const scale = Math.fround(largestMagnitude(values, first, first + columns, name) / 127)
    scales[row] = scale
    for (let i = first; i < first + columns; i++) {
      // A scale rounded down among the subnormals can push the quotient past 127.
      codes[i] = scale === 0 ? 0 : Math.max(-127, Math.min(127, roundToEven(Math.fround(values[i] / scale))))
    }
  }
}

// Scales that are tried for a block of Q4_0, as the code that its largest value would get. On normal,
// Laplace and Student-t values these six leave a root-mean-square error within 0.6 % of what 82 scales
// leave (llama.cpp's -8 alone: 4.6 to 6.3 % more).
const reaches = [-8.4, -7.8, -7.2, -6.5, 7.3, 6.6]

const codes = new Uint8Array(32)
const bestCodes = new Uint8Array(32)

/**
 * Q4_0: the scale and codes with the least squared error found among llama.cpp's own choice (the largest
 * value becomes −8) and the least-squares fits of several nearby scales. Never worse than llama.cpp's.
 */
export function encodeQ4_0(values: Float32Array, count: number, into: Uint8Array, name: string): void {
  const halves = float16Table()
  for (let first = 0, p = 0; first < count; first += 32, p += 18) {
    const extreme = extremeOf(values, first, largestMagnitude(values, first, first + 32, name))
    let bestHalf = usualScale(values, first, extreme, name)
    let least = squaredError(values, first, halves[bestHalf], bestCodes)
    const fitted = extreme === 0 ? 0 : float32ToFloat16(fittedScale(values, first, extreme))
    if ((fitted & 0x7fff) < 0x7c00 && (fitted & 0x7fff) !== 0) {
      nearestCodes(values, first, halves[fitted], codes)
      const error = squaredError(values, first, halves[fitted], codes)
      if (error < least) {
        least = error
        bestHalf = fitted
        bestCodes.set(codes)
      }
    }
    into[p] = bestHalf
    into[p + 1] = bestHalf >> 8
    for (let i = 0; i < 16; i++) into[p + 2 + i] = bestCodes[i] | (bestCodes[i + 16] << 4)
  }
}

function extremeOf(values: Float32Array, first: number, largest: number): number {
  for (let i = first; i < first + 32; i++) if (Math.abs(values[i]) === largest) return values[i]
  return 0
}

/** llama.cpp's choice: leaves its codes in `bestCodes` and returns the scale's half-precision bits. */
function usualScale(values: Float32Array, first: number, extreme: number, name: string): number {
  const scale = Math.fround(extreme / -8)
  const half = halfScale(scale, name)
  const inverse = scale === 0 ? 0 : Math.fround(1 / scale)
  for (let i = 0; i < 32; i++) {
    const code = Math.fround(Math.fround(values[first + i] * inverse) + 8.5)
    bestCodes[i] = code >= 15 ? 15 : code > 0 ? code : 8 * Number(Number.isNaN(code))
  }
  return half
}

/**
 * The scale that fits best among the codes of several candidates. For given codes q the best scale is
 * Σxq / Σq² and leaves the squared error Σx² − (Σxq)² / Σq², so the largest (Σxq)² / Σq² wins.
 */
function fittedScale(values: Float32Array, first: number, extreme: number): number {
  let bestGain = -1
  let best = 0
  for (const reach of reaches) {
    const inverse = reach / extreme
    let cross = 0
    let square = 0
    for (let i = first; i < first + 32; i++) {
      let code = (values[i] * inverse + 8.5) | 0
      code = Math.max(0, Math.min(15, code)) - 8
      cross += values[i] * code
      square += code * code
    }
    const gain = (cross * cross) / square
    if (gain > bestGain) {
      bestGain = gain
      best = cross / square
    }
  }
  return best
}

function nearestCodes(values: Float32Array, first: number, scale: number, into: Uint8Array): void {
  const inverse = 1 / scale
  for (let i = 0; i < 32; i++) {
    const code = Math.floor(values[first + i] * inverse + 8.5)
    into[i] = Math.max(0, Math.min(15, code))
  }
}

function squaredError(values: Float32Array, first: number, scale: number, from: Uint8Array): number {
  let sum = 0
  for (let i = 0; i < 32; i++) {
    const difference = values[first + i] - scale * (from[i] - 8)
    sum += difference * difference
  }
  return sum
}
