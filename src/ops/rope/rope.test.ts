import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createTape, persistentTensor } from '../../graph/tape.ts'
import { expectSame, INLINE, input, type OpCase, runOf } from '../testing/harness.ts'
import { normals } from '../testing/stored.ts'
import { rope, ropeTable } from './rope.ts'

function ropeCase(headDim: number, heads: number, positions: readonly number[], deviation = 1): OpCase {
  const rows = positions.length
  const x = input(heads * headDim, normals(rows * heads * headDim, headDim + heads, deviation))
  const length = Math.max(...positions) + 1
  const table = persistentTensor('constant', 'angles', [length, headDim], 'f32')
  return {
    name: `rope ${rows} rows of ${heads} × ${headDim}`,
    capacity: rows + 3,
    weights: [x.entry],
    constants: new Map([[table, ropeTable(length, headDim, 10000)]]),
    build: (tape) => void rope(tape, x.on(tape), table),
    runs: [runOf(rows, { positions })],
    tolerance: { relative: 3e-7 },
  }
}

describe('rope', () => {
  test('heads of every multiple of four, in order and out of order', () =>
    expectSame(
      [4, 8, 12, 20, 32, 36, 64, 100, 128, 256].flatMap((headDim) => [
        ropeCase(headDim, 1, [0]),
        ropeCase(headDim, 3, [0, 1, 2, 3, 4]),
        ropeCase(headDim, 2, [9, 3, 3, 200, 0, 77, 8]),
      ]),
    ))

  test('large values', () => expectSame([ropeCase(32, 2, [5, 900], 1e5)]))

  test('any sizes and positions', () =>
    fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 5 }),
        fc.array(fc.integer({ min: 0, max: 400 }), { minLength: 1, maxLength: 9 }),
        (quarter, heads, positions) => expectSame([ropeCase(4 * quarter, heads, positions)], INLINE),
      ),
      { numRuns: 30 },
    ))

  test('the table holds cos and sin of position · θ^(−2i/d), positions divided by the factor', () => {
    const headDim = 8
    const table = ropeTable(50, headDim, 10000, 8)
    for (const position of [0, 1, 7, 49]) {
      for (let i = 0; i < headDim / 2; i++) {
        const angle = (position / 8) * 10000 ** ((-2 * i) / headDim)
        expect(table[position * headDim + i]).toBeCloseTo(Math.cos(angle), 5)
        expect(table[position * headDim + headDim / 2 + i]).toBeCloseTo(Math.sin(angle), 5)
      }
    }
  })

  test('a turn keeps the length of every pair, and scores depend on the distance alone', () => {
    const headDim = 16
    const table = ropeTable(64, headDim, 10000)
    const q = normals(headDim, 1)
    const k = normals(headDim, 2)
    const turned = (x: Float32Array, position: number): number[] => {
      const half = headDim / 2
      const at = position * headDim
      const [cosine, sine] = [table.subarray(at, at + half), table.subarray(at + half, at + headDim)]
      return Array.from(x, (_, i) =>
        i < half
          ? x[i]! * cosine[i]! - x[i + half]! * sine[i]!
          : x[i - half]! * sine[i - half]! + x[i]! * cosine[i - half]!,
      )
    }
    const dot = (a: number[], b: number[]): number => a.reduce((sum, value, i) => sum + value * b[i]!, 0)
    const near = dot(turned(q, 5), turned(k, 2))
    expect(dot(turned(q, 43), turned(k, 40))).toBeCloseTo(near, 4)
    expect(dot(turned(q, 43), turned(q, 43))).toBeCloseTo(dot([...q], [...q]), 4)
  })

  test('a row that is not whole heads is refused while recording', () => {
    const tape = createTape(1)
    const x = input(10, new Float32Array(10)).on(tape)
    const table = persistentTensor('constant', 'angles', [4, 4], 'f32')
    expect(() => rope(tape, x, table)).toThrow(/rope: the table’s width is one head/)
  })
})
