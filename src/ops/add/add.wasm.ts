// add: units of four values.
import { integer, pointer, share, validRows } from '../../backends/wasm/runtime.wasm'

export function add(args: usize, worker: i32, workers: i32): void {
  const a = pointer(args, 0)
  const b = pointer(args, 1)
  const out = pointer(args, 2)
  const count = validRows(0x7fffffff) * integer(args, 3)
  const quads = count >> 2
  const end = <usize>share(quads, worker + 1, workers) << 4
  for (let at = <usize>share(quads, worker, workers) << 4; at < end; at += 16) {
    v128.store(out + at, f32x4.add(v128.load(a + at), v128.load(b + at)))
  }
  if (worker != 0) return
  for (let i = quads << 2; i < count; i++) {
    const at = <usize>i << 2
    store<f32>(out + at, load<f32>(a + at) + load<f32>(b + at))
  }
}
