// The whole route of a small Gemma in the size for tests, by the recipes that users run: from random numbers to a published
// model with its card. It must come near the entropy of its corpus, learn to answer and to end its turns, and lose nothing by
// rounding. Training gives the same bits on any number of threads; other processors add in another order, for which the
// bounds leave room.

import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import type { Evaluation } from '../examples/micro/evaluate.ts'
import { Gemma } from '../src/index.ts'

const program = fileURLToPath(new URL('../examples/micro/main.ts', import.meta.url))

test('npm run nano: from random numbers to a model card', { timeout: 900_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'gemma-nano-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const walk = (): Promise<{ stdout: string; stderr: string }> =>
    promisify(execFile)(process.execPath, [program, 'nano'], { cwd: folder })
  // It ends with 0 only if all marks are met.
  const { stdout, stderr } = await walk()
  expect(stdout).not.toContain('MISSED')
  expect(stdout.match(/^met /gm)?.length).toBeGreaterThan(10)
  for (const stage of ['corpus', 'tokenizer', 'pretrain', 'sft', 'int8', 'evaluation', 'card']) {
    expect(stderr).toMatch(new RegExp(`^\\d of 7: ${stage}$`, 'm'))
  }

  const evaluation = JSON.parse(
    await readFile(join(folder, 'runs/nano/evaluation.json'), 'utf8'),
  ) as Evaluation
  // Nats per token above the entropy of what wrote the documents, those of training's own kind and new combinations.
  for (const which of ['', ' of new combinations']) {
    const above = (kind: string): number => {
      const { loss, entropy } = evaluation.gaps[`${kind}${which}`]!
      return loss - entropy
    }
    expect(above('stories'), stdout).toBeLessThan(0.06)
    expect(above('code'), stdout).toBeLessThan(0.1)
    // A million tokens are not enough to learn to carry: most of the digits of a sum stay a guess.
    expect(above('sums'), stdout).toBeLessThan(0.9)
    // No model can know more than the entropy says; a negative gap would be a fault of the measure.
    for (const kind of ['stories', 'code', 'sums']) expect(above(kind)).toBeGreaterThan(0)
  }
  expect(evaluation.base.f32.closed.hits).toBe(0)
  expect(evaluation.base.f32.right.hits).toBe(0)
  expect(evaluation.tuned.f32.closed).toMatchObject({ of: 120 })

  const card = await readFile(join(folder, 'runs/nano/model/README.md'), 'utf8')
  expect(card).toContain('303,680 parameters')
  expect(card).not.toMatch(/undefined|NaN/)
  {
    await using gemma = await Gemma.load(join(folder, 'runs/nano/model/nano.gguf'))
    let answer = ''
    const question = { role: 'user', content: 'Where does the fox live?' }
    for await (const text of gemma.chat([question], { maxTokens: 20 })) answer += text
    expect(answer).toMatch(/^The \w+ (lived|ate) .+\.$/)
  }

  // What is there is not made again.
  const again = await walk()
  expect(again.stderr.match(/, there already$/gm)).toHaveLength(7)
  expect(again.stdout).toBe(stdout)
})
