// attentionPartial: one unit is (a tile of rows, a key/value head, a run of keys). All query vectors that share
// the head are taken together, so that every key and value is read once; keys come in runs of 128 whose
// softmax is folded into running sums (Milakov & Gimelshein 2018; Dao et al. 2022, arXiv 2205.14135).
// attentionCombine: one unit is (row, head); joins the runs. Runs never depend on the number of workers.
import {
  F16, F16_MASK, F16_POWER, F32, RUN_POSITIONS, RUN_SEQUENCES, exp1, exp4, integer, madd, max4, pointer, real, share, sum4, tanh4, validRows, widenF16x4,
} from '../../backends/wasm/runtime.wasm'

const KEYS: i32 = 128
/** Scores that must not count; far below any real score, yet finite. */
const HIDDEN: f32 = -3e38

// @ts-ignore: decorator
@inline
function positionOf(row: i32): i32 {
  return load<i32>(RUN_POSITIONS + (<usize>row << 2))
}

// @ts-ignore: decorator
@inline
function sequenceOf(row: i32): i32 {
  return load<i32>(RUN_SEQUENCES + (<usize>row << 2))
}

// @ts-ignore: decorator
@inline
function firstVisible(position: i32, window: i32): i32 {
  return window > 0 ? max(0, position - window + 1) : 0
}

export function attentionPartial(args: usize, worker: i32, workers: i32): void {
  const kvHeads = integer(args, 7)
  const splits = integer(args, 9)
  const rowsPerTile = integer(args, 13)
  const rows = validRows(0x7fffffff)
  const tiles = (rows + rowsPerTile - 1) / rowsPerTile
  const units = tiles * kvHeads * splits
  for (let unit = worker; unit < units; unit += workers) {
    const split = unit % splits
    const kvHead = (unit / splits) % kvHeads
    const end = min(rows, (unit / (splits * kvHeads) + 1) * rowsPerTile)
    let row = (unit / (splits * kvHeads)) * rowsPerTile
    // Rows of one sequence in a line are taken together; otherwise one by one.
    while (row < end) {
      let next = row + 1
      while (next < end && sequenceOf(next) == sequenceOf(row) && positionOf(next) == positionOf(next - 1) + 1) next++
      partial(args, worker, row, next - row, kvHead, split)
      row = next
    }
  }
}

function partial(args: usize, worker: i32, row: i32, count: i32, kvHead: i32, split: i32): void {
  const query = pointer(args, 0)
  const keys = pointer(args, 1)
  const values = pointer(args, 2)
  const results = pointer(args, 3)
  const heads = integer(args, 6)
  const kvHeads = integer(args, 7)
  const headDim = integer(args, 8)
  const splits = integer(args, 9)
  const splitLength = integer(args, 10)
  const window = integer(args, 11)
  const capacity = integer(args, 12)
  const scale = real(args, 14)
  const cap = real(args, 15)
  const group = heads / kvHeads
  const queries = count * group
  const headBytes = <usize>headDim << 2
  const rowBytes = <usize>integer(args, 16)
  const dtype = integer(args, 17)
  const narrow = dtype != F32
  // Where a run of keys or values is read from: the cache itself, or what is widened into scratch.
  const keyStride = narrow ? headBytes : rowBytes
  const lowest = firstVisible(positionOf(row), window)
  const highest = positionOf(row + count - 1)
  if (<i64>split * splitLength > <i64>(highest - lowest)) return
  const from = lowest + (splits > 1 ? split * splitLength : 0)
  const to = splits > 1 ? min(highest + 1, from + splitLength) : highest + 1
  // Scratch: scores [queries, KEYS], sums [queries, headDim], then maximum and total of each query.
  const scores = pointer(args, 4) + <usize>worker * <usize>integer(args, 5)
  const sums = scores + <usize>queries * <usize>(KEYS << 2)
  const states = sums + <usize>queries * headBytes
  const wide = states + (((<usize>queries << 3) + 15) & ~15)
  memory.fill(sums, 0, <usize>queries * headBytes)
  for (let j = 0; j < queries; j++) {
    store<f32>(states + (<usize>j << 3), HIDDEN)
    store<f32>(states + (<usize>j << 3), 0, 4)
  }
  const base = <usize>sequenceOf(row) * <usize>capacity
  for (let start = from; start < to; start += KEYS) {
    const length = min(KEYS, to - start)
    // A run of positions wraps around the ring at most once.
    const slot = start % capacity
    const firstPart = min(length, capacity - slot)
    let first = keys + rowAt(base + <usize>slot, rowBytes, kvHead, headDim, dtype)
    let rest = keys + rowAt(base, rowBytes, kvHead, headDim, dtype)
    if (narrow) {
      widenRun(keys, base, slot, firstPart, length, rowBytes, kvHead, headDim, kvHeads * headDim, dtype, wide)
      first = wide
      rest = wide + <usize>firstPart * headBytes
    }
    scoreKeys(query, row, group, heads, kvHead, queries, headDim, first, keyStride, firstPart, scores, scale)
    if (firstPart < length) {
      const later = scores + (<usize>firstPart << 2)
      scoreKeys(query, row, group, heads, kvHead, queries, headDim, rest, keyStride, length - firstPart, later, scale)
    }
    for (let j = 0; j < queries; j++) {
      const line = scores + <usize>j * <usize>(KEYS << 2)
      if (cap > 0) capScores(line, length, cap)
      const position = positionOf(row + j / group)
      hide(line, length, firstVisible(position, window) - start, position - start + 1)
      fold(line, length, sums + <usize>j * headBytes, headDim, states + (<usize>j << 3))
    }
    if (narrow) {
      widenRun(values, base, slot, firstPart, length, rowBytes, kvHead, headDim, kvHeads * headDim, dtype, wide)
    } else {
      first = values + rowAt(base + <usize>slot, rowBytes, kvHead, headDim, dtype)
      rest = values + rowAt(base, rowBytes, kvHead, headDim, dtype)
    }
    addValues(scores, sums, queries, headDim, first, keyStride, 0, firstPart)
    if (firstPart < length) addValues(scores, sums, queries, headDim, rest, keyStride, firstPart, length)
  }
  const resultBytes = headBytes + 8
  for (let j = 0; j < queries; j++) {
    const head = <usize>(row + j / group) * <usize>heads + <usize>(kvHead * group + (j % group))
    const result = results + (head * <usize>splits + <usize>split) * resultBytes
    memory.copy(result, sums + <usize>j * headBytes, headBytes)
    store<u64>(result + headBytes, load<u64>(states + (<usize>j << 3)))
  }
}

/** Bytes before one head's values in a slot; of int8 rows, before its bytes. */
// @ts-ignore: decorator
@inline
function rowAt(slot: usize, rowBytes: usize, kvHead: i32, headDim: i32, dtype: i32): usize {
  const shift: usize = dtype == F32 ? 2 : dtype == F16 ? 1 : 0
  return slot * rowBytes + (<usize>(kvHead * headDim) << shift)
}

/** One head of the slots of a run (which wraps around the ring after `firstPart`) as f32 rows at `to`. */
function widenRun(
  cache: usize, base: usize, slot: i32, firstPart: i32, length: i32, rowBytes: usize, kvHead: i32, headDim: i32,
  width: i32, dtype: i32, to: usize,
): void {
  for (let k = 0; k < length; k++) {
    const at = base + <usize>(k < firstPart ? slot + k : k - firstPart)
    const from = cache + rowAt(at, rowBytes, kvHead, headDim, dtype)
    if (dtype == F16) {
      const mask = v128.load(F16_MASK)
      const power = v128.load(F16_POWER)
      for (let i: usize = 0; i < <usize>headDim; i += 4) {
        v128.store(to + (i << 2), widenF16x4(from + (i << 1), mask, power))
      }
    } else {
      widenBytes(from, cache + at * rowBytes + <usize>((width + 3) & ~3), kvHead * headDim, headDim, to)
    }
    to += <usize>headDim << 2
  }
}

/** `first`: index in the row of the first value, which decides its scale; a head's length is a multiple of four. */
function widenBytes(from: usize, scales: usize, first: i32, headDim: i32, to: usize): void {
  for (let i = 0; i < headDim; i += 4) {
    const wide = i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(v128.load32_zero(from + <usize>i)))
    const scale = v128.load32_splat(scales + (<usize>((first + i) >> 5) << 2))
    v128.store(to + (<usize>i << 2), f32x4.mul(f32x4.convert_i32x4_s(wide), scale))
  }
}

// @ts-ignore: decorator
@inline
function queryAt(query: usize, row: i32, group: i32, heads: i32, kvHead: i32, j: i32, headDim: i32): usize {
  const head = <usize>(row + j / group) * <usize>heads + <usize>(kvHead * group + (j % group))
  return query + head * (<usize>headDim << 2)
}

// @ts-ignore: decorator
@inline
function putScores(to: usize, line: usize, a: v128, b: v128, c: v128, d: v128, scale: f32): void {
  store<f32>(to, sum4(a) * scale)
  store<f32>(to + line, sum4(b) * scale)
  store<f32>(to + 2 * line, sum4(c) * scale)
  store<f32>(to + 3 * line, sum4(d) * scale)
}

/** scores[j][k] = scale · (query j · key k) */
function scoreKeys(
  query: usize, row: i32, group: i32, heads: i32, kvHead: i32, queries: i32, headDim: i32,
  keys: usize, keyStride: usize, length: i32, scores: usize, scale: f32,
): void {
  const line = <usize>(KEYS << 2)
  const end = <usize>headDim << 2
  let j = 0
  for (; j + 4 <= queries; j += 4) {
    const q0 = queryAt(query, row, group, heads, kvHead, j, headDim)
    const q1 = queryAt(query, row, group, heads, kvHead, j + 1, headDim)
    const q2 = queryAt(query, row, group, heads, kvHead, j + 2, headDim)
    const q3 = queryAt(query, row, group, heads, kvHead, j + 3, headDim)
    let to = scores + <usize>j * line
    let key = keys
    let k = 0
    // Two keys at a time: six loads for eight products, and sums enough to hide their latency.
    for (; k + 2 <= length; k += 2) {
      const other = key + keyStride
      let a = f32x4.splat(0)
      let b = f32x4.splat(0)
      let c = f32x4.splat(0)
      let d = f32x4.splat(0)
      let e = f32x4.splat(0)
      let f = f32x4.splat(0)
      let g = f32x4.splat(0)
      let h = f32x4.splat(0)
      for (let i: usize = 0; i < end; i += 16) {
        const v = v128.load(key + i)
        const w = v128.load(other + i)
        let q = v128.load(q0 + i)
        a = madd(q, v, a)
        e = madd(q, w, e)
        q = v128.load(q1 + i)
        b = madd(q, v, b)
        f = madd(q, w, f)
        q = v128.load(q2 + i)
        c = madd(q, v, c)
        g = madd(q, w, g)
        q = v128.load(q3 + i)
        d = madd(q, v, d)
        h = madd(q, w, h)
      }
      putScores(to, line, a, b, c, d, scale)
      putScores(to + 4, line, e, f, g, h, scale)
      to += 8
      key = other + keyStride
    }
    for (; k < length; k++) {
      let a = f32x4.splat(0)
      let b = f32x4.splat(0)
      let c = f32x4.splat(0)
      let d = f32x4.splat(0)
      for (let i: usize = 0; i < end; i += 16) {
        const v = v128.load(key + i)
        a = madd(v128.load(q0 + i), v, a)
        b = madd(v128.load(q1 + i), v, b)
        c = madd(v128.load(q2 + i), v, c)
        d = madd(v128.load(q3 + i), v, d)
      }
      putScores(to, line, a, b, c, d, scale)
      to += 4
      key += keyStride
    }
  }
  for (; j < queries; j++) {
    const q = queryAt(query, row, group, heads, kvHead, j, headDim)
    let to = scores + <usize>j * line
    let key = keys
    for (let k = 0; k < length; k++) {
      let a = f32x4.splat(0)
      for (let i: usize = 0; i < end; i += 16) a = madd(v128.load(q + i), v128.load(key + i), a)
      store<f32>(to, sum4(a) * scale)
      to += 4
      key += keyStride
    }
  }
}

function capScores(line: usize, length: i32, cap: f32): void {
  const caps = f32x4.splat(cap)
  // A line has room for KEYS scores, so the last vector may reach past `length`.
  for (let k = 0; k < length; k += 4) {
    const at = line + (<usize>k << 2)
    v128.store(at, f32x4.mul(tanh4(f32x4.div(v128.load(at), caps)), caps))
  }
}

/** Hides the keys before `from` and from `to` on. */
function hide(line: usize, length: i32, from: i32, to: i32): void {
  for (let k = 0; k < min(from, length); k++) store<f32>(line + (<usize>k << 2), HIDDEN)
  for (let k = max(0, to); k < length; k++) store<f32>(line + (<usize>k << 2), HIDDEN)
}

/** Turns a line of scores into exponentials relative to the new running maximum and rescales the sums. */
function fold(line: usize, length: i32, sums: usize, headDim: i32, state: usize): void {
  for (let k = length; (k & 3) != 0; k++) store<f32>(line + (<usize>k << 2), HIDDEN)
  let largest = f32x4.splat(HIDDEN)
  for (let k = 0; k < length; k += 4) largest = f32x4.pmax(largest, v128.load(line + (<usize>k << 2)))
  const old = load<f32>(state)
  const highest = max(old, max4(largest))
  if (highest <= <f32>-1e38) {
    memory.fill(line, 0, <usize>(KEYS << 2))
    return
  }
  const shift = f32x4.splat(highest)
  let totals = f32x4.splat(0)
  for (let k = 0; k < length; k += 4) {
    const at = line + (<usize>k << 2)
    const score = v128.load(at)
    // A hidden score becomes exactly zero, not a tiny number.
    const visible = f32x4.gt(score, f32x4.splat(-1e38))
    const e = v128.and(exp4(f32x4.sub(score, shift)), visible)
    v128.store(at, e)
    totals = f32x4.add(totals, e)
  }
  let total = load<f32>(state, 4)
  if (highest > old && total > 0) {
    const factor = exp1(old - highest)
    total *= factor
    const factors = f32x4.splat(factor)
    for (let i: usize = 0; i < <usize>headDim << 2; i += 16) {
      v128.store(sums + i, f32x4.mul(v128.load(sums + i), factors))
    }
  }
  store<f32>(state, highest)
  store<f32>(state, total + sum4(totals), 4)
}

/** sums[j] += Σ_k e[j][k] · value k, for k from … to; `values` points at the value of k = from. */
function addValues(
  scores: usize, sums: usize, queries: i32, headDim: i32, values: usize, stride: usize, from: i32, to: i32,
): void {
  const line = <usize>(KEYS << 2)
  const headBytes = <usize>headDim << 2
  let i: usize = 0
  for (; i + 64 <= headBytes; i += 64) {
    let j = 0
    for (; j + 2 <= queries; j += 2) {
      const s0 = sums + <usize>j * headBytes + i
      const s1 = s0 + headBytes
      let a0 = v128.load(s0)
      let a1 = v128.load(s0, 16)
      let a2 = v128.load(s0, 32)
      let a3 = v128.load(s0, 48)
      let b0 = v128.load(s1)
      let b1 = v128.load(s1, 16)
      let b2 = v128.load(s1, 32)
      let b3 = v128.load(s1, 48)
      let e = scores + <usize>j * line + (<usize>from << 2)
      let v = values + i
      for (let k = from; k < to; k++) {
        const p = v128.load32_splat(e)
        const q = v128.load32_splat(e + line)
        const v0 = v128.load(v)
        const v1 = v128.load(v, 16)
        const v2 = v128.load(v, 32)
        const v3 = v128.load(v, 48)
        a0 = madd(p, v0, a0)
        b0 = madd(q, v0, b0)
        a1 = madd(p, v1, a1)
        b1 = madd(q, v1, b1)
        a2 = madd(p, v2, a2)
        b2 = madd(q, v2, b2)
        a3 = madd(p, v3, a3)
        b3 = madd(q, v3, b3)
        e += 4
        v += stride
      }
      v128.store(s0, a0)
      v128.store(s0, a1, 16)
      v128.store(s0, a2, 32)
      v128.store(s0, a3, 48)
      v128.store(s1, b0)
      v128.store(s1, b1, 16)
      v128.store(s1, b2, 32)
      v128.store(s1, b3, 48)
    }
    for (; j < queries; j++) {
      for (let part: usize = 0; part < 64; part += 16) addStrip(scores, sums, j, headBytes, i + part, values, stride, from, to)
    }
  }
  for (; i < headBytes; i += 16) {
    for (let j = 0; j < queries; j++) addStrip(scores, sums, j, headBytes, i, values, stride, from, to)
  }
}

/** Four elements of one query's sum. */
function addStrip(
  scores: usize, sums: usize, j: i32, headBytes: usize, i: usize, values: usize, stride: usize, from: i32, to: i32,
): void {
  const at = sums + <usize>j * headBytes + i
  let sum = v128.load(at)
  let e = scores + <usize>j * <usize>(KEYS << 2) + (<usize>from << 2)
  let v = values + i
  for (let k = from; k < to; k++) {
    sum = madd(v128.load32_splat(e), v128.load(v), sum)
    e += 4
    v += stride
  }
  v128.store(at, sum)
}

export function attentionCombine(args: usize, worker: i32, workers: i32): void {
  const results = pointer(args, 0)
  const out = pointer(args, 1)
  const heads = integer(args, 2)
  const headDim = integer(args, 4)
  const splits = integer(args, 5)
  const splitLength = integer(args, 6)
  const window = integer(args, 7)
  const headBytes = <usize>headDim << 2
  const resultBytes = headBytes + 8
  const units = validRows(0x7fffffff) * heads
  const end = share(units, worker + 1, workers)
  for (let unit = share(units, worker, workers); unit < end; unit++) {
    const position = positionOf(unit / heads)
    const visible = position - firstVisible(position, window) + 1
    const active = splits > 1 ? (visible + splitLength - 1) / splitLength : 1
    const first = results + <usize>unit * <usize>splits * resultBytes
    let highest: f32 = HIDDEN
    for (let s = 0; s < active; s++) highest = max(highest, load<f32>(first + <usize>s * resultBytes + headBytes))
    let total: f32 = 0
    for (let s = 0; s < active; s++) {
      const state = first + <usize>s * resultBytes + headBytes
      total += load<f32>(state, 4) * exp1(load<f32>(state) - highest)
    }
    const to = out + <usize>unit * headBytes
    for (let s = 0; s < active; s++) {
      const result = first + <usize>s * resultBytes
      const factor = f32x4.splat(exp1(load<f32>(result + headBytes) - highest) / total)
      for (let i: usize = 0; i < headBytes; i += 16) {
        const part = f32x4.mul(v128.load(result + i), factor)
        v128.store(to + i, s == 0 ? part : f32x4.add(v128.load(to + i), part))
      }
    }
  }
}
