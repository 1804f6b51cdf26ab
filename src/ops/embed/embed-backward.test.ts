import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createTape, persistentTensor, record } from '../../graph/tape.ts'
import { expectSame, INLINE, input, type OpCase, runOf, state } from '../testing/harness.ts'
import { normals, seeded } from '../testing/stored.ts'
import { embedTableGradientOp } from './embed-backward.ts'

interface Sizes {
  readonly vocabulary: number
  readonly columns: number
  readonly rows: number
  readonly scale?: number
}

/** Two runs with other tokens add to a table that is not empty. The gradients come from a table of their own. */
function gradientCase({ vocabulary, columns, rows, scale = 1.7 }: Sizes): OpCase {
  const entries = Math.max(vocabulary, rows)
  const gradient = input(columns, normals(entries * columns, columns + rows))
  const table = state('table', [vocabulary, columns], normals(vocabulary * columns, 5))
  const random = seeded(rows * columns)
  const tokens = (): number[] => Array.from({ length: rows }, () => Math.floor(random() * vocabulary))
  return {
    name: `${rows} rows into ${vocabulary} × ${columns}`,
    capacity: rows + 1,
    training: true,
    weights: [gradient.entry],
    states: [table],
    build: (tape) => void record(tape, embedTableGradientOp, [gradient.on(tape), table[0]], { scale }),
    runs: [runOf(rows, { tokens: tokens() }), runOf(rows, { tokens: tokens() }), runOf(1, { tokens: [0] })],
    tolerance: { relative: 1e-6, absolute: 1e-6 },
  }
}

describe('the gradient of the embedding', () => {
  test('tokens that come once, often and not at all; widths of every raggedness', () =>
    expectSame([
      gradientCase({ vocabulary: 1, columns: 1, rows: 9 }),
      gradientCase({ vocabulary: 3, columns: 5, rows: 50 }),
      gradientCase({ vocabulary: 100, columns: 33, rows: 7 }),
      gradientCase({ vocabulary: 40, columns: 64, rows: 130, scale: 8 }),
      gradientCase({ vocabulary: 6, columns: 2, rows: 4 }),
    ]))

  test('any sizes', () =>
    fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 30 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 60 }),
        (vocabulary, columns, rows) => expectSame([gradientCase({ vocabulary, columns, rows })], INLINE),
      ),
      { numRuns: 20 },
    ))

  test('rows of another length are refused while recording', () => {
    const gradient = input(4, new Float32Array(4))
    const table = persistentTensor('state', 'table', [3, 5], 'f32')
    const tape = createTape(1)
    expect(() => record(tape, embedTableGradientOp, [gradient.on(tape), table], { scale: 1 })).toThrow(
      'rows have one length',
    )
  })
})
