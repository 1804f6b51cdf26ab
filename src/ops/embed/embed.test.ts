import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Dtype } from '../../graph/dtype.ts'
import { createTape, persistentTensor } from '../../graph/tape.ts'
import type { Encoding } from '../../weights/checkpoint.ts'
import { fitsBlocks } from '../../weights/encodings.ts'
import { expectSame, INLINE, type OpCase, runOf, weight } from '../testing/harness.ts'
import { randomStored } from '../testing/stored.ts'
import { embed } from './embed.ts'

const FORMS: readonly (readonly [Dtype, Encoding])[] = [
  ['f32', 'F32'],
  ['bf16', 'BF16'],
  ['f16', 'F16'],
  ['int8', 'Q8_0'],
  ['int8row', 'I8'],
  ['int4', 'Q4_0'],
  ['int4min', 'Q4_1'],
]

function embedCase(
  dtype: Dtype,
  encoding: Encoding,
  [rows, columns]: readonly [number, number],
  tokens: readonly number[],
  scale = Math.sqrt(columns),
): OpCase {
  const table = weight(dtype, randomStored(encoding, rows, columns, rows + columns))
  return {
    name: `embed ${dtype} [${rows}, ${columns}]`,
    capacity: tokens.length + 2,
    weights: [table],
    build: (tape) => void embed(tape, table[0], scale),
    runs: [runOf(tokens.length, { tokens }), runOf(1, { tokens: [rows - 1] })],
    // One rounding more or less: of the decoded value, and of its product with the scale.
    tolerance: { relative: 2e-7 },
  }
}

describe.each(FORMS)('embed, %s table', (dtype, encoding) => {
  const columnSizes = [1, 3, 31, 32, 33, 64, 96, 256].filter((n) => fitsBlocks(encoding, n))

  test('first, last, repeated and all rows of tables of every raggedness', () =>
    expectSame(
      columnSizes.flatMap((columns) =>
        [1, 4, 5, 8, 13, 1025].map((rows) => {
          const tokens = [
            0,
            rows - 1,
            rows >> 1,
            rows >> 1,
            ...Array.from({ length: Math.min(rows, 9) }, (_, i) => i),
          ]
          return embedCase(dtype, encoding, [rows, columns], tokens)
        }),
      ),
    ))

  test('any rows in any order', () =>
    fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: 1, max: 3 }),
        fc.array(fc.nat(), { minLength: 1, maxLength: 12 }),
        (rows, blocks, numbers) =>
          expectSame(
            [
              embedCase(
                dtype,
                encoding,
                [rows, 32 * blocks],
                numbers.map((n) => n % rows),
                1,
              ),
            ],
            INLINE,
          ),
      ),
      { numRuns: 10 },
    ))
})

test('embed: a table that is not a matrix is refused while recording', () => {
  expect(() => embed(createTape(1), persistentTensor('weight', 'w', [8], 'f32'), 1)).toThrow(
    /embed: the table is/,
  )
})
