// rowAttention and the gradient of query: one unit is (row, head). Gradients of keys and values: one unit is
// (row of keys, key/value head), so that each worker owns what it sums up, in the order of the rows.
import {
  RUN_POSITIONS, exp1, integer, madd, pointer, real, sum4, tanh4, validRows,
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

/** to += factor · from */
function addScaled(to: usize, from: usize, factor: f32, headBytes: usize): void {
  const factors = f32x4.splat(factor)
  for (let i: usize = 0; i < headBytes; i += 16) {
    v128.store(to + i, madd(v128.load(from + i), factors, v128.load(to + i)))
  }
}

// @ts-ignore: decorator
@inline
function score(query: usize, key: usize, headBytes: usize, scale: f32, cap: f32): f32 {
  const s = dot(query, key, headBytes) * scale
  return cap > 0 ? f32x4.extract_lane(tanh4(f32x4.splat(s / cap)), 0) * cap : s
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
    let largest: f32 = -3e38
    for (let k = first; k <= row; k++) {
      const s = score(query + at, keys + <usize>(k * kvHeads + kvHead) * headBytes, headBytes, scale, cap)
      store<f32>(scores + (<usize>(k - first) << 2), s)
      largest = max(largest, s)
    }
    memory.fill(out + at, 0, headBytes)
    let sum: f32 = 0
    for (let k = first; k <= row; k++) {
      const e = exp1(load<f32>(scores + (<usize>(k - first) << 2)) - largest)
      sum += e
      addScaled(out + at, values + <usize>(k * kvHeads + kvHead) * headBytes, e, headBytes)
    }
    const inverse = f32x4.splat(<f32>1 / sum)
    for (let i: usize = 0; i < headBytes; i += 16) {
      v128.store(out + at + i, f32x4.mul(v128.load(out + at + i), inverse))
    }
    store<f32>(logs + (<usize>unit << 2), largest + <f32>Math.log(<f64>sum))
  }
}

/** What a score's gradient is: p · (dy·v − dy·y), through the cap and the scale. */
// @ts-ignore: decorator
@inline
function pullOf(s: f32, probability: f32, toward: f32, along: f32, scale: f32, cap: f32): f32 {
  const pull = scale * probability * (toward - along)
  return cap > 0 ? pull * (1 - (s / cap) * (s / cap)) : pull
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
    for (let k = firstSeen(row, window); k <= row; k++) {
      const from = <usize>(k * kvHeads + kvHead) * headBytes
      const s = score(query + at, keys + from, headBytes, scale, cap)
      const toward = dot(gradient + at, values + from, headBytes)
      addScaled(out + at, keys + from, pullOf(s, exp1(s - log), toward, along, scale, cap), headBytes)
    }
  }
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
    for (let row = key; row < last && (row == key || positionOf(row) > 0); row++) {
      for (let j = 0; j < group; j++) {
        const place = <usize>(row * heads + kvHead * group + j)
        const at = place * headBytes
        const s = score(query + at, keys + from, headBytes, scale, cap)
        const probability = exp1(s - load<f32>(logs + (place << 2)))
        const toward = dot(gradient + at, values + from, headBytes)
        const pull = pullOf(s, probability, toward, load<f32>(alongs + (place << 2)), scale, cap)
        addScaled(valueOut + from, gradient + at, probability, headBytes)
        addScaled(keyOut + from, query + at, pull, headBytes)
      }
    }
  }
}
