// A model of 0.3 million parameters from nothing, by the recipes that users run: it must come near the entropy of its corpus,
// and learn to answer and to end its turns. Training gives the same bits on any number of threads; other processors add
// in another order, for which the bounds leave room.

import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'

const program = fileURLToPath(new URL('../examples/train-nano.ts', import.meta.url))

interface Score {
  readonly asked: number
  readonly closed: number
  readonly right: number
}

test('from random numbers to answers, in two minutes', { timeout: 900_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'gemma-nano-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const { stdout } = await promisify(execFile)(process.execPath, [program], { cwd: folder })
  const result = JSON.parse(await readFile(join(folder, 'runs/nano/result.json'), 'utf8')) as {
    readonly gaps: Record<string, number>
    readonly before: Score
    readonly after: Score
  }

  // Nats per token above the entropy of what wrote the documents, those of training's own kind and new combinations.
  for (const documents of ['held-out', 'new']) {
    expect(result.gaps[`${documents} stories`], stdout).toBeLessThan(0.06)
    expect(result.gaps[`${documents} code`], stdout).toBeLessThan(0.1)
    // A million tokens are not enough to learn to carry: most of the digits of a sum stay a guess.
    expect(result.gaps[`${documents} sums`], stdout).toBeLessThan(0.9)
  }
  // No model can know more than the entropy says; a negative gap would be a fault of the measure.
  for (const gap of Object.values(result.gaps)) expect(gap).toBeGreaterThan(0)

  expect(result.before.closed).toBe(0)
  expect(result.before.right).toBe(0)
  expect(result.after.asked).toBe(120)
  expect(result.after.closed, stdout).toBeGreaterThanOrEqual(119)
  expect(result.after.right, stdout).toBeGreaterThanOrEqual(60)
})
