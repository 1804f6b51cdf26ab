// add: units of four values.
import { integer, madd, pointer, real, share, validRows } from '../../backends/wasm/runtime.wasm'

/** args: a, b, out, capacity of rows, columns, the factor on b */
export function add(args: usize, worker: i32, workers: i32): void {
  const a = pointer(args, 0)
  const b = pointer(args, 1)
  const out = pointer(args, 2)
  const count = validRows(integer(args, 3)) * integer(args, 4)
  const scale = real(args, 5)
  const scales = f32x4.splat(scale)
  const quads = count >> 2
  const end = <usize>share(quads, worker + 1, workers) << 4
  for (let at = <usize>share(quads, worker, workers) << 4; at < end; at += 16) {
    v128.store(out + at, madd(v128.load(b + at), scales, v128.load(a + at)))
  }
  if (worker != 0) return
  for (let i = quads << 2; i < count; i++) {
    const at = <usize>i << 2
    store<f32>(out + at, load<f32>(a + at) + scale * load<f32>(b + at))
  }
}
