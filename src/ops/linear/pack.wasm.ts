// The packed layout of integer weights (graph/dtype.ts), and the kernels that bring stored rows into it while
// a file streams in. Eight rows are interleaved, in two halves of four: 16 bytes hold the next columns of four
// rows, so that a lane of the inner product is a row and no horizontal sum is needed; of a block of 32 columns,
// the chunks of rows 0–3 come first, then those of rows 4–7.
//
// Within 16 bytes lie, for int8, columns 4c … 4c+3 of four rows; for int4, columns 8c … 8c+3 in the low and
// 8c+4 … 8c+7 in the high nibbles. Two orders: "quads" (a row's four columns side by side: 8-bit dot
// products), "pairs" (columns 0–1 of the four rows, then columns 2–3: 16-bit dot products after widening).
import { integer, pointer, share } from '../../backends/wasm/runtime.wasm'

export const QUADS: i32 = 0
export const PAIRS: i32 = 1
/** Quads with 128 added to signed 8-bit weights, where the machine takes them as unsigned. */
export const OFFSET_QUADS: i32 = 2

/** Puts the four bytes `value` of one row (columns 4q … 4q+3 of its chunk) into a 16-byte chunk. */
// @ts-ignore: decorator
@inline
function putQuad(chunk: usize, lane: i32, value: u32, order: i32): void {
  if (order == PAIRS) {
    store<u16>(chunk + (<usize>lane << 1), <u16>value)
    store<u16>(chunk + (<usize>lane << 1), <u16>(value >> 16), 8)
  } else {
    store<u32>(chunk + (<usize>lane << 2), order == OFFSET_QUADS ? value ^ 0x80808080 : value)
  }
}

/** One integer of a block of four rows: lane = row & 3, i = column within the block. */
export function packedByte(block: usize, lane: i32, i: i32, narrow: bool, order: i32): i32 {
  const perChunk = narrow ? 3 : 2
  const chunk = block + (<usize>(i >> perChunk) << 4)
  const j = i & 3
  const position = order == PAIRS ? ((j >> 1) << 3) + (lane << 1) + (j & 1) : (lane << 2) + j
  const byte = load<u8>(chunk + <usize>position)
  if (narrow) return (i & 4) != 0 ? <i32>byte >> 4 : <i32>byte & 15
  return order == OFFSET_QUADS ? <i32>byte - 128 : <i32>(<i8>byte)
}

/** Bytes before the half of a block that holds this row; `halfBytes` are those of four rows. */
// @ts-ignore: decorator
@inline
export function blockOffset(index: usize, row: i32, halfBytes: usize): usize {
  return index * 2 * halfBytes + <usize>((row >> 2) & 1) * halfBytes
}

/** Bytes before the f16 scale of a block's row. */
// @ts-ignore: decorator
@inline
export function scaleOffset(index: usize, row: i32): usize {
  return (index << 4) + (<usize>(row & 7) << 1)
}

const NIBBLES: u32 = 0x0f0f0f0f

/** The sixteen bytes of a llama.cpp 4-bit block (element i low, i + 16 high) into four chunks. */
// @ts-ignore: decorator
@inline
function packNibbles(from: usize, block: usize, lane: i32, order: i32): void {
  const a = load<u32>(from)
  const b = load<u32>(from, 4)
  const c = load<u32>(from, 8)
  const d = load<u32>(from, 12)
  putQuad(block, lane, (a & NIBBLES) | ((b & NIBBLES) << 4), order)
  putQuad(block + 16, lane, (c & NIBBLES) | ((d & NIBBLES) << 4), order)
  putQuad(block + 32, lane, ((a >> 4) & NIBBLES) | (b & ~NIBBLES), order)
  putQuad(block + 48, lane, ((c >> 4) & NIBBLES) | (d & ~NIBBLES), order)
}

/**
 * args: stored rows, their count, data, scales, minima, first row (multiple of 4), columns, bytes of a stored
 * row, order. Q4_0: 18 bytes per block: f16 scale, 16 bytes.
 */
export function packQ4_0(args: usize, worker: i32, workers: i32): void {
  packRows(args, worker, workers, 18, 2)
}

/** Q4_1: f16 scale, f16 minimum, 16 bytes. */
export function packQ4_1(args: usize, worker: i32, workers: i32): void {
  packRows(args, worker, workers, 20, 4)
}

function packRows(args: usize, worker: i32, workers: i32, storedBytes: usize, header: usize): void {
  const stored = pointer(args, 0)
  const rows = integer(args, 1)
  const data = pointer(args, 2)
  const scales = pointer(args, 3)
  const minima = pointer(args, 4)
  const firstRow = integer(args, 5)
  const blocks = integer(args, 6) >> 5
  const rowBytes = <usize>integer(args, 7)
  const order = integer(args, 8)
  const end = share(rows, worker + 1, workers)
  for (let r = share(rows, worker, workers); r < end; r++) {
    let from = stored + <usize>r * rowBytes
    const row = firstRow + r
    const lane = row & 3
    let index = <usize>((firstRow + r) >> 3) * <usize>blocks
    for (let b = 0; b < blocks; b++) {
      store<u16>(scales + scaleOffset(index, row), load<u16>(from))
      if (header == 4) store<u16>(minima + scaleOffset(index, row), load<u16>(from, 2))
      packNibbles(from + header, data + blockOffset(index, row, 64), lane, order)
      from += storedBytes
      index++
    }
  }
}

/** Scale or minimum number j of the eight 6-bit pairs that a K-quant block holds in twelve bytes. */
function sixBits(packed: usize, j: i32, minimum: bool): i32 {
  const at = packed + <usize>(minimum ? j + 4 : j)
  if (j < 4) return <i32>load<u8>(at) & 63
  const low = minimum ? <i32>load<u8>(packed + <usize>(j + 4)) >> 4 : <i32>load<u8>(packed + <usize>(j + 4)) & 15
  return low | ((<i32>load<u8>(packed + <usize>(minimum ? j : j - 4)) >> 6) << 4)
}

/**
 * Q4_K: 256 values: f16 scale, f16 minimum, eight 6-bit (scale, minimum) pairs, 128 bytes; of each 32 bytes the
 * low nibbles are one block of 32 and the high nibbles the next. value = scale·s·q − minimum·m.
 */
export function packQ4_K(args: usize, worker: i32, workers: i32): void {
  const stored = pointer(args, 0)
  const rows = integer(args, 1)
  const data = pointer(args, 2)
  const scales = pointer(args, 3)
  const minima = pointer(args, 4)
  const firstRow = integer(args, 5)
  const blocks = integer(args, 6) >> 5
  const rowBytes = <usize>integer(args, 7)
  const order = integer(args, 8)
  const end = share(rows, worker + 1, workers)
  for (let r = share(rows, worker, workers); r < end; r++) {
    const row = firstRow + r
    const lane = row & 3
    const group = <usize>((firstRow + r) >> 3) * <usize>blocks
    for (let b = 0; b < blocks; b++) {
      const from = stored + <usize>r * rowBytes + <usize>(b >> 3) * 144
      const index = group + <usize>b
      const j = b & 7
      const at = scaleOffset(index, row)
      store<u16>(scales + at, toF16(fromF16(load<u16>(from)) * <f32>sixBits(from + 4, j, false)))
      store<u16>(minima + at, toF16(-fromF16(load<u16>(from, 2)) * <f32>sixBits(from + 4, j, true)))
      const quants = from + 16 + <usize>((j >> 1) << 5)
      const shift = (j & 1) << 2
      for (let c = 0; c < 4; c++) {
        const low = (load<u32>(quants + <usize>(c << 3)) >> shift) & NIBBLES
        const high = (load<u32>(quants + <usize>(c << 3), 4) >> shift) & NIBBLES
        putQuad(data + blockOffset(index, row, 64) + (<usize>c << 4), lane, low | (high << 4), order)
      }
    }
  }
}

/** Q8_0: f16 scale, 32 signed bytes. */
export function packQ8_0(args: usize, worker: i32, workers: i32): void {
  packBytes(args, worker, workers, true)
}

/** Rows of signed bytes with one f32 scale per row, which the loader writes itself. */
export function packI8(args: usize, worker: i32, workers: i32): void {
  packBytes(args, worker, workers, false)
}

function packBytes(args: usize, worker: i32, workers: i32, scaled: bool): void {
  const stored = pointer(args, 0)
  const rows = integer(args, 1)
  const data = pointer(args, 2)
  const scales = pointer(args, 3)
  const firstRow = integer(args, 5)
  const columns = integer(args, 6)
  const rowBytes = <usize>integer(args, 7)
  const order = integer(args, 8)
  const blocks = (columns + 31) >> 5
  const end = share(rows, worker + 1, workers)
  for (let r = share(rows, worker, workers); r < end; r++) {
    let from = stored + <usize>r * rowBytes
    const row = firstRow + r
    const lane = row & 3
    let index = <usize>((firstRow + r) >> 3) * <usize>blocks
    for (let b = 0; b < blocks; b++) {
      if (scaled) {
        store<u16>(scales + scaleOffset(index, row), load<u16>(from))
        from += 2
      }
      const count = min(32, columns - (b << 5))
      for (let i = 0; i < 32; i += 4) {
        let quad: u32 = 0
        if (i + 4 <= count) quad = load<u32>(from + <usize>i)
        else for (let j = i; j < count; j++) quad |= <u32>load<u8>(from + <usize>j) << ((j - i) << 3)
        putQuad(data + blockOffset(index, row, 128) + (<usize>i << 2), lane, quad, order)
      }
      from += 32
      index++
    }
  }
}

/** f32 → nearest f16 bits, ties to even, for magnitudes a scale can have; larger than 65504 saturates. */
export function toF16(value: f32): u16 {
  const bits = reinterpret<u32>(value)
  const sign = <u16>((bits >> 16) & 0x8000)
  const magnitude = reinterpret<f32>(bits & 0x7fffffff)
  if (magnitude >= 65520) return sign | 0x7bff
  if (magnitude < 6.103515625e-5) {
    // Subnormal: adding 0.5 aligns the bits to multiples of 2⁻²⁴ and rounds them.
    return sign | <u16>(reinterpret<u32>(magnitude + <f32>0.5) - 0x3f000000)
  }
  const rounded = (bits & 0x7fffffff) + 0xfff + ((bits >> 13) & 1)
  return sign | <u16>((rounded - 0x38000000) >> 13)
}

// @ts-ignore: decorator
@inline
function fromF16(bits: u16): f32 {
  const wide = (<u32>(<i32>(<i16>bits)) << 13) & 0x8fffffff
  return reinterpret<f32>(wide) * <f32>5.192296858534828e33
}

/**
 * f32 rows → int8 in blocks of 32: scale = largest magnitude / 127, rounded to f16.
 * args as packQ4_0; stored rows are f32 and rowBytes is columns · 4.
 */
export function packInt8(args: usize, worker: i32, workers: i32): void {
  const stored = pointer(args, 0)
  const rows = integer(args, 1)
  const data = pointer(args, 2)
  const scales = pointer(args, 3)
  const firstRow = integer(args, 5)
  const columns = integer(args, 6)
  const rowBytes = <usize>integer(args, 7)
  const order = integer(args, 8)
  const blocks = (columns + 31) >> 5
  const end = share(rows, worker + 1, workers)
  for (let r = share(rows, worker, workers); r < end; r++) {
    const row = firstRow + r
    const lane = row & 3
    let index = <usize>((firstRow + r) >> 3) * <usize>blocks
    for (let b = 0; b < blocks; b++) {
      const from = stored + <usize>r * rowBytes + (<usize>b << 7)
      const count = min(32, columns - (b << 5))
      let largest: f32 = 0
      for (let i = 0; i < count; i++) largest = max(largest, abs(load<f32>(from + (<usize>i << 2))))
      const bits = toF16(largest / 127)
      store<u16>(scales + scaleOffset(index, row), bits)
      const scale = fromF16(bits)
      const inverse: f32 = scale > 0 ? <f32>1 / scale : 0
      for (let i = 0; i < 32; i += 4) {
        putQuad(data + blockOffset(index, row, 128) + (<usize>i << 2), lane, roundQuad(from, i, count, inverse), order)
      }
      index++
    }
  }
}

function roundQuad(from: usize, i: i32, count: i32, inverse: f32): u32 {
  let quad: u32 = 0
  for (let j = 0; j < 4; j++) {
    if (i + j >= count) break
    const q = <i32>max<f32>(-127, min<f32>(127, nearest(load<f32>(from + (<usize>(i + j) << 2)) * inverse)))
    quad |= <u32>(q & 255) << (j << 3)
  }
  return quad
}

/**
 * f32 rows → int8 with one f32 scale per row (Google's form): scale = largest magnitude / 127.
 */
export function packInt8Row(args: usize, worker: i32, workers: i32): void {
  const stored = pointer(args, 0)
  const rows = integer(args, 1)
  const data = pointer(args, 2)
  const scales = pointer(args, 3)
  const firstRow = integer(args, 5)
  const columns = integer(args, 6)
  const rowBytes = <usize>integer(args, 7)
  const order = integer(args, 8)
  const blocks = (columns + 31) >> 5
  const end = share(rows, worker + 1, workers)
  for (let r = share(rows, worker, workers); r < end; r++) {
    const values = stored + <usize>r * rowBytes
    const row = firstRow + r
    let largest: f32 = 0
    for (let i = 0; i < columns; i++) largest = max(largest, abs(load<f32>(values + (<usize>i << 2))))
    store<f32>(scales + (<usize>row << 2), largest / 127)
    const inverse: f32 = largest > 0 ? <f32>127 / largest : 0
    const lane = row & 3
    let index = <usize>((firstRow + r) >> 3) * <usize>blocks
    for (let b = 0; b < blocks; b++) {
      const from = values + (<usize>b << 7)
      const count = min(32, columns - (b << 5))
      for (let i = 0; i < 32; i += 4) {
        putQuad(data + blockOffset(index, row, 128) + (<usize>i << 2), lane, roundQuad(from, i, count, inverse), order)
      }
      index++
    }
  }
}

/** Candidates for 4 bits: the codes that the extreme of a block may get (see encodeQ4_0 in weights/encode-blocks.ts). */
const CANDIDATES: i32 = 7

// @ts-ignore: decorator
@inline
function reach(candidate: i32): f32 {
  if (candidate == 0) return -8
  if (candidate == 1) return -8.4
  if (candidate == 2) return -7.8
  if (candidate == 3) return -7.2
  if (candidate == 4) return -6.5
  return candidate == 5 ? <f32>7.3 : <f32>6.6
}

/**
 * f32 rows → int4: for each block, several scales under which the extreme becomes about −8 or 7; for the integers that a candidate
 * gives, the best scale is Σwq / Σq² (least squares), and the candidate with the least error wins.
 */
export function packInt4(args: usize, worker: i32, workers: i32): void {
  const stored = pointer(args, 0)
  const rows = integer(args, 1)
  const data = pointer(args, 2)
  const scales = pointer(args, 3)
  const firstRow = integer(args, 5)
  const columns = integer(args, 6)
  const rowBytes = <usize>integer(args, 7)
  const order = integer(args, 8)
  const blocks = (columns + 31) >> 5
  const end = share(rows, worker + 1, workers)
  for (let r = share(rows, worker, workers); r < end; r++) {
    const row = firstRow + r
    const lane = row & 3
    let index = <usize>((firstRow + r) >> 3) * <usize>blocks
    for (let b = 0; b < blocks; b++) {
      const from = stored + <usize>r * rowBytes + (<usize>b << 7)
      const count = min(32, columns - (b << 5))
      const bits = bestInt4Scale(from, count)
      store<u16>(scales + scaleOffset(index, row), bits)
      const scale = fromF16(bits)
      const inverse: f32 = scale != 0 ? <f32>1 / scale : 0
      for (let c = 0; c < 4; c++) {
        const low = nibbleQuad(from, c << 3, count, inverse)
        const high = nibbleQuad(from, (c << 3) + 4, count, inverse)
        putQuad(data + blockOffset(index, row, 64) + (<usize>c << 4), lane, low | (high << 4), order)
      }
      index++
    }
  }
}

function nibbleQuad(from: usize, i: i32, count: i32, inverse: f32): u32 {
  let quad: u32 = 0
  for (let j = 0; j < 4; j++) {
    // Past the end of a row lies 8, which means zero.
    let q: i32 = 8
    if (i + j < count) {
      q = <i32>max<f32>(0, min<f32>(15, nearest(load<f32>(from + (<usize>(i + j) << 2)) * inverse) + 8))
    }
    quad |= <u32>q << (j << 3)
  }
  return quad
}

function bestInt4Scale(from: usize, count: i32): u16 {
  let extreme: f32 = 0
  for (let i = 0; i < count; i++) {
    const w = load<f32>(from + (<usize>i << 2))
    if (abs(w) > abs(extreme)) extreme = w
  }
  if (extreme == 0) return 0
  let bestGain: f32 = -1
  let best: f32 = extreme / <f32>-8
  for (let c = 0; c < CANDIDATES; c++) {
    const inverse: f32 = reach(c) / extreme
    let products = f32x4.splat(0)
    let squares = f32x4.splat(0)
    let i = 0
    for (; i + 4 <= count; i += 4) {
      const w = v128.load(from + (<usize>i << 2))
      const q = f32x4.pmax(
        f32x4.splat(-8),
        f32x4.pmin(f32x4.splat(7), f32x4.nearest(f32x4.mul(w, f32x4.splat(inverse)))),
      )
      products = f32x4.add(products, f32x4.mul(w, q))
      squares = f32x4.add(squares, f32x4.mul(q, q))
    }
    let product = lanes(products)
    let square = lanes(squares)
    for (; i < count; i++) {
      const w = load<f32>(from + (<usize>i << 2))
      const q = max<f32>(-8, min<f32>(7, nearest(w * inverse)))
      product += w * q
      square += q * q
    }
    if (square == 0) continue
    // The error left is Σw² − (Σwq)² / Σq².
    const gain = (product * product) / square
    if (gain > bestGain) {
      bestGain = gain
      best = product / square
    }
  }
  return toF16(best)
}

// @ts-ignore: decorator
@inline
function lanes(v: v128): f32 {
  return (
    f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1) + (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3))
  )
}

/** args: from (bf16), to (f32), count of values */
export function widenBf16(args: usize, worker: i32, workers: i32): void {
  const from = pointer(args, 0)
  const to = pointer(args, 1)
  const count = integer(args, 2)
  const end = share(count, worker + 1, workers)
  for (let i = share(count, worker, workers); i < end; i++) {
    store<u32>(to + (<usize>i << 2), <u32>load<u16>(from + (<usize>i << 1)) << 16)
  }
}

/** args: from (f16), to (f32), count of values */
export function widenF16(args: usize, worker: i32, workers: i32): void {
  const from = pointer(args, 0)
  const to = pointer(args, 1)
  const count = integer(args, 2)
  const end = share(count, worker + 1, workers)
  for (let i = share(count, worker, workers); i < end; i++) {
    store<f32>(to + (<usize>i << 2), fromF16(load<u16>(from + (<usize>i << 1))))
  }
}

/** args: from (f32), to (bf16), count of values: nearest, ties to even */
export function narrowBf16(args: usize, worker: i32, workers: i32): void {
  const from = pointer(args, 0)
  const to = pointer(args, 1)
  const count = integer(args, 2)
  const end = share(count, worker + 1, workers)
  for (let i = share(count, worker, workers); i < end; i++) {
    const bits = load<u32>(from + (<usize>i << 2))
    store<u16>(to + (<usize>i << 1), <u16>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16))
  }
}

/** args: from (f32), to (f16), count of values: nearest, ties to even, saturating */
export function narrowF16(args: usize, worker: i32, workers: i32): void {
  const from = pointer(args, 0)
  const to = pointer(args, 1)
  const count = integer(args, 2)
  const end = share(count, worker + 1, workers)
  for (let i = share(count, worker, workers); i < end; i++) {
    store<u16>(to + (<usize>i << 1), toF16(load<f32>(from + (<usize>i << 2))))
  }
}
