// embedTableGradient: one unit is four columns, so that each worker owns what it adds to, in the order of the rows.
import { RUN_TOKENS, integer, madd, pointer, real, share, validRows } from '../../backends/wasm/runtime.wasm'

/** args: gradient, table, columns, factor */
export function embedTableGradient(args: usize, worker: i32, workers: i32): void {
  const gradient = pointer(args, 0)
  const table = pointer(args, 1)
  const columns = integer(args, 2)
  const factor = real(args, 3)
  const factors = f32x4.splat(factor)
  const rows = validRows(0x7fffffff)
  const rowBytes = <usize>columns << 2
  const quads = columns >> 2
  const first = <usize>share(quads, worker, workers) << 4
  const end = <usize>share(quads, worker + 1, workers) << 4
  for (let t = 0; t < rows; t++) {
    const from = gradient + <usize>t * rowBytes
    const to = table + <usize>load<i32>(RUN_TOKENS + (<usize>t << 2)) * rowBytes
    for (let at = first; at < end; at += 16) {
      v128.store(to + at, madd(v128.load(from + at), factors, v128.load(to + at)))
    }
    if (worker != 0) continue
    for (let at = <usize>quads << 4; at < rowBytes; at += 4) {
      store<f32>(to + at, load<f32>(to + at) + factor * load<f32>(from + at))
    }
  }
}
