import { describe, expect, onTestFinished, test } from 'vitest'
import { expectedOf, MODELS, modelPath } from '../../test/goldens.ts'
import { openCheckpoint } from '../weights/open.node.ts'
import { type Engine, MOST_CHOICES, type Row } from './engine.ts'
import type { WeightDtype } from './load-choices.ts'
import { loadModel } from './load-model.ts'

const SEQUENCES = 8

async function engineOf(name: string, dtype: WeightDtype): Promise<Engine> {
  const checkpoint = await openCheckpoint(modelPath(name))
  const engine = await loadModel(checkpoint, { dtype, threads: 2, sequences: SEQUENCES })
  onTestFinished(async () => {
    await engine.backend.dispose()
    await checkpoint.close()
  })
  return engine
}

/** A row per sequence, each at the end of its own part of a golden prompt, whose beginning is in its cache. */
async function filled(engine: Engine, name: string): Promise<Row[]> {
  const { ids } = expectedOf(name).prompts.long!
  const rows: Row[] = []
  for (let sequence = 0; sequence < SEQUENCES; sequence++) {
    const tokens = ids.slice(0, 12 + 5 * sequence)
    const all = tokens.map((token, position): Row => ({ token, position, sequence }))
    await engine.run('cache', all.slice(0, -1))
    rows.push(all.at(-1)!)
  }
  return rows
}

const SAMPLING = {
  temperature: 1,
  topK: 50,
  topP: 0.9,
  uniform: Float64Array.from({ length: 8 }, (_, i) => i / 8),
}

function together(outputs: readonly Float32Array[]): number[] {
  return outputs.flatMap((output) => [...output])
}

describe.each(MODELS)('choices on %s', (name) => {
  test.each(['int8', 'int4'] as const)(
    'rows of many sequences in one run, bit for bit as alone: %s',
    async (dtype) => {
      const engine = await engineOf(name, dtype)
      expect(engine.exactRows()).toBe(true)
      const rows = await filled(engine, name)
      const alone: Float32Array[] = []
      for (const [i, row] of rows.entries()) {
        alone.push(
          await engine.run('choices', [row], {
            sampling: { ...SAMPLING, uniform: SAMPLING.uniform.slice(i) },
          }),
        )
      }
      expect([...(await engine.run('choices', rows, { sampling: SAMPLING }))]).toEqual(together(alone))
    },
  )

  test.each(['int8', 'int4'] as const)(
    'rows of one sequence in one run, bit for bit as one by one: %s',
    async (dtype) => {
      const engine = await engineOf(name, dtype)
      const { ids } = expectedOf(name).prompts.long!
      const row = (position: number): Row => ({ token: ids[position % ids.length]!, position, sequence: 1 })
      const start = Array.from({ length: 125 }, (_, position) => row(position))
      // Among them are rows whose keys fill one split of attention and begin the next.
      for (let count = 2; count <= 8; count++) {
        const rows = Array.from({ length: count }, (_, i) => row(125 + i))
        await engine.run('cache', start)
        const alone: Float32Array[] = []
        for (const [i, one] of rows.entries()) {
          alone.push(
            await engine.run('choices', [one], {
              sampling: { ...SAMPLING, uniform: SAMPLING.uniform.slice(i) },
            }),
          )
        }
        await engine.run('cache', start)
        expect([...(await engine.run('choices', rows, { sampling: SAMPLING }))]).toEqual(together(alone))
      }
    },
  )

  test('float rows agree with what each gives alone but for rounding, up to the most rows', async () => {
    const engine = await engineOf(name, 'f32')
    expect(engine.exactRows()).toBe(false)
    const eight = await filled(engine, name)
    const rows = [...eight, ...eight].slice(0, MOST_CHOICES)
    const greedy = { ...SAMPLING, temperature: 0, uniform: new Float64Array(MOST_CHOICES) }
    const output = await engine.run('choices', rows, { sampling: greedy })
    expect(output).toHaveLength(2 * MOST_CHOICES)
    for (const [i, row] of rows.entries()) {
      const [token, logprob] = await engine.run('choices', [row], { sampling: greedy })
      expect(output[2 * i]).toBe(token)
      expect(Math.abs(output[2 * i + 1]! - logprob!)).toBeLessThan(1e-5)
    }
  })
})
