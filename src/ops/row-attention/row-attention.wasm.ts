// rowAttention and the gradient of query: one unit is (row, head). Gradients of keys and values: one unit is
// (row of keys, key/value head), so that each worker owns what it sums up, in the order of the rows.
import {
  RUN_POSITIONS, exp4, integer, madd, max4, pointer, real, sum4, tanh4, validRows,
} from '../../backends/wasm/runtime.wasm'

// @ts-ignore: decorator
@inline
function positionOf(row: i32): i32 {
  return load<i32>(RUN_POSITIONS + (<usize>row << 2))
}

/** The first row that a row sees. */
// @ts-ignore: decorator
@inline
function firstSeen(row: i32, window: i32): i32 {
  const first = row - positionOf(row)
  return window > 0 ? max(first, row - window + 1) : first
}

function dot(a: usize, b: usize, headBytes: usize): f32 {
  let sum = f32x4.splat(0)
  for (let i: usize = 0; i < headBytes; i += 16) sum = madd(v128.load(a + i), v128.load(b + i), sum)
  return sum4(sum)
}

// Everything below is taken four pairs of query and key at a time: four chains of additions instead of one, one exponential
// for four scores, and a result read and written once for four. What is left over of a unit's pairs is filled up with
// the last pair, which then counts nothing; so the order of additions is the same for any number of workers.

/** [a · x, b · x, c · x, d · x] */
// @ts-ignore: decorator
@inline
function dots(a: usize, b: usize, c: usize, d: usize, x: usize, headBytes: usize): v128 {
  let p = f32x4.splat(0)
  let q = p
  let r = p
  let s = p
  for (let i: usize = 0; i < headBytes; i += 16) {
    const y = v128.load(x + i)
    p = madd(v128.load(a + i), y, p)
    q = madd(v128.load(b + i), y, q)
    r = madd(v128.load(c + i), y, r)
    s = madd(v128.load(d + i), y, s)
  }
  const pq = f32x4.add(v128.shuffle<f32>(p, q, 0, 4, 1, 5), v128.shuffle<f32>(p, q, 2, 6, 3, 7))
  const rs = f32x4.add(v128.shuffle<f32>(r, s, 0, 4, 1, 5), v128.shuffle<f32>(r, s, 2, 6, 3, 7))
  return f32x4.add(v128.shuffle<f32>(pq, rs, 0, 1, 4, 5), v128.shuffle<f32>(pq, rs, 2, 3, 6, 7))
}

/** to += factors[0] · a + factors[1] · b + factors[2] · c + factors[3] · d */
// @ts-ignore: decorator
@inline
function addScaled(to: usize, a: usize, b: usize, c: usize, d: usize, factors: v128, headBytes: usize): void {
  const p = v128.shuffle<f32>(factors, factors, 0, 0, 0, 0)
  const q = v128.shuffle<f32>(factors, factors, 1, 1, 1, 1)
  const r = v128.shuffle<f32>(factors, factors, 2, 2, 2, 2)
  const s = v128.shuffle<f32>(factors, factors, 3, 3, 3, 3)
  for (let i: usize = 0; i < headBytes; i += 16) {
    const ab = madd(v128.load(b + i), q, f32x4.mul(v128.load(a + i), p))
    const cd = madd(v128.load(d + i), s, f32x4.mul(v128.load(c + i), r))
    v128.store(to + i, f32x4.add(v128.load(to + i), f32x4.add(ab, cd)))
  }
}

/** Scores from products of queries and keys. */
// @ts-ignore: decorator
@inline
function scoresOf(products: v128, scale: f32, cap: f32): v128 {
  const s = f32x4.mul(products, f32x4.splat(scale))
  if (!(cap > 0)) return s
  return f32x4.mul(tanh4(f32x4.div(s, f32x4.splat(cap))), f32x4.splat(cap))
}

/** All ones in the first `count` lanes. */
// @ts-ignore: decorator
@inline
function firstLanes(count: i32): v128 {
  return i32x4.gt_s(i32x4.splat(count), i32x4(0, 1, 2, 3))
}

/** What scores' gradients are: p · (dy·v − dy·y), through the cap and the scale. */
// @ts-ignore: decorator
@inline
function pullsOf(s: v128, probabilities: v128, toward: v128, along: v128, scale: f32, cap: f32): v128 {
  const pull = f32x4.mul(f32x4.mul(f32x4.splat(scale), probabilities), f32x4.sub(toward, along))
  if (!(cap > 0)) return pull
  const part = f32x4.div(s, f32x4.splat(cap))
  return f32x4.mul(pull, f32x4.sub(f32x4.splat(1), f32x4.mul(part, part)))
}

/** args: query, keys, values, out, logarithms, work, bytes of work, heads, kvHeads, headDim, window, scale, cap */
export function rowAttention(args: usize, worker: i32, workers: i32): void {
  const query = pointer(args, 0)
  const keys = pointer(args, 1)
  const values = pointer(args, 2)
  const out = pointer(args, 3)
  const logs = pointer(args, 4)
  const scores = pointer(args, 5) + <usize>worker * <usize>integer(args, 6)
  const heads = integer(args, 7)
  const kvHeads = integer(args, 8)
  const headBytes = <usize>integer(args, 9) << 2
  const window = integer(args, 10)
  const scale = real(args, 11)
  const cap = real(args, 12)
  const group = heads / kvHeads
  const units = validRows(0x7fffffff) * heads
  for (let unit = worker; unit < units; unit += workers) {
    const row = unit / heads
    const kvHead = (unit % heads) / group
    const at = <usize>unit * headBytes
    const first = firstSeen(row, window)
    const keyStep = <usize>kvHeads * headBytes
    const shift = <usize>(first * kvHeads + kvHead) * headBytes
    const count = row - first + 1
    let largests = f32x4.splat(-3e38)
    for (let k = 0; k < count; k += 4) {
      const a = keys + shift + <usize>k * keyStep
      const b = keys + shift + <usize>min(k + 1, count - 1) * keyStep
      const c = keys + shift + <usize>min(k + 2, count - 1) * keyStep
      const d = keys + shift + <usize>min(k + 3, count - 1) * keyStep
      const s = scoresOf(dots(a, b, c, d, query + at, headBytes), scale, cap)
      v128.store(scores + (<usize>k << 2), s)
      largests = f32x4.pmax(largests, s)
    }
    const largest = max4(largests)
    memory.fill(out + at, 0, headBytes)
    let sums = f32x4.splat(0)
    for (let k = 0; k < count; k += 4) {
      const a = values + shift + <usize>k * keyStep
      const b = values + shift + <usize>min(k + 1, count - 1) * keyStep
      const c = values + shift + <usize>min(k + 2, count - 1) * keyStep
      const d = values + shift + <usize>min(k + 3, count - 1) * keyStep
      const s = f32x4.sub(v128.load(scores + (<usize>k << 2)), f32x4.splat(largest))
      const e = v128.and(exp4(s), firstLanes(count - k))
      sums = f32x4.add(sums, e)
      addScaled(out + at, a, b, c, d, e, headBytes)
    }
    const sum = sum4(sums)
    const inverse = f32x4.splat(<f32>1 / sum)
    for (let i: usize = 0; i < headBytes; i += 16) {
      v128.store(out + at + i, f32x4.mul(v128.load(out + at + i), inverse))
    }
    store<f32>(logs + (<usize>unit << 2), largest + <f32>Math.log(<f64>sum))
  }
}

/**
 * args: query, keys, values, mixed, logarithms, gradient, gradient of query, along [rows, heads], heads, kvHeads,
 * headDim, window, scale, cap
 */
export function rowAttentionQueryGradient(args: usize, worker: i32, workers: i32): void {
  const query = pointer(args, 0)
  const keys = pointer(args, 1)
  const values = pointer(args, 2)
  const mixed = pointer(args, 3)
  const logs = pointer(args, 4)
  const gradient = pointer(args, 5)
  const out = pointer(args, 6)
  const alongs = pointer(args, 7)
  const heads = integer(args, 8)
  const kvHeads = integer(args, 9)
  const headBytes = <usize>integer(args, 10) << 2
  const window = integer(args, 11)
  const scale = real(args, 12)
  const cap = real(args, 13)
  const group = heads / kvHeads
  const units = validRows(0x7fffffff) * heads
  for (let unit = worker; unit < units; unit += workers) {
    const row = unit / heads
    const kvHead = (unit % heads) / group
    const at = <usize>unit * headBytes
    const along = dot(gradient + at, mixed + at, headBytes)
    const log = load<f32>(logs + (<usize>unit << 2))
    store<f32>(alongs + (<usize>unit << 2), along)
    memory.fill(out + at, 0, headBytes)
    const first = firstSeen(row, window)
    const keyStep = <usize>kvHeads * headBytes
    const shift = <usize>(first * kvHeads + kvHead) * headBytes
    const count = row - first + 1
    for (let k = 0; k < count; k += 4) {
      const a = shift + <usize>k * keyStep
      const b = shift + <usize>min(k + 1, count - 1) * keyStep
      const c = shift + <usize>min(k + 2, count - 1) * keyStep
      const d = shift + <usize>min(k + 3, count - 1) * keyStep
      const s = scoresOf(dots(keys + a, keys + b, keys + c, keys + d, query + at, headBytes), scale, cap)
      const toward = dots(values + a, values + b, values + c, values + d, gradient + at, headBytes)
      const probabilities = v128.and(exp4(f32x4.sub(s, f32x4.splat(log))), firstLanes(count - k))
      const pulls = pullsOf(s, probabilities, toward, f32x4.splat(along), scale, cap)
      addScaled(out + at, keys + a, keys + b, keys + c, keys + d, pulls, headBytes)
    }
  }
}

// @ts-ignore: decorator
@inline
function gather(from: usize, a: usize, b: usize, c: usize, d: usize): v128 {
  let all = v128.load32_splat(from + (a << 2))
  all = v128.load_lane<f32>(from + (b << 2), all, 1)
  all = v128.load_lane<f32>(from + (c << 2), all, 2)
  return v128.load_lane<f32>(from + (d << 2), all, 3)
}

/**
 * args: query, keys, values, logarithms, gradient, along, gradient of keys, gradient of values, heads, kvHeads, headDim,
 * window, scale, cap
 */
export function rowAttentionKeyGradient(args: usize, worker: i32, workers: i32): void {
  const query = pointer(args, 0)
  const keys = pointer(args, 1)
  const values = pointer(args, 2)
  const logs = pointer(args, 3)
  const gradient = pointer(args, 4)
  const alongs = pointer(args, 5)
  const keyOut = pointer(args, 6)
  const valueOut = pointer(args, 7)
  const heads = integer(args, 8)
  const kvHeads = integer(args, 9)
  const headBytes = <usize>integer(args, 10) << 2
  const window = integer(args, 11)
  const scale = real(args, 12)
  const cap = real(args, 13)
  const group = heads / kvHeads
  const rows = validRows(0x7fffffff)
  const units = rows * kvHeads
  for (let unit = worker; unit < units; unit += workers) {
    const key = unit / kvHeads
    const kvHead = unit % kvHeads
    const from = <usize>unit * headBytes
    memory.fill(keyOut + from, 0, headBytes)
    memory.fill(valueOut + from, 0, headBytes)
    const last = window > 0 ? min(rows, key + window) : rows
    let end = key + 1
    while (end < last && positionOf(end) > 0) end++
    // Pairs in the order of rows, those of a row in the order of its heads.
    const count = (end - key) * group
    const firstHead = kvHead * group
    // A pair's place: which head of all rows it is. It grows by one, and at the end of a row passes over other keys' heads.
    let place = key * heads + firstHead
    const lastPlace = (end - 1) * heads + firstHead + group - 1
    let head = 0
    for (let n = 0; n < count; n += 4) {
      const a = <usize>place
      head = head + 1 == group ? 0 : head + 1
      place += head == 0 ? heads - group + 1 : 1
      const b = <usize>min(place, lastPlace)
      head = head + 1 == group ? 0 : head + 1
      place += head == 0 ? heads - group + 1 : 1
      const c = <usize>min(place, lastPlace)
      head = head + 1 == group ? 0 : head + 1
      place += head == 0 ? heads - group + 1 : 1
      const d = <usize>min(place, lastPlace)
      head = head + 1 == group ? 0 : head + 1
      place += head == 0 ? heads - group + 1 : 1
      const s = scoresOf(
        dots(query + a * headBytes, query + b * headBytes, query + c * headBytes, query + d * headBytes, keys + from, headBytes),
        scale, cap,
      )
      const ga = gradient + a * headBytes
      const gb = gradient + b * headBytes
      const gc = gradient + c * headBytes
      const gd = gradient + d * headBytes
      const toward = dots(ga, gb, gc, gd, values + from, headBytes)
      const probabilities = v128.and(exp4(f32x4.sub(s, gather(logs, a, b, c, d))), firstLanes(count - n))
      const pulls = pullsOf(s, probabilities, toward, gather(alongs, a, b, c, d), scale, cap)
      addScaled(valueOut + from, ga, gb, gc, gd, probabilities, headBytes)
      addScaled(
        keyOut + from, query + a * headBytes, query + b * headBytes, query + c * headBytes, query + d * headBytes, pulls,
        headBytes,
      )
    }
  }
}
