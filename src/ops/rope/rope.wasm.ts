// rope: one unit is one head of one row.
import { RUN_POSITIONS, integer, madd, pointer, share, validRows } from '../../backends/wasm/runtime.wasm'

export function rope(args: usize, worker: i32, workers: i32): void {
  const x = pointer(args, 0)
  const table = pointer(args, 1)
  const out = pointer(args, 2)
  const headDim = integer(args, 3)
  const heads = integer(args, 4)
  const inverse = integer(args, 5) != 0
  const units = validRows(0x7fffffff) * heads
  const headBytes = <usize>headDim << 2
  const half = headBytes >> 1
  const vectorEnd = half & ~15
  const end = share(units, worker + 1, workers)
  for (let unit = share(units, worker, workers); unit < end; unit++) {
    const position = load<i32>(RUN_POSITIONS + (<usize>(unit / heads) << 2))
    const angles = table + <usize>position * headBytes
    const from = x + <usize>unit * headBytes
    const to = out + <usize>unit * headBytes
    let at: usize = 0
    for (; at < vectorEnd; at += 16) {
      const cosine = v128.load(angles + at)
      const turned = v128.load(angles + half + at)
      const sine = inverse ? f32x4.neg(turned) : turned
      const a = v128.load(from + at)
      const b = v128.load(from + half + at)
      v128.store(to + at, f32x4.sub(f32x4.mul(a, cosine), f32x4.mul(b, sine)))
      v128.store(to + half + at, madd(a, sine, f32x4.mul(b, cosine)))
    }
    for (; at < half; at += 4) {
      const cosine = load<f32>(angles + at)
      const turned = load<f32>(angles + half + at)
      const sine = inverse ? -turned : turned
      const a = load<f32>(from + at)
      const b = load<f32>(from + half + at)
      store<f32>(to + at, a * cosine - b * sine)
      store<f32>(to + half + at, a * sine + b * cosine)
    }
  }
}
