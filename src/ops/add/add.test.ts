import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createTape } from '../../graph/tape.ts'
import { expectSame, INLINE, input, type OpCase, runOf } from '../testing/harness.ts'
import { normals } from '../testing/stored.ts'
import { add } from './add.ts'

function addCase(columns: number, rows: number, capacity = rows, deviation = 2): OpCase {
  const a = input(columns, normals(rows * columns, columns + rows, deviation))
  const b = input(columns, normals(rows * columns, columns - rows))
  return {
    name: `add ${rows} of ${capacity} × ${columns}`,
    capacity,
    weights: [a.entry, b.entry],
    build: (tape) => void add(tape, a.on(tape), b.on(tape)),
    runs: [runOf(rows), runOf(1)],
    tolerance: { relative: 0 },
  }
}

describe('add', () => {
  test('ragged sizes, exactly', () =>
    expectSame([
      addCase(1, 1),
      addCase(1, 7, 8),
      addCase(3, 5, 9),
      addCase(33, 4),
      addCase(64, 3),
      addCase(100, 33, 64),
    ]))

  test('hidden states as large as Gemma’s', () =>
    expectSame([addCase(37, 4, 4, 1e5), addCase(37, 4, 4, 1e30)]))

  test('any sizes', () =>
    fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 0, max: 5 }),
        (columns, rows, spare) => expectSame([addCase(columns, rows, rows + spare)], INLINE),
      ),
      { numRuns: 25 },
    ))

  test('rows of different lengths are refused while recording', () => {
    const tape = createTape(1)
    const a = input(4, new Float32Array(4)).on(tape)
    const b = input(5, new Float32Array(5)).on(tape)
    expect(() => add(tape, a, b)).toThrow(/add: both have one shape/)
  })
})
