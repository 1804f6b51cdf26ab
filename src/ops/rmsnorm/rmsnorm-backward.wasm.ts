// Gradients of the norm. For the input one unit is one group, as in the forward kernel. For the weight one unit is
// four columns, so that each worker owns what it adds to, in the order of the rows.
import { integer, madd, pointer, real, share, sum4, validRows } from '../../backends/wasm/runtime.wasm'

// @ts-ignore: decorator
@inline
function factorOf(from: usize, width: i32, epsilon: f32): f32 {
  const vectorEnd = <usize>(width & ~3) << 2
  let squares = f32x4.splat(0)
  let at: usize = 0
  for (; at < vectorEnd; at += 16) squares = madd(v128.load(from + at), v128.load(from + at), squares)
  let sum = sum4(squares)
  for (; at < <usize>width << 2; at += 4) sum += load<f32>(from + at) * load<f32>(from + at)
  return <f32>1 / sqrt<f32>(sum / <f32>width + epsilon)
}

/** args: x, weight, gradient, out, width, groups of a row, epsilon */
export function rmsNormInputGradient(args: usize, worker: i32, workers: i32): void {
  const x = pointer(args, 0)
  const weight = pointer(args, 1)
  const gradient = pointer(args, 2)
  const out = pointer(args, 3)
  const width = integer(args, 4)
  const units = validRows(0x7fffffff) * integer(args, 5)
  const epsilon = real(args, 6)
  const one = f32x4.splat(1)
  const rowBytes = <usize>width << 2
  const vectorEnd = <usize>(width & ~3) << 2
  const end = share(units, worker + 1, workers)
  for (let unit = share(units, worker, workers); unit < end; unit++) {
    const from = x + <usize>unit * rowBytes
    const pull = gradient + <usize>unit * rowBytes
    const to = out + <usize>unit * rowBytes
    const factor = factorOf(from, width, epsilon)
    let dots = f32x4.splat(0)
    let at: usize = 0
    for (; at < vectorEnd; at += 16) {
      const part = f32x4.mul(f32x4.add(v128.load(weight + at), one), v128.load(pull + at))
      v128.store(to + at, part)
      dots = madd(part, v128.load(from + at), dots)
    }
    let dot = sum4(dots)
    for (; at < rowBytes; at += 4) {
      const part = (load<f32>(weight + at) + 1) * load<f32>(pull + at)
      store<f32>(to + at, part)
      dot += part * load<f32>(from + at)
    }
    const back: f32 = (factor * factor * dot) / <f32>width
    const backs = f32x4.splat(back)
    const factors = f32x4.splat(factor)
    for (at = 0; at < vectorEnd; at += 16) {
      const part = f32x4.sub(v128.load(to + at), f32x4.mul(v128.load(from + at), backs))
      v128.store(to + at, f32x4.mul(part, factors))
    }
    for (; at < rowBytes; at += 4) {
      store<f32>(to + at, (load<f32>(to + at) - load<f32>(from + at) * back) * factor)
    }
  }
}

/** args: x, factors, width, groups of a row, epsilon */
export function rmsNormFactors(args: usize, worker: i32, workers: i32): void {
  const x = pointer(args, 0)
  const factors = pointer(args, 1)
  const width = integer(args, 2)
  const units = validRows(0x7fffffff) * integer(args, 3)
  const epsilon = real(args, 4)
  const end = share(units, worker + 1, workers)
  for (let unit = share(units, worker, workers); unit < end; unit++) {
    const from = x + ((<usize>unit * <usize>width) << 2)
    store<f32>(factors + (<usize>unit << 2), factorOf(from, width, epsilon))
  }
}

/** args: x, gradient, factors, accumulator, width, groups of a row */
export function rmsNormWeightGradient(args: usize, worker: i32, workers: i32): void {
  const x = pointer(args, 0)
  const gradient = pointer(args, 1)
  const factors = pointer(args, 2)
  const accumulator = pointer(args, 3)
  const width = integer(args, 4)
  const units = validRows(0x7fffffff) * integer(args, 5)
  const rowBytes = <usize>width << 2
  const quads = width >> 2
  const end = <usize>share(quads, worker + 1, workers) << 4
  for (let at = <usize>share(quads, worker, workers) << 4; at < end; at += 16) {
    let sum = v128.load(accumulator + at)
    let place = at
    for (let unit = 0; unit < units; unit++) {
      const factor = v128.load32_splat(factors + (<usize>unit << 2))
      sum = madd(f32x4.mul(v128.load(x + place), factor), v128.load(gradient + place), sum)
      place += rowBytes
    }
    v128.store(accumulator + at, sum)
  }
  if (worker != 0) return
  for (let at = <usize>quads << 4; at < rowBytes; at += 4) {
    let sum = load<f32>(accumulator + at)
    for (let unit = 0; unit < units; unit++) {
      const place = <usize>unit * rowBytes + at
      sum += load<f32>(x + place) * load<f32>(factors + (<usize>unit << 2)) * load<f32>(gradient + place)
    }
    store<f32>(accumulator + at, sum)
  }
}
