import { describe, test } from 'vitest'
import type { Dtype } from '../../graph/dtype.ts'
import { record } from '../../graph/tape.ts'
import type { Encoding } from '../../weights/checkpoint.ts'
import { fitsBlocks } from '../../weights/encodings.ts'
import { expectSame, input, type OpCase, runOf, state, VARIANTS, weight } from '../testing/harness.ts'
import { normals, randomStored } from '../testing/stored.ts'
import { exactLinearOp, linearInputGradientOp, linearWeightGradientOp } from './linear-backward.ts'

/** Each dtype with an encoding that comes into it without rounding. */
const FORMS: readonly (readonly [Dtype, Encoding])[] = [
  ['f32', 'F32'],
  ['bf16', 'BF16'],
  ['f16', 'F16'],
  ['int8', 'Q8_0'],
  ['int8row', 'I8'],
  ['int4', 'Q4_0'],
  ['int4min', 'Q4_1'],
]

interface Sizes {
  readonly rows: number
  readonly columns: number
  readonly count: number
  /** Rows of the weight, more than `from` + `count`. */
  readonly from?: number
  readonly height?: number
  readonly capacity?: number
  readonly runs?: readonly number[]
}

function describeSizes({ rows, columns, count, from = 0 }: Sizes): string {
  return `${rows} rows, ${columns} columns, ${from} + ${count}`
}

/** The forward product and the gradient of its input, without and with a base, on one tape. */
function productCase(dtype: Dtype, encoding: Encoding, sizes: Sizes): OpCase {
  const { rows, columns, count, from = 0, height = from + count, capacity = rows, runs = [rows] } = sizes
  const w = weight(dtype, randomStored(encoding, height, columns, height + columns))
  const x = input(columns, normals(rows * columns, rows + columns))
  const dy = input(count, normals(rows * count, rows + count))
  return {
    name: `${dtype}, ${describeSizes(sizes)}`,
    capacity,
    training: true,
    weights: [x.entry, dy.entry, w],
    build(tape) {
      const [on, gradient] = [x.on(tape), dy.on(tape)]
      record(tape, exactLinearOp, [on, w[0]], { from, count })
      record(tape, linearInputGradientOp, [gradient, w[0]], { from, count })
      record(tape, linearInputGradientOp, [gradient, w[0], on], { from, count })
    },
    runs: runs.map((n) => runOf(n)),
    tolerance: (op) => (op === 'embed' ? { relative: 0 } : { relative: 2e-6, absolute: 1e-6 }),
  }
}

/** dyᵀ · x added to rows of a state that holds something already; every run adds once more. */
function weightGradientCase(sizes: Sizes): OpCase {
  const {
    rows,
    columns,
    count,
    from = 0,
    height = from + count,
    capacity = rows,
    runs = [rows, rows],
  } = sizes
  const x = input(columns, normals(rows * columns, rows + columns))
  const dy = input(count, normals(rows * count, rows + count))
  const accumulator = state('accumulator', [height, columns], normals(height * columns, 7))
  return {
    name: describeSizes(sizes),
    capacity,
    training: true,
    weights: [x.entry, dy.entry],
    states: [accumulator],
    build: (tape) =>
      void record(tape, linearWeightGradientOp, [x.on(tape), dy.on(tape), accumulator[0]], { from, count }),
    runs: runs.map((n) => runOf(n)),
    // float32 sums one after the other beside float64 ones: half a unit of the last place at each addition.
    tolerance: (op) => (op === 'embed' ? { relative: 0 } : { relative: 2e-6, absolute: 2e-7 * rows }),
  }
}

describe.each(FORMS)('products of training, %s weights', (dtype, encoding) => {
  const columnSizes = [1, 32, 33, 96, 130].filter((n) => fitsBlocks(encoding, n))

  test('every raggedness', () =>
    expectSame(
      columnSizes.flatMap((columns) =>
        [1, 3, 5, 100].flatMap((rows) =>
          [3, 8, 24, 100].map((count) => productCase(dtype, encoding, { rows, columns, count })),
        ),
      ),
      VARIANTS.filter(({ split }) => !split),
    ))

  test('slices, and fewer valid rows than there is room for', () =>
    expectSame(
      [
        { rows: 5, columns: 96, count: 24, from: 8, height: 40 },
        { rows: 5, columns: 64, count: 9, from: 40, height: 50 },
        { rows: 7, columns: 32, count: 24, from: 16, capacity: 12, runs: [7, 1, 0, 4] },
      ].map((sizes) => productCase(dtype, encoding, sizes)),
    ))
})

describe('the gradient of a weight', () => {
  test('every raggedness', () =>
    expectSame(
      [1, 4, 32, 33, 96, 130].flatMap((columns) =>
        [1, 3, 5, 100].flatMap((rows) =>
          [3, 8, 24, 100].map((count) => weightGradientCase({ rows, columns, count })),
        ),
      ),
      VARIANTS.filter(({ split }) => !split),
    ))

  test('slices, and fewer valid rows than there is room for', () =>
    expectSame([
      weightGradientCase({ rows: 5, columns: 96, count: 24, from: 8, height: 40 }),
      weightGradientCase({ rows: 5, columns: 65, count: 9, from: 40, height: 50 }),
      weightGradientCase({ rows: 7, columns: 33, count: 24, from: 16, capacity: 12, runs: [7, 1, 0, 4] }),
    ]))
})
