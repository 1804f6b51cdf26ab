// y = x · Wᵀ for f32, bf16 and f16 weights with f32 activations, for one token or a few: what takes time is reading
// the weights, so each is read from memory once, widened in a register and multiplied by the values of two tokens; two
// further tokens find it in the processor's cache. Eight chains of multiply-adds hide their latency and are as many as
// V8 can hold beside what they are fed (two rows by four tokens were no faster: two streams of weights are read slower
// than four).
import {
  BF16, F16, F16_MASK, F16_POWER, F32, HIGH_HALVES, integer, loadBf16, loadF16, madd, pointer, share, sum4, validRows,
} from '../../backends/wasm/runtime.wasm'

/**
 * Four of the next eight weights as f32. Of 16-bit weights these are the ones at even places, which a shift widens
 * where a whole load has put them. `mask`: for bf16 the higher halves, for f16 as widenF16x4 has it.
 */
// @ts-ignore: decorator
@inline
function half0(w: usize, dtype: i32, mask: v128, power: v128): v128 {
  const v = v128.load(w)
  if (dtype == F32) return v
  if (dtype == BF16) return i32x4.shl(v, 16)
  return f32x4.mul(v128.and(i32x4.shr_s(i32x4.shl(v, 16), 3), mask), power)
}

/** The other four. */
// @ts-ignore: decorator
@inline
function half1(w: usize, dtype: i32, mask: v128, power: v128): v128 {
  if (dtype == F32) return v128.load(w, 16)
  const v = v128.load(w)
  if (dtype == BF16) return v128.and(v, mask)
  return f32x4.mul(v128.and(i32x4.shr_s(v, 3), mask), power)
}

// @ts-ignore: decorator
@inline
function weight(w: usize, i: i32, dtype: i32): f32 {
  if (dtype == F32) return load<f32>(w + (<usize>i << 2))
  if (dtype == BF16) return loadBf16(w + (<usize>i << 1))
  return loadF16(w + (<usize>i << 1))
}

/** `sums` added up, and the columns past the last eight. */
// @ts-ignore: decorator
@inline
function total(sums: v128, x: usize, w: usize, columns: i32, dtype: i32): f32 {
  let sum = sum4(sums)
  for (let i = columns & ~7; i < columns; i++) sum += weight(w, i, dtype) * load<f32>(x + (<usize>i << 2))
  return sum
}

/** Four rows, `apart` bytes between them, by one token; their results lie `step` bytes apart. `sorted`: see sortPairs. */
// @ts-ignore: decorator
@inline
function fourByOne(
  x: usize, sorted: usize, w: usize, apart: usize, columns: i32, dtype: i32, mask: v128, power: v128, y: usize, step: usize,
): void {
  let a = f32x4.splat(0)
  let b = f32x4.splat(0)
  let c = f32x4.splat(0)
  let d = f32x4.splat(0)
  let e = f32x4.splat(0)
  let f = f32x4.splat(0)
  let g = f32x4.splat(0)
  let h = f32x4.splat(0)
  let w0 = w
  let w1 = w + apart
  let w2 = w1 + apart
  let w3 = w2 + apart
  const bytes: usize = dtype == F32 ? 32 : 16
  const stop = sorted + (<usize>(columns & ~7) << 2)
  for (let at = sorted; at < stop; at += 32) {
    const p = v128.load(at)
    const q = v128.load(at, 16)
    a = madd(half0(w0, dtype, mask, power), p, a)
    b = madd(half1(w0, dtype, mask, power), q, b)
    c = madd(half0(w1, dtype, mask, power), p, c)
    d = madd(half1(w1, dtype, mask, power), q, d)
    e = madd(half0(w2, dtype, mask, power), p, e)
    f = madd(half1(w2, dtype, mask, power), q, f)
    g = madd(half0(w3, dtype, mask, power), p, g)
    h = madd(half1(w3, dtype, mask, power), q, h)
    w0 += bytes
    w1 += bytes
    w2 += bytes
    w3 += bytes
  }
  w1 = w + apart
  w2 = w1 + apart
  w3 = w2 + apart
  store<f32>(y, total(f32x4.add(a, b), x, w, columns, dtype))
  store<f32>(y + step, total(f32x4.add(c, d), x, w1, columns, dtype))
  store<f32>(y + 2 * step, total(f32x4.add(e, f), x, w2, columns, dtype))
  store<f32>(y + 3 * step, total(f32x4.add(g, h), x, w3, columns, dtype))
}

/**
 * Four rows by two tokens; `xNext` and `yNext`: bytes from one token to the next. Row by row, because V8 keeps loaded
 * weights for both halves of them: by halves it had to spill.
 */
// @ts-ignore: decorator
@inline
function fourByTwo(
  x: usize, sorted: usize, xNext: usize, w: usize, apart: usize, columns: i32, dtype: i32, mask: v128, power: v128,
  y: usize, yNext: usize, step: usize,
): void {
  let a0 = f32x4.splat(0)
  let a1 = f32x4.splat(0)
  let b0 = f32x4.splat(0)
  let b1 = f32x4.splat(0)
  let c0 = f32x4.splat(0)
  let c1 = f32x4.splat(0)
  let d0 = f32x4.splat(0)
  let d1 = f32x4.splat(0)
  let w0 = w
  let w1 = w + apart
  let w2 = w1 + apart
  let w3 = w2 + apart
  const bytes: usize = dtype == F32 ? 32 : 16
  const stop = sorted + (<usize>(columns & ~7) << 2)
  let next = sorted + xNext
  for (let at = sorted; at < stop; at += 32) {
    const p0 = v128.load(at)
    const p1 = v128.load(next)
    const q0 = v128.load(at, 16)
    const q1 = v128.load(next, 16)
    let v = half0(w0, dtype, mask, power)
    a0 = madd(v, p0, a0)
    a1 = madd(v, p1, a1)
    v = half1(w0, dtype, mask, power)
    a0 = madd(v, q0, a0)
    a1 = madd(v, q1, a1)
    v = half0(w1, dtype, mask, power)
    b0 = madd(v, p0, b0)
    b1 = madd(v, p1, b1)
    v = half1(w1, dtype, mask, power)
    b0 = madd(v, q0, b0)
    b1 = madd(v, q1, b1)
    v = half0(w2, dtype, mask, power)
    c0 = madd(v, p0, c0)
    c1 = madd(v, p1, c1)
    v = half1(w2, dtype, mask, power)
    c0 = madd(v, q0, c0)
    c1 = madd(v, q1, c1)
    v = half0(w3, dtype, mask, power)
    d0 = madd(v, p0, d0)
    d1 = madd(v, p1, d1)
    v = half1(w3, dtype, mask, power)
    d0 = madd(v, q0, d0)
    d1 = madd(v, q1, d1)
    next += 32
    w0 += bytes
    w1 += bytes
    w2 += bytes
    w3 += bytes
  }
  w1 = w + apart
  w2 = w1 + apart
  w3 = w2 + apart
  store<f32>(y, total(a0, x, w, columns, dtype))
  store<f32>(y + step, total(b0, x, w1, columns, dtype))
  store<f32>(y + 2 * step, total(c0, x, w2, columns, dtype))
  store<f32>(y + 3 * step, total(d0, x, w3, columns, dtype))
  x += xNext
  y += yNext
  store<f32>(y, total(a1, x, w, columns, dtype))
  store<f32>(y + step, total(b1, x, w1, columns, dtype))
  store<f32>(y + 2 * step, total(c1, x, w2, columns, dtype))
  store<f32>(y + 3 * step, total(d1, x, w3, columns, dtype))
}

/** Of each eight values the even ones first, then the odd ones: the order in which half0 and half1 give 16-bit weights. */
function sortPairs(x: usize, to: usize, columns: i32): void {
  const end = <usize>(columns & ~7) << 2
  for (let at: usize = 0; at < end; at += 32) {
    const a = v128.load(x + at)
    const b = v128.load(x + at, 16)
    v128.store(to + at, v128.shuffle<f32>(a, b, 0, 2, 4, 6))
    v128.store(to + at, v128.shuffle<f32>(a, b, 1, 3, 5, 7), 16)
  }
}

/** Four rows by all tokens; the weights of the later tokens come from the processor's cache. */
// @ts-ignore: decorator
@inline
function fourRows(
  x: usize, sorted: usize, tokens: i32, w: usize, apart: usize, columns: i32, dtype: i32, y: usize, yNext: usize, step: usize,
): void {
  const mask = v128.load(dtype == BF16 ? HIGH_HALVES : F16_MASK)
  const power = v128.load(F16_POWER)
  const xNext = <usize>columns << 2
  for (; tokens > 1; tokens -= 2) {
    fourByTwo(x, sorted, xNext, w, apart, columns, dtype, mask, power, y, yNext, step)
    x += 2 * xNext
    sorted += 2 * xNext
    y += 2 * yNext
  }
  if (tokens == 1) fourByOne(x, sorted, w, apart, columns, dtype, mask, power, y, step)
}

function fourRowsF32(
  x: usize, sorted: usize, tokens: i32, w: usize, apart: usize, columns: i32, y: usize, yNext: usize, step: usize,
): void {
  fourRows(x, sorted, tokens, w, apart, columns, F32, y, yNext, step)
}
function fourRowsBf16(
  x: usize, sorted: usize, tokens: i32, w: usize, apart: usize, columns: i32, y: usize, yNext: usize, step: usize,
): void {
  fourRows(x, sorted, tokens, w, apart, columns, BF16, y, yNext, step)
}
function fourRowsF16(
  x: usize, sorted: usize, tokens: i32, w: usize, apart: usize, columns: i32, y: usize, yNext: usize, step: usize,
): void {
  fourRows(x, sorted, tokens, w, apart, columns, F16, y, yNext, step)
}

/**
 * args: x, weights, out, capacity of rows, columns, rows of the weight, dtype, then for 16-bit weights scratch of the
 * size of x and its bytes per worker
 */
export function linearFew(args: usize, worker: i32, workers: i32): void {
  const x = pointer(args, 0)
  const weights = pointer(args, 1)
  const out = pointer(args, 2)
  const tokens = validRows(integer(args, 3))
  const columns = integer(args, 4)
  const count = integer(args, 5)
  const dtype = integer(args, 6)
  if (dtype == F32 && columns < 32 && (columns & 3) == 0) return shortRows(args, worker, workers)
  let sorted = x
  if (dtype != F32) {
    // Each worker sorts for itself: that is quicker than waiting for another.
    sorted = pointer(args, 7) + <usize>worker * <usize>integer(args, 8)
    const bytes = <usize>columns << 2
    for (let t = 0; t < tokens; t++) sortPairs(x + <usize>t * bytes, sorted + <usize>t * bytes, columns)
  }
  const first = share(count, worker, workers)
  const end = share(count, worker + 1, workers)
  // Four long streams keep more pages under way than one, and the activations are read once for four rows.
  const stream = (end - first) >> 2
  const rowBytes = <usize>columns << (dtype == F32 ? 2 : 1)
  const yNext = <usize>count << 2
  let row = first
  while (row < end) {
    const apart = row < first + stream ? stream : 0
    const w = weights + <usize>row * rowBytes
    const y = out + (<usize>row << 2)
    const wApart = <usize>apart * rowBytes
    const yApart = <usize>apart << 2
    if (dtype == F32) fourRowsF32(x, sorted, tokens, w, wApart, columns, y, yNext, yApart)
    else if (dtype == BF16) fourRowsBf16(x, sorted, tokens, w, wApart, columns, y, yNext, yApart)
    else fourRowsF16(x, sorted, tokens, w, wApart, columns, y, yNext, yApart)
    row++
    if (row == first + stream) row = first + 4 * stream
  }
}

/**
 * Rows of a few values, as adapters have: four at a time, so that their sums become one vector. The sums are added
 * in the order of oneShortRow, so that a row has the same bits wherever a worker's share begins.
 */
function shortRows(args: usize, worker: i32, workers: i32): void {
  const weights = pointer(args, 1)
  const tokens = validRows(integer(args, 3))
  const count = integer(args, 5)
  const rowBytes = <usize>integer(args, 4) << 2
  const first = share(count, worker, workers)
  const end = share(count, worker + 1, workers)
  for (let t = 0; t < tokens; t++) {
    const x = pointer(args, 0) + <usize>t * rowBytes
    const out = pointer(args, 2) + ((<usize>t * <usize>count) << 2)
    let row = first
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
    for (; row < end; row++) {
      store<f32>(out + (<usize>row << 2), oneShortRow(x, w, rowBytes))
      w += rowBytes
    }
  }
}

function oneShortRow(x: usize, w: usize, bytes: usize): f32 {
  let a = f32x4.splat(0)
  for (let i: usize = 0; i < bytes; i += 16) a = madd(v128.load(w + i), v128.load(x + i), a)
  return sum4(a)
}
