// The steps of the integer kernels where the machine has no product of bytes into 32-bit sums (integer.wasm.ts,
// integer-few.wasm.ts). Two ways to multiply: WIDE by the baseline's product of 16-bit integers, PAIRED by the relaxed
// product of pairs of bytes into 16-bit sums (for x86 without VNNI: a block of 4-bit weights cannot overflow them,
// 8 · 2 · 15 · 127 < 2¹⁵).
import { INT4, INT4MIN, INT8ROW, madd } from '../../backends/wasm/runtime.wasm'

export const WIDE: i32 = 1
export const PAIRED: i32 = 2

// @ts-ignore: decorator
@inline
export function dotPairs(x: v128, w: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return i16x8.relaxed_dot_i8x16_i7x16_s(x, w)
  return x
}

// @ts-ignore: decorator
@inline
export function dot16(x: v128, w: v128, sum: v128): v128 {
  return i32x4.add(sum, i32x4.dot_i16x8_s(x, w))
}

/**
 * Where a block's integer sum starts: minus the weights' offset times the sum of the activations. Sums of pairs
 * start with half of it in each of a row's two lanes: (w − 8)·x over 16 columns plus 4 times the difference of two
 * halves stays within ±2 · 16 256, so the 16 bits hold the result, and on the way there they may wrap.
 */
// @ts-ignore: decorator
@inline
export function startOf(kind: i32, scaleAt: usize): v128 {
  return kind == INT4 ? v128.load32_splat(scaleAt, 4) : i32x4.splat(0)
}

/** scale · Σ of a block's integers, from the stored −8Σ, or −4Σ twice in 16 bits */
// @ts-ignore: decorator
@inline
function activationSum(mode: i32, z: usize): v128 {
  const stored = v128.load32_splat(z, 4)
  const sum = f32x4.convert_i32x4_s(mode == PAIRED ? i32x4.shr_s(stored, 16) : stored)
  return f32x4.mul(f32x4.mul(sum, f32x4.splat(mode == PAIRED ? -0.25 : -0.125)), v128.load32_splat(z))
}

/** Adds one block's dot products of four rows to their f32 sums. */
// @ts-ignore: decorator
@inline
export function addBlock(kind: i32, mode: i32, sum: v128, dots: v128, z: usize, s: v128, m: v128): v128 {
  const scaled = f32x4.mul(f32x4.convert_i32x4_s(dots), v128.load32_splat(z))
  let next = kind == INT8ROW ? f32x4.add(sum, scaled) : madd(scaled, s, sum)
  if (kind == INT4MIN) next = madd(m, activationSum(mode, z), next)
  return next
}

/** A block's integer sums in 32 bits; sums of pairs still lie in two halves. */
// @ts-ignore: decorator
@inline
export function wholeDots(mode: i32, dots: v128, ones: v128): v128 {
  return mode == PAIRED ? i32x4.dot_i16x8_s(dots, ones) : dots
}

/** Adds one block of four rows by one token to the f32 sums at `at`. */
// @ts-ignore: decorator
@inline
export function addInMemory(at: usize, kind: i32, mode: i32, dots: v128, z: usize, s: v128, m: v128, ones: v128): void {
  v128.store(at, addBlock(kind, mode, v128.load(at), wholeDots(mode, dots, ones), z, s, m))
}
