// quantizeActivations: rows of f32 become signed 8-bit integers in blocks of 32 with one f32 scale each, laid
// out as the integer kernels read them: tokens in tiles; within a tile, for each four columns, the four bytes
// of every token (width 1), or for each two columns, the two 16-bit integers of every token (width 2). Beside
// each scale lies −8 times the sum of the block's integers: where a 4-bit dot product starts, since 4-bit
// weights are stored with 8 added. For sums of pairs it is −4 times the sum, twice in 16 bits.
import { ROUND_MAGIC, RUN_ROWS, integer, max4, pointer, share } from '../../backends/wasm/runtime.wasm'

/** A block with nothing larger counts as zero: the inverse of its scale would overflow. */
const SMALLEST: f32 = 1e-30

export function quantizeActivations(args: usize, worker: i32, workers: i32): void {
  const x = pointer(args, 0)
  const data = pointer(args, 1)
  const scales = pointer(args, 2)
  const capacity = integer(args, 3)
  const columns = integer(args, 4)
  const width = integer(args, 6)
  const paired = integer(args, 7) != 0
  const rows = min(load<i32>(RUN_ROWS), capacity)
  const tile = integer(args, 5) != 0 ? integer(args, 5) : tileOf(rows)
  const blocks = (columns + 31) >> 5
  // Tokens past the end of the last tile get zeros.
  const tokens = ((rows + tile - 1) / tile) * tile
  const units = tokens * blocks
  const end = share(units, worker + 1, workers)
  for (let unit = share(units, worker, workers); unit < end; unit++) {
    const token = unit / blocks
    const block = unit % blocks
    const inTile = token % tile
    const tileIndex = <usize>(token / tile)
    const to = data + (tileIndex * <usize>blocks + <usize>block) * <usize>(tile * 32 * width) + <usize>(inTile << 2)
    const scaleAt = scales + ((tileIndex * <usize>blocks + <usize>block) * <usize>tile + <usize>inTile) * 8
    if (token >= rows) {
      store<u64>(scaleAt, 0)
      for (let i: usize = 0; i < <usize>(8 * width); i++) store<u32>(to + i * <usize>(tile << 2), 0)
      continue
    }
    const from = x + (<usize>token * <usize>columns + <usize>(block << 5)) * 4
    const count = min(32, columns - (block << 5))
    if (count == 32) quantizeWhole(from, to, scaleAt, tile, width, paired)
    else quantizePart(from, to, scaleAt, tile, width, count, paired)
  }
}

/**
 * Four values as integers: adding 1.5 · 2²³ leaves the nearest integer, ties to even, in the lowest bits, in two
 * instructions where a saturating conversion takes many.
 */
// @ts-ignore: decorator
@inline
function rounded(from: usize, inverse: v128, magic: v128): v128 {
  return i32x4.sub(f32x4.add(f32x4.mul(v128.load(from), inverse), magic), magic)
}

function quantizeWhole(
  from: usize, to: usize, scaleAt: usize, tile: i32, width: i32, paired: bool,
): void {
  let largest = f32x4.splat(0)
  for (let i: usize = 0; i < 128; i += 16) largest = f32x4.pmax(largest, f32x4.abs(v128.load(from + i)))
  const magnitude = max4(largest)
  store<f32>(scaleAt, magnitude / 127)
  const inverse = f32x4.splat(magnitude > SMALLEST ? <f32>127 / magnitude : 0)
  const magic = v128.load(ROUND_MAGIC)
  let sums = i32x4.splat(0)
  const stride = <usize>(tile << 2)
  let at = to
  for (let i: usize = 0; i < 128; i += 64) {
    const a = rounded(from + i, inverse, magic)
    const b = rounded(from + i + 16, inverse, magic)
    const c = rounded(from + i + 32, inverse, magic)
    const d = rounded(from + i + 48, inverse, magic)
    sums = i32x4.add(sums, i32x4.add(i32x4.add(a, b), i32x4.add(c, d)))
    const ab = i16x8.narrow_i32x4_s(a, b)
    const cd = i16x8.narrow_i32x4_s(c, d)
    if (width == 2) {
      at = scatter(at, stride, ab)
      at = scatter(at, stride, cd)
    } else {
      at = scatter(at, stride, i8x16.narrow_i16x8_s(ab, cd))
    }
  }
  storeSum(
    scaleAt,
    i32x4.extract_lane(sums, 0) + i32x4.extract_lane(sums, 1) + i32x4.extract_lane(sums, 2) + i32x4.extract_lane(sums, 3),
    paired,
  )
}

/** Four words, `stride` bytes apart; returns where the next would go. */
// @ts-ignore: decorator
@inline
function scatter(at: usize, stride: usize, words: v128): usize {
  v128.store32_lane(at, words, 0)
  v128.store32_lane(at + stride, words, 1)
  v128.store32_lane(at + 2 * stride, words, 2)
  v128.store32_lane(at + 3 * stride, words, 3)
  return at + 4 * stride
}

// @ts-ignore: decorator
@inline
function storeSum(scaleAt: usize, sum: i32, paired: bool): void {
  store<i32>(scaleAt, paired ? ((-4 * sum) & 0xffff) * 0x10001 : -8 * sum, 4)
}

function quantizePart(
  from: usize, to: usize, scaleAt: usize, tile: i32, width: i32, count: i32, paired: bool,
): void {
  let magnitude: f32 = 0
  for (let i = 0; i < count; i++) magnitude = max(magnitude, abs(load<f32>(from + (<usize>i << 2))))
  store<f32>(scaleAt, magnitude / 127)
  const inverse: f32 = magnitude > SMALLEST ? <f32>127 / magnitude : 0
  let sum = 0
  for (let i = 0; i < 32; i++) {
    const q = i < count ? <i32>nearest(load<f32>(from + (<usize>i << 2)) * inverse) : 0
    sum += q
    if (width == 2) store<i16>(to + <usize>(i >> 1) * <usize>(tile << 2) + (<usize>(i & 1) << 1), <i16>q)
    else store<i8>(to + <usize>(i >> 2) * <usize>(tile << 2) + <usize>(i & 3), <i8>q)
  }
  storeSum(scaleAt, sum, paired)
}
/** Up to here the tiles have at most four tokens: 4-bit weights are then unpacked on the way. */
export const FEW: i32 = 8

/** Tokens of a tile where tiles share `rows` tokens evenly, none more than four or six. */
export function tileOf(rows: i32): i32 {
  const most = rows <= FEW ? 4 : 6
  const tiles = (rows + most - 1) / most
  return (rows + tiles - 1) / tiles
}
