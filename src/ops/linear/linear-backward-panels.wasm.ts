// Brings weights and activations into the form in which the products of training read them: panels of eight columns
// of the product, for each step of its sum the eight values side by side, as f32. Knows nothing of the products.
//
// A step of the sum is called p. A panel holds [p][8]; panels lie `panelBytes` apart, which is a little more than they
// need, or the same places of all panels would compete for one set of the cache.
import {
  BF16, F16_MASK, F16_POWER, F32, INT4, INT4MIN, INT8ROW, loadBf16, loadBf16x4, loadF16, loadF16x4, NIBBLE_MASK,
  widenF16x4,
} from '../../backends/wasm/runtime.wasm'
import { OFFSET_QUADS, PAIRS } from './pack.wasm'

// @ts-ignore: decorator
@inline
function four(at: usize, dtype: i32, mask: v128, power: v128): v128 {
  if (dtype == F32) return v128.load(at)
  if (dtype == BF16) return loadBf16x4(at)
  return widenF16x4(at, mask, power)
}

// @ts-ignore: decorator
@inline
function one(at: usize, dtype: i32): f32 {
  if (dtype == F32) return load<f32>(at)
  if (dtype == BF16) return loadBf16(at)
  return loadF16(at)
}

/** Four rows of four become four columns of four, `stride` bytes apart. */
// @ts-ignore: decorator
@inline
function storeTransposed(to: usize, stride: usize, a: v128, b: v128, c: v128, d: v128): void {
  const ab = v128.shuffle<f32>(a, b, 0, 4, 1, 5)
  const cd = v128.shuffle<f32>(c, d, 0, 4, 1, 5)
  v128.store(to, v128.shuffle<i64>(ab, cd, 0, 2))
  v128.store(to + stride, v128.shuffle<i64>(ab, cd, 1, 3))
  const ef = v128.shuffle<f32>(a, b, 2, 6, 3, 7)
  const gh = v128.shuffle<f32>(c, d, 2, 6, 3, 7)
  v128.store(to + 2 * stride, v128.shuffle<i64>(ef, gh, 0, 2))
  v128.store(to + 3 * stride, v128.shuffle<i64>(ef, gh, 1, 3))
}

/** Four rows as far as there are so many, else the first again: what comes of it is never stored. */
// @ts-ignore: decorator
@inline
function transposeFourRows(from: usize, stride: usize, rows: i32, span: i32, to: usize, dtype: i32): void {
  const mask = v128.load(F16_MASK)
  const power = v128.load(F16_POWER)
  const size: usize = dtype == F32 ? 4 : 2
  let a = from
  let b = rows > 1 ? from + stride : from
  let c = rows > 2 ? from + 2 * stride : from
  let d = rows > 3 ? from + 3 * stride : from
  let i = 0
  for (; i + 4 <= span; i += 4) {
    storeTransposed(
      to, 32, four(a, dtype, mask, power), four(b, dtype, mask, power), four(c, dtype, mask, power), four(d, dtype, mask, power),
    )
    a += 4 * size
    b += 4 * size
    c += 4 * size
    d += 4 * size
    to += 128
  }
  for (; i < span; i++) {
    store<f32>(to, one(a, dtype))
    store<f32>(to, one(b, dtype), 4)
    store<f32>(to, one(c, dtype), 8)
    store<f32>(to, one(d, dtype), 12)
    a += size
    b += size
    c += size
    d += size
    to += 32
  }
}

/** One panel of eight rows of a matrix, p along the rows; of rows past the end anything may stand in the panel. */
// @ts-ignore: decorator
@inline
function transposePanel(from: usize, stride: usize, rows: i32, span: i32, to: usize, dtype: i32): void {
  transposeFourRows(from, stride, rows, span, to, dtype)
  if (rows > 4) transposeFourRows(from + 4 * stride, stride, rows - 4, span, to + 16, dtype)
}

/** Rows first … first + rows, columns from … from + span of a [·, columns] matrix: rows become columns of the product. */
export function panelsOfRows(
  data: usize, dtype: i32, columns: i32, first: i32, rows: i32, from: i32, span: i32, to: usize, panelBytes: usize,
): void {
  const size: usize = dtype == F32 ? 4 : 2
  const stride = <usize>columns * size
  let at = data + <usize>first * stride + <usize>from * size
  for (let r = 0; r < rows; r += 8) {
    if (dtype == F32) transposePanel(at, stride, rows - r, span, to, 0)
    else if (dtype == BF16) transposePanel(at, stride, rows - r, span, to, 1)
    else transposePanel(at, stride, rows - r, span, to, 2)
    at += 8 * stride
    to += panelBytes
  }
}

// @ts-ignore: decorator
@inline
function copyRow(from: usize, width: i32, to: usize, panelBytes: usize, dtype: i32, mask: v128, power: v128): void {
  const size: usize = dtype == F32 ? 4 : 2
  let i = 0
  for (; i + 8 <= width; i += 8) {
    const low = four(from, dtype, mask, power)
    const high = four(from + 4 * size, dtype, mask, power)
    v128.store(to, low)
    v128.store(to, high, 16)
    from += 8 * size
    to += panelBytes
  }
  for (; i < width; i++) {
    store<f32>(to, one(from, dtype))
    from += size
    to += 4
  }
}

/** The same rows and columns of the matrix, but its columns are columns of the product, and p runs over its rows. */
export function panelsOfColumns(
  data: usize, dtype: i32, columns: i32, first: i32, rows: i32, from: i32, width: i32, to: usize, panelBytes: usize,
): void {
  const size: usize = dtype == F32 ? 4 : 2
  const stride = <usize>columns * size
  const mask = v128.load(F16_MASK)
  const power = v128.load(F16_POWER)
  let at = data + <usize>first * stride + <usize>from * size
  for (let p = 0; p < rows; p++) {
    if (dtype == F32) copyRow(at, width, to, panelBytes, 0, mask, power)
    else if (dtype == BF16) copyRow(at, width, to, panelBytes, 1, mask, power)
    else copyRow(at, width, to, panelBytes, 2, mask, power)
    at += stride
    to += 32
  }
}

/** Column j of four of a chunk that holds four rows in quads: four f32. (Shifts, as V8 makes a mask anew at each use.) */
// @ts-ignore: decorator
@inline
function bytes4(quads: v128, j: i32): v128 {
  return f32x4.convert_i32x4_s(i32x4.shr_s(i32x4.shl(quads, 24 - (j << 3)), 24))
}

/** Four columns of four rows; see pack.wasm.ts for the orders. */
// @ts-ignore: decorator
@inline
function quads(at: usize, order: i32): v128 {
  const v = v128.load(at)
  if (order == PAIRS) return v128.shuffle<i16>(v, v, 0, 4, 1, 5, 2, 6, 3, 7)
  return v
}

// @ts-ignore: decorator
@inline
function scaled(q: v128, scale: v128, offset: v128): v128 {
  return f32x4.add(f32x4.mul(q, scale), offset)
}

/** Four columns of four rows in 8 bits, to [column][8]. */
// @ts-ignore: decorator
@inline
function decodeBytes(at: usize, to: usize, scale: v128, order: i32): void {
  let v = quads(at, order)
  if (order == OFFSET_QUADS) v = v128.xor(v, i32x4.splat(0x80808080))
  v128.store(to, f32x4.mul(bytes4(v, 0), scale))
  v128.store(to, f32x4.mul(bytes4(v, 1), scale), 32)
  v128.store(to, f32x4.mul(bytes4(v, 2), scale), 64)
  v128.store(to, f32x4.mul(bytes4(v, 3), scale), 96)
}

/** Eight columns of four rows in 4 bits, to [column][8]. */
// @ts-ignore: decorator
@inline
function decodeNibbles(at: usize, to: usize, scale: v128, offset: v128, order: i32, mask: v128): void {
  const v = quads(at, order)
  const low = v128.and(v, mask)
  v128.store(to, scaled(bytes4(low, 0), scale, offset))
  v128.store(to, scaled(bytes4(low, 1), scale, offset), 32)
  v128.store(to, scaled(bytes4(low, 2), scale, offset), 64)
  v128.store(to, scaled(bytes4(low, 3), scale, offset), 96)
  const high = v128.and(i32x4.shr_u(v, 4), mask)
  v128.store(to, scaled(bytes4(high, 0), scale, offset), 128)
  v128.store(to, scaled(bytes4(high, 1), scale, offset), 160)
  v128.store(to, scaled(bytes4(high, 2), scale, offset), 192)
  v128.store(to, scaled(bytes4(high, 3), scale, offset), 224)
}

/**
 * Columns from … from + span (a multiple of 8, rounded up to eights at the end) of eight interleaved rows, of which
 * `group` is the number, to [column][8].
 */
function decodeGroup(
  data: usize, scales: usize, minima: usize, dtype: i32, order: i32, columns: i32, group: i32, from: i32, span: i32, to: usize,
): void {
  const narrow = dtype == INT4 || dtype == INT4MIN
  const half: usize = narrow ? 64 : 128
  const mask = v128.load(NIBBLE_MASK)
  const end = from + span
  let index = <usize>group * <usize>((columns + 31) >> 5) + <usize>(from >> 5)
  while (from < end) {
    const stop = min((from & ~31) + 32, end)
    let low: v128, high: v128
    if (dtype == INT8ROW) {
      low = v128.load(scales + (<usize>group << 5))
      high = v128.load(scales + (<usize>group << 5), 16)
    } else {
      low = loadF16x4(scales + (index << 4))
      high = loadF16x4(scales + (index << 4) + 8)
    }
    if (narrow) {
      let lowOffset: v128, highOffset: v128
      if (dtype == INT4MIN) {
        lowOffset = loadF16x4(minima + (index << 4))
        highOffset = loadF16x4(minima + (index << 4) + 8)
      } else {
        lowOffset = f32x4.mul(low, f32x4.splat(-8))
        highOffset = f32x4.mul(high, f32x4.splat(-8))
      }
      let at = data + index * 2 * half + (<usize>(from & 31) << 1)
      for (; from < stop; from += 8) {
        decodeNibbles(at, to, low, lowOffset, order, mask)
        decodeNibbles(at + half, to + 16, high, highOffset, order, mask)
        at += 16
        to += 256
      }
    } else {
      let at = data + index * 2 * half + (<usize>(from & 31) << 2)
      for (; from < stop; from += 4) {
        decodeBytes(at, to, low, order)
        decodeBytes(at + half, to + 16, high, order)
        at += 16
        to += 128
      }
    }
    from = stop
    index++
  }
}

/** panelsOfRows of a packed weight; `first` is a multiple of 8, and room follows for `span` rounded up to eights. */
export function panelsOfPackedRows(
  data: usize, scales: usize, minima: usize, dtype: i32, order: i32, columns: i32,
  first: i32, rows: i32, from: i32, span: i32, to: usize, panelBytes: usize,
): void {
  for (let r = 0; r < rows; r += 8) {
    decodeGroup(data, scales, minima, dtype, order, columns, (first + r) >> 3, from, span, to)
    to += panelBytes
  }
}

/** panelsOfColumns of a packed weight; `work` holds [width rounded up to eights][8]. */
export function panelsOfPackedColumns(
  data: usize, scales: usize, minima: usize, dtype: i32, order: i32, columns: i32,
  first: i32, rows: i32, from: i32, width: i32, to: usize, panelBytes: usize, work: usize,
): void {
  for (let p = 0; p < rows; p += 8) {
    decodeGroup(data, scales, minima, dtype, order, columns, (first + p) >> 3, from, width, work)
    let source = work
    let target = to + (<usize>p << 5)
    for (let i = 0; i < width; i += 8) {
      transposeSquare(source, target)
      transposeSquare(source + 16, target + 128)
      source += 256
      target += panelBytes
    }
  }
}

/** Four rows of p from [column][8]: the left half of eight columns. */
// @ts-ignore: decorator
@inline
function transposeSquare(source: usize, target: usize): void {
  storeTransposed(target, 32, v128.load(source), v128.load(source, 32), v128.load(source, 64), v128.load(source, 96))
  storeTransposed(
    target + 16, 32, v128.load(source, 128), v128.load(source, 160), v128.load(source, 192), v128.load(source, 224),
  )
}

/**
 * Columns from … from + width of `rows` rows of f32, in tiles of six: [tile][p][6], tiles `tileBytes` apart; past the
 * last column of the last tile anything may stand.
 */
export function tilesOfColumns(
  data: usize, stride: usize, rows: i32, from: i32, width: i32, to: usize, tileBytes: usize,
): void {
  let at = data + (<usize>from << 2)
  const whole = width / 6
  for (let p = 0; p < rows; p++) {
    let source = at
    let target = to
    for (let tile = 0; tile < whole; tile++) {
      v128.store(target, v128.load(source))
      store<u64>(target, load<u64>(source, 16), 16)
      source += 24
      target += tileBytes
    }
    for (let i = whole * 6; i < width; i++) {
      store<f32>(target, load<f32>(source))
      source += 4
      target += 4
    }
    at += stride
    to += 24
  }
}
