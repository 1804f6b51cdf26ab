// y = x · Wᵀ for packed integer weights, 8-bit activations and one token, where the machine multiplies bytes into
// 32-bit sums (variants dot8u and dot8s). Reading the weights is the work, so a worker reads two streams at once: the
// first half of its rows, and the second. Two long runs keep more pages under way than one (two neighbouring groups
// of rows would begin a new page every few kilobytes), and the activations, which for long rows do not stay in the
// first-level cache beside the weights, are read once for sixteen rows. A row's sum is added up in one order whatever
// the number of workers.
import {
  F16_MASK, F16_POWER, INT4, INT4MIN, INT8, INT8ROW, NIBBLE_MASK, integer, madd, pointer, share, storeRows, widenF16x4,
} from '../../backends/wasm/runtime.wasm'
import { dot8, highNibbles, lowNibbles } from './dots.wasm'

/** Sixteen bytes of 4-bit weights against eight columns. */
// @ts-ignore: decorator
@inline
function dotNibbles(p: v128, q: v128, w: v128, mask: v128, sum: v128): v128 {
  return dot8(q, highNibbles(w, mask), dot8(p, lowNibbles(w, mask), sum))
}

/** Where a block's integer sum starts: minus the weights' offset times the sum of the activations, stored as −8Σ. */
// @ts-ignore: decorator
@inline
function startOf(kind: i32, offset: i32, z: usize): v128 {
  if (kind == INT4) return v128.load32_splat(z, 4)
  if (kind == INT4MIN) return i32x4.splat(0)
  return offset != 0 ? i32x4.shl(v128.load32_splat(z, 4), 4) : i32x4.splat(0)
}

/** Adds one block's dot products of four rows, with their scales at s and minima at m. */
// @ts-ignore: decorator
@inline
function addBlock(kind: i32, sum: v128, dots: v128, z: usize, s: usize, m: usize, mask: v128, power: v128): v128 {
  const scaled = f32x4.mul(f32x4.convert_i32x4_s(dots), v128.load32_splat(z))
  if (kind == INT8ROW) return f32x4.add(sum, scaled)
  const next = madd(scaled, widenF16x4(s, mask, power), sum)
  if (kind != INT4MIN) return next
  const total = f32x4.mul(f32x4.convert_i32x4_s(v128.load32_splat(z, 4)), f32x4.splat(-0.125))
  return madd(widenF16x4(m, mask, power), f32x4.mul(total, v128.load32_splat(z)), next)
}

/** args: see linear.ts */
// @ts-ignore: decorator
@inline
function vector(kind: i32, args: usize, worker: i32, workers: i32): void {
  const groups = (integer(args, 8) + 7) >> 3
  const first = share(groups, worker, workers)
  const end = share(groups, worker + 1, workers)
  const apart = (end - first) >> 1
  for (let group = first; group < first + apart; group++) twoGroups(kind, args, group, group + apart)
  if (((end - first) & 1) != 0) twoGroups(kind, args, end - 1, end - 1)
}

// @ts-ignore: decorator
@inline
function twoGroups(kind: i32, args: usize, group: i32, other: i32): void {
  const scales = pointer(args, 3)
  const out = pointer(args, 5)
  const blocks = <usize>((integer(args, 7) + 31) >> 5)
  const count = integer(args, 8)
  const offset = integer(args, 9)
  const narrow = kind == INT4 || kind == INT4MIN
  const half: usize = narrow ? 64 : 128
  const mask = narrow ? v128.load(NIBBLE_MASK) : i32x4.splat(0)
  const f16Mask = v128.load(F16_MASK)
  const power = v128.load(F16_POWER)
  let sumA = f32x4.splat(0)
  let sumB = f32x4.splat(0)
  let sumC = f32x4.splat(0)
  let sumD = f32x4.splat(0)
  let x = pointer(args, 0)
  let z = pointer(args, 1)
  let w = pointer(args, 2) + <usize>group * blocks * 2 * half
  let v = pointer(args, 2) + <usize>other * blocks * 2 * half
  let s = scales + <usize>group * blocks * 16
  let m = pointer(args, 4) + <usize>group * blocks * 16
  const further = <usize>(other - group) * blocks * 16
  const stop = w + blocks * 2 * half
  while (w < stop) {
    let a = startOf(kind, offset, z)
    let b = a
    let c = a
    let d = a
    const next = w + half
    while (w < next) {
      const p = v128.load32_splat(x)
      if (narrow) {
        const q = v128.load32_splat(x, 4)
        a = dotNibbles(p, q, v128.load(w), mask, a)
        b = dotNibbles(p, q, v128.load(w, 64), mask, b)
        c = dotNibbles(p, q, v128.load(v), mask, c)
        d = dotNibbles(p, q, v128.load(v, 64), mask, d)
        x += 8
      } else {
        a = dot8(p, v128.load(w), a)
        b = dot8(p, v128.load(w, 128), b)
        c = dot8(p, v128.load(v), c)
        d = dot8(p, v128.load(v, 128), d)
        x += 4
      }
      w += 16
      v += 16
    }
    w += half
    v += half
    sumA = addBlock(kind, sumA, a, z, s, m, f16Mask, power)
    sumB = addBlock(kind, sumB, b, z, s + 8, m + 8, f16Mask, power)
    sumC = addBlock(kind, sumC, c, z, s + further, m + further, f16Mask, power)
    sumD = addBlock(kind, sumD, d, z, s + further + 8, m + further + 8, f16Mask, power)
    s += 16
    m += 16
    z += 8
  }
  if (kind == INT8ROW) {
    const own = scales + (<usize>group << 5)
    const others = scales + (<usize>other << 5)
    sumA = f32x4.mul(sumA, v128.load(own))
    sumB = f32x4.mul(sumB, v128.load(own, 16))
    sumC = f32x4.mul(sumC, v128.load(others))
    sumD = f32x4.mul(sumD, v128.load(others, 16))
  }
  storeRows(out, group << 3, count, sumA)
  storeRows(out, (group << 3) + 4, count, sumB)
  storeRows(out, other << 3, count, sumC)
  storeRows(out, (other << 3) + 4, count, sumD)
}

export function int4Vector8(args: usize, worker: i32, workers: i32): void { vector(INT4, args, worker, workers) }
export function int4minVector8(args: usize, worker: i32, workers: i32): void { vector(INT4MIN, args, worker, workers) }
export function int8Vector8(args: usize, worker: i32, workers: i32): void { vector(INT8, args, worker, workers) }
export function int8rowVector8(args: usize, worker: i32, workers: i32): void { vector(INT8ROW, args, worker, workers) }
