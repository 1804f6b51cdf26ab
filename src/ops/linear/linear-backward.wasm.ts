// The products of training: float32 activations against weights of any dtype, and both gradients.
import {
  BF16, F16, INT4, INT4MIN, INT8ROW, integer, loadBf16, loadF16, madd, pointer, share, validRows,
} from '../../backends/wasm/runtime.wasm'
import { blockOffset, packedByte, scaleOffset } from './pack.wasm'

/** args: data, scales, minima, out (f32 [count, columns]), dtype, first row, count, columns, order of packed weights */
export function widenWeights(args: usize, worker: i32, workers: i32): void {
  const data = pointer(args, 0)
  const scales = pointer(args, 1)
  const minima = pointer(args, 2)
  const out = pointer(args, 3)
  const dtype = integer(args, 4)
  const from = integer(args, 5)
  const count = integer(args, 6)
  const columns = integer(args, 7)
  const order = integer(args, 8)
  const end = share(count, worker + 1, workers)
  for (let r = share(count, worker, workers); r < end; r++) {
    const to = out + ((<usize>r * <usize>columns) << 2)
    const row = from + r
    for (let i = 0; i < columns; i++) {
      store<f32>(to + (<usize>i << 2), decoded(data, scales, minima, dtype, row, i, columns, order))
    }
  }
}

function decoded(
  data: usize, scales: usize, minima: usize, dtype: i32, row: i32, i: i32, columns: i32, order: i32,
): f32 {
  if (dtype == BF16) return loadBf16(data + ((<usize>row * <usize>columns + <usize>i) << 1))
  if (dtype == F16) return loadF16(data + ((<usize>row * <usize>columns + <usize>i) << 1))
  const narrow = dtype == INT4 || dtype == INT4MIN
  const index = <usize>(row >> 3) * <usize>((columns + 31) >> 5) + <usize>(i >> 5)
  const q = packedByte(data + blockOffset(index, row, narrow ? 64 : 128), row & 3, i & 31, narrow, order)
  if (dtype == INT8ROW) return <f32>q * load<f32>(scales + (<usize>row << 2))
  const scale = loadF16(scales + scaleOffset(index, row))
  if (dtype == INT4MIN) return <f32>q * scale + loadF16(minima + scaleOffset(index, row))
  return <f32>(dtype == INT4 ? q - 8 : q) * scale
}

/** args: gradient, weights (f32), base (or 0), out, capacity of rows, columns, count */
export function linearInputGradient(args: usize, worker: i32, workers: i32): void {
  const gradient = pointer(args, 0)
  const weights = pointer(args, 1)
  const base = pointer(args, 2)
  const out = pointer(args, 3)
  const rows = validRows(integer(args, 4))
  const columns = integer(args, 5)
  const count = integer(args, 6)
  const stride = <usize>columns << 2
  const end = share(rows, worker + 1, workers)
  for (let t = share(rows, worker, workers); t < end; t++) {
    const g = gradient + ((<usize>t * <usize>count) << 2)
    let i = 0
    for (; i + 4 <= columns; i += 4) {
      let sum = base != 0 ? v128.load(base + <usize>t * stride + (<usize>i << 2)) : f32x4.splat(0)
      let w = weights + (<usize>i << 2)
      for (let r = 0; r < count; r++) {
        sum = madd(v128.load32_splat(g + (<usize>r << 2)), v128.load(w), sum)
        w += stride
      }
      v128.store(out + <usize>t * stride + (<usize>i << 2), sum)
    }
    for (; i < columns; i++) {
      let sum = base != 0 ? load<f32>(base + <usize>t * stride + (<usize>i << 2)) : <f32>0
      for (let r = 0; r < count; r++) {
        sum += load<f32>(g + (<usize>r << 2)) * load<f32>(weights + <usize>r * stride + (<usize>i << 2))
      }
      store<f32>(out + <usize>t * stride + (<usize>i << 2), sum)
    }
  }
}

/** args: x, gradient, accumulator (its first row), capacity of rows, columns, count */
export function linearWeightGradient(args: usize, worker: i32, workers: i32): void {
  const x = pointer(args, 0)
  const gradient = pointer(args, 1)
  const accumulator = pointer(args, 2)
  const rows = validRows(integer(args, 3))
  const columns = integer(args, 4)
  const count = integer(args, 5)
  const stride = <usize>columns << 2
  const end = share(count, worker + 1, workers)
  for (let r = share(count, worker, workers); r < end; r++) {
    const g = gradient + (<usize>r << 2)
    const to = accumulator + <usize>r * stride
    let i = 0
    for (; i + 4 <= columns; i += 4) {
      let sum = v128.load(to + (<usize>i << 2))
      let at = x + (<usize>i << 2)
      for (let t = 0; t < rows; t++) {
        sum = madd(v128.load32_splat(g + ((<usize>t * <usize>count) << 2)), v128.load(at), sum)
        at += stride
      }
      v128.store(to + (<usize>i << 2), sum)
    }
    for (; i < columns; i++) {
      let sum = load<f32>(to + (<usize>i << 2))
      for (let t = 0; t < rows; t++) {
        sum += load<f32>(g + ((<usize>t * <usize>count) << 2)) * load<f32>(x + <usize>t * stride + (<usize>i << 2))
      }
      store<f32>(to + (<usize>i << 2), sum)
    }
  }
}
