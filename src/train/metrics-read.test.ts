import { existsSync } from 'node:fs'
import { appendFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { GemmaError } from '../error.ts'
import { openMetrics } from './metrics.node.ts'
import type { StepRecord } from './metrics.ts'
import { readLines } from './metrics-lines.node.ts'
import { readRun, readSamples } from './metrics-read.node.ts'

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'gemma-metrics-read-'))
})
afterAll(() => rm(directory, { recursive: true, force: true }))

let runs = 0
async function newRun(): Promise<string> {
  const run = join(directory, `run-${runs++}`)
  await mkdir(run)
  return run
}

const step = (number: number, loss = 1 / number): StepRecord => ({
  step: number,
  loss,
  meanTokenAccuracy: 0.25,
  learningRate: 3e-4,
  gradientNorm: 1.5,
  tokens: 100 * number,
  tokensPerSecond: 1000,
  seconds: number / 10,
  epoch: number / 1000,
})

describe('readRun', () => {
  it('reads what was written, the later of two lines of one step', async () => {
    const run = await newRun()
    const metrics = await openMetrics(run)
    metrics.start({ clip: 1 })
    for (const number of [1, 2, 3, 2]) metrics.step(step(number, number === 3 ? Number.NaN : number * 10))
    metrics.step({ step: 4, loss: Number.POSITIVE_INFINITY })
    metrics.evaluation({ step: 2, loss: 8 })
    metrics.evaluation({ step: 2, loss: 9 })
    metrics.evaluation({ step: 2, loss: 7, source: 'code', accuracy: 0.1 })
    await metrics.close()
    await appendFile(join(run, 'metrics.jsonl'), 'torn')
    const history = await readRun(run)
    expect([...history.steps]).toEqual([1, 2, 3, 4])
    expect([...history.columns.loss]).toEqual([10, 20, Number.NaN, Number.POSITIVE_INFINITY])
    expect([...history.columns.grad_norm]).toEqual([1.5, 1.5, 1.5, Number.NaN])
    expect(history.evaluations).toEqual([
      { step: 2, loss: 9, accuracy: Number.NaN, source: '' },
      { step: 2, loss: 7, accuracy: 0.1, source: 'code' },
    ])
    expect(history.events).toMatchObject([{ event: 'start', clip: 1 }])
    expect(history.unreadable).toBe(1)
  })

  it('says which file is missing', async () => {
    await expect(readRun(directory)).rejects.toThrow(/metrics\.jsonl does not exist\. Name a run's directory/)
    await expect(readRun('/dev')).rejects.toBeInstanceOf(GemmaError)
  })

  it('keeps the first and the last of very many samples', async () => {
    const run = await newRun()
    const lines = Array.from({ length: 1000 }, (_, index) => `{"step":${index},"prompt":"p","text":"t"}\n`)
    await writeFile(join(run, 'samples.jsonl'), lines.join(''))
    const samples = await readSamples(run)
    expect(samples).toHaveLength(200)
    expect([samples[0].step, samples.at(-1)!.step]).toEqual([0, 999])
  })
})

describe('readLines', () => {
  it('finds lines across the pieces it reads', async () => {
    const run = await newRun()
    const path = join(run, 'lines')
    const lines = Array.from({ length: 5000 }, (_, index) => `${'é'.repeat(index % 400)}${index}`)
    await writeFile(path, lines.join('\n'))
    const found: (string | undefined)[] = []
    for await (const line of readLines(path, 10_000)) found.push(line)
    expect(found).toEqual(lines)
  })

  it('has nothing of a line that is too long, and refuses devices', async () => {
    const run = await newRun()
    const path = join(run, 'lines')
    await writeFile(path, `${'x'.repeat(2_500_000)}\nabc\n`)
    const found: (string | undefined)[] = []
    for await (const line of readLines(path, 100)) found.push(line)
    expect(found).toEqual([undefined, 'abc'])
    if (existsSync('/dev/zero')) {
      await expect(readLines('/dev/zero', 100).next()).rejects.toThrow('not a regular file')
    }
  })
})
