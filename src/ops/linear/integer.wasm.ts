// y = x · Wᵀ for packed integer weights and 8-bit activations, where the machine has no product of bytes into 32-bit
// sums (integer-streams.wasm.ts and integer-tiles.wasm.ts are for those that have). "Vector" serves one token, see
// integer-few.wasm.ts. "Matrix" serves tiles of four tokens against eight rows (pairs of tokens are left to that file
// too): the loop over a block is kept rolled so that its eight integer sums are loop variables (unrolled, V8 chains all
// products of one sum and spills the rest), and the f32 sums lie in memory, touched once a block.
//
// The end of a kernel's name tells how it multiplies: P in pairs, 16 in 16 bits (integer-steps.wasm.ts).
import {
  INT4, INT4MIN, INT8, INT8ROW, F16_MASK, F16_POWER, NIBBLE_MASK, ONES, integer, pointer, share, storeRows, validRows,
  widenF16x4,
} from '../../backends/wasm/runtime.wasm'
import { highNibbles, lowNibbles } from './dots.wasm'
import { few, inPairs } from './integer-few.wasm'
import { addInMemory, dot16, dotPairs, PAIRED, startOf, WIDE } from './integer-steps.wasm'

// @ts-ignore: decorator
@inline
const TILE: i32 = 4

/** One tile of four tokens against a group of eight rows, into sums [4, 8]. */
// @ts-ignore: decorator
@inline
function tileSums(
  kind: i32, mode: i32, sums: usize, x: usize, z: usize, w: usize, s: usize, m: usize, blocks: usize,
  mask: v128, f16Mask: v128, power: v128, ones: v128,
): void {
  const narrow = kind == INT4 || kind == INT4MIN
  const half: usize = narrow ? 64 : 128
  memory.fill(sums, 0, 128)
  for (let block: usize = 0; block < blocks; block++) {
    let a0 = startOf(kind, z)
    let a1 = startOf(kind, z + 8)
    let a2 = startOf(kind, z + 16)
    let a3 = startOf(kind, z + 24)
    let b0 = a0
    let b1 = a1
    let b2 = a2
    let b3 = a3
    const stop = w + half
    while (w < stop) {
      const wa = v128.load(w)
      const wb = narrow ? v128.load(w, 64) : v128.load(w, 128)
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
      } else {
        const la = narrow ? lowNibbles(wa, mask) : wa
        const lb = narrow ? lowNibbles(wb, mask) : wb
        let wl = i16x8.extend_low_i8x16_s(la)
        let wm = i16x8.extend_low_i8x16_s(lb)
        let p = v128.load32_splat(x)
        a0 = dot16(p, wl, a0)
        b0 = dot16(p, wm, b0)
        p = v128.load32_splat(x, 4)
        a1 = dot16(p, wl, a1)
        b1 = dot16(p, wm, b1)
        p = v128.load32_splat(x, 8)
        a2 = dot16(p, wl, a2)
        b2 = dot16(p, wm, b2)
        p = v128.load32_splat(x, 12)
        a3 = dot16(p, wl, a3)
        b3 = dot16(p, wm, b3)
        wl = i16x8.extend_high_i8x16_s(la)
        wm = i16x8.extend_high_i8x16_s(lb)
        p = v128.load32_splat(x, 16)
        a0 = dot16(p, wl, a0)
        b0 = dot16(p, wm, b0)
        p = v128.load32_splat(x, 20)
        a1 = dot16(p, wl, a1)
        b1 = dot16(p, wm, b1)
        p = v128.load32_splat(x, 24)
        a2 = dot16(p, wl, a2)
        b2 = dot16(p, wm, b2)
        p = v128.load32_splat(x, 28)
        a3 = dot16(p, wl, a3)
        b3 = dot16(p, wm, b3)
        x += 32
        if (narrow) {
          const ha = highNibbles(wa, mask)
          const hb = highNibbles(wb, mask)
          wl = i16x8.extend_low_i8x16_s(ha)
          wm = i16x8.extend_low_i8x16_s(hb)
          p = v128.load32_splat(x)
          a0 = dot16(p, wl, a0)
          b0 = dot16(p, wm, b0)
          p = v128.load32_splat(x, 4)
          a1 = dot16(p, wl, a1)
          b1 = dot16(p, wm, b1)
          p = v128.load32_splat(x, 8)
          a2 = dot16(p, wl, a2)
          b2 = dot16(p, wm, b2)
          p = v128.load32_splat(x, 12)
          a3 = dot16(p, wl, a3)
          b3 = dot16(p, wm, b3)
          wl = i16x8.extend_high_i8x16_s(ha)
          wm = i16x8.extend_high_i8x16_s(hb)
          p = v128.load32_splat(x, 16)
          a0 = dot16(p, wl, a0)
          b0 = dot16(p, wm, b0)
          p = v128.load32_splat(x, 20)
          a1 = dot16(p, wl, a1)
          b1 = dot16(p, wm, b1)
          p = v128.load32_splat(x, 24)
          a2 = dot16(p, wl, a2)
          b2 = dot16(p, wm, b2)
          p = v128.load32_splat(x, 28)
          a3 = dot16(p, wl, a3)
          b3 = dot16(p, wm, b3)
          x += 32
        }
      }
      w += 16
    }
    w += half
    const sa = kind == INT8ROW ? ones : widenF16x4(s, f16Mask, power)
    const sb = kind == INT8ROW ? ones : widenF16x4(s + 8, f16Mask, power)
    const ma = kind == INT4MIN ? widenF16x4(m, f16Mask, power) : sa
    const mb = kind == INT4MIN ? widenF16x4(m + 8, f16Mask, power) : sb
    addInMemory(sums, kind, mode, a0, z, sa, ma, ones)
    addInMemory(sums + 16, kind, mode, b0, z, sb, mb, ones)
    addInMemory(sums + 32, kind, mode, a1, z + 8, sa, ma, ones)
    addInMemory(sums + 48, kind, mode, b1, z + 8, sb, mb, ones)
    addInMemory(sums + 64, kind, mode, a2, z + 16, sa, ma, ones)
    addInMemory(sums + 80, kind, mode, b2, z + 16, sb, mb, ones)
    addInMemory(sums + 96, kind, mode, a3, z + 24, sa, ma, ones)
    addInMemory(sums + 112, kind, mode, b3, z + 24, sb, mb, ones)
    s += 16
    m += 16
    z += 8 * TILE
  }
}

/** Eleventh argument: 128 bytes of scratch per worker for the f32 sums. */
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
  if (inPairs(rows)) return few(kind, mode, TILE, args, worker, workers)
  const columns = integer(args, 7)
  const count = integer(args, 8)
  const sums = pointer(args, 10) + (<usize>worker << 7)
  const blocks = <usize>((columns + 31) >> 5)
  const narrow = kind == INT4 || kind == INT4MIN
  const half: usize = narrow ? 64 : 128
  const tileBytes = blocks * (mode == WIDE ? 64 : 32) * TILE
  const tileScaleBytes = blocks * 8 * TILE
  const tiles = (rows + TILE - 1) / TILE
  const mask = v128.load(NIBBLE_MASK)
  const f16Mask = v128.load(F16_MASK)
  const power = v128.load(F16_POWER)
  const ones = v128.load(ONES)
  const groups = (count + 7) >> 3
  const end = share(groups, worker + 1, workers)
  for (let group = share(groups, worker, workers); group < end; group++) {
    for (let tile = 0; tile < tiles; tile++) {
      const tokens = min(TILE, rows - tile * TILE)
      const x = data + <usize>tile * tileBytes
      const z = activationScales + <usize>tile * tileScaleBytes
      const w = weights + <usize>group * blocks * 2 * half
      const s = scales + <usize>group * blocks * 16
      const m = minima + <usize>group * blocks * 16
      tileSums(kind, mode, sums, x, z, w, s, m, blocks, mask, f16Mask, power, ones)
      for (let t = 0; t < tokens; t++) {
        const y = out + <usize>(tile * TILE + t) * (<usize>count << 2)
        for (let h = 0; h < 2; h++) {
          const row = (group << 3) + (h << 2)
          let values = v128.load(sums + (<usize>t << 5) + (<usize>h << 4))
          if (kind == INT8ROW) values = f32x4.mul(values, v128.load(scales + (<usize>row << 2)))
          storeRows(y, row, count, values)
        }
      }
    }
  }
}

export function int4Vector16(args: usize, worker: i32, workers: i32): void { few(INT4, WIDE, 1, args, worker, workers) }
export function int4VectorP(args: usize, worker: i32, workers: i32): void { few(INT4, PAIRED, 1, args, worker, workers) }
export function int4Matrix16(args: usize, worker: i32, workers: i32): void { matrix(INT4, WIDE, args, worker, workers) }
export function int4MatrixP(args: usize, worker: i32, workers: i32): void { matrix(INT4, PAIRED, args, worker, workers) }
export function int4minVector16(args: usize, worker: i32, workers: i32): void { few(INT4MIN, WIDE, 1, args, worker, workers) }
export function int4minVectorP(args: usize, worker: i32, workers: i32): void { few(INT4MIN, PAIRED, 1, args, worker, workers) }
export function int4minMatrix16(args: usize, worker: i32, workers: i32): void { matrix(INT4MIN, WIDE, args, worker, workers) }
export function int4minMatrixP(args: usize, worker: i32, workers: i32): void { matrix(INT4MIN, PAIRED, args, worker, workers) }
export function int8Vector16(args: usize, worker: i32, workers: i32): void { few(INT8, WIDE, 1, args, worker, workers) }
export function int8Matrix16(args: usize, worker: i32, workers: i32): void { matrix(INT8, WIDE, args, worker, workers) }
export function int8rowVector16(args: usize, worker: i32, workers: i32): void { few(INT8ROW, WIDE, 1, args, worker, workers) }
export function int8rowMatrix16(args: usize, worker: i32, workers: i32): void { matrix(INT8ROW, WIDE, args, worker, workers) }
