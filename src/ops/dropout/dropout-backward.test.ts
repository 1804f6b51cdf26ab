import { describe, expect, test } from 'vitest'
import { createReferenceBackend } from '../../backends/reference.ts'
import { createTape, keep, persistentTensor, type RunInputs } from '../../graph/tape.ts'
import { embed } from '../embed/embed.ts'
import { gradientsOf, type Learning, numbers } from '../testing/differences.ts'
import { expectSame, input, type OpCase, runOf } from '../testing/harness.ts'
import { dropout } from './dropout.ts'

function seededRun(rows: number, seed: number): RunInputs {
  return { ...runOf(rows), seed }
}

function dropoutCase(rows: number, columns: number, rate: number, seeds: readonly number[]): OpCase {
  const x = input(
    columns,
    Float32Array.from({ length: rows * columns }, (_, i) => 1 + i),
  )
  return {
    name: `dropout ${rate} of ${rows} × ${columns}`,
    capacity: rows + 1,
    training: true,
    weights: [x.entry],
    build(tape) {
      const values = x.on(tape)
      dropout(tape, values, rate)
      dropout(tape, values, rate)
    },
    runs: seeds.map((seed) => seededRun(rows, seed)),
    tolerance: { relative: 1.5e-7 },
  }
}

/** Which of the ones that come in are left out, and what the others have become. */
async function dropped(rate: number, seed: number): Promise<{ first: number[]; second: number[] }> {
  const [rows, columns] = [60, 100]
  const table = persistentTensor('weight', 'ones', [rows, columns], 'f32')
  const backend = createReferenceBackend({ tensors: [table], constants: new Map() })
  backend.held(table).fill(1)
  const tape = createTape(rows)
  const x = embed(tape, table, 1)
  const [first, second] = [keep(tape, dropout(tape, x, rate)), keep(tape, dropout(tape, x, rate))]
  const plan = backend.compile(tape)
  await backend.run(plan, seededRun(rows, seed))
  return { first: [...backend.read(plan, first, rows)], second: [...backend.read(plan, second, rows)] }
}

const share = (values: readonly number[], what: (value: number, i: number) => boolean): number =>
  values.filter(what).length / values.length

describe('dropout', () => {
  test('kernels leave out what the reference leaves out, by seed and place, on every form of the backend', () =>
    expectSame([
      dropoutCase(1, 1, 0.5, [0, 1, 2, 3]),
      dropoutCase(7, 33, 0.1, [5, 0xffffffff]),
      dropoutCase(40, 64, 0.9, [123456789]),
      dropoutCase(3, 5, 0, [9]),
    ]))

  test('as many as asked for are left out, the others make up for them; seed and place change which', async () => {
    const rate = 0.3
    const one = await dropped(rate, 1)
    const other = await dropped(rate, 2)
    for (const values of [one.first, one.second, other.first]) {
      expect(new Set(values)).toEqual(new Set([0, Math.fround(1 / (1 - Math.fround(rate)))]))
      // Of 6 000 the share is within five deviations.
      expect(Math.abs(share(values, (value) => value === 0) - rate)).toBeLessThan(0.03)
    }
    const both = (a: readonly number[], b: readonly number[]): number =>
      share(a, (value, i) => value === 0 && b[i] === 0)
    // Drawn apart from each other: both leave out rate² of all.
    expect(Math.abs(both(one.first, one.second) - rate ** 2)).toBeLessThan(0.02)
    expect(Math.abs(both(one.first, other.first) - rate ** 2)).toBeLessThan(0.02)
    expect(await dropped(rate, 1)).toEqual(one)
  })

  test('the gradient is left out where the value was, and as large as it was made', async () => {
    const table = numbers('table', [6, 50], 1)
    const of = (rate: number): Learning => ({
      learned: [table],
      build: (tape) => dropout(tape, embed(tape, table[0], 1), rate),
      run: seededRun(6, 11),
    })
    const whole = (await gradientsOf(of(0))).get(table[0])!
    const part = (await gradientsOf(of(0.5))).get(table[0])!
    const kept = part.filter((value) => value !== 0).length
    expect(kept).toBeGreaterThan(100)
    expect(kept).toBeLessThan(200)
    part.forEach((value, i) => void (value !== 0 && expect(value).toBeCloseTo(2 * whole[i]!, 12)))
  })
})
