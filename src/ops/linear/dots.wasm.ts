// What the integer kernels share: products of bytes, and 4-bit weights as bytes.

/** Four products of bytes into each 32-bit sum: x signed, w of 7 bits, or of 8 as the machine takes them (variant.ts). */
// @ts-ignore: decorator
@inline
export function dot8(x: v128, w: v128, sum: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return i32x4.relaxed_dot_i8x16_i7x16_add_s(x, w, sum)
  // The baseline build never calls the kernels that use it.
  return sum
}

// @ts-ignore: decorator
@inline
export function lowNibbles(w: v128, mask: v128): v128 {
  return v128.and(w, mask)
}

// @ts-ignore: decorator
@inline
export function highNibbles(w: v128, mask: v128): v128 {
  // i8x16.shr_u has no machine instruction.
  return v128.and(i16x8.shr_u(w, 4), mask)
}
