// y = x · Wᵀ for packed integer weights and 8-bit activations. "Vector" serves one token: one linear stream of
// weights, two chains of dot products, the f32 sum in a register. "Matrix" serves tiles of four tokens against
// eight rows: the loop over a block is kept rolled so that its eight integer sums are loop variables (unrolled,
// V8 chains all products of one sum and spills the rest), and the f32 sums lie in memory, touched once a block.
//
// The end of a kernel's name tells how it multiplies: 8 by the relaxed 8-bit dot product into 32-bit sums (one
// instruction where the processor has it), P by the relaxed product of pairs into 16-bit sums (for x86 without
// VNNI: a block of 4-bit weights cannot overflow them, 8 · 2 · 15 · 127 < 2¹⁵), 16 by the baseline's 16-bit one.
import {
  INT4, INT4MIN, INT8, INT8ROW, F16_MASK, F16_POWER, NIBBLE_MASK, ONES, integer, madd, pointer, share, storeRows, validRows, widenF16x4,
} from '../../backends/wasm/runtime.wasm'

// @ts-ignore: decorator
@inline
const TILE: i32 = 4

const QUAD: i32 = 0
const WIDE: i32 = 1
const PAIRED: i32 = 2

// @ts-ignore: decorator
@inline
function dot8(x: v128, w: v128, sum: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return i32x4.relaxed_dot_i8x16_i7x16_add_s(x, w, sum)
  // The baseline build never calls the 8-bit kernels.
  return sum
}

// @ts-ignore: decorator
@inline
function dotPairs(x: v128, w: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return i16x8.relaxed_dot_i8x16_i7x16_s(x, w)
  return x
}

// @ts-ignore: decorator
@inline
function dot16(x: v128, w: v128, sum: v128): v128 {
  return i32x4.add(sum, i32x4.dot_i16x8_s(x, w))
}

// @ts-ignore: decorator
@inline
function lowNibbles(w: v128, mask: v128): v128 {
  return v128.and(w, mask)
}

// @ts-ignore: decorator
@inline
function highNibbles(w: v128, mask: v128): v128 {
  // i8x16.shr_u has no machine instruction.
  return v128.and(i16x8.shr_u(w, 4), mask)
}

/** Where a block's integer sum starts: minus the weights' offset times the sum of the activations. */
// @ts-ignore: decorator
@inline
function startOf(kind: i32, offset: i32, scaleAt: usize): v128 {
  if (kind == INT4) return v128.load32_splat(scaleAt, 4)
  if (kind == INT4MIN) return i32x4.splat(0)
  return offset != 0 ? i32x4.shl(v128.load32_splat(scaleAt, 4), 4) : i32x4.splat(0)
}

/** Σ over one block of one token (activations contiguous) for four rows. */
// @ts-ignore: decorator
@inline
function blockVector(kind: i32, mode: i32, w: usize, x: usize, start: v128, mask: v128): v128 {
  let i = start
  let j = i32x4.splat(0)
  if (kind == INT4 || kind == INT4MIN) {
    const a = v128.load(w)
    const b = v128.load(w, 16)
    const c = v128.load(w, 32)
    const d = v128.load(w, 48)
    if (mode == PAIRED) {
      return i32x4.add(start, pairedNibbles(a, b, c, d, x, mask))
    } else if (mode == WIDE) {
      i = wideNibbles(a, x, i, mask)
      j = wideNibbles(b, x + 16, j, mask)
      i = wideNibbles(c, x + 32, i, mask)
      j = wideNibbles(d, x + 48, j, mask)
    } else {
      i = dot8(v128.load32_splat(x), lowNibbles(a, mask), i)
      j = dot8(v128.load32_splat(x, 4), highNibbles(a, mask), j)
      i = dot8(v128.load32_splat(x, 8), lowNibbles(b, mask), i)
      j = dot8(v128.load32_splat(x, 12), highNibbles(b, mask), j)
      i = dot8(v128.load32_splat(x, 16), lowNibbles(c, mask), i)
      j = dot8(v128.load32_splat(x, 20), highNibbles(c, mask), j)
      i = dot8(v128.load32_splat(x, 24), lowNibbles(d, mask), i)
      j = dot8(v128.load32_splat(x, 28), highNibbles(d, mask), j)
    }
  } else if (mode == WIDE) {
    i = wideBytes(v128.load(w), x, i)
    j = wideBytes(v128.load(w, 16), x + 8, j)
    i = wideBytes(v128.load(w, 32), x + 16, i)
    j = wideBytes(v128.load(w, 48), x + 24, j)
    i = wideBytes(v128.load(w, 64), x + 32, i)
    j = wideBytes(v128.load(w, 80), x + 40, j)
    i = wideBytes(v128.load(w, 96), x + 48, i)
    j = wideBytes(v128.load(w, 112), x + 56, j)
  } else {
    i = dot8(v128.load32_splat(x), v128.load(w), i)
    j = dot8(v128.load32_splat(x, 4), v128.load(w, 16), j)
    i = dot8(v128.load32_splat(x, 8), v128.load(w, 32), i)
    j = dot8(v128.load32_splat(x, 12), v128.load(w, 48), j)
    i = dot8(v128.load32_splat(x, 16), v128.load(w, 64), i)
    j = dot8(v128.load32_splat(x, 20), v128.load(w, 80), j)
    i = dot8(v128.load32_splat(x, 24), v128.load(w, 96), i)
    j = dot8(v128.load32_splat(x, 28), v128.load(w, 112), j)
  }
  return i32x4.add(i, j)
}

// @ts-ignore: decorator
@inline
function wideBytes(w: v128, x: usize, sum: v128): v128 {
  return dot16(
    v128.load32_splat(x, 4),
    i16x8.extend_high_i8x16_s(w),
    dot16(v128.load32_splat(x), i16x8.extend_low_i8x16_s(w), sum),
  )
}

// @ts-ignore: decorator
@inline
function wideNibbles(w: v128, x: usize, sum: v128, mask: v128): v128 {
  return wideBytes(highNibbles(w, mask), x + 8, wideBytes(lowNibbles(w, mask), x, sum))
}

/** One block of 4-bit weights by sums of pairs. */
// @ts-ignore: decorator
@inline
function pairedNibbles(a: v128, b: v128, c: v128, d: v128, x: usize, mask: v128): v128 {
  let i = dotPairs(v128.load32_splat(x), lowNibbles(a, mask))
  let j = dotPairs(v128.load32_splat(x, 4), highNibbles(a, mask))
  i = i16x8.add(i, dotPairs(v128.load32_splat(x, 8), lowNibbles(b, mask)))
  j = i16x8.add(j, dotPairs(v128.load32_splat(x, 12), highNibbles(b, mask)))
  i = i16x8.add(i, dotPairs(v128.load32_splat(x, 16), lowNibbles(c, mask)))
  j = i16x8.add(j, dotPairs(v128.load32_splat(x, 20), highNibbles(c, mask)))
  i = i16x8.add(i, dotPairs(v128.load32_splat(x, 24), lowNibbles(d, mask)))
  j = i16x8.add(j, dotPairs(v128.load32_splat(x, 28), highNibbles(d, mask)))
  return i32x4.dot_i16x8_s(i16x8.add(i, j), v128.load(ONES))
}

// @ts-ignore: decorator
@inline
function vector(kind: i32, mode: i32, args: usize, worker: i32, workers: i32): void {
  const data = pointer(args, 0)
  const activationScales = pointer(args, 1)
  const weights = pointer(args, 2)
  const scales = pointer(args, 3)
  const minima = pointer(args, 4)
  const out = pointer(args, 5)
  const columns = integer(args, 7)
  const count = integer(args, 8)
  const offset = integer(args, 9)
  const blocks = <usize>((columns + 31) >> 5)
  const blockBytes: usize = kind == INT4 || kind == INT4MIN ? 64 : 128
  const xBytes: usize = mode == WIDE ? 64 : 32
  const groups = (count + 3) >> 2
  const mask = v128.load(NIBBLE_MASK)
  const f16Mask = v128.load(F16_MASK)
  const power = v128.load(F16_POWER)
  const end = share(groups, worker + 1, workers)
  for (let group = share(groups, worker, workers); group < end; group++) {
    let sum = f32x4.splat(0)
    let x = data
    let z = activationScales
    let w = weights + <usize>group * blocks * blockBytes
    let s = scales + <usize>group * blocks * 8
    let m = minima + <usize>group * blocks * 8
    const stop = w + blocks * blockBytes
    while (w < stop) {
      const dots = f32x4.convert_i32x4_s(blockVector(kind, mode, w, x, startOf(kind, offset, z), mask))
      const scaled = f32x4.mul(dots, v128.load32_splat(z))
      if (kind == INT8ROW) {
        sum = f32x4.add(sum, scaled)
      } else {
        sum = madd(scaled, widenF16x4(s, f16Mask, power), sum)
        s += 8
      }
      if (kind == INT4MIN) {
        sum = madd(widenF16x4(m, f16Mask, power), activationSum(z), sum)
        m += 8
      }
      w += blockBytes
      x += xBytes
      z += 8
    }
    if (kind == INT8ROW) sum = f32x4.mul(sum, v128.load(scales + (<usize>group << 4)))
    storeRows(out, group << 2, count, sum)
  }
}

/** scale · Σ of a block's integers, from the stored −8Σ */
// @ts-ignore: decorator
@inline
function activationSum(z: usize): v128 {
  const sum = f32x4.convert_i32x4_s(v128.load32_splat(z, 4))
  return f32x4.mul(f32x4.mul(sum, f32x4.splat(-0.125)), v128.load32_splat(z))
}

// @ts-ignore: decorator
@inline
function widenPairs(sums: v128, ones: v128, kind: i32, z: usize): v128 {
  return i32x4.add(i32x4.dot_i16x8_s(sums, ones), startOf(kind, 0, z))
}

// @ts-ignore: decorator
@inline
function add4(
  a: usize, kind: i32, sum: v128, z: usize, s: v128, m: v128,
): void {
  const scaled = f32x4.mul(f32x4.convert_i32x4_s(sum), v128.load32_splat(z))
  let next = kind == INT8ROW ? f32x4.add(scaled, v128.load(a)) : madd(scaled, s, v128.load(a))
  if (kind == INT4MIN) next = madd(m, activationSum(z), next)
  v128.store(a, next)
}

/** Twelfth argument: 128 bytes of scratch per worker for the f32 sums. */
// @ts-ignore: decorator
@inline
function matrix(kind: i32, mode: i32, args: usize, worker: i32, workers: i32): void {
  const data = pointer(args, 0)
  const activationScales = pointer(args, 1)
  const weights = pointer(args, 2)
  const scales = pointer(args, 3)
  const minima = pointer(args, 4)
  const out = pointer(args, 5)
  const rows = validRows(integer(args, 6))
  const columns = integer(args, 7)
  const count = integer(args, 8)
  const offset = integer(args, 9)
  const sums = pointer(args, 10) + (<usize>worker << 7)
  const blocks = <usize>((columns + 31) >> 5)
  const narrow = kind == INT4 || kind == INT4MIN
  const blockBytes: usize = narrow ? 64 : 128
  const groupBytes = blocks * blockBytes
  const tileBytes = blocks * (mode == WIDE ? 64 : 32) * TILE
  const tileScaleBytes = blocks * 8 * TILE
  const tiles = (rows + TILE - 1) / TILE
  const pairs = (count + 7) >> 3
  const mask = v128.load(NIBBLE_MASK)
  const f16Mask = v128.load(F16_MASK)
  const power = v128.load(F16_POWER)
  const end = share(pairs, worker + 1, workers)
  for (let pair = share(pairs, worker, workers); pair < end; pair++) {
    for (let tile = 0; tile < tiles; tile++) {
      memory.fill(sums, 0, 128)
      let x = data + <usize>tile * tileBytes
      let z = activationScales + <usize>tile * tileScaleBytes
      let w = weights + <usize>pair * 2 * groupBytes
      let s = scales + <usize>pair * 2 * blocks * 8
      let m = minima + <usize>pair * 2 * blocks * 8
      for (let block: usize = 0; block < blocks; block++) {
        // Sums of pairs start at zero; the blocks' starting values are added when they are widened.
        let a0 = mode == PAIRED ? i32x4.splat(0) : startOf(kind, offset, z)
        let a1 = mode == PAIRED ? a0 : startOf(kind, offset, z + 8)
        let a2 = mode == PAIRED ? a0 : startOf(kind, offset, z + 16)
        let a3 = mode == PAIRED ? a0 : startOf(kind, offset, z + 24)
        let b0 = a0
        let b1 = a1
        let b2 = a2
        let b3 = a3
        const stop = w + blockBytes
        while (w < stop) {
          const wa = v128.load(w)
          const wb = v128.load(w + groupBytes)
          if (mode == PAIRED) {
            const la = lowNibbles(wa, mask)
            const ha = highNibbles(wa, mask)
            const lb = lowNibbles(wb, mask)
            const hb = highNibbles(wb, mask)
            let p = v128.load32_splat(x)
            a0 = i16x8.add(a0, dotPairs(p, la))
            b0 = i16x8.add(b0, dotPairs(p, lb))
            p = v128.load32_splat(x, 16)
            a0 = i16x8.add(a0, dotPairs(p, ha))
            b0 = i16x8.add(b0, dotPairs(p, hb))
            p = v128.load32_splat(x, 4)
            a1 = i16x8.add(a1, dotPairs(p, la))
            b1 = i16x8.add(b1, dotPairs(p, lb))
            p = v128.load32_splat(x, 20)
            a1 = i16x8.add(a1, dotPairs(p, ha))
            b1 = i16x8.add(b1, dotPairs(p, hb))
            p = v128.load32_splat(x, 8)
            a2 = i16x8.add(a2, dotPairs(p, la))
            b2 = i16x8.add(b2, dotPairs(p, lb))
            p = v128.load32_splat(x, 24)
            a2 = i16x8.add(a2, dotPairs(p, ha))
            b2 = i16x8.add(b2, dotPairs(p, hb))
            p = v128.load32_splat(x, 12)
            a3 = i16x8.add(a3, dotPairs(p, la))
            b3 = i16x8.add(b3, dotPairs(p, lb))
            p = v128.load32_splat(x, 28)
            a3 = i16x8.add(a3, dotPairs(p, ha))
            b3 = i16x8.add(b3, dotPairs(p, hb))
            x += 32
          } else if (narrow && mode == QUAD) {
            const la = lowNibbles(wa, mask)
            const ha = highNibbles(wa, mask)
            const lb = lowNibbles(wb, mask)
            const hb = highNibbles(wb, mask)
            let p = v128.load32_splat(x)
            let q = v128.load32_splat(x, 16)
            a0 = dot8(q, ha, dot8(p, la, a0))
            b0 = dot8(q, hb, dot8(p, lb, b0))
            p = v128.load32_splat(x, 4)
            q = v128.load32_splat(x, 20)
            a1 = dot8(q, ha, dot8(p, la, a1))
            b1 = dot8(q, hb, dot8(p, lb, b1))
            p = v128.load32_splat(x, 8)
            q = v128.load32_splat(x, 24)
            a2 = dot8(q, ha, dot8(p, la, a2))
            b2 = dot8(q, hb, dot8(p, lb, b2))
            p = v128.load32_splat(x, 12)
            q = v128.load32_splat(x, 28)
            a3 = dot8(q, ha, dot8(p, la, a3))
            b3 = dot8(q, hb, dot8(p, lb, b3))
            x += 32
          } else if (mode == QUAD) {
            let p = v128.load32_splat(x)
            a0 = dot8(p, wa, a0)
            b0 = dot8(p, wb, b0)
            p = v128.load32_splat(x, 4)
            a1 = dot8(p, wa, a1)
            b1 = dot8(p, wb, b1)
            p = v128.load32_splat(x, 8)
            a2 = dot8(p, wa, a2)
            b2 = dot8(p, wb, b2)
            p = v128.load32_splat(x, 12)
            a3 = dot8(p, wa, a3)
            b3 = dot8(p, wb, b3)
            x += 16
          } else {
            const la = narrow ? lowNibbles(wa, mask) : wa
            const lb = narrow ? lowNibbles(wb, mask) : wb
            let wl = i16x8.extend_low_i8x16_s(la)
            let wh = i16x8.extend_high_i8x16_s(la)
            a0 = dot16(v128.load32_splat(x, 16), wh, dot16(v128.load32_splat(x), wl, a0))
            a1 = dot16(v128.load32_splat(x, 20), wh, dot16(v128.load32_splat(x, 4), wl, a1))
            a2 = dot16(v128.load32_splat(x, 24), wh, dot16(v128.load32_splat(x, 8), wl, a2))
            a3 = dot16(v128.load32_splat(x, 28), wh, dot16(v128.load32_splat(x, 12), wl, a3))
            wl = i16x8.extend_low_i8x16_s(lb)
            wh = i16x8.extend_high_i8x16_s(lb)
            b0 = dot16(v128.load32_splat(x, 16), wh, dot16(v128.load32_splat(x), wl, b0))
            b1 = dot16(v128.load32_splat(x, 20), wh, dot16(v128.load32_splat(x, 4), wl, b1))
            b2 = dot16(v128.load32_splat(x, 24), wh, dot16(v128.load32_splat(x, 8), wl, b2))
            b3 = dot16(v128.load32_splat(x, 28), wh, dot16(v128.load32_splat(x, 12), wl, b3))
            x += 32
            if (narrow) {
              const ha = highNibbles(wa, mask)
              const hb = highNibbles(wb, mask)
              wl = i16x8.extend_low_i8x16_s(ha)
              wh = i16x8.extend_high_i8x16_s(ha)
              a0 = dot16(v128.load32_splat(x, 16), wh, dot16(v128.load32_splat(x), wl, a0))
              a1 = dot16(v128.load32_splat(x, 20), wh, dot16(v128.load32_splat(x, 4), wl, a1))
              a2 = dot16(v128.load32_splat(x, 24), wh, dot16(v128.load32_splat(x, 8), wl, a2))
              a3 = dot16(v128.load32_splat(x, 28), wh, dot16(v128.load32_splat(x, 12), wl, a3))
              wl = i16x8.extend_low_i8x16_s(hb)
              wh = i16x8.extend_high_i8x16_s(hb)
              b0 = dot16(v128.load32_splat(x, 16), wh, dot16(v128.load32_splat(x), wl, b0))
              b1 = dot16(v128.load32_splat(x, 20), wh, dot16(v128.load32_splat(x, 4), wl, b1))
              b2 = dot16(v128.load32_splat(x, 24), wh, dot16(v128.load32_splat(x, 8), wl, b2))
              b3 = dot16(v128.load32_splat(x, 28), wh, dot16(v128.load32_splat(x, 12), wl, b3))
              x += 32
            }
          }
          w += 16
        }
        if (mode == PAIRED) {
          const ones = v128.load(ONES)
          a0 = widenPairs(a0, ones, kind, z)
          b0 = widenPairs(b0, ones, kind, z)
          a1 = widenPairs(a1, ones, kind, z + 8)
          b1 = widenPairs(b1, ones, kind, z + 8)
          a2 = widenPairs(a2, ones, kind, z + 16)
          b2 = widenPairs(b2, ones, kind, z + 16)
          a3 = widenPairs(a3, ones, kind, z + 24)
          b3 = widenPairs(b3, ones, kind, z + 24)
        }
        const sa = kind == INT8ROW ? f32x4.splat(1) : widenF16x4(s, f16Mask, power)
        const sb = kind == INT8ROW ? sa : widenF16x4(s + blocks * 8, f16Mask, power)
        const ma = kind == INT4MIN ? widenF16x4(m, f16Mask, power) : sa
        const mb = kind == INT4MIN ? widenF16x4(m + blocks * 8, f16Mask, power) : sa
        add4(sums, kind, a0, z, sa, ma)
        add4(sums + 16, kind, b0, z, sb, mb)
        add4(sums + 32, kind, a1, z + 8, sa, ma)
        add4(sums + 48, kind, b1, z + 8, sb, mb)
        add4(sums + 64, kind, a2, z + 16, sa, ma)
        add4(sums + 80, kind, b2, z + 16, sb, mb)
        add4(sums + 96, kind, a3, z + 24, sa, ma)
        add4(sums + 112, kind, b3, z + 24, sb, mb)
        s += 8
        m += 8
        z += 8 * TILE
      }
      const tokens = min(TILE, rows - tile * TILE)
      for (let t = 0; t < tokens; t++) {
        const y = out + <usize>(tile * TILE + t) * (<usize>count << 2)
        for (let half = 0; half < 2; half++) {
          const row = (pair << 3) + (half << 2)
          let values = v128.load(sums + (<usize>t << 5) + (<usize>half << 4))
          if (kind == INT8ROW) values = f32x4.mul(values, v128.load(scales + (<usize>row << 2)))
          storeRows(y, row, count, values)
        }
      }
    }
  }
}

export function int4Vector8(args: usize, worker: i32, workers: i32): void { vector(INT4, QUAD, args, worker, workers) }
export function int4minVector8(args: usize, worker: i32, workers: i32): void { vector(INT4MIN, QUAD, args, worker, workers) }
export function int8Vector8(args: usize, worker: i32, workers: i32): void { vector(INT8, QUAD, args, worker, workers) }
export function int8rowVector8(args: usize, worker: i32, workers: i32): void { vector(INT8ROW, QUAD, args, worker, workers) }
export function int4Vector16(args: usize, worker: i32, workers: i32): void { vector(INT4, WIDE, args, worker, workers) }
export function int4minVector16(args: usize, worker: i32, workers: i32): void { vector(INT4MIN, WIDE, args, worker, workers) }
export function int8Vector16(args: usize, worker: i32, workers: i32): void { vector(INT8, WIDE, args, worker, workers) }
export function int8rowVector16(args: usize, worker: i32, workers: i32): void { vector(INT8ROW, WIDE, args, worker, workers) }
export function int4Matrix8(args: usize, worker: i32, workers: i32): void { matrix(INT4, QUAD, args, worker, workers) }
export function int4minMatrix8(args: usize, worker: i32, workers: i32): void { matrix(INT4MIN, QUAD, args, worker, workers) }
export function int8Matrix8(args: usize, worker: i32, workers: i32): void { matrix(INT8, QUAD, args, worker, workers) }
export function int8rowMatrix8(args: usize, worker: i32, workers: i32): void { matrix(INT8ROW, QUAD, args, worker, workers) }
export function int4Matrix16(args: usize, worker: i32, workers: i32): void { matrix(INT4, WIDE, args, worker, workers) }
export function int4minMatrix16(args: usize, worker: i32, workers: i32): void { matrix(INT4MIN, WIDE, args, worker, workers) }
export function int8Matrix16(args: usize, worker: i32, workers: i32): void { matrix(INT8, WIDE, args, worker, workers) }
export function int8rowMatrix16(args: usize, worker: i32, workers: i32): void { matrix(INT8ROW, WIDE, args, worker, workers) }
export function int4VectorP(args: usize, worker: i32, workers: i32): void { vector(INT4, PAIRED, args, worker, workers) }
export function int4minVectorP(args: usize, worker: i32, workers: i32): void { vector(INT4MIN, PAIRED, args, worker, workers) }
export function int4MatrixP(args: usize, worker: i32, workers: i32): void { matrix(INT4, PAIRED, args, worker, workers) }
export function int4minMatrixP(args: usize, worker: i32, workers: i32): void { matrix(INT4MIN, PAIRED, args, worker, workers) }
