import { describe, expect, test } from 'vitest'
import { createReferenceBackend } from '../../backends/reference.ts'
import { createTape, keep, persistentTensor } from '../../graph/tape.ts'
import { embed } from '../embed/embed.ts'
import { numbers } from '../testing/differences.ts'
import { expectSame, input, type OpCase, runOf } from '../testing/harness.ts'
import { normals } from '../testing/stored.ts'
import { rope, ropeTable } from './rope.ts'

function inverseCase(headDim: number, heads: number, positions: readonly number[]): OpCase {
  const rows = positions.length
  const x = input(heads * headDim, normals(rows * heads * headDim, headDim + heads))
  const length = Math.max(...positions) + 1
  const table = persistentTensor('constant', 'angles', [length, headDim], 'f32')
  return {
    name: `turned back: ${rows} rows of ${heads} × ${headDim}`,
    capacity: rows + 3,
    training: true,
    weights: [x.entry],
    constants: new Map([[table, ropeTable(length, headDim, 10000)]]),
    build: (tape) => void rope(tape, x.on(tape), table, true),
    runs: [runOf(rows, { positions })],
    tolerance: { relative: 3e-7 },
  }
}

describe('the gradient of rope', () => {
  test('heads of every multiple of four turned back, on every form of the backend', () =>
    expectSame(
      [4, 8, 12, 20, 32, 36, 100, 256].flatMap((headDim) => [
        inverseCase(headDim, 1, [0]),
        inverseCase(headDim, 3, [0, 1, 2, 0, 1, 0, 1, 2, 3]),
      ]),
    ))

  test('turning back undoes turning', async () => {
    const [x, values] = numbers('x', [5, 16], 1)
    const table = persistentTensor('constant', 'angles', [5, 8], 'f32')
    const backend = createReferenceBackend({
      tensors: [x],
      constants: new Map([[table, ropeTable(5, 8, 100)]]),
    })
    backend.held(x).set(values)
    const tape = createTape(5)
    const turned = keep(tape, rope(tape, embed(tape, x, 1), table))
    const back = keep(tape, rope(tape, turned, table, true))
    const plan = backend.compile(tape)
    await backend.run(plan, runOf(5))
    const moved = backend.read(plan, turned, 5).filter((value, i) => Math.abs(value - values[i]!) > 0.1)
    expect(moved.length).toBeGreaterThan(20)
    backend.read(plan, back, 5).forEach((value, i) => void expect(value).toBeCloseTo(values[i]!, 5))
  })
})
