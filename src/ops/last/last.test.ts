import { describe, test } from 'vitest'
import { expectSame, input, type OpCase, runOf } from '../testing/harness.ts'
import { normals } from '../testing/stored.ts'
import { last } from './last.ts'

function lastCase(columns: number, capacity: number): OpCase {
  const x = input(columns, normals(capacity * columns, capacity))
  return {
    name: `last of ${capacity} × ${columns}`,
    capacity,
    weights: [x.entry],
    build: (tape) => void last(tape, x.on(tape)),
    runs: Array.from({ length: capacity }, (_, i) => runOf(i + 1)),
    tolerance: { relative: 0 },
  }
}

describe('last', () => {
  test('the last valid row, whatever the capacity', () =>
    expectSame([lastCase(1, 1), lastCase(5, 8), lastCase(64, 8), lastCase(33, 32)]))
})
