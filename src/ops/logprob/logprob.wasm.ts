// logprob: one unit is one row.
import {
  RUN_TARGETS, exp1, exp4, integer, max4, pointer, share, sum4, validRows,
} from '../../backends/wasm/runtime.wasm'

export function logprob(args: usize, worker: i32, workers: i32): void {
  const logits = pointer(args, 0)
  const before = pointer(args, 1)
  const out = pointer(args, 2)
  const width = integer(args, 3)
  const from = integer(args, 4)
  const first = integer(args, 5) != 0
  const rows = validRows(0x7fffffff)
  const end = share(rows, worker + 1, workers)
  for (let t = share(rows, worker, workers); t < end; t++) {
    const row = logits + <usize>t * (<usize>width << 2)
    const old = before + (<usize>t << 4)
    let largest: f32 = first ? <f32>-3e38 : load<f32>(old)
    let sum: f32 = first ? 0 : load<f32>(old, 4)
    let target: f32 = first ? 0 : load<f32>(old, 8)
    let best: f32 = first ? 0 : load<f32>(old, 12)
    const index = largestOf(row, width)
    const value = load<f32>(row + (<usize>index << 2))
    if (value > largest) {
      sum *= exp1(largest - value)
      largest = value
      best = <f32>(from + index)
    }
    sum += exponentialSum(row, width, largest)
    const wanted = load<i32>(RUN_TARGETS + (<usize>t << 2)) - from
    if (wanted >= 0 && wanted < width) target = load<f32>(row + (<usize>wanted << 2))
    const to = out + (<usize>t << 4)
    store<f32>(to, largest)
    store<f32>(to, sum, 4)
    store<f32>(to, target, 8)
    store<f32>(to, best, 12)
  }
}

/** Index of the largest value, the first of equals. */
export function largestOf(row: usize, width: i32): i32 {
  let largest = f32x4.splat(-3.4e38)
  const quads = width & ~3
  for (let i = 0; i < quads; i += 4) largest = f32x4.pmax(largest, v128.load(row + (<usize>i << 2)))
  let value = max4(largest)
  for (let i = quads; i < width; i++) value = max(value, load<f32>(row + (<usize>i << 2)))
  for (let i = 0; i < width; i++) if (load<f32>(row + (<usize>i << 2)) == value) return i
  return 0
}

/** Σ exp(value − largest) */
export function exponentialSum(row: usize, width: i32, largest: f32): f32 {
  const shift = f32x4.splat(largest)
  let sums = f32x4.splat(0)
  const quads = width & ~3
  for (let i = 0; i < quads; i += 4) {
    sums = f32x4.add(sums, exp4(f32x4.sub(v128.load(row + (<usize>i << 2)), shift)))
  }
  let sum = sum4(sums)
  for (let i = quads; i < width; i++) sum += exp1(load<f32>(row + (<usize>i << 2)) - largest)
  return sum
}
