import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createTape } from '../../graph/tape.ts'
import { expectSame, INLINE, input, type OpCase, runOf } from '../testing/harness.ts'
import { normals } from '../testing/stored.ts'
import { geglu, gegluOp } from './geglu.ts'

function gegluCase(columns: number, rows: number, gates: Float32Array, capacity = rows): OpCase {
  const gate = input(columns, gates)
  const up = input(columns, normals(rows * columns, columns))
  return {
    name: `geglu ${rows} of ${capacity} × ${columns}`,
    capacity,
    weights: [gate.entry, up.entry],
    build: (tape) => void geglu(tape, gate.on(tape), up.on(tape)),
    runs: [runOf(rows)],
    // Far left the result is e^(−large), whose relative error grows with the exponent; it is nothing absolutely.
    tolerance: { relative: 5e-7, absolute: 4e-9 },
  }
}

describe('geglu', () => {
  test('ragged sizes', () =>
    expectSame(
      [1, 2, 3, 5, 31, 64, 100].flatMap((columns) => [
        gegluCase(columns, 1, normals(columns, 7, 2)),
        gegluCase(columns, 7, normals(7 * columns, 8, 2), 8),
      ]),
    ))

  test('gates from tiny to huge, of both signs, and zeros of both signs', () => {
    const gates = Float32Array.from({ length: 80 }, (_, i) => (i % 2 ? -1 : 1) * 10 ** ((i >> 1) / 4 - 5))
    const cases = Array.from(gates, (gate) => gegluCase(4, 1, Float32Array.of(gate, gate, gate, gate)))
    const large = Float32Array.of(-1e5, 1e5, -1e13, 1e13, 0, -0, -10, -9, -8, -6, -5.5, -5, 0.5, 20, 88, -88)
    return expectSame([...cases, gegluCase(16, 1, large)], INLINE)
  })

  test('the reference is the tanh form, not the exact one', () => {
    const outputs = [new Float32Array(3)]
    const tensor = { id: 0, role: 'value', shape: [1, 3], dtype: 'f32', name: 'x' } as const
    const inputs = [Float32Array.of(1, -1, 2), Float32Array.of(1, 1, 1)]
    const step = { inputs, outputs, inputTensors: [tensor], outputTensors: [tensor], attributes: {} }
    gegluOp.reference({ ...step, run: runOf(1) })
    // ½x(1 + tanh(√(2/π)(x + 0.044715x³))); the exact form gives 0.8413447 for 1.
    expect(outputs[0]![0]).toBeCloseTo(0.841192, 6)
    expect(outputs[0]![1]).toBeCloseTo(-0.158808, 6)
    expect(outputs[0]![2]).toBeCloseTo(1.954598, 6)
  })

  test('any sizes and values', () =>
    fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 8 }),
        fc.integer({ min: -4, max: 5 }),
        fc.integer(),
        (columns, rows, power, seed) =>
          expectSame([gegluCase(columns, rows, normals(rows * columns, seed, 10 ** power))], INLINE),
      ),
      { numRuns: 30 },
    ))

  test('rows of different lengths are refused while recording', () => {
    const tape = createTape(1)
    const a = input(4, new Float32Array(4)).on(tape)
    const b = input(5, new Float32Array(5)).on(tape)
    expect(() => geglu(tape, a, b)).toThrow(/geglu: gate and up/)
  })
})
