// softcapGradient: units of four values.
import { integer, pointer, real, share, validRows } from '../../backends/wasm/runtime.wasm'

/** args: y, gradient, out, columns, cap */
export function softcapGradient(args: usize, worker: i32, workers: i32): void {
  const y = pointer(args, 0)
  const gradient = pointer(args, 1)
  const out = pointer(args, 2)
  const count = validRows(0x7fffffff) * integer(args, 3)
  const inverse: f32 = <f32>1 / real(args, 4)
  const inverses = f32x4.splat(inverse)
  const one = f32x4.splat(1)
  const quads = count >> 2
  const end = <usize>share(quads, worker + 1, workers) << 4
  for (let at = <usize>share(quads, worker, workers) << 4; at < end; at += 16) {
    const part = f32x4.mul(v128.load(y + at), inverses)
    v128.store(out + at, f32x4.mul(v128.load(gradient + at), f32x4.sub(one, f32x4.mul(part, part))))
  }
  if (worker != 0) return
  for (let i = quads << 2; i < count; i++) {
    const at = <usize>i << 2
    const part = load<f32>(y + at) * inverse
    store<f32>(out + at, load<f32>(gradient + at) * (<f32>1 - part * part))
  }
}
