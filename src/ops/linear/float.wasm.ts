// y = x · Wᵀ for f32, bf16 and f16 weights with f32 activations, for many tokens: forty-eight rows of at most
// 1 024 columns are widened into a worker's scratch (f32 weights are used where they lie), and tiles of three
// tokens by three rows keep nine sums in registers (twelve are more than V8 can hold: it has fifteen for everything).
import {
  BF16, F32, integer, loadBf16, loadBf16x4, loadF16, loadF16x4, madd, pointer, share, sum4, validRows,
} from '../../backends/wasm/runtime.wasm'

const ROWS: i32 = 48
const SPAN: i32 = 1024

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
  putThree(y, x0, w, stride, span, end, a0, b0, c0, first)
  if (tokens > 1) putThree(y + yStride, x1, w, stride, span, end, a1, b1, c1, first)
  if (tokens > 2) putThree(y + 2 * yStride, x2, w, stride, span, end, a2, b2, c2, first)
}

/** Adds up the sums of three rows by one token and the columns past the last four. */
// @ts-ignore: decorator
@inline
function putThree(
  y: usize, x: usize, w: usize, stride: usize, span: i32, end: usize, a: v128, b: v128, c: v128, first: bool,
): void {
  const ab = f32x4.add(v128.shuffle<f32>(a, b, 0, 4, 1, 5), v128.shuffle<f32>(a, b, 2, 6, 3, 7))
  const cc = f32x4.add(v128.shuffle<f32>(c, c, 0, 4, 1, 5), v128.shuffle<f32>(c, c, 2, 6, 3, 7))
  let sums = f32x4.add(v128.shuffle<f32>(ab, cc, 0, 1, 4, 5), v128.shuffle<f32>(ab, cc, 2, 3, 6, 7))
  for (let i = end; i < <usize>span << 2; i += 4) {
    const columnOfTwo = v128.load32_lane(w + stride + i, v128.load32_zero(w + i), 1)
    sums = madd(v128.load32_lane(w + 2 * stride + i, columnOfTwo, 2), v128.load32_splat(x + i), sums)
  }
  if (!first) sums = f32x4.add(sums, v128.load32_lane(y, v128.load64_zero(y), 2, 8))
  v128.store64_lane(y, sums, 0)
  v128.store32_lane(y, sums, 2, 8)
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

/** args: as linearFew, but the scratch is scratch for widened rows and its bytes per worker */
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
