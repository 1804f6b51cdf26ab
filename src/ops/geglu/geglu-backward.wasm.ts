// gegluGradient: units of four values. With σ = 1 / (1 + e^−2u): gelu = x σ, gelu′ = σ + x σ (1 − σ) · 2u′, where
// 2u′ = 2√(2/π) (1 + 3 · 0.044715 x²).
import { GELU_CONSTANTS, exp4, integer, madd, pointer, share, validRows } from '../../backends/wasm/runtime.wasm'

// @ts-ignore: decorator
@inline
function four(x: v128, up: v128, gradient: v128, gateAt: usize, upAt: usize): void {
  const one = f32x4.splat(1)
  const cubic = v128.load(GELU_CONSTANTS)
  const negative = v128.load(GELU_CONSTANTS, 16)
  const square = f32x4.mul(f32x4.mul(x, x), cubic)
  // x + 0.044715 x³, then e^−2u.
  const e = exp4(f32x4.mul(madd(square, x, x), negative))
  const sigma = f32x4.div(one, f32x4.add(e, one))
  const slope = f32x4.neg(f32x4.mul(negative, madd(square, f32x4.splat(3), one)))
  const gelu = f32x4.mul(x, sigma)
  const derivative = madd(f32x4.mul(gelu, f32x4.sub(one, sigma)), slope, sigma)
  v128.store(gateAt, f32x4.mul(f32x4.mul(gradient, up), derivative))
  v128.store(upAt, f32x4.mul(gradient, gelu))
}

/** args: gate, up, gradient, gradient of gate, gradient of up, columns */
export function gegluGradient(args: usize, worker: i32, workers: i32): void {
  const gate = pointer(args, 0)
  const up = pointer(args, 1)
  const gradient = pointer(args, 2)
  const gateGradient = pointer(args, 3)
  const upGradient = pointer(args, 4)
  const count = validRows(0x7fffffff) * integer(args, 5)
  const quads = count >> 2
  const end = <usize>share(quads, worker + 1, workers) << 4
  for (let at = <usize>share(quads, worker, workers) << 4; at < end; at += 16) {
    four(v128.load(gate + at), v128.load(up + at), v128.load(gradient + at), gateGradient + at, upGradient + at)
  }
  const rest = <usize>(count & 3)
  if (worker != 0 || rest == 0) return
  // Buffers are whole cache lines long, so the last vector may reach past the values.
  const at = <usize>quads << 4
  four(v128.load(gate + at), v128.load(up + at), v128.load(gradient + at), gateGradient + at, upGradient + at)
}
