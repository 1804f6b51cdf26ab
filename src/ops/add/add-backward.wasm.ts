// scale: units of four values.
import { integer, pointer, real, share, validRows } from '../../backends/wasm/runtime.wasm'

/** args: x, out, columns, factor */
export function scale(args: usize, worker: i32, workers: i32): void {
  const x = pointer(args, 0)
  const out = pointer(args, 1)
  const count = validRows(0x7fffffff) * integer(args, 2)
  const factor = real(args, 3)
  const factors = f32x4.splat(factor)
  const quads = count >> 2
  const end = <usize>share(quads, worker + 1, workers) << 4
  for (let at = <usize>share(quads, worker, workers) << 4; at < end; at += 16) {
    v128.store(out + at, f32x4.mul(v128.load(x + at), factors))
  }
  if (worker != 0) return
  for (let i = quads << 2; i < count; i++) {
    const at = <usize>i << 2
    store<f32>(out + at, factor * load<f32>(x + at))
  }
}
