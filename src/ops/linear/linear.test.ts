import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Dtype, isPacked } from '../../graph/dtype.ts'
import { createTape, elementCount, keep, persistentTensor } from '../../graph/tape.ts'
import type { Encoding, StoredTensor } from '../../weights/checkpoint.ts'
import { blockSizes, encodedBytes, fitsBlocks } from '../../weights/encodings.ts'
import { embed } from '../embed/embed.ts'
import { last } from '../last/last.ts'
import {
  expectSame,
  INLINE,
  input,
  type OpCase,
  runOf,
  VARIANTS,
  wasmFor,
  weight,
} from '../testing/harness.ts'
import { normals, randomStored, seeded, storedTensor, storedValues } from '../testing/stored.ts'
import { linear, roundToBlocks } from './linear.ts'

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

interface Product {
  readonly dtype: Dtype
  readonly stored: StoredTensor
  readonly rows: number
  readonly capacity?: number
  readonly x?: Float32Array
  readonly slice?: { readonly from: number; readonly count: number }
  readonly runs?: readonly number[]
}

function linearCase({ dtype, stored, rows, capacity = rows, slice, ...more }: Product): OpCase {
  const [weightRows, columns] = stored.shape as [number, number]
  const x = input(columns, more.x ?? normals(rows * columns, rows + columns))
  const w = weight(dtype, stored)
  return {
    name: `linear ${stored.encoding} → ${dtype} [${weightRows}, ${columns}] on ${rows} of ${capacity} rows`,
    capacity,
    weights: [x.entry, w],
    build: (tape) => void linear(tape, x.on(tape), w[0], slice),
    runs: (more.runs ?? [rows]).map((count) => runOf(count)),
    // float32 sums beside float64 ones: an error of the largest result of the row, and, where products cancel,
    // of what they come to when they do not.
    tolerance: (op) =>
      op === 'embed'
        ? { relative: 0 }
        : { relative: 2e-6, absolute: 2e-7 * uncancelled(x.values, columns) + 1e-40 },
  }
}

/** Magnitude of x · w when nothing cancels, for weights of about 0.05. */
function uncancelled(x: Float32Array, columns: number): number {
  return x.reduce((a, b) => Math.max(a, Math.abs(b)), 0) * 0.05 * Math.sqrt(columns)
}

test('short float32 rows have the same bits wherever a worker’s share of them begins', async () => {
  const pairs = [4, 8, 12, 16, 28].map((columns) => ({
    table: persistentTensor('weight', 'table', [1, columns], 'f32'),
    up: persistentTensor('weight', 'up', [37, columns], 'f32'),
  }))
  const tensors = pairs.flatMap(({ table, up }) => [table, up])
  const outputs: Float32Array[][] = []
  for (const variant of VARIANTS.filter(
    ({ split, integers, build }) => !split && !integers && build === 'auto',
  )) {
    const backend = await wasmFor(variant, tensors, new Map())
    for (const tensor of tensors) {
      const values = normals(elementCount(tensor.shape), tensor.shape[0]!)
      await backend.load(tensor, storedValues('F32', tensor.shape, values))
    }
    const tape = createTape(1)
    const products = pairs.map(({ table, up }) => keep(tape, linear(tape, embed(tape, table, 1), up)))
    const plan = backend.compile(tape)
    await backend.run(plan, runOf(1))
    outputs.push(products.map((product) => backend.read(plan, product, 1)))
    await backend.dispose()
  }
  expect(outputs).toHaveLength(3)
  for (const output of outputs) expect(output).toEqual(outputs[0])
})

describe.each(FORMS)('linear, %s weights', (dtype, encoding) => {
  // Rows of a block format are whole blocks; ragged columns come below.
  const columnSizes = [1, 3, 4, 15, 16, 17, 32, 33, 64, 100, 160].filter((n) => fitsBlocks(encoding, n))

  test('1, 3, 4, 8, 9 and 33 rows by every raggedness of the weight', () =>
    expectSame(
      columnSizes.flatMap((columns) =>
        [1, 3, 4, 8, 9, 33].flatMap((rows) =>
          [1, 3, 4, 7, 8, 9, 17, 33].map((count) =>
            linearCase({ dtype, stored: randomStored(encoding, count, columns, count + columns), rows }),
          ),
        ),
      ),
      VARIANTS.filter(({ split }) => !split),
    ))

  test('columns past what the matrix kernels take at once', () =>
    expectSame(
      [2048, 2080, 4128].flatMap((columns) =>
        [1, 2, 3, 4, 7, 13, 18].map((rows) =>
          linearCase({ dtype, stored: randomStored(encoding, 19, columns, columns), rows }),
        ),
      ),
    ))

  test('fewer valid rows than the tape has room for, and then others', () =>
    expectSame(
      [8, 32].map((capacity) =>
        linearCase({
          dtype,
          stored: randomStored(encoding, 20, 96, capacity),
          rows: capacity,
          capacity,
          runs: [capacity, 5, 1, 7, 2, capacity - 1],
        }),
      ),
    ))

  test('vocabularies off every round number, whole and in slices', () =>
    expectSame(
      [1000, 1024, 1025, 5000].flatMap((count) => {
        const stored = randomStored(encoding, count, 32, count)
        const slices = [
          { from: 8, count: count - 8 },
          { from: 992, count: count - 992 },
          { from: 504, count: 3 },
        ]
        return [
          linearCase({ dtype, stored, rows: 1 }),
          linearCase({ dtype, stored, rows: 3 }),
          ...slices.map((slice) => linearCase({ dtype, stored, rows: 1, slice })),
          ...slices.map((slice) => linearCase({ dtype, stored, rows: 5, slice })),
        ]
      }),
      VARIANTS.filter(({ name }) => name !== 'several memories, baseline, 2 threads'),
    ))

  test('hidden states as large as Gemma’s, zero rows, negative zeros, lone outliers', () => {
    const columns = 96
    const x = normals(8 * columns, 9, 1e4)
    x.fill(0, 0, columns)
    x.fill(-0, columns, 2 * columns)
    x.fill(3, 2 * columns, 3 * columns)
    x.fill(1e-20, 3 * columns, 4 * columns)
    x.fill(1e-40, 5 * columns, 6 * columns)
    x.fill(1e-3, 4 * columns, 5 * columns)
    x[4 * columns + 40] = 1e5
    const stored = randomStored(encoding, 24, columns, 10)
    return expectSame([
      linearCase({ dtype, stored, rows: 8, x }),
      ...[0, 1, 2, 3, 4, 5].map((row) =>
        linearCase({ dtype, stored, rows: 1, x: x.slice(row * columns, (row + 1) * columns) }),
      ),
    ])
  })

  test('the product after last takes one row of many', () => {
    const stored = randomStored(encoding, 40, 64, 12)
    const x = input(64, normals(6 * 64, 13))
    const w = weight(dtype, stored)
    return expectSame([
      {
        name: 'linear after last',
        capacity: 8,
        weights: [x.entry, w],
        build: (tape) => void linear(tape, last(tape, x.on(tape)), w[0]),
        runs: [runOf(6), runOf(1), runOf(4)],
        tolerance: { relative: 2e-6 },
      },
    ])
  })

  test('any sizes', () =>
    fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 0, max: 31 }),
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 0, max: 4 }),
        fc.integer(),
        async (count, blocks, ragged, rows, spare, seed) => {
          const columns = fitsBlocks(encoding, 1) ? 32 * blocks - ragged : 32 * blocks
          const stored = randomStored(encoding, count, columns, seed)
          await expectSame([linearCase({ dtype, stored, rows, capacity: rows + spare })], INLINE)
        },
      ),
      { numRuns: 25 },
    ))
})

describe('linear', () => {
  test('activations and weights at the ends of their ranges do not overflow', () => {
    const columns = 96
    const x = Float32Array.from({ length: 5 * columns }, (_, i) => (i < 2 * columns ? 1 : i % 2 ? -1 : 1))
    const cases = (['Q4_0', 'Q4_1', 'Q8_0', 'I8'] as const).flatMap((encoding) =>
      [0x00, 0xff, 0x0f, 0xf0, 0x7f, 0x80, 0x81].flatMap((byte) =>
        [1, 5].map((rows) => {
          const stored = filled(encoding, 9, columns, byte)
          const dtype = FORMS.find(([, form]) => form === encoding)![0]
          return linearCase({ dtype, stored, rows, x: x.slice(0, rows * columns) })
        }),
      ),
    )
    return expectSame(cases)
  })

  test.each([
    ['bf16', 'BF16', 0x7f80],
    ['f16', 'F16', 0x7c00],
  ] as const)(
    'every finite value of %s, subnormals too, comes out of every place as it is',
    (dtype, encoding, infinite) => {
      const columns = 16
      const halves = Uint16Array.from({ length: 65536 }, (_, bits) =>
        (bits & infinite) === infinite ? 0 : bits,
      )
      const stored = storedTensor(encoding, [65536 / columns, columns], new Uint8Array(halves.buffer))
      // Row t picks column t: by single rows, by few and by many.
      const picks = (from: number, rows: number) => {
        const x = new Float32Array(rows * columns)
        for (let t = 0; t < rows; t++) x[t * columns + ((from + t) % columns)] = 1
        return { ...linearCase({ dtype, stored, rows, x }), tolerance: { relative: 0 } }
      }
      const single = Array.from({ length: columns }, (_, column) => picks(column, 1))
      return expectSame([...single, picks(0, 8), picks(8, 8), picks(0, 16)], INLINE)
    },
  )

  test('8-bit products in fours, on the halves of the range where every machine agrees', () => {
    // Signed machines are sure of weights from 0 to 127, unsigned ones of those from −128 to −1 (128 is added).
    const forms = [
      { int8: 'dot8s', part: (byte: number) => byte & 127 },
      { int8: 'dot8u', part: (byte: number) => byte | 128 },
    ] as const
    return Promise.all(
      forms.map(({ int8, part }) => {
        const cases = (
          [
            ['int8', 'Q8_0'],
            ['int8row', 'I8'],
          ] as const
        ).flatMap(([dtype, encoding]) =>
          [1, 2, 3, 4, 9, 12].map((rows) =>
            linearCase({ dtype, stored: mapped(randomStored(encoding, 21, 96, rows), part), rows }),
          ),
        )
        return expectSame(cases, [
          { name: int8, threads: 0, build: 'auto', integers: { int4: 'dot8', int8 } },
        ])
      }),
    )
  })

  test('Q4_K comes into int4min with its scales rounded to float16', () =>
    expectSame(
      [1, 5].map((rows) => ({
        ...linearCase({ dtype: 'int4min', stored: randomStored('Q4_K', 19, 512, 3), rows }),
        tolerance: (op) => (op === 'linear' ? { relative: 1e-3 } : { relative: 0 }),
      })),
    ))

  test('integer weights whose rows end inside a block', () => {
    const cases = (['int8', 'int4'] as const).flatMap((dtype) =>
      [1, 5, 31, 33, 50, 100].flatMap((columns) =>
        [1, 6].map((rows) => linearCase({ dtype, stored: representable(dtype, 11, columns), rows })),
      ),
    )
    return expectSame(cases)
  })

  test('slices that start off a multiple of eight, or end past the weight, are refused', () => {
    const x = input(32, new Float32Array(32))
    const [w] = weight('int8', randomStored('Q8_0', 16, 32, 1))
    const tape = createTape(1)
    const on = x.on(tape)
    expect(() => linear(tape, on, w, { from: 4, count: 4 })).toThrow(/the slice 4 \+ 4/)
    expect(() => linear(tape, on, w, { from: 8, count: 9 })).toThrow(/the slice 8 \+ 9/)
    const [narrow] = weight('f32', randomStored('F32', 16, 31, 1))
    expect(() => linear(tape, on, narrow)).toThrow(/x is \[rows, columns of the weight\]/)
  })

  test('rounding of activations keeps 0 and the extremes, and errs by half a step at most', () => {
    fc.assert(
      fc.property(
        fc.array(fc.float({ noNaN: true, noDefaultInfinity: true, min: -1e5, max: 1e5 }), {
          minLength: 1,
          maxLength: 80,
        }),
        (list) => {
          const x = Float32Array.from(list)
          const rounded = roundToBlocks(x)
          for (let i = 0; i < x.length; i++) {
            const block = x.subarray(i & ~31, (i & ~31) + 32)
            const step = block.reduce((a, b) => Math.max(a, Math.abs(b)), 0) / 127
            expect(Math.abs(rounded[i]! - x[i]!)).toBeLessThanOrEqual(step * 0.50001 + 1e-30)
          }
        },
      ),
    )
  })

  test('every dtype is packed or plain', () => {
    expect(FORMS.filter(([dtype]) => isPacked(dtype)).map(([dtype]) => dtype)).toEqual([
      'int8',
      'int8row',
      'int4',
      'int4min',
    ])
  })
})

/** Values that 4 or 8 bits in blocks hold exactly: whole multiples of one scale, its extreme among them. */
function representable(dtype: 'int8' | 'int4', rows: number, columns: number): StoredTensor {
  const random = seeded(rows * columns)
  const extreme = dtype === 'int8' ? -127 : -8
  const values = Float32Array.from({ length: rows * columns }, (_, i) => {
    if ((i % columns) % 32 === 0) return extreme / 64
    return Math.round((random() * 2 - 1) * (-extreme - 1)) / 64
  })
  return storedValues('F32', [rows, columns], values)
}

/** A matrix whose every code byte is the same, with a scale (and minimum) of about 1/64. */
function filled(
  encoding: 'Q4_0' | 'Q4_1' | 'Q8_0' | 'I8',
  rows: number,
  columns: number,
  byte: number,
): StoredTensor {
  const bytes = new Uint8Array(rows * encodedBytes(encoding, columns)).fill(byte)
  const view = new DataView(bytes.buffer)
  const block = blockSizes[encoding].bytes
  if (encoding === 'I8') {
    const rowScales = storedValues('F32', [rows], new Float32Array(rows).fill(1 / 64))
    return storedTensor(encoding, [rows, columns], bytes, { rowScales })
  }
  for (let at = 0; at < bytes.length; at += block) {
    view.setUint16(at, 0x2400, true)
    if (encoding === 'Q4_1') view.setUint16(at + 2, 0xa400, true)
  }
  return storedTensor(encoding, [rows, columns], bytes)
}

/** The same matrix with every code byte changed. */
function mapped(stored: StoredTensor, change: (byte: number) => number): StoredTensor {
  const header = stored.encoding === 'Q8_0' ? 2 : 0
  const block = stored.encoding === 'Q8_0' ? 34 : stored.rowBytes
  return {
    ...stored,
    async readRows(from, into) {
      await stored.readRows(from, into)
      for (let i = 0; i < into.length; i++) if (i % block >= header) into[i] = change(into[i]!)
    },
  }
}
