import { describe, test } from 'vitest'
import { record } from '../../graph/tape.ts'
import { expectSame, input, type OpCase, runOf } from '../testing/harness.ts'
import { normals } from '../testing/stored.ts'
import { type RowAttentionOptions, rowAttentionGradientOp, rowAttentionOp } from './row-attention.ts'

interface Case extends Partial<RowAttentionOptions> {
  /** Lengths of the documents of the run. */
  readonly documents: readonly number[]
  readonly capacity?: number
  readonly size?: number
}

function attentionCase({ documents, capacity, size = 1, ...more }: Case): OpCase {
  const rows = documents.reduce((sum, length) => sum + length, 0)
  const options = { heads: 4, kvHeads: 1, headDim: 32, window: 0, softcap: 0, scale: 0.2, ...more }
  const { heads, kvHeads, headDim } = options
  const values = (columns: number, seed: number): ReturnType<typeof input> =>
    input(columns, normals(rows * columns, seed + rows, size))
  const query = values(heads * headDim, 1)
  const keys = values(kvHeads * headDim, 2)
  const content = values(kvHeads * headDim, 3)
  const gradient = values(heads * headDim, 4)
  return {
    name: `attention of ${documents.join(' + ')} rows, ${JSON.stringify(options)}`,
    capacity: capacity ?? rows,
    weights: [query, keys, content, gradient].map(({ entry }) => entry),
    training: true,
    build(tape) {
      const inputs = [query, keys, content].map((one) => one.on(tape))
      const outputs = record(tape, rowAttentionOp, inputs, { ...options })
      record(tape, rowAttentionGradientOp, [...inputs, ...outputs, gradient.on(tape)], { ...options })
    },
    runs: [runOf(rows, { positions: documents.flatMap((length) => [...Array(length).keys()]) })],
    tolerance: { relative: 2e-6, absolute: 2e-6 },
  }
}

describe('attention of rows over each other, and its gradients', () => {
  test('documents of every raggedness', () =>
    expectSame([
      attentionCase({ documents: [1] }),
      attentionCase({ documents: [2] }),
      attentionCase({ documents: [5], capacity: 9 }),
      attentionCase({ documents: [1, 1, 1, 7, 3, 1] }),
      attentionCase({ documents: [33, 16, 31], kvHeads: 2 }),
      attentionCase({ documents: [70], heads: 3, kvHeads: 3, headDim: 4 }),
      attentionCase({ documents: [19, 70], heads: 6, kvHeads: 2, headDim: 20, window: 7 }),
      attentionCase({ documents: [140], softcap: 5, window: 100, headDim: 16, capacity: 150 }),
      attentionCase({ documents: [40], softcap: 2, headDim: 256, heads: 2 }),
    ]))
})
