// y = x · Wᵀ for packed integer weights, 8-bit activations and more than one token, where the machine multiplies bytes
// into 32-bit sums (variants dot8u and dot8s). All four dtypes come down to one inner loop: a panel of weights is
// brought to the form of int8 (4-bit weights are unpacked into scratch, scales widened to f32), then every tile of
// tokens passes over it while it lies in the cache.
//
// A tile is at most six tokens against eight rows: twelve integer sums, two vectors of weights and one of
// activations are the fifteen registers that V8 gives. The loop over a block is kept rolled so that the sums are
// loop variables (unrolled, V8 chains all products of one sum and spills the rest); the f32 sums lie in memory,
// touched once a block. On the pipes that multiply, a block costs eight products and two f32 steps for each four
// rows of a token, so that 80 % of the machine's rate of integer products is the ceiling.
import {
  F16_MASK, F16_POWER, INT4, INT4MIN, INT8, INT8ROW, NIBBLE_MASK, integer, madd, pointer, share, storeRows, validRows,
  widenF16x4,
} from '../../backends/wasm/runtime.wasm'
import { dot8, highNibbles, lowNibbles } from './dots.wasm'
import { FEW, tileOf } from './quantize.wasm'

/** Columns and groups of eight rows of a panel: with its scales it and a tile stay in the second-level cache. */
const SPAN_BLOCKS: i32 = 64
const PANEL_GROUPS: i32 = 4

const GROUP_BYTES: usize = <usize>SPAN_BLOCKS * 256
const GROUP_SCALES: usize = <usize>SPAN_BLOCKS * 32
const SUMS_BYTES: usize = 192

// @ts-ignore: decorator
@inline
function startOf(shift: i32, keep: v128, z: usize): v128 {
  const stored = v128.load32_splat(z, 4)
  return v128.and(shift != 0 ? i32x4.shl(stored, shift) : stored, keep)
}

// @ts-ignore: decorator
@inline
function addTo(sum: usize, dots: v128, z: v128, s: v128): void {
  v128.store(sum, madd(f32x4.mul(f32x4.convert_i32x4_s(dots), z), s, v128.load(sum)))
}

/**
 * `tokens` (a constant) against eight rows: adds `blocks` blocks to sums [tokens, 8]. `narrow`: 4-bit weights as they are
 * packed, of at most four tokens; more find them unpacked.
 */
// @ts-ignore: decorator
@inline
function tile(narrow: bool, shift: i32, tokens: i32, sums: usize, x: usize, z: usize, w: usize, s: usize, blocks: i32, kept: i32): void {
  const keep = i32x4.splat(kept)
  const half: usize = narrow ? 64 : 128
  const halves = tokens <= 4
  const none = i32x4.splat(0)
  const mask = narrow ? v128.load(NIBBLE_MASK) : none
  const f16Mask = halves ? v128.load(F16_MASK) : none
  const power = halves ? v128.load(F16_POWER) : none
  const end = w + <usize>blocks * 2 * half
  while (w < end) {
    let a0 = startOf(shift, keep, z)
    let a1 = tokens > 1 ? startOf(shift, keep, z + 8) : a0
    let a2 = tokens > 2 ? startOf(shift, keep, z + 16) : a0
    let a3 = tokens > 3 ? startOf(shift, keep, z + 24) : a0
    let a4 = tokens > 4 ? startOf(shift, keep, z + 32) : a0
    let a5 = tokens > 5 ? startOf(shift, keep, z + 40) : a0
    let b0 = a0
    let b1 = a1
    let b2 = a2
    let b3 = a3
    let b4 = a4
    let b5 = a5
    const stop = w + half
    while (w < stop) {
      const wa = v128.load(w)
      const wb = narrow ? v128.load(w, 64) : v128.load(w, 128)
      const la = narrow ? lowNibbles(wa, mask) : wa
      const lb = narrow ? lowNibbles(wb, mask) : wb
      const ha = narrow ? highNibbles(wa, mask) : wa
      const hb = narrow ? highNibbles(wb, mask) : wb
      let p = v128.load32_splat(x)
      a0 = dot8(p, la, a0)
      b0 = dot8(p, lb, b0)
      if (narrow) {
        p = v128.load32_splat(x + (<usize>tokens << 2))
        a0 = dot8(p, ha, a0)
        b0 = dot8(p, hb, b0)
      }
      if (tokens > 1) {
        p = v128.load32_splat(x, 4)
        a1 = dot8(p, la, a1)
        b1 = dot8(p, lb, b1)
        if (narrow) {
          p = v128.load32_splat(x + (<usize>tokens << 2), 4)
          a1 = dot8(p, ha, a1)
          b1 = dot8(p, hb, b1)
        }
      }
      if (tokens > 2) {
        p = v128.load32_splat(x, 8)
        a2 = dot8(p, la, a2)
        b2 = dot8(p, lb, b2)
        if (narrow) {
          p = v128.load32_splat(x + (<usize>tokens << 2), 8)
          a2 = dot8(p, ha, a2)
          b2 = dot8(p, hb, b2)
        }
      }
      if (tokens > 3) {
        p = v128.load32_splat(x, 12)
        a3 = dot8(p, la, a3)
        b3 = dot8(p, lb, b3)
        if (narrow) {
          p = v128.load32_splat(x + (<usize>tokens << 2), 12)
          a3 = dot8(p, ha, a3)
          b3 = dot8(p, hb, b3)
        }
      }
      if (tokens > 4) {
        p = v128.load32_splat(x, 16)
        a4 = dot8(p, la, a4)
        b4 = dot8(p, lb, b4)
      }
      if (tokens > 5) {
        p = v128.load32_splat(x, 20)
        a5 = dot8(p, la, a5)
        b5 = dot8(p, lb, b5)
      }
      w += 16
      x += <usize>tokens << (narrow ? 3 : 2)
    }
    w += half
    const sa = halves ? widenF16x4(s, f16Mask, power) : v128.load(s)
    const sb = halves ? widenF16x4(s + 8, f16Mask, power) : v128.load(s, 16)
    s += halves ? 16 : 32
    let scale = v128.load32_splat(z)
    addTo(sums, a0, scale, sa)
    addTo(sums + 16, b0, scale, sb)
    if (tokens > 1) {
      scale = v128.load32_splat(z, 8)
      addTo(sums + 32, a1, scale, sa)
      addTo(sums + 48, b1, scale, sb)
    }
    if (tokens > 2) {
      scale = v128.load32_splat(z, 16)
      addTo(sums + 64, a2, scale, sa)
      addTo(sums + 80, b2, scale, sb)
    }
    if (tokens > 3) {
      scale = v128.load32_splat(z, 24)
      addTo(sums + 96, a3, scale, sa)
      addTo(sums + 112, b3, scale, sb)
    }
    if (tokens > 4) {
      scale = v128.load32_splat(z, 32)
      addTo(sums + 128, a4, scale, sa)
      addTo(sums + 144, b4, scale, sb)
    }
    if (tokens > 5) {
      scale = v128.load32_splat(z, 40)
      addTo(sums + 160, a5, scale, sa)
      addTo(sums + 176, b5, scale, sb)
    }
    z += <usize>tokens << 3
  }
}

function nibbles1(sums: usize, x: usize, z: usize, w: usize, s: usize, blocks: i32, kept: i32): void {
  tile(true, 0, 1, sums, x, z, w, s, blocks, kept)
}
function nibbles2(sums: usize, x: usize, z: usize, w: usize, s: usize, blocks: i32, kept: i32): void {
  tile(true, 0, 2, sums, x, z, w, s, blocks, kept)
}
function nibbles3(sums: usize, x: usize, z: usize, w: usize, s: usize, blocks: i32, kept: i32): void {
  tile(true, 0, 3, sums, x, z, w, s, blocks, kept)
}
function nibbles4(sums: usize, x: usize, z: usize, w: usize, s: usize, blocks: i32, kept: i32): void {
  tile(true, 0, 4, sums, x, z, w, s, blocks, kept)
}
function unpacked5(sums: usize, x: usize, z: usize, w: usize, s: usize, blocks: i32, kept: i32): void {
  tile(false, 0, 5, sums, x, z, w, s, blocks, kept)
}
function unpacked6(sums: usize, x: usize, z: usize, w: usize, s: usize, blocks: i32, kept: i32): void {
  tile(false, 0, 6, sums, x, z, w, s, blocks, kept)
}
function bytes1(sums: usize, x: usize, z: usize, w: usize, s: usize, blocks: i32, kept: i32): void {
  tile(false, 4, 1, sums, x, z, w, s, blocks, kept)
}
function bytes2(sums: usize, x: usize, z: usize, w: usize, s: usize, blocks: i32, kept: i32): void {
  tile(false, 4, 2, sums, x, z, w, s, blocks, kept)
}
function bytes3(sums: usize, x: usize, z: usize, w: usize, s: usize, blocks: i32, kept: i32): void {
  tile(false, 4, 3, sums, x, z, w, s, blocks, kept)
}
function bytes4(sums: usize, x: usize, z: usize, w: usize, s: usize, blocks: i32, kept: i32): void {
  tile(false, 4, 4, sums, x, z, w, s, blocks, kept)
}
function bytes5(sums: usize, x: usize, z: usize, w: usize, s: usize, blocks: i32, kept: i32): void {
  tile(false, 4, 5, sums, x, z, w, s, blocks, kept)
}
function bytes6(sums: usize, x: usize, z: usize, w: usize, s: usize, blocks: i32, kept: i32): void {
  tile(false, 4, 6, sums, x, z, w, s, blocks, kept)
}

/** 4-bit weights of a group of rows as bytes 0 … 15, in the layout of int8. */
function unpack(from: usize, to: usize, blocks: i32): void {
  const mask = v128.load(NIBBLE_MASK)
  const end = from + (<usize>blocks << 7)
  while (from < end) {
    unpackChunk(from + 0, to + 0, mask)
    unpackChunk(from + 16, to + 32, mask)
    unpackChunk(from + 32, to + 64, mask)
    unpackChunk(from + 48, to + 96, mask)
    unpackChunk(from + 64, to + 128, mask)
    unpackChunk(from + 80, to + 160, mask)
    unpackChunk(from + 96, to + 192, mask)
    unpackChunk(from + 112, to + 224, mask)
    from += 128
    to += 256
  }
}

// @ts-ignore: decorator
@inline
function unpackChunk(from: usize, to: usize, mask: v128): void {
  const w = v128.load(from)
  v128.store(to, lowNibbles(w, mask))
  v128.store(to, highNibbles(w, mask), 16)
}

function widen(from: usize, to: usize, blocks: i32): void {
  const mask = v128.load(F16_MASK)
  const power = v128.load(F16_POWER)
  const end = from + (<usize>blocks << 4)
  while (from < end) {
    v128.store(to, widenF16x4(from, mask, power))
    v128.store(to, widenF16x4(from + 8, mask, power), 16)
    from += 16
    to += 32
  }
}

/** The scales of rows that have none for each block. */
function fillOnes(to: usize, halves: bool): void {
  const ones = halves ? i16x8.splat(0x3c00) : f32x4.splat(1)
  const end = to + GROUP_SCALES
  for (; to < end; to += 16) v128.store(to, ones)
}

/** Adds minimum · (sum of a block's activations) to sums [tokens, 8]. */
function addMinima(sums: usize, tokens: i32, z: usize, m: usize, blocks: i32): void {
  const end = m + (<usize>blocks << 5)
  while (m < end) {
    const ma = v128.load(m)
    const mb = v128.load(m, 16)
    m += 32
    const last = sums + (<usize>tokens << 5)
    for (let at = sums; at < last; at += 32) {
      const scale = f32x4.mul(f32x4.convert_i32x4_s(v128.load32_splat(z, 4)), f32x4.splat(-0.125))
      const sum = f32x4.mul(scale, v128.load32_splat(z))
      v128.store(at, madd(ma, sum, v128.load(at)))
      v128.store(at, madd(mb, sum, v128.load(at, 16)), 16)
      z += 8
    }
  }
}

/** Four results of consecutive rows, zeros past the end, as storeRows left them. */
// @ts-ignore: decorator
@inline
function loadRows(y: usize, row: i32, count: i32): v128 {
  const at = y + (<usize>row << 2)
  if (row + 4 <= count) return v128.load(at)
  let values = f32x4.splat(0)
  if (row < count) values = f32x4.replace_lane(values, 0, load<f32>(at))
  if (row + 1 < count) values = f32x4.replace_lane(values, 1, load<f32>(at, 4))
  if (row + 2 < count) values = f32x4.replace_lane(values, 2, load<f32>(at, 8))
  return values
}

/** Adds a tile's products with one group of rows to sums; which form of the weights, and how many tokens. */
// @ts-ignore: decorator
@inline
function addTile(
  narrow: bool, size: i32, sums: usize, x: usize, z: usize, w: usize, s: usize, blocks: i32, kept: i32,
): void {
  if (narrow) {
    if (size == 6) unpacked6(sums, x, z, w, s, blocks, kept)
    else if (size == 5) unpacked5(sums, x, z, w, s, blocks, kept)
    else if (size == 4) nibbles4(sums, x, z, w, s, blocks, kept)
    else if (size == 3) nibbles3(sums, x, z, w, s, blocks, kept)
    else if (size == 2) nibbles2(sums, x, z, w, s, blocks, kept)
    else nibbles1(sums, x, z, w, s, blocks, kept)
  } else {
    if (size == 6) bytes6(sums, x, z, w, s, blocks, kept)
    else if (size == 5) bytes5(sums, x, z, w, s, blocks, kept)
    else if (size == 4) bytes4(sums, x, z, w, s, blocks, kept)
    else if (size == 3) bytes3(sums, x, z, w, s, blocks, kept)
    else if (size == 2) bytes2(sums, x, z, w, s, blocks, kept)
    else bytes1(sums, x, z, w, s, blocks, kept)
  }
}

function takeSums(sums: usize, y: usize, row: i32, count: i32, tokens: i32): void {
  for (let t = 0; t < tokens; t++, sums += 32, y += <usize>count << 2) {
    v128.store(sums, loadRows(y, row, count))
    v128.store(sums, loadRows(y, row + 4, count), 16)
  }
}

function putSums(sums: usize, y: usize, row: i32, count: i32, tokens: i32): void {
  for (let t = 0; t < tokens; t++, sums += 32, y += <usize>count << 2) {
    storeRows(y, row, count, v128.load(sums))
    storeRows(y, row + 4, count, v128.load(sums, 16))
  }
}

/** Scales of whole rows. */
function scaleSums(sums: usize, scales: usize, tokens: i32): void {
  for (let t = 0; t < tokens; t++, sums += 32) {
    v128.store(sums, f32x4.mul(v128.load(sums), v128.load(scales)))
    v128.store(sums, f32x4.mul(v128.load(sums, 16), v128.load(scales, 16)), 16)
  }
}

/** args: as the vector kernels; eleventh and twelfth: scratch, and its bytes for each worker. */
function matrix(kind: i32, args: usize, worker: i32, workers: i32): void {
  const data = pointer(args, 0)
  const activationScales = pointer(args, 1)
  const weights = pointer(args, 2)
  const scales = pointer(args, 3)
  const minima = pointer(args, 4)
  const out = pointer(args, 5)
  const rows = validRows(integer(args, 6))
  const blocks = (integer(args, 7) + 31) >> 5
  const count = integer(args, 8)
  const narrow = kind == INT4 || kind == INT4MIN
  const kept = (narrow ? kind == INT4 : integer(args, 9) != 0) ? -1 : 0
  const sums = pointer(args, 10) + <usize>worker * <usize>integer(args, 11)
  const wideScales = sums + SUMS_BYTES
  const wideMinima = wideScales + <usize>PANEL_GROUPS * GROUP_SCALES
  const wide = wideMinima + <usize>PANEL_GROUPS * GROUP_SCALES
  const few = rows <= FEW
  const size = tileOf(rows)
  // Few tokens stay in the cache while the weights stream by.
  const most = few ? 1 : PANEL_GROUPS
  if (kind == INT8ROW) fillOnes(wideScales, few)
  const groups = (count + 7) >> 3
  const end = share(groups, worker + 1, workers)
  for (let group = share(groups, worker, workers); group < end; group += most) {
    const height = <usize>min(most, end - group)
    for (let from = 0; from < blocks; from += SPAN_BLOCKS) {
      const span = min(SPAN_BLOCKS, blocks - from)
      for (let g: usize = 0; g < height; g++) {
        const block = (<usize>group + g) * <usize>blocks + <usize>from
        if (narrow && !few) unpack(weights + (block << 7), wide + g * GROUP_BYTES, span)
        if (kind != INT8ROW && !few) widen(scales + (block << 4), wideScales + g * GROUP_SCALES, span)
        if (kind == INT4MIN) widen(minima + (block << 4), wideMinima + g * GROUP_SCALES, span)
      }
      for (let first = 0; first < rows; first += size) {
        const before = <usize>first * <usize>blocks + <usize>from * <usize>size
        const x = data + (before << 5)
        const z = activationScales + (before << 3)
        for (let g: usize = 0; g < height; g++) {
          const block = (<usize>group + g) * <usize>blocks + <usize>from
          const w = narrow && !few ? wide + g * GROUP_BYTES : weights + (block << (narrow ? 7 : 8))
          const s = kind == INT8ROW ? wideScales : few ? scales + (block << 4) : wideScales + g * GROUP_SCALES
          const row = (group + <i32>g) << 3
          const tokens = min(size, rows - first)
          const y = out + <usize>first * (<usize>count << 2)
          memory.fill(sums, 0, SUMS_BYTES)
          // Added up in one order whatever the span, as the vector kernels do, so that both give the same bits.
          if (from > 0) takeSums(sums, y, row, count, tokens)
          if (kind == INT4MIN) addMinima(sums, size, z, wideMinima + g * GROUP_SCALES, span)
          addTile(narrow, size, sums, x, z, w, s, span, kept)
          if (kind == INT8ROW && from + span == blocks) scaleSums(sums, scales + (<usize>row << 2), tokens)
          putSums(sums, y, row, count, tokens)
        }
      }
    }
  }
}

export function int4Matrix8(args: usize, worker: i32, workers: i32): void { matrix(INT4, args, worker, workers) }
export function int4minMatrix8(args: usize, worker: i32, workers: i32): void { matrix(INT4MIN, args, worker, workers) }
export function int8Matrix8(args: usize, worker: i32, workers: i32): void { matrix(INT8, args, worker, workers) }
export function int8rowMatrix8(args: usize, worker: i32, workers: i32): void { matrix(INT8ROW, args, worker, workers) }
