// y = x · Wᵀ for f32, bf16 and f16 weights with f32 activations. linearVector serves one token: each row is
// one stream, four chains of products. linearMatrix serves many: forty-eight rows of at most 1 024 columns are
// widened into a worker's scratch (f32 weights are used where they lie), and tiles of three tokens by three
// rows keep nine sums in registers (twelve are more than V8 can hold: it has fifteen for everything).
import {
  BF16, F16_MASK, F16_POWER, F32, HIGH_HALVES, integer, loadBf16, loadBf16x4, loadF16, loadF16x4, madd, pointer, share, sum4, validRows, widenF16x4,
} from '../../backends/wasm/runtime.wasm'

const ROWS: i32 = 48
const SPAN: i32 = 1024

// @ts-ignore: decorator
@inline
function weight4(at: usize, i: i32, dtype: i32): v128 {
  if (dtype == F32) return v128.load(at + (<usize>i << 2))
  if (dtype == BF16) return loadBf16x4(at + (<usize>i << 1))
  return loadF16x4(at + (<usize>i << 1))
}

// @ts-ignore: decorator
@inline
function weight1(at: usize, i: i32, dtype: i32): f32 {
  if (dtype == F32) return load<f32>(at + (<usize>i << 2))
  if (dtype == BF16) return loadBf16(at + (<usize>i << 1))
  return loadF16(at + (<usize>i << 1))
}

// @ts-ignore: decorator
@inline
function value4(x: usize, i: i32): v128 {
  return v128.load(x + (<usize>i << 2))
}

// @ts-ignore: decorator
@inline
function rowProduct(x: usize, w: usize, columns: i32, dtype: i32, mask: v128, power: v128): f32 {
  let a = f32x4.splat(0)
  let b = f32x4.splat(0)
  let c = f32x4.splat(0)
  let d = f32x4.splat(0)
  let e = f32x4.splat(0)
  let f = f32x4.splat(0)
  let g = f32x4.splat(0)
  let h = f32x4.splat(0)
  // Eight chains hide the latency of the multiply-add; one pointer each, because V8 does not fold offsets.
  const size: usize = dtype == F32 ? 4 : 2
  let at = x
  let from = w
  const stop = x + (<usize>(columns & ~31) << 2)
  while (at < stop) {
    a = madd(four(from, 0, dtype, mask, power), v128.load(at), a)
    b = madd(four(from, 4, dtype, mask, power), v128.load(at, 16), b)
    c = madd(four(from, 8, dtype, mask, power), v128.load(at, 32), c)
    d = madd(four(from, 12, dtype, mask, power), v128.load(at, 48), d)
    e = madd(four(from, 16, dtype, mask, power), v128.load(at, 64), e)
    f = madd(four(from, 20, dtype, mask, power), v128.load(at, 80), f)
    g = madd(four(from, 24, dtype, mask, power), v128.load(at, 96), g)
    h = madd(four(from, 28, dtype, mask, power), v128.load(at, 112), h)
    at += 128
    from += 32 * size
  }
  let i = columns & ~31
  for (; i + 4 <= columns; i += 4) a = madd(weight4(w, i, dtype), value4(x, i), a)
  const sums = f32x4.add(f32x4.add(f32x4.add(a, e), f32x4.add(b, f)), f32x4.add(f32x4.add(c, g), f32x4.add(d, h)))
  let sum = sum4(sums)
  for (; i < columns; i++) sum += weight1(w, i, dtype) * load<f32>(x + (<usize>i << 2))
  return sum
}

/**
 * Four rows of bf16 weights, `apart` bytes between them, eight weights in one load: shifted they are the even ones as
 * f32, masked the odd ones. `sorted` holds the activations in the same order (see sortPairs).
 */
// @ts-ignore: decorator
@inline
function fourRowsBf16(x: usize, sorted: usize, w: usize, apart: usize, columns: i32, high: v128, y: usize, step: usize): void {
  let a = f32x4.splat(0)
  let b = f32x4.splat(0)
  let c = f32x4.splat(0)
  let d = f32x4.splat(0)
  let e = f32x4.splat(0)
  let f = f32x4.splat(0)
  let g = f32x4.splat(0)
  let h = f32x4.splat(0)
  let at = sorted
  let w0 = w
  let w1 = w + apart
  let w2 = w1 + apart
  let w3 = w2 + apart
  const stop = sorted + (<usize>(columns & ~7) << 2)
  while (at < stop) {
    const p = v128.load(at)
    const q = v128.load(at, 16)
    let v = v128.load(w0)
    a = madd(i32x4.shl(v, 16), p, a)
    b = madd(v128.and(v, high), q, b)
    v = v128.load(w1)
    c = madd(i32x4.shl(v, 16), p, c)
    d = madd(v128.and(v, high), q, d)
    v = v128.load(w2)
    e = madd(i32x4.shl(v, 16), p, e)
    f = madd(v128.and(v, high), q, f)
    v = v128.load(w3)
    g = madd(i32x4.shl(v, 16), p, g)
    h = madd(v128.and(v, high), q, h)
    at += 32
    w0 += 16
    w1 += 16
    w2 += 16
    w3 += 16
  }
  let sum = sum4(f32x4.add(a, b))
  let sum1 = sum4(f32x4.add(c, d))
  let sum2 = sum4(f32x4.add(e, f))
  let sum3 = sum4(f32x4.add(g, h))
  for (let i = columns & ~7; i < columns; i++) {
    const value = load<f32>(x + (<usize>i << 2))
    sum += loadBf16(w0) * value
    sum1 += loadBf16(w1) * value
    sum2 += loadBf16(w2) * value
    sum3 += loadBf16(w3) * value
    w0 += 2
    w1 += 2
    w2 += 2
    w3 += 2
  }
  store<f32>(y, sum)
  store<f32>(y + step, sum1)
  store<f32>(y + 2 * step, sum2)
  store<f32>(y + 3 * step, sum3)
}

/** Of each eight values the even ones first, then the odd ones. */
function sortPairs(x: usize, to: usize, columns: i32): void {
  const end = <usize>(columns & ~7) << 2
  for (let at: usize = 0; at < end; at += 32) {
    const a = v128.load(x + at)
    const b = v128.load(x + at, 16)
    v128.store(to + at, v128.shuffle<f32>(a, b, 0, 2, 4, 6))
    v128.store(to + at, v128.shuffle<f32>(a, b, 1, 3, 5, 7), 16)
  }
}

/** Four weights from the i-th on; i is a constant. */
// @ts-ignore: decorator
@inline
function four(at: usize, i: usize, dtype: i32, mask: v128, power: v128): v128 {
  if (dtype == F32) return v128.load(at + (i << 2))
  if (dtype == BF16) return loadBf16x4(at + (i << 1))
  return widenF16x4(at + (i << 1), mask, power)
}

// @ts-ignore: decorator
@inline
function vector(args: usize, worker: i32, workers: i32, dtype: i32): void {
  const x = pointer(args, 0)
  const weights = pointer(args, 1)
  const out = pointer(args, 2)
  const columns = integer(args, 4)
  const count = integer(args, 5)
  const rowBytes = <usize>columns << (dtype == F32 ? 2 : 1)
  const mask = v128.load(F16_MASK)
  const power = v128.load(F16_POWER)
  const end = share(count, worker + 1, workers)
  for (let row = share(count, worker, workers); row < end; row++) {
    store<f32>(out + (<usize>row << 2), rowProduct(x, weights + <usize>row * rowBytes, columns, dtype, mask, power))
  }
}

/** args: x, weights, out, capacity of rows, columns, rows of the weight, dtype, scratch, its bytes per worker */
export function linearVector(args: usize, worker: i32, workers: i32): void {
  const dtype = integer(args, 6)
  const columns = integer(args, 4)
  if (dtype == F32 && columns < 32 && (columns & 3) == 0) shortRows(args, worker, workers)
  else if (dtype == F32) vector(args, worker, workers, 0)
  else if (dtype == BF16) vectorBf16(args, worker, workers)
  else vector(args, worker, workers, 2)
}

/**
 * Rows of a few values, as adapters have: four at a time, so that their sums become one vector. The sums are added
 * in the order of rowProduct, so that a row has the same bits wherever a worker's share begins.
 */
function shortRows(args: usize, worker: i32, workers: i32): void {
  const x = pointer(args, 0)
  const weights = pointer(args, 1)
  const out = pointer(args, 2)
  const columns = integer(args, 4)
  const count = integer(args, 5)
  const rowBytes = <usize>columns << 2
  const end = share(count, worker + 1, workers)
  let row = share(count, worker, workers)
  let w = weights + <usize>row * rowBytes
  for (; row + 4 <= end; row += 4) {
    let a = f32x4.splat(0)
    let b = f32x4.splat(0)
    let c = f32x4.splat(0)
    let d = f32x4.splat(0)
    const w1 = w + rowBytes
    const w2 = w1 + rowBytes
    const w3 = w2 + rowBytes
    for (let i: usize = 0; i < rowBytes; i += 16) {
      const v = v128.load(x + i)
      a = madd(v128.load(w + i), v, a)
      b = madd(v128.load(w1 + i), v, b)
      c = madd(v128.load(w2 + i), v, c)
      d = madd(v128.load(w3 + i), v, d)
    }
    const ab = f32x4.add(v128.shuffle<f32>(a, b, 0, 4, 2, 6), v128.shuffle<f32>(a, b, 1, 5, 3, 7))
    const cd = f32x4.add(v128.shuffle<f32>(c, d, 0, 4, 2, 6), v128.shuffle<f32>(c, d, 1, 5, 3, 7))
    const low = v128.shuffle<f32>(ab, cd, 0, 1, 4, 5)
    const high = v128.shuffle<f32>(ab, cd, 2, 3, 6, 7)
    v128.store(out + (<usize>row << 2), f32x4.add(low, high))
    w = w3 + rowBytes
  }
  const none = f32x4.splat(0) // the masks of f16, which f32 rows do not use
  for (; row < end; row++) {
    store<f32>(out + (<usize>row << 2), rowProduct(x, w, columns, 0, none, none))
    w += rowBytes
  }
}

function vectorBf16(args: usize, worker: i32, workers: i32): void {
  const x = pointer(args, 0)
  const weights = pointer(args, 1)
  const out = pointer(args, 2)
  const columns = integer(args, 4)
  const count = integer(args, 5)
  // Each worker sorts for itself: that is quicker than waiting for another.
  const sorted = pointer(args, 7) + <usize>worker * <usize>integer(args, 8)
  sortPairs(x, sorted, columns)
  const high = v128.load(HIGH_HALVES)
  const first = share(count, worker, workers)
  const end = share(count, worker + 1, workers)
  // Four long streams keep more pages under way than one, and the activations are read once for four rows.
  const apart = (end - first) >> 2
  const stride = <usize>columns << 1
  let row = first
  for (; row < first + apart; row++) {
    const w = weights + <usize>row * stride
    fourRowsBf16(x, sorted, w, <usize>apart * stride, columns, high, out + (<usize>row << 2), <usize>apart << 2)
  }
  for (row += 3 * apart; row < end; row++) {
    fourRowsBf16(x, sorted, weights + <usize>row * stride, 0, columns, high, out + (<usize>row << 2), 0)
  }
}

/** Widens `rows` rows, columns from … from + span, into contiguous f32 rows of `span`. */
function widenRows(
  weights: usize, to: usize, rows: i32, columns: i32, from: i32, span: i32, dtype: i32,
): void {
  for (let r = 0; r < rows; r++) {
    const source = weights + ((<usize>r * <usize>columns + <usize>from) << 1)
    const target = to + ((<usize>r * <usize>span) << 2)
    let i = 0
    if (dtype == BF16) {
      for (; i + 4 <= span; i += 4) v128.store(target + (<usize>i << 2), loadBf16x4(source + (<usize>i << 1)))
      for (; i < span; i++) store<f32>(target + (<usize>i << 2), loadBf16(source + (<usize>i << 1)))
    } else {
      for (; i + 4 <= span; i += 4) v128.store(target + (<usize>i << 2), loadF16x4(source + (<usize>i << 1)))
      for (; i < span; i++) store<f32>(target + (<usize>i << 2), loadF16(source + (<usize>i << 1)))
    }
  }
}

// @ts-ignore: decorator
@inline
function put(out: usize, value: f32, first: bool): void {
  store<f32>(out, first ? value : value + load<f32>(out))
}

/** Three rows by three tokens. `stride`: bytes between weight rows; tokens beyond `tokens` repeat the first. */
function tile3x3(
  x0: usize, x1: usize, x2: usize, w: usize, stride: usize, span: i32, y: usize, yStride: usize, tokens: i32, first: bool,
): void {
  let a0 = f32x4.splat(0)
  let a1 = f32x4.splat(0)
  let a2 = f32x4.splat(0)
  let b0 = f32x4.splat(0)
  let b1 = f32x4.splat(0)
  let b2 = f32x4.splat(0)
  let c0 = f32x4.splat(0)
  let c1 = f32x4.splat(0)
  let c2 = f32x4.splat(0)
  const end = <usize>(span & ~3) << 2
  const wb = w + stride
  const wc = wb + stride
  for (let i: usize = 0; i < end; i += 16) {
    const p = v128.load(x0 + i)
    const q = v128.load(x1 + i)
    const r = v128.load(x2 + i)
    let v = v128.load(w + i)
    a0 = madd(v, p, a0)
    a1 = madd(v, q, a1)
    a2 = madd(v, r, a2)
    v = v128.load(wb + i)
    b0 = madd(v, p, b0)
    b1 = madd(v, q, b1)
    b2 = madd(v, r, b2)
    v = v128.load(wc + i)
    c0 = madd(v, p, c0)
    c1 = madd(v, q, c1)
    c2 = madd(v, r, c2)
  }
  putColumn(y, x0, w, stride, span, end, sum4(a0), sum4(b0), sum4(c0), first)
  if (tokens > 1) putColumn(y + yStride, x1, w, stride, span, end, sum4(a1), sum4(b1), sum4(c1), first)
  if (tokens > 2) putColumn(y + 2 * yStride, x2, w, stride, span, end, sum4(a2), sum4(b2), sum4(c2), first)
}

/** Adds the columns past the last four and stores the three rows of one token. */
// @ts-ignore: decorator
@inline
function putColumn(
  y: usize, x: usize, w: usize, stride: usize, span: i32, end: usize, a: f32, b: f32, c: f32, first: bool,
): void {
  for (let i = end; i < <usize>span << 2; i += 4) {
    const v = load<f32>(x + i)
    a += v * load<f32>(w + i)
    b += v * load<f32>(w + stride + i)
    c += v * load<f32>(w + 2 * stride + i)
  }
  put(y, a, first)
  put(y + 4, b, first)
  put(y + 8, c, first)
}

/** One row by one token in the tile's order of additions, so that remainders give the same numbers. */
function single(x: usize, w: usize, span: i32, y: usize, first: bool): void {
  let a = f32x4.splat(0)
  const end = <usize>(span & ~3) << 2
  for (let i: usize = 0; i < end; i += 16) a = madd(v128.load(w + i), v128.load(x + i), a)
  let sum = sum4(a)
  for (let i = end; i < <usize>span << 2; i += 4) sum += load<f32>(x + i) * load<f32>(w + i)
  put(y, sum, first)
}

/** args: as linearVector, then scratch for widened rows and its bytes per worker */
export function linearMatrix(args: usize, worker: i32, workers: i32): void {
  const x = pointer(args, 0)
  const weights = pointer(args, 1)
  const out = pointer(args, 2)
  const rows = validRows(integer(args, 3))
  const columns = integer(args, 4)
  const count = integer(args, 5)
  const dtype = integer(args, 6)
  const work = pointer(args, 7) + <usize>worker * <usize>integer(args, 8)
  const xBytes = <usize>columns << 2
  const yBytes = <usize>count << 2
  const blocks = (count + ROWS - 1) / ROWS
  const end = share(blocks, worker + 1, workers)
  for (let block = share(blocks, worker, workers); block < end; block++) {
    const firstRow = block * ROWS
    const height = min(ROWS, count - firstRow)
    for (let from = 0; from < columns; from += SPAN) {
      const span = min(SPAN, columns - from)
      let w = weights + ((<usize>firstRow * <usize>columns + <usize>from) << 2)
      let stride = xBytes
      if (dtype != F32) {
        widenRows(weights + ((<usize>firstRow * <usize>columns) << 1), work, height, columns, from, span, dtype)
        w = work
        stride = <usize>span << 2
      }
      for (let t = 0; t < rows; t += 3) {
        const tokens = min(3, rows - t)
        const x0 = x + <usize>t * xBytes + (<usize>from << 2)
        const x1 = tokens > 1 ? x0 + xBytes : x0
        const x2 = tokens > 2 ? x1 + xBytes : x0
        const y = out + <usize>t * yBytes + (<usize>firstRow << 2)
        let r = 0
        for (; r + 3 <= height; r += 3) {
          tile3x3(x0, x1, x2, w + <usize>r * stride, stride, span, y + (<usize>r << 2), yBytes, tokens, from == 0)
        }
        for (; r < height; r++) {
          const row = w + <usize>r * stride
          const at = y + (<usize>r << 2)
          single(x0, row, span, at, from == 0)
          if (tokens > 1) single(x1, row, span, at + yBytes, from == 0)
          if (tokens > 2) single(x2, row, span, at + 2 * yBytes, from == 0)
        }
      }
    }
  }
}
