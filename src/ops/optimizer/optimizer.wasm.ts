// The optimiser's step. Whole tensors, whatever the rows of the run. Sums are taken in f64 over runs of fixed length,
// so that no result depends on the number of workers.
import { RUN_SCALARS, integer, pointer, real, share } from '../../backends/wasm/runtime.wasm'

// @ts-ignore: decorator
@inline
function scalar(i: usize): f32 {
  return load<f32>(RUN_SCALARS + (i << 2))
}

/** Σ x² over `count` values. */
function sumOfSquares(from: usize, count: i32): f64 {
  let a = f64x2.splat(0)
  let b = f64x2.splat(0)
  const end = from + (<usize>(count & ~3) << 2)
  for (; from < end; from += 16) {
    const x = v128.load(from)
    const low = f64x2.promote_low_f32x4(x)
    const high = f64x2.promote_low_f32x4(v128.shuffle<i32>(x, x, 2, 3, 2, 3))
    a = f64x2.add(a, f64x2.mul(low, low))
    b = f64x2.add(b, f64x2.mul(high, high))
  }
  const both = f64x2.add(a, b)
  let sum = f64x2.extract_lane(both, 0) + f64x2.extract_lane(both, 1)
  for (let i = 0; i < (count & 3); i++) {
    const x = <f64>load<f32>(from + (<usize>i << 2))
    sum += x * x
  }
  return sum
}

/** One unit is one run. args: x, out, elements, elements of a run */
export function squares(args: usize, worker: i32, workers: i32): void {
  const x = pointer(args, 0)
  const out = pointer(args, 1)
  const count = integer(args, 2)
  const length = integer(args, 3)
  const runs = (count + length - 1) / length
  const end = share(runs, worker + 1, workers)
  for (let run = share(runs, worker, workers); run < end; run++) {
    const first = run * length
    const sum = sumOfSquares(x + (<usize>first << 2), min(length, count - first))
    store<f32>(out + (<usize>run << 2), <f32>sum)
  }
}

/** args: x, elements */
export function zero(args: usize, worker: i32, workers: i32): void {
  const count = integer(args, 1)
  const from = share(count, worker, workers)
  memory.fill(pointer(args, 0) + (<usize>from << 2), 0, <usize>(share(count, worker + 1, workers) - from) << 2)
}

/** args: weight, gradient, m, v, elements, β₁, 1 − β₁, β₂, 1 − β₂, ε, decay */
export function adamw(args: usize, worker: i32, workers: i32): void {
  const weight = pointer(args, 0)
  const gradient = pointer(args, 1)
  const first = pointer(args, 2)
  const second = pointer(args, 3)
  const count = integer(args, 4)
  const beta1 = f32x4.splat(real(args, 5))
  const rest1 = f32x4.splat(real(args, 6))
  const beta2 = f32x4.splat(real(args, 7))
  const rest2 = f32x4.splat(real(args, 8))
  const epsilon = f32x4.splat(real(args, 9))
  const rate = f32x4.splat(scalar(0))
  const scale = f32x4.splat(scalar(1))
  const correction1 = f32x4.splat(scalar(2))
  const correction2 = f32x4.splat(scalar(3))
  const keep = f32x4.splat(<f32>(1 - <f64>scalar(0) * <f64>real(args, 10)))
  // Tensors are whole cache lines long, so the last vector may reach past the values.
  const quads = (count + 3) >> 2
  const end = <usize>share(quads, worker + 1, workers) << 4
  for (let at = <usize>share(quads, worker, workers) << 4; at < end; at += 16) {
    const g = f32x4.mul(v128.load(gradient + at), scale)
    const m = f32x4.add(f32x4.mul(v128.load(first + at), beta1), f32x4.mul(g, rest1))
    const v = f32x4.add(f32x4.mul(v128.load(second + at), beta2), f32x4.mul(f32x4.mul(g, rest2), g))
    v128.store(first + at, m)
    v128.store(second + at, v)
    const root = f32x4.add(f32x4.sqrt(f32x4.div(v, correction2)), epsilon)
    const update = f32x4.div(f32x4.div(m, correction1), root)
    v128.store(weight + at, f32x4.sub(f32x4.mul(v128.load(weight + at), keep), f32x4.mul(update, rate)))
    v128.store(gradient + at, f32x4.splat(0))
  }
}

/** into ← β₂ · into + (1 − β₂) · mean, the products in f64. */
// @ts-ignore: decorator
@inline
function foldMean(into: usize, mean: f64): void {
  const beta = <f64>scalar(4)
  store<f32>(into, <f32>(beta * <f64>load<f32>(into) + (1 - beta) * mean))
}

/** Means over columns, one unit is one row. args: gradient, row means, rows, columns, ε */
export function adafactorRows(args: usize, worker: i32, workers: i32): void {
  const gradient = pointer(args, 0)
  const means = pointer(args, 1)
  const rows = integer(args, 2)
  const columns = integer(args, 3)
  const epsilon = <f64>real(args, 4)
  const scale = <f64>scalar(1)
  const end = share(rows, worker + 1, workers)
  for (let r = share(rows, worker, workers); r < end; r++) {
    const sum = sumOfSquares(gradient + ((<usize>r * <usize>columns) << 2), columns)
    foldMean(means + (<usize>r << 2), (scale * scale * sum) / <f64>columns + epsilon)
  }
}

/** Means over rows, one unit is one column. args: gradient, column means, rows, columns, ε */
export function adafactorColumns(args: usize, worker: i32, workers: i32): void {
  const gradient = pointer(args, 0)
  const means = pointer(args, 1)
  const rows = integer(args, 2)
  const columns = integer(args, 3)
  const epsilon = <f64>real(args, 4)
  const scale = <f64>scalar(1)
  const rowBytes = <usize>columns << 2
  const end = share(columns, worker + 1, workers)
  for (let i = share(columns, worker, workers); i < end; i++) {
    let sum: f64 = 0
    let at = gradient + (<usize>i << 2)
    for (let r = 0; r < rows; r++) {
      const g = <f64>load<f32>(at)
      sum += g * g
      at += rowBytes
    }
    foldMean(means + (<usize>i << 2), (scale * scale * sum) / <f64>rows + epsilon)
  }
}

/** The squares of a vector are kept as they are. args: gradient, squares, elements, ε */
export function adafactorVector(args: usize, worker: i32, workers: i32): void {
  const gradient = pointer(args, 0)
  const means = pointer(args, 1)
  const count = integer(args, 2)
  const epsilon = <f64>real(args, 3)
  const end = share(count, worker + 1, workers)
  for (let i = share(count, worker, workers); i < end; i++) {
    const at = <usize>i << 2
    const g = <f64>scalar(1) * <f64>load<f32>(gradient + at)
    foldMean(means + at, g * g + epsilon)
  }
}

/** Mean of `count` values. */
function meanOf(from: usize, count: i32): f64 {
  let sum: f64 = 0
  for (let i = 0; i < count; i++) sum += <f64>load<f32>(from + (<usize>i << 2))
  return sum / <f64>count
}

/** The update of one value before it is made smaller: gradient · scale / √(row part · column part). */
// @ts-ignore: decorator
@inline
function updateOf(gradient: usize, column: usize, row: f64): f64 {
  return (<f64>scalar(1) * <f64>load<f32>(gradient)) / sqrt<f64>(row * <f64>load<f32>(column))
}

/** R of this row over the mean of R; of a vector 1. */
// @ts-ignore: decorator
@inline
function rowPart(rowMeans: usize, r: i32, mean: f64): f64 {
  return rowMeans == 0 ? 1 : <f64>load<f32>(rowMeans + (<usize>r << 2)) / mean
}

/** Σ u² of each row. args: gradient, sums, column means, rows, columns, row means where there are any */
export function adafactorSizes(args: usize, worker: i32, workers: i32): void {
  const gradient = pointer(args, 0)
  const sums = pointer(args, 1)
  const columnMeans = pointer(args, 2)
  const rows = integer(args, 3)
  const columns = integer(args, 4)
  const rowMeans = pointer(args, 5)
  const mean = rowMeans == 0 ? 1 : meanOf(rowMeans, rows)
  const end = share(rows, worker + 1, workers)
  for (let r = share(rows, worker, workers); r < end; r++) {
    const row = rowPart(rowMeans, r, mean)
    const line = gradient + ((<usize>r * <usize>columns) << 2)
    let sum: f64 = 0
    for (let i = 0; i < columns; i++) {
      const at = <usize>i << 2
      const u = updateOf(line + at, columnMeans + at, row)
      sum += u * u
    }
    store<f64>(sums + (<usize>r << 3), sum)
  }
}

/** args: weight, gradient, sums, column means, rows, columns, clip threshold, decay, row means where there are any */
export function adafactorUpdate(args: usize, worker: i32, workers: i32): void {
  const weight = pointer(args, 0)
  const gradient = pointer(args, 1)
  const sums = pointer(args, 2)
  const columnMeans = pointer(args, 3)
  const rows = integer(args, 4)
  const columns = integer(args, 5)
  const rate = <f64>scalar(0)
  const keep: f64 = 1 - rate * <f64>real(args, 7)
  const rowMeans = pointer(args, 8)
  const mean = rowMeans == 0 ? 1 : meanOf(rowMeans, rows)
  let total: f64 = 0
  for (let r = 0; r < rows; r++) total += load<f64>(sums + (<usize>r << 3))
  const size = sqrt<f64>(total / (<f64>rows * <f64>columns))
  const factor = rate / max<f64>(1, size / <f64>real(args, 6))
  const end = share(rows, worker + 1, workers)
  for (let r = share(rows, worker, workers); r < end; r++) {
    const row = rowPart(rowMeans, r, mean)
    const base = (<usize>r * <usize>columns) << 2
    for (let i = 0; i < columns; i++) {
      const at = base + (<usize>i << 2)
      const u = updateOf(gradient + at, columnMeans + (<usize>i << 2), row)
      store<f32>(weight + at, <f32>(<f64>load<f32>(weight + at) * keep - factor * u))
      store<f32>(gradient + at, 0)
    }
  }
}
