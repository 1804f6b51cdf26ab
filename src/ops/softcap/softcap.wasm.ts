// softcap: units of four values.
import { integer, pointer, real, share, tanh4, validRows } from '../../backends/wasm/runtime.wasm'

export function softcap(args: usize, worker: i32, workers: i32): void {
  const x = pointer(args, 0)
  const out = pointer(args, 1)
  const count = validRows(integer(args, 2)) * integer(args, 3)
  const cap = f32x4.splat(real(args, 4))
  const quads = count >> 2
  const end = <usize>share(quads, worker + 1, workers) << 4
  for (let at = <usize>share(quads, worker, workers) << 4; at < end; at += 16) {
    v128.store(out + at, f32x4.mul(tanh4(f32x4.div(v128.load(x + at), cap)), cap))
  }
  if (worker != 0) return
  for (let i = quads << 2; i < count; i++) {
    const at = <usize>i << 2
    const value = f32x4.mul(tanh4(f32x4.div(f32x4.splat(load<f32>(x + at)), cap)), cap)
    store<f32>(out + at, f32x4.extract_lane(value, 0))
  }
}
