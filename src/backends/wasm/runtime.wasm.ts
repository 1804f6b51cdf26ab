// What all kernels share: where the run's inputs lie, how work is divided among workers, and the vector
// arithmetic that WebAssembly does not bring. AssemblyScript, compiled twice: with relaxed SIMD and without.
//
// Every kernel has the form kernel(args, worker, workers): `args` points to 32-bit words in the order in
// which the op's lowering names them. Kernels keep nothing between calls and own no static memory, because
// all workers run them over one shared memory.

import { EXP_CONSTANTS, F16_MASK, F16_POWER, RUN_ROWS } from './addresses'
export * from './addresses'

// Codes of dtypes (graph/dtype.ts).
export const F32: i32 = 0
export const BF16: i32 = 1
export const F16: i32 = 2
export const INT8: i32 = 3
export const INT8ROW: i32 = 4
export const INT4: i32 = 5
export const INT4MIN: i32 = 6

// @ts-ignore: decorator
@inline
export function pointer(args: usize, index: i32): usize {
  return <usize>load<u32>(args + (<usize>index << 2))
}

// @ts-ignore: decorator
@inline
export function integer(args: usize, index: i32): i32 {
  return load<i32>(args + (<usize>index << 2))
}

// @ts-ignore: decorator
@inline
export function real(args: usize, index: i32): f32 {
  return load<f32>(args + (<usize>index << 2))
}

/** Valid rows of a tensor with this capacity. */
// @ts-ignore: decorator
@inline
export function validRows(capacity: i32): i32 {
  return min(load<i32>(RUN_ROWS), capacity)
}

/** First unit of a worker when `units` are dealt out in equal runs. */
// @ts-ignore: decorator
@inline
export function share(units: i32, worker: i32, workers: i32): i32 {
  return <i32>((<i64>units * worker) / workers)
}

// @ts-ignore: decorator
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c)
  return f32x4.add(f32x4.mul(a, b), c)
}

// @ts-ignore: decorator
@inline
export function sum4(v: v128): f32 {
  return (
    f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1) + (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3))
  )
}

// @ts-ignore: decorator
@inline
export function max4(v: v128): f32 {
  return max(
    max(f32x4.extract_lane(v, 0), f32x4.extract_lane(v, 1)),
    max(f32x4.extract_lane(v, 2), f32x4.extract_lane(v, 3)),
  )
}

/** The i-th vector of the constants of exp4 (backend.ts writes them in this order). */
// @ts-ignore: decorator
@inline
function expConstant(i: usize): v128 {
  return v128.load(EXP_CONSTANTS + (i << 4))
}

/** eˣ to about 1e-7 relative: 2ⁿ · P(x − n·ln 2), the polynomial of Cephes' expf. Below −87 it gives ~1e-38. */
// @ts-ignore: decorator
@inline
export function exp4(value: v128): v128 {
  const x = f32x4.pmin(f32x4.pmax(value, expConstant(0)), expConstant(1))
  // n lies in the lowest bits of `rounded`, from where it becomes an exponent by a shift.
  const rounded = f32x4.add(f32x4.mul(x, expConstant(2)), expConstant(12))
  const n = f32x4.sub(rounded, expConstant(12))
  let r = madd(n, expConstant(3), x)
  r = madd(n, expConstant(4), r)
  let p = madd(expConstant(5), r, expConstant(6))
  p = madd(p, r, expConstant(7))
  p = madd(p, r, expConstant(8))
  p = madd(p, r, expConstant(9))
  p = madd(p, r, expConstant(10))
  const y = f32x4.add(madd(f32x4.mul(p, r), r, r), expConstant(11))
  const power = i32x4.add(i32x4.shl(rounded, 23), expConstant(11))
  return f32x4.mul(y, power)
}

// @ts-ignore: decorator
@inline
export function exp1(x: f32): f32 {
  return f32x4.extract_lane(exp4(f32x4.splat(x)), 0)
}

/** tanh x = 1 − 2 / (e²ˣ + 1) */
// @ts-ignore: decorator
@inline
export function tanh4(x: v128): v128 {
  const e = exp4(f32x4.add(x, x))
  return f32x4.sub(f32x4.splat(1), f32x4.div(f32x4.splat(2), f32x4.add(e, f32x4.splat(1))))
}

/** Four f16 values as f32. Shifted bits have an exponent too small by 112, which a product puts right, subnormals too. */
// @ts-ignore: decorator
@inline
export function loadF16x4(at: usize): v128 {
  return widenF16x4(at, v128.load(F16_MASK), v128.load(F16_POWER))
}

/** loadF16x4 with its constants in registers. */
// @ts-ignore: decorator
@inline
export function widenF16x4(at: usize, mask: v128, power: v128): v128 {
  return f32x4.mul(v128.and(i32x4.shl(v128.load16x4_s(at), 13), mask), power)
}

// @ts-ignore: decorator
@inline
export function loadF16(at: usize): f32 {
  const bits = (<u32>(<i32>load<i16>(at)) << 13) & 0x8fffffff
  return reinterpret<f32>(bits) * <f32>5.192296858534828e33
}

// @ts-ignore: decorator
@inline
export function loadBf16x4(at: usize): v128 {
  return i32x4.shl(v128.load16x4_u(at), 16)
}

// @ts-ignore: decorator
@inline
export function loadBf16(at: usize): f32 {
  return reinterpret<f32>(<u32>load<u16>(at) << 16)
}

/** Stores four results of consecutive rows at y[row …], leaving out those past the end. */
// @ts-ignore: decorator
@inline
export function storeRows(y: usize, row: i32, count: i32, values: v128): void {
  const at = y + (<usize>row << 2)
  if (row + 4 <= count) {
    v128.store(at, values)
    return
  }
  if (row < count) store<f32>(at, f32x4.extract_lane(values, 0))
  if (row + 1 < count) store<f32>(at, f32x4.extract_lane(values, 1), 4)
  if (row + 2 < count) store<f32>(at, f32x4.extract_lane(values, 2), 8)
}

/** One relaxed dot product, so that the host can see how this machine treats a weight's highest bit. */
export function probeDot(args: usize, worker: i32, workers: i32): void {
  if (ASC_FEATURE_RELAXED_SIMD) {
    const x = v128.load(args)
    const w = v128.load(args, 16)
    v128.store(args, i32x4.relaxed_dot_i8x16_i7x16_add_s(x, w, i32x4.splat(0)), 32)
  }
}
