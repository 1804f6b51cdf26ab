// geglu: units of four values. gelu(x) = x · σ(2u) with u = √(2/π)·(x + 0.044715·x³).
import { GELU_CONSTANTS, exp4, integer, madd, pointer, share, validRows } from '../../backends/wasm/runtime.wasm'

// @ts-ignore: decorator
@inline
function gelu(x: v128): v128 {
  const cubic = madd(f32x4.mul(f32x4.mul(x, x), x), v128.load(GELU_CONSTANTS), x)
  const e = exp4(f32x4.mul(cubic, v128.load(GELU_CONSTANTS, 16)))
  return f32x4.div(x, f32x4.add(e, f32x4.splat(1)))
}

export function geglu(args: usize, worker: i32, workers: i32): void {
  const gate = pointer(args, 0)
  const up = pointer(args, 1)
  const out = pointer(args, 2)
  const count = validRows(0x7fffffff) * integer(args, 3)
  const quads = count >> 2
  const end = <usize>share(quads, worker + 1, workers) << 4
  for (let at = <usize>share(quads, worker, workers) << 4; at < end; at += 16) {
    v128.store(out + at, f32x4.mul(gelu(v128.load(gate + at)), v128.load(up + at)))
  }
  if (worker != 0) return
  for (let i = quads << 2; i < count; i++) {
    const at = <usize>i << 2
    const value = gelu(f32x4.splat(load<f32>(gate + at)))
    store<f32>(out + at, f32x4.extract_lane(value, 0) * load<f32>(up + at))
  }
}
