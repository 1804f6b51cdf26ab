import { describe, expect, test } from 'vitest'
import { type Dtype, isPacked } from '../../graph/dtype.ts'
import { record } from '../../graph/tape.ts'
import type { Encoding, StoredTensor } from '../../weights/checkpoint.ts'
import { fitsBlocks } from '../../weights/encodings.ts'
import {
  expectSame,
  input,
  type OpCase,
  recordCase,
  runOf,
  state,
  VARIANTS,
  wasmFor,
  weight,
} from '../testing/harness.ts'
import { normals, randomStored, seeded, storedValues } from '../testing/stored.ts'
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
function productCase(dtype: Dtype, encoding: Encoding, sizes: Sizes, stored?: StoredTensor): OpCase {
  const { rows, columns, count, from = 0, height = from + count, capacity = rows, runs = [rows] } = sizes
  const w = weight(dtype, stored ?? randomStored(encoding, height, columns, height + columns))
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

// The cases of all dtypes share one backend for each form: making one takes longer than most cases.
const UNDIVIDED = VARIANTS.filter(({ split }) => !split)

describe('products of training', () => {
  test('every raggedness, every dtype', () =>
    expectSame(
      FORMS.flatMap(([dtype, encoding]) =>
        [1, 32, 33, 96, 130]
          .filter((columns) => fitsBlocks(encoding, columns))
          .flatMap((columns) =>
            [1, 3, 5, 100].flatMap((rows) =>
              [3, 8, 24, 100].map((count) => productCase(dtype, encoding, { rows, columns, count })),
            ),
          ),
      ),
      UNDIVIDED,
    ))

  test('slices, and fewer valid rows than there is room for', () =>
    expectSame(
      FORMS.flatMap(([dtype, encoding]) =>
        [
          { rows: 5, columns: 96, count: 24, from: 8, height: 40 },
          { rows: 5, columns: 64, count: 9, from: 40, height: 50 },
          { rows: 7, columns: 32, count: 24, from: 16, capacity: 12, runs: [7, 1, 0, 4] },
        ].map((sizes) => productCase(dtype, encoding, sizes)),
      ),
    ))

  test('more steps and columns than one block holds', () =>
    expectSame(
      FORMS.map(([dtype, encoding]) =>
        productCase(dtype, encoding, { rows: 13, columns: 608, count: 299, from: 16 }),
      ),
      UNDIVIDED,
    ))

  test('every order of packed weights, whatever this machine multiplies best', () =>
    expectSame(
      FORMS.filter(([dtype]) => isPacked(dtype)).flatMap(([dtype, encoding]) => [
        productCase(dtype, encoding, { rows: 7, columns: 96, count: 21 }),
        productCase(dtype, encoding, { rows: 7, columns: 64, count: 24, from: 8 }),
      ]),
      (['dot8u', 'dot8s', 'dot16'] as const).map((int8) => ({
        ...{ name: int8, threads: 0, build: 'auto' },
        integers: { int4: int8 === 'dot16' ? 'dot16' : 'dot8', int8 },
      })),
    ))

  test('integer weights whose rows end inside a block', () =>
    expectSame(
      (['int8', 'int8row', 'int4'] as const).flatMap((dtype) =>
        [1, 5, 31, 33, 50, 100].map((columns) =>
          productCase(dtype, 'F32', { rows: 6, columns, count: 11 }, representable(dtype, 11, columns)),
        ),
      ),
      UNDIVIDED,
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
      UNDIVIDED,
    ))

  test('slices, and fewer valid rows than there is room for', () =>
    expectSame([
      weightGradientCase({ rows: 5, columns: 96, count: 24, from: 8, height: 40 }),
      weightGradientCase({ rows: 5, columns: 65, count: 9, from: 40, height: 50 }),
      weightGradientCase({ rows: 7, columns: 33, count: 24, from: 16, capacity: 12, runs: [7, 1, 0, 4] }),
    ]))

  test('more rows and columns than one block holds', () =>
    expectSame(
      [
        weightGradientCase({ rows: 300, columns: 420, count: 60, runs: [300] }),
        weightGradientCase({ rows: 9, columns: 1030, count: 100 }),
      ],
      UNDIVIDED,
    ))
})

test.each(['relaxed', 'baseline'] as const)(
  'as many workers as there are, the same numbers: %s',
  async (build) => {
    const sizes = { rows: 300, columns: 192, count: 104 }
    const product = productCase('int8', 'Q8_0', sizes)
    const gradient = weightGradientCase(sizes)
    const tensors = [product, gradient].flatMap(({ weights = [], states = [] }) =>
      [...weights, ...states].map(([tensor]) => tensor),
    )
    const results: Float32Array[][] = []
    for (const threads of [0, 5]) {
      const backend = await wasmFor({ name: '', threads, build }, tensors, new Map(), true)
      try {
        for (const [tensor, stored] of [...product.weights!, ...gradient.weights!])
          await backend.load(tensor, stored)
        const tape = recordCase(product)
        const plans = [backend.compile(tape), backend.compile(recordCase(gradient))] as const
        const [sum, first] = gradient.states![0]!
        // A plan begins with trials of one worker, two, four and all.
        for (let run = 0; run < 4; run++) {
          backend.put(sum, first)
          for (const plan of plans) await backend.run(plan, runOf(sizes.rows))
          const made = tape.steps.flatMap(({ outputs }) => outputs)
          results.push([
            ...made.map((one) => backend.read(plans[0], one, sizes.rows)),
            await backend.fetch(sum),
          ])
        }
      } finally {
        await backend.dispose()
      }
    }
    for (const result of results.slice(1)) expect(result).toEqual(results[0])
  },
)

/** Values that an integer dtype holds exactly: whole multiples of one scale, its extreme in every block. */
function representable(dtype: 'int8' | 'int8row' | 'int4', rows: number, columns: number): StoredTensor {
  const random = seeded(rows * columns)
  const extreme = dtype === 'int4' ? -8 : -127
  const values = Float32Array.from({ length: rows * columns }, (_, i) => {
    if ((i % columns) % 32 === 0) return extreme / 64
    return Math.round((random() * 2 - 1) * (-extreme - 1)) / 64
  })
  return storedValues('F32', [rows, columns], values)
}
