// The three products of training, all of the form C[i, j] = Σ_p A(i, p) · B(p, j): lanes are columns j, so that no
// sum runs across a vector. Six rows by eight columns are twelve sums in registers; with two vectors of B and one
// splat value of A these are the fifteen that V8 has. B is brought into panels of eight columns (see
// linear-backward-panels.wasm.ts), a block of them as large as a second-level cache at a time; A is read where it
// lies, or, where p runs over its rows, from tiles.
//
// Every value is a sum over p in one fixed order, whatever the workers and the tile it falls into.
import { INT8, integer, madd, pointer, share, validRows } from '../../backends/wasm/runtime.wasm'
import {
  panelsOfColumns, panelsOfPackedColumns, panelsOfPackedRows, panelsOfRows, tilesOfColumns,
} from './linear-backward-panels.wasm'

/** Most steps of the sum in one block: a panel of B takes 8 kB. */
const DEPTH: i32 = 256
/** Values in one block of B, and most columns in it. */
const BLOCK_VALUES: i32 = 65536
const BLOCK_COLUMNS: i32 = 512
const TILE: i32 = 6
/** Tiles of A that are made at once, so that whole lines of the cache are read. */
const TILES: i32 = 8

// What a worker keeps in its scratch (linear-backward.ts holds the sum): panels of B, tiles of A, one decoded group.
const PANELS_BYTES: usize = BLOCK_VALUES * 4 + (BLOCK_COLUMNS / 8) * 64
const TILES_BYTES: usize = TILES * (TILE * DEPTH * 4 + 64)

// Where A and B come from.
const FORWARD: i32 = 0 // A: rows of x, B: rows of the weight
const TO_INPUT: i32 = 1 // A: rows of the gradient, B: columns of the weight
const TO_WEIGHT: i32 = 2 // A: columns of the gradient, B: columns of x

/** One row of the tile onto `initial`, or onto nothing where that is 0. */
// @ts-ignore: decorator
@inline
function put(to: usize, initial: usize, low: v128, high: v128): void {
  if (initial != 0) {
    low = f32x4.add(low, v128.load(initial))
    high = f32x4.add(high, v128.load(initial, 16))
  }
  v128.store(to, low)
  v128.store(to, high, 16)
}

/** The same for the first `width` columns. */
function putSome(to: usize, initial: usize, low: v128, high: v128, width: i32): void {
  if (width == 8) return put(to, initial, low, high)
  for (let j = 0; j < width; j++) {
    const value = f32x4.extract_lane(low, 0)
    store<f32>(to, initial != 0 ? value + load<f32>(initial) : value)
    to += 4
    if (initial != 0) initial += 4
    low = v128.shuffle<f32>(low, high, 1, 2, 3, 4)
    high = v128.shuffle<f32>(high, high, 1, 2, 3, 3)
  }
}

/**
 * Five or six rows by eight columns. `a`: first value of A, whose rows lie `across` bytes and whose steps `along`
 * bytes apart; `b` … `end`: the panel; `stride`: bytes between rows of the product and of `initial`.
 */
function tile6(
  a: usize, across: usize, along: usize, b: usize, end: usize, to: usize, initial: usize, stride: usize, rows: i32, width: i32,
): void {
  let s00 = f32x4.splat(0), s01 = s00, s10 = s00, s11 = s00, s20 = s00, s21 = s00
  let s30 = s00, s31 = s00, s40 = s00, s41 = s00, s50 = s00, s51 = s00
  let a1 = a + across
  let a2 = a1 + across
  let a3 = a2 + across
  let a4 = a3 + across
  let a5 = rows > 5 ? a4 + across : a
  while (b < end) {
    const low = v128.load(b)
    const high = v128.load(b, 16)
    let v = v128.load32_splat(a)
    s00 = madd(v, low, s00)
    s01 = madd(v, high, s01)
    v = v128.load32_splat(a1)
    s10 = madd(v, low, s10)
    s11 = madd(v, high, s11)
    v = v128.load32_splat(a2)
    s20 = madd(v, low, s20)
    s21 = madd(v, high, s21)
    v = v128.load32_splat(a3)
    s30 = madd(v, low, s30)
    s31 = madd(v, high, s31)
    v = v128.load32_splat(a4)
    s40 = madd(v, low, s40)
    s41 = madd(v, high, s41)
    v = v128.load32_splat(a5)
    s50 = madd(v, low, s50)
    s51 = madd(v, high, s51)
    a += along
    a1 += along
    a2 += along
    a3 += along
    a4 += along
    a5 += along
    b += 32
  }
  const next = initial != 0 ? stride : 0
  if (rows == 6 && width == 8) {
    put(to, initial, s00, s01)
    put(to + stride, initial + next, s10, s11)
    put(to + 2 * stride, initial + 2 * next, s20, s21)
    put(to + 3 * stride, initial + 3 * next, s30, s31)
    put(to + 4 * stride, initial + 4 * next, s40, s41)
    put(to + 5 * stride, initial + 5 * next, s50, s51)
    return
  }
  putSome(to, initial, s00, s01, width)
  putSome(to + stride, initial + next, s10, s11, width)
  putSome(to + 2 * stride, initial + 2 * next, s20, s21, width)
  putSome(to + 3 * stride, initial + 3 * next, s30, s31, width)
  putSome(to + 4 * stride, initial + 4 * next, s40, s41, width)
  if (rows > 5) putSome(to + 5 * stride, initial + 5 * next, s50, s51, width)
}

/** One to four rows by eight columns, else as tile6. */
function tile4(
  a: usize, across: usize, along: usize, b: usize, end: usize, to: usize, initial: usize, stride: usize, rows: i32, width: i32,
): void {
  let s00 = f32x4.splat(0), s01 = s00, s10 = s00, s11 = s00, s20 = s00, s21 = s00, s30 = s00, s31 = s00
  let a1 = rows > 1 ? a + across : a
  let a2 = rows > 2 ? a1 + across : a
  let a3 = rows > 3 ? a2 + across : a
  while (b < end) {
    const low = v128.load(b)
    const high = v128.load(b, 16)
    let v = v128.load32_splat(a)
    s00 = madd(v, low, s00)
    s01 = madd(v, high, s01)
    v = v128.load32_splat(a1)
    s10 = madd(v, low, s10)
    s11 = madd(v, high, s11)
    v = v128.load32_splat(a2)
    s20 = madd(v, low, s20)
    s21 = madd(v, high, s21)
    v = v128.load32_splat(a3)
    s30 = madd(v, low, s30)
    s31 = madd(v, high, s31)
    a += along
    a1 += along
    a2 += along
    a3 += along
    b += 32
  }
  const next = initial != 0 ? stride : 0
  putSome(to, initial, s00, s01, width)
  if (rows > 1) putSome(to + stride, initial + next, s10, s11, width)
  if (rows > 2) putSome(to + 2 * stride, initial + 2 * next, s20, s21, width)
  if (rows > 3) putSome(to + 3 * stride, initial + 3 * next, s30, s31, width)
}

/** `rows` rows of A (at most TILE) by all panels of a block. */
function tileRow(
  a: usize, across: usize, along: usize, panels: usize, panelBytes: usize, depth: i32,
  to: usize, initial: usize, stride: usize, rows: i32, width: i32,
): void {
  const bytes = <usize>depth << 5
  for (let j = 0; j < width; j += 8) {
    if (rows > 4) tile6(a, across, along, panels, panels + bytes, to, initial, stride, rows, min(8, width - j))
    else tile4(a, across, along, panels, panels + bytes, to, initial, stride, rows, min(8, width - j))
    panels += panelBytes
    to += 32
    if (initial != 0) initial += 32
  }
}

// @ts-ignore: decorator
@inline
function ceilings(value: i32, unit: i32): i32 {
  return (value + unit - 1) / unit
}

/**
 * Into how many parts the rows are divided among workers (the columns into workers / parts): the way in which the
 * busiest has least to do. A tile costs 6, and each worker makes the panels (4 where they are copies) and tiles (4) that
 * it needs itself.
 */
function rowParts(tiles: i32, panels: i32, panelCost: i32, workers: i32): i32 {
  let best = 1
  let least = i64.MAX_VALUE
  for (let parts = 1; parts <= workers; parts++) {
    const height = ceilings(tiles, parts)
    const width = ceilings(panels, workers / parts)
    const cost = <i64>height * width * 6 + <i64>width * panelCost + <i64>height * 4
    if (cost < least) {
      least = cost
      best = parts
    }
  }
  return best
}

/** Steps of one block: as equal as may be, whole blocks of 32, so that packed weights are not cut. */
function depthOf(steps: i32): i32 {
  if (steps <= DEPTH) return steps
  return (ceilings(steps, ceilings(steps, DEPTH)) + 31) & ~31
}

/**
 * args: A, B, its scales and minima where packed, initial values of the product (or 0), product, capacity of rows,
 * columns and count of the weight, its dtype, first row, order where packed, scratch, its bytes per worker
 */
function product(args: usize, worker: i32, workers: i32, form: i32): void {
  const a = pointer(args, 0)
  const initial = pointer(args, 4)
  const out = pointer(args, 5)
  const rows = validRows(integer(args, 6))
  const columns = integer(args, 7)
  const count = integer(args, 8)
  const work = pointer(args, 12) + <usize>worker * <usize>integer(args, 13)
  const height = form == TO_WEIGHT ? count : rows
  const width = form == FORWARD ? count : columns
  const steps = form == FORWARD ? columns : form == TO_INPUT ? count : rows
  if (height == 0 || steps == 0) return
  const tiles = ceilings(height, TILE)
  const panels = ceilings(width, 8)
  const parts = rowParts(tiles, panels, form == FORWARD || integer(args, 9) >= INT8 ? 12 : 4, workers)
  const others = workers / parts
  if (worker >= parts * others) return
  const top = share(tiles, worker / others, parts) * TILE
  const bottom = min(height, share(tiles, worker / others + 1, parts) * TILE)
  const left = share(panels, worker % others, others) * 8
  const right = min(width, share(panels, worker % others + 1, others) * 8)

  const depth = depthOf(steps)
  const block = min(BLOCK_COLUMNS, (BLOCK_VALUES / ((depth + 7) & ~7)) & ~7)
  const panelBytes = (<usize>((depth + 7) & ~7) << 5) + 64
  const stride = <usize>width << 2
  for (let j = left; j < right; j += block) {
    const across = min(block, right - j)
    for (let p = 0; p < steps; p += depth) {
      const span = min(depth, steps - p)
      makePanels(args, form, p, span, j, across, work, panelBytes)
      const to = out + (<usize>j << 2)
      const from = p > 0 ? to : initial != 0 ? initial + (<usize>j << 2) : 0
      if (form == TO_WEIGHT) {
        tilesByPanels(a, <usize>count << 2, p, span, top, bottom, to, from, stride, across, work, panelBytes)
      } else {
        rowsByPanels(a, <usize>steps << 2, p, span, top, bottom, to, from, stride, across, work, panelBytes)
      }
    }
  }
}

function makePanels(
  args: usize, form: i32, p: i32, span: i32, j: i32, width: i32, work: usize, panelBytes: usize,
): void {
  const data = pointer(args, 1)
  const scales = pointer(args, 2)
  const minima = pointer(args, 3)
  const columns = integer(args, 7)
  const dtype = integer(args, 9)
  const first = integer(args, 10)
  const order = integer(args, 11)
  if (form == FORWARD) {
    if (dtype < INT8) panelsOfRows(data, dtype, columns, first + j, width, p, span, work, panelBytes)
    else panelsOfPackedRows(data, scales, minima, dtype, order, columns, first + j, width, p, span, work, panelBytes)
  } else if (dtype < INT8) {
    panelsOfColumns(data, dtype, columns, first + p, span, j, width, work, panelBytes)
  } else {
    const decoded = work + PANELS_BYTES + TILES_BYTES
    panelsOfPackedColumns(
      data, scales, minima, dtype, order, columns, first + p, span, j, width, work, panelBytes, decoded,
    )
  }
}

/** A is read where it lies: rows of `rowBytes`. */
function rowsByPanels(
  a: usize, rowBytes: usize, p: i32, span: i32, top: i32, bottom: i32,
  to: usize, initial: usize, stride: usize, width: i32, panels: usize, panelBytes: usize,
): void {
  for (let i = top; i < bottom; i += TILE) {
    const down = <usize>i * stride
    const from = initial != 0 ? initial + down : 0
    const at = a + <usize>i * rowBytes + (<usize>p << 2)
    tileRow(at, rowBytes, 4, panels, panelBytes, span, to + down, from, stride, min(TILE, bottom - i), width)
  }
}

/** p runs over the rows of A. */
function tilesByPanels(
  a: usize, rowBytes: usize, p: i32, span: i32, top: i32, bottom: i32,
  to: usize, initial: usize, stride: usize, width: i32, panels: usize, panelBytes: usize,
): void {
  const tiles = panels + PANELS_BYTES
  const tileBytes = <usize>span * (TILE * 4) + 64
  for (let first = top; first < bottom; first += TILES * TILE) {
    const stop = min(bottom, first + TILES * TILE)
    tilesOfColumns(a + <usize>p * rowBytes, rowBytes, span, first, stop - first, tiles, tileBytes)
    let at = tiles
    for (let i = first; i < stop; i += TILE) {
      const down = <usize>i * stride
      tileRow(at, 4, TILE * 4, panels, panelBytes, span, to + down, initial + down, stride, min(TILE, stop - i), width)
      at += tileBytes
    }
  }
}

/** x [rows, columns] · weight[first … first + count)ᵀ */
export function exactLinear(args: usize, worker: i32, workers: i32): void {
  product(args, worker, workers, FORWARD)
}

/** gradient [rows, count] · weight[first … first + count), onto a base where there is one */
export function linearInputGradient(args: usize, worker: i32, workers: i32): void {
  product(args, worker, workers, TO_INPUT)
}

/** gradientᵀ · x, onto what the accumulator holds: A is the gradient, B is x (first row 0), initial and product its rows */
export function linearWeightGradient(args: usize, worker: i32, workers: i32): void {
  product(args, worker, workers, TO_WEIGHT)
}
