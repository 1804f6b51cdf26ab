// y = x · Wᵀ for packed integer weights, 8-bit activations and a few tokens, where the machine has no product of bytes
// into 32-bit sums: one token, or two at a time, against two groups of eight rows, so that two streams of weights are
// read, as far apart as a worker's share allows (see integer-streams.wasm.ts). Further pairs of tokens find the weights
// in the cache. A row's blocks are added up in the order of the other kernels: the same bits come out.
import {
  F16_MASK, F16_POWER, INT4, INT4MIN, INT8ROW, integer, NIBBLE_MASK, ONES, pointer, share, storeRows, validRows,
  widenF16x4,
} from '../../backends/wasm/runtime.wasm'
import { highNibbles, lowNibbles } from './dots.wasm'
import { addBlock, addInMemory, dot16, dotPairs, PAIRED, startOf, wholeDots } from './integer-steps.wasm'

/** Whether pairs of tokens are quicker than tiles of four: where the last tile of two at most would be half empty. */
// @ts-ignore: decorator
@inline
export function inPairs(rows: i32): bool {
  return rows <= 6 && ((rows - 1) & 2) == 0
}

/** Sixteen bytes of weights against one token, whose 32-bit words lie `step` bytes apart from x on. */
// @ts-ignore: decorator
@inline
function dots(narrow: bool, mode: i32, w: v128, x: usize, step: usize, mask: v128, sum: v128): v128 {
  if (mode == PAIRED) {
    sum = i16x8.add(sum, dotPairs(v128.load32_splat(x), lowNibbles(w, mask)))
    return i16x8.add(sum, dotPairs(v128.load32_splat(x + step), highNibbles(w, mask)))
  }
  const low = narrow ? lowNibbles(w, mask) : w
  sum = dot16(v128.load32_splat(x), i16x8.extend_low_i8x16_s(low), sum)
  sum = dot16(v128.load32_splat(x + step), i16x8.extend_high_i8x16_s(low), sum)
  if (!narrow) return sum
  const high = highNibbles(w, mask)
  sum = dot16(v128.load32_splat(x + 2 * step), i16x8.extend_low_i8x16_s(high), sum)
  return dot16(v128.load32_splat(x + 3 * step), i16x8.extend_high_i8x16_s(high), sum)
}

/** One token against two groups of rows; `apart`: blocks from one group to the other. */
// @ts-ignore: decorator
@inline
function twoByOne(
  kind: i32, mode: i32, x: usize, z: usize, w: usize, s: usize, m: usize, blocks: usize, apart: usize, y: usize, group: i32, other: i32,
  count: i32, scales: usize,
): void {
  const narrow = kind == INT4 || kind == INT4MIN
  const half: usize = narrow ? 64 : 128
  const mask = v128.load(NIBBLE_MASK)
  const f16Mask = v128.load(F16_MASK)
  const power = v128.load(F16_POWER)
  const ones = v128.load(ONES)
  let sumA = f32x4.splat(0)
  let sumB = f32x4.splat(0)
  let sumC = f32x4.splat(0)
  let sumD = f32x4.splat(0)
  const end = w + blocks * 2 * half
  let v = w + apart * 2 * half
  const further = apart << 4
  while (w < end) {
    let a = startOf(kind, z)
    let b = a
    let c = a
    let d = a
    const stop = w + half
    while (w < stop) {
      a = dots(narrow, mode, v128.load(w), x, 4, mask, a)
      b = dots(narrow, mode, narrow ? v128.load(w, 64) : v128.load(w, 128), x, 4, mask, b)
      c = dots(narrow, mode, v128.load(v), x, 4, mask, c)
      d = dots(narrow, mode, narrow ? v128.load(v, 64) : v128.load(v, 128), x, 4, mask, d)
      x += narrow && mode != PAIRED ? 16 : 8
      w += 16
      v += 16
    }
    w += half
    v += half
    sumA = addScaled(kind, mode, sumA, a, z, s, m, f16Mask, power, ones)
    sumB = addScaled(kind, mode, sumB, b, z, s + 8, m + 8, f16Mask, power, ones)
    sumC = addScaled(kind, mode, sumC, c, z, s + further, m + further, f16Mask, power, ones)
    sumD = addScaled(kind, mode, sumD, d, z, s + further + 8, m + further + 8, f16Mask, power, ones)
    s += 16
    m += 16
    z += 8
  }
  storeGroup(kind, y, group, count, sumA, sumB, scales)
  storeGroup(kind, y, other, count, sumC, sumD, scales)
}

/** Adds one block's dot products of four rows, with their scales at s and minima at m. */
// @ts-ignore: decorator
@inline
function addScaled(
  kind: i32, mode: i32, sum: v128, dots: v128, z: usize, s: usize, m: usize, f16Mask: v128, power: v128, ones: v128,
): v128 {
  const scales = kind == INT8ROW ? ones : widenF16x4(s, f16Mask, power)
  const minima = kind == INT4MIN ? widenF16x4(m, f16Mask, power) : ones
  return addBlock(kind, mode, sum, wholeDots(mode, dots, ones), z, scales, minima)
}

/**
 * Two tokens against two groups of rows, into sums [groups, tokens, 8]; `apart`: blocks from one group to the other.
 */
// @ts-ignore: decorator
@inline
function twoByTwo(kind: i32, mode: i32, sums: usize, x: usize, z: usize, w: usize, s: usize, m: usize, blocks: usize, apart: usize): void {
  const narrow = kind == INT4 || kind == INT4MIN
  const half: usize = narrow ? 64 : 128
  const mask = v128.load(NIBBLE_MASK)
  const f16Mask = v128.load(F16_MASK)
  const power = v128.load(F16_POWER)
  const ones = v128.load(ONES)
  const scales = kind != INT8ROW
  memory.fill(sums, 0, 128)
  const end = w + blocks * 2 * half
  let v = w + apart * 2 * half
  const further = apart << 4
  while (w < end) {
    let a0 = startOf(kind, z)
    let a1 = startOf(kind, z + 8)
    let b0 = a0
    let b1 = a1
    let c0 = a0
    let c1 = a1
    let d0 = a0
    let d1 = a1
    const stop = w + half
    while (w < stop) {
      let u = v128.load(w)
      a0 = dots(narrow, mode, u, x, 16, mask, a0)
      a1 = dots(narrow, mode, u, x + 4, 16, mask, a1)
      u = narrow ? v128.load(w, 64) : v128.load(w, 128)
      b0 = dots(narrow, mode, u, x, 16, mask, b0)
      b1 = dots(narrow, mode, u, x + 4, 16, mask, b1)
      u = v128.load(v)
      c0 = dots(narrow, mode, u, x, 16, mask, c0)
      c1 = dots(narrow, mode, u, x + 4, 16, mask, c1)
      u = narrow ? v128.load(v, 64) : v128.load(v, 128)
      d0 = dots(narrow, mode, u, x, 16, mask, d0)
      d1 = dots(narrow, mode, u, x + 4, 16, mask, d1)
      x += narrow && mode != PAIRED ? 64 : 32
      w += 16
      v += 16
    }
    w += half
    v += half
    let scale = scales ? widenF16x4(s, f16Mask, power) : ones
    let least = kind == INT4MIN ? widenF16x4(m, f16Mask, power) : ones
    addInMemory(sums, kind, mode, a0, z, scale, least, ones)
    addInMemory(sums + 32, kind, mode, a1, z + 8, scale, least, ones)
    scale = scales ? widenF16x4(s + 8, f16Mask, power) : ones
    least = kind == INT4MIN ? widenF16x4(m + 8, f16Mask, power) : ones
    addInMemory(sums + 16, kind, mode, b0, z, scale, least, ones)
    addInMemory(sums + 48, kind, mode, b1, z + 8, scale, least, ones)
    scale = scales ? widenF16x4(s + further, f16Mask, power) : ones
    least = kind == INT4MIN ? widenF16x4(m + further, f16Mask, power) : ones
    addInMemory(sums + 64, kind, mode, c0, z, scale, least, ones)
    addInMemory(sums + 96, kind, mode, c1, z + 8, scale, least, ones)
    scale = scales ? widenF16x4(s + further + 8, f16Mask, power) : ones
    least = kind == INT4MIN ? widenF16x4(m + further + 8, f16Mask, power) : ones
    addInMemory(sums + 80, kind, mode, d0, z, scale, least, ones)
    addInMemory(sums + 112, kind, mode, d1, z + 8, scale, least, ones)
    s += 16
    m += 16
    z += 32
  }
}

/** Eight results; rows that have one scale for all blocks are multiplied by it. */
function storeGroup(kind: i32, y: usize, group: i32, count: i32, low: v128, high: v128, scales: usize): void {
  if (kind == INT8ROW) {
    const own = scales + (<usize>group << 5)
    low = f32x4.mul(low, v128.load(own))
    high = f32x4.mul(high, v128.load(own, 16))
  }
  storeRows(y, group << 3, count, low)
  storeRows(y, (group << 3) + 4, count, high)
}

function store8(kind: i32, y: usize, group: i32, count: i32, sums: usize, scales: usize): void {
  storeGroup(kind, y, group, count, v128.load(sums), v128.load(sums, 16), scales)
}

/** args: see linear.ts; `tokens` (a constant): of a tile of activations, 1 or 4. */
// @ts-ignore: decorator
@inline
export function few(kind: i32, mode: i32, tokens: i32, args: usize, worker: i32, workers: i32): void {
  const scales = pointer(args, 3)
  const rows = validRows(integer(args, 6))
  const blocks = <usize>((integer(args, 7) + 31) >> 5)
  const count = integer(args, 8)
  const narrow = kind == INT4 || kind == INT4MIN
  const groups = (count + 7) >> 3
  const first = share(groups, worker, workers)
  const end = share(groups, worker + 1, workers)
  const apart = (end - first + 1) >> 1
  for (let group = first; group < first + apart; group++) {
    // Of an odd number the last is done twice.
    const other = min(group + apart, end - 1)
    const block = <usize>group * blocks
    const w = pointer(args, 2) + (block << (narrow ? 7 : 8))
    const s = scales + (block << 4)
    const m = pointer(args, 4) + (block << 4)
    const further = <usize>(other - group) * blocks
    if (tokens == 1) {
      twoByOne(
        kind, mode, pointer(args, 0), pointer(args, 1), w, s, m, blocks, further, pointer(args, 5), group, other, count, scales,
      )
      continue
    }
    const sums = pointer(args, 10) + (<usize>worker << 7)
    for (let t = 0; t < rows; t += 2) {
      const tile = <usize>(t >> 2) * blocks
      const x = pointer(args, 0) + (tile << (mode == PAIRED ? 7 : 8)) + (<usize>(t & 2) << 2)
      const z = pointer(args, 1) + (tile << 5) + (<usize>(t & 2) << 3)
      twoByTwo(kind, mode, sums, x, z, w, s, m, blocks, further)
      const y = pointer(args, 5) + <usize>t * (<usize>count << 2)
      store8(kind, y, group, count, sums, scales)
      store8(kind, y, other, count, sums + 64, scales)
      if (t + 1 == rows) break
      const next = y + (<usize>count << 2)
      store8(kind, next, group, count, sums + 32, scales)
      store8(kind, next, other, count, sums + 96, scales)
    }
  }
}
