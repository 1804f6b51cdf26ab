// logprobGradient: one unit is one row.
import { RUN_TARGETS, RUN_WEIGHTS, exp1, exp4, integer, pointer, share, validRows } from '../../backends/wasm/runtime.wasm'

/** args: logits, state, out, columns, first token of the slice */
export function logprobGradient(args: usize, worker: i32, workers: i32): void {
  const logits = pointer(args, 0)
  const states = pointer(args, 1)
  const out = pointer(args, 2)
  const columns = integer(args, 3)
  const from = integer(args, 4)
  const rowBytes = <usize>columns << 2
  const vectorEnd = <usize>(columns & ~3) << 2
  const rows = validRows(0x7fffffff)
  const end = share(rows, worker + 1, workers)
  for (let t = share(rows, worker, workers); t < end; t++) {
    const line = logits + <usize>t * rowBytes
    const to = out + <usize>t * rowBytes
    const target = load<i32>(RUN_TARGETS + (<usize>t << 2))
    if (target < 0) {
      memory.fill(to, 0, rowBytes)
      continue
    }
    const weight = load<f32>(RUN_WEIGHTS + (<usize>t << 2))
    const state = states + (<usize>t << 4)
    const largest = load<f32>(state)
    const factor = weight / load<f32>(state, 4)
    const shift = f32x4.splat(largest)
    const factors = f32x4.splat(factor)
    let at: usize = 0
    for (; at < vectorEnd; at += 16) {
      v128.store(to + at, f32x4.mul(exp4(f32x4.sub(v128.load(line + at), shift)), factors))
    }
    for (; at < rowBytes; at += 4) store<f32>(to + at, exp1(load<f32>(line + at) - largest) * factor)
    if (target < from || target >= from + columns) continue
    const place = to + (<usize>(target - from) << 2)
    store<f32>(place, load<f32>(place) - weight)
  }
}
