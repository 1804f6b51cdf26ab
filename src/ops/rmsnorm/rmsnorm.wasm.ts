// rmsNorm: one unit is one group (a row, or a head of a row).
import { integer, madd, pointer, real, share, sum4, validRows } from '../../backends/wasm/runtime.wasm'

export function rmsNorm(args: usize, worker: i32, workers: i32): void {
  const x = pointer(args, 0)
  const weight = pointer(args, 1)
  const out = pointer(args, 2)
  const width = integer(args, 3)
  const units = validRows(0x7fffffff) * integer(args, 4)
  const epsilon = real(args, 5)
  const rowBytes = <usize>width << 2
  const vectorEnd = <usize>(width & ~3) << 2
  const end = share(units, worker + 1, workers)
  for (let unit = share(units, worker, workers); unit < end; unit++) {
    const from = x + <usize>unit * rowBytes
    const to = out + <usize>unit * rowBytes
    let squares = f32x4.splat(0)
    let more = f32x4.splat(0)
    let at: usize = 0
    for (; at + 32 <= vectorEnd; at += 32) {
      const a = v128.load(from + at)
      const b = v128.load(from + at, 16)
      squares = madd(a, a, squares)
      more = madd(b, b, more)
    }
    for (; at < vectorEnd; at += 16) squares = madd(v128.load(from + at), v128.load(from + at), squares)
    let sum = sum4(f32x4.add(squares, more))
    for (; at < rowBytes; at += 4) sum += load<f32>(from + at) * load<f32>(from + at)
    const factor: f32 = <f32>1 / sqrt<f32>(sum / <f32>width + epsilon)
    const factors = f32x4.splat(factor)
    for (at = 0; at < vectorEnd; at += 16) {
      const gain = f32x4.add(v128.load(weight + at), f32x4.splat(1))
      v128.store(to + at, f32x4.mul(f32x4.mul(v128.load(from + at), factors), gain))
    }
    for (; at < rowBytes; at += 4) {
      store<f32>(to + at, load<f32>(from + at) * factor * (<f32>1 + load<f32>(weight + at)))
    }
  }
}
