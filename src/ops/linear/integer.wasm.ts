// y = x · Wᵀ for packed integer weights and 8-bit activations. "Vector" serves one token: one linear stream of
// weights, two chains of dot products, the f32 sum in a register. "Matrix" serves tiles of four tokens against
// eight rows: the loop over a block is kept rolled so that its eight integer sums are loop variables (unrolled,
// V8 chains all products of one sum and spills the rest), and the f32 sums lie in memory, touched once a block.
//
// The number at the end of a kernel's name is the width of its activations: 8 uses the relaxed 8-bit dot
// product, 16 the baseline's 16-bit one.
import {
  INT4, INT4MIN, INT8, INT8ROW, integer, loadF16x4, madd, pointer, share, storeRows, validRows,
} from '../../backends/wasm/runtime.wasm'

// @ts-ignore: decorator
@inline
const TILE: i32 = 4

// @ts-ignore: decorator
@inline
function dot8(x: v128, w: v128, sum: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return i32x4.relaxed_dot_i8x16_i7x16_add_s(x, w, sum)
  // The baseline build never calls the 8-bit kernels.
  return sum
}

// @ts-ignore: decorator
@inline
function dot16(x: v128, w: v128, sum: v128): v128 {
  return i32x4.add(sum, i32x4.dot_i16x8_s(x, w))
}

// @ts-ignore: decorator
@inline
function lowNibbles(w: v128): v128 {
  return v128.and(w, i8x16.splat(15))
}

// @ts-ignore: decorator
@inline
function highNibbles(w: v128): v128 {
  // i8x16.shr_u has no machine instruction.
  return v128.and(i16x8.shr_u(w, 4), i8x16.splat(15))
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
function blockVector(kind: i32, wide: bool, w: usize, x: usize, start: v128): v128 {
  let i = start
  let j = i32x4.splat(0)
  if (kind == INT4 || kind == INT4MIN) {
    const a = v128.load(w)
    const b = v128.load(w, 16)
    const c = v128.load(w, 32)
    const d = v128.load(w, 48)
    if (wide) {
      i = wideNibbles(a, x, i)
      j = wideNibbles(b, x + 16, j)
      i = wideNibbles(c, x + 32, i)
      j = wideNibbles(d, x + 48, j)
    } else {
      i = dot8(v128.load32_splat(x), lowNibbles(a), i)
      j = dot8(v128.load32_splat(x, 4), highNibbles(a), j)
      i = dot8(v128.load32_splat(x, 8), lowNibbles(b), i)
      j = dot8(v128.load32_splat(x, 12), highNibbles(b), j)
      i = dot8(v128.load32_splat(x, 16), lowNibbles(c), i)
      j = dot8(v128.load32_splat(x, 20), highNibbles(c), j)
      i = dot8(v128.load32_splat(x, 24), lowNibbles(d), i)
      j = dot8(v128.load32_splat(x, 28), highNibbles(d), j)
    }
  } else if (wide) {
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
function wideNibbles(w: v128, x: usize, sum: v128): v128 {
  return wideBytes(highNibbles(w), x + 8, wideBytes(lowNibbles(w), x, sum))
}

// @ts-ignore: decorator
@inline
function vector(kind: i32, wide: bool, args: usize, worker: i32, workers: i32): void {
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
  const xBytes: usize = wide ? 64 : 32
  const groups = (count + 3) >> 2
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
      const dots = f32x4.convert_i32x4_s(blockVector(kind, wide, w, x, startOf(kind, offset, z)))
      const scaled = f32x4.mul(dots, v128.load32_splat(z))
      if (kind == INT8ROW) {
        sum = f32x4.add(sum, scaled)
      } else {
        sum = madd(scaled, loadF16x4(s), sum)
        s += 8
      }
      if (kind == INT4MIN) {
        sum = madd(loadF16x4(m), activationSum(z), sum)
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
function matrix(kind: i32, wide: bool, args: usize, worker: i32, workers: i32): void {
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
  const tileBytes = blocks * (wide ? 64 : 32) * TILE
  const tileScaleBytes = blocks * 8 * TILE
  const tiles = (rows + TILE - 1) / TILE
  const pairs = (count + 7) >> 3
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
        let a0 = startOf(kind, offset, z)
        let a1 = startOf(kind, offset, z + 8)
        let a2 = startOf(kind, offset, z + 16)
        let a3 = startOf(kind, offset, z + 24)
        let b0 = a0
        let b1 = a1
        let b2 = a2
        let b3 = a3
        const stop = w + blockBytes
        while (w < stop) {
          const wa = v128.load(w)
          const wb = v128.load(w + groupBytes)
          if (narrow && !wide) {
            const la = lowNibbles(wa)
            const ha = highNibbles(wa)
            const lb = lowNibbles(wb)
            const hb = highNibbles(wb)
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
          } else if (!wide) {
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
            const la = narrow ? lowNibbles(wa) : wa
            const lb = narrow ? lowNibbles(wb) : wb
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
              const ha = highNibbles(wa)
              const hb = highNibbles(wb)
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
        const sa = kind == INT8ROW ? f32x4.splat(1) : loadF16x4(s)
        const sb = kind == INT8ROW ? sa : loadF16x4(s + blocks * 8)
        const ma = kind == INT4MIN ? loadF16x4(m) : sa
        const mb = kind == INT4MIN ? loadF16x4(m + blocks * 8) : sa
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

export function int4Vector8(args: usize, worker: i32, workers: i32): void { vector(INT4, false, args, worker, workers) }
export function int4minVector8(args: usize, worker: i32, workers: i32): void { vector(INT4MIN, false, args, worker, workers) }
export function int8Vector8(args: usize, worker: i32, workers: i32): void { vector(INT8, false, args, worker, workers) }
export function int8rowVector8(args: usize, worker: i32, workers: i32): void { vector(INT8ROW, false, args, worker, workers) }
export function int4Vector16(args: usize, worker: i32, workers: i32): void { vector(INT4, true, args, worker, workers) }
export function int4minVector16(args: usize, worker: i32, workers: i32): void { vector(INT4MIN, true, args, worker, workers) }
export function int8Vector16(args: usize, worker: i32, workers: i32): void { vector(INT8, true, args, worker, workers) }
export function int8rowVector16(args: usize, worker: i32, workers: i32): void { vector(INT8ROW, true, args, worker, workers) }
export function int4Matrix8(args: usize, worker: i32, workers: i32): void { matrix(INT4, false, args, worker, workers) }
export function int4minMatrix8(args: usize, worker: i32, workers: i32): void { matrix(INT4MIN, false, args, worker, workers) }
export function int8Matrix8(args: usize, worker: i32, workers: i32): void { matrix(INT8, false, args, worker, workers) }
export function int8rowMatrix8(args: usize, worker: i32, workers: i32): void { matrix(INT8ROW, false, args, worker, workers) }
export function int4Matrix16(args: usize, worker: i32, workers: i32): void { matrix(INT4, true, args, worker, workers) }
export function int4minMatrix16(args: usize, worker: i32, workers: i32): void { matrix(INT4MIN, true, args, worker, workers) }
export function int8Matrix16(args: usize, worker: i32, workers: i32): void { matrix(INT8, true, args, worker, workers) }
export function int8rowMatrix16(args: usize, worker: i32, workers: i32): void { matrix(INT8ROW, true, args, worker, workers) }
