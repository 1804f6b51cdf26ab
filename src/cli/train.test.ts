// gemma train as its users meet it: real processes that train a real model for some steps on a few documents.

import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { MODEL } from './testing/golden.ts'
import { root, runCli } from './testing/run-cli.ts'

let scratch: string
let recipe: string

/** A model of 20 000 numbers that learns in milliseconds. */
const RECIPE = `
stage: pretrain
output: OUTPUT
model:
  config: {model_type: gemma, vocab_size: 1024, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1,
           num_attention_heads: 2, num_key_value_heads: 1, head_dim: 8, max_position_embeddings: 64}
  tokenizer: ${join(root, MODEL)}/tokenizer.model
data:
  sources: [{files: DATA/train.jsonl}]
  heldOut: [{files: DATA/held-out.jsonl}]
  evaluateEvery: 6
batch: {tokensPerBatch: 128, rowsPerRun: 64}
contextLength: 64
learningRate: 0.01
checkpoint: {everySteps: 4}
threads: 0
steps: 12
`

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'gemma-cli-train-'))
  const line = (i: number): string => JSON.stringify({ text: `The fox number ${i} runs home. ` })
  const lines = (count: number): string => Array.from({ length: count }, (_, i) => `${line(i)}\n`).join('')
  await mkdir(join(scratch, 'data'))
  await writeFile(join(scratch, 'data', 'train.jsonl'), lines(200))
  await writeFile(join(scratch, 'data', 'held-out.jsonl'), lines(5))
  recipe = join(scratch, 'recipe.yaml')
  const text = RECIPE.replace('OUTPUT', join(scratch, 'run')).replaceAll('DATA', join(scratch, 'data'))
  await writeFile(recipe, text)
})
afterAll(() => rm(scratch, { recursive: true, force: true }))

describe.concurrent('gemma train', () => {
  test('trains, says where the model is, and the model generates', async () => {
    const { code, stdout, stderr } = await runCli(['train', recipe])
    expect(stderr).toContain('seed: 0 # default')
    expect(stderr).toMatch(/^[\d,]+ parameters, all of which learn; 12 steps; on the CPU, 0 threads$/m)
    expect(stderr).toMatch(/^Memory: .* of .* free \(weights/m)
    expect(stderr).toMatch(/^Step 0: held-out loss [67]\.\d+, perplexity/m)
    expect(stderr).toMatch(/^Step 12: held-out loss \d\.\d+/m)
    expect(stderr).toMatch(/^12 steps, 1,\d{3} tokens in .*; loss \d\.\d+, held-out \d\.\d+$/m)
    expect([code, stdout]).toEqual([0, `${join(scratch, 'run', 'model')}\n`])
    const generated = await runCli(['generate', stdout.trim(), '-p', 'The fox', '-n', '3', '--json', '-q'])
    expect(JSON.parse(generated.stdout).tokens).toHaveLength(3)
    const again = await runCli(['train', recipe])
    expect(again.stderr).toContain('is finished; --restart begins it anew.')
    expect([again.code, again.stdout]).toEqual([0, stdout])
    const report = await runCli(['train', 'report', join(scratch, 'run')])
    expect([report.code, report.stdout]).toEqual([0, `${join(scratch, 'run', 'report.html')}\n`])
    expect(await readFile(report.stdout.trim(), 'utf8')).toContain('<svg')
  })

  test('--json tells all of it in lines', async () => {
    const output = join(scratch, 'json')
    const { code, stdout, stderr } = await runCli(['train', recipe, '--json', '--set', `output=${output}`])
    expect([code, stderr]).toEqual([0, ''])
    const events = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    const of = (event: string): Record<string, unknown>[] => events.filter((one) => one.event === event)
    expect(of('recipe')[0]).toMatchObject({ recipe: { output, clip: 1 } })
    expect(of('start')[0]).toMatchObject({ steps: 12, resumedAt: 0 })
    expect(of('step').map(({ step }) => step)).toEqual(Array.from({ length: 12 }, (_, i) => i + 1))
    expect(Object.keys(of('step')[0]!)).toEqual(
      expect.arrayContaining(['loss', 'learningRate', 'gradientNorm', 'tokens', 'tokensPerSecond']),
    )
    expect(of('evaluation').map(({ step }) => step)).toEqual([0, 6, 12])
    expect(of('checkpoint').map(({ step }) => step)).toContain(8)
    expect(events.at(-1)).toMatchObject({ event: 'end', steps: 12, model: join(output, 'model') })
  })

  test.each(['SIGINT', 'SIGTERM'] as const)(
    '%s writes a checkpoint; the same command goes on',
    async (signal) => {
      const output = join(scratch, signal)
      const set = [
        '--set',
        `output=${output}`,
        '--set',
        'steps=100000',
        '--set',
        'checkpoint.everySteps=100000',
      ]
      let sent = false
      const stopped = await runCli(
        ['train', recipe, '--json', ...set, '--set', 'data.evaluateEvery=100000'],
        {
          onOutput({ stdout }, child) {
            if (sent || !stdout.includes('"step":5,')) return
            sent = true
            child.kill(signal)
          },
        },
      )
      expect([stopped.code, stopped.stderr]).toEqual([130, ''])
      const steps = stopped.stdout.split('\n').filter((line) => line.startsWith('{"event":"step"'))
      const last = JSON.parse(steps.at(-1)!).step
      expect(await readdir(join(output, 'checkpoints'))).toEqual([`step-${String(last).padStart(6, '0')}`])
      const more = ['--set', `steps=${last + 2}`, '--set', `output=${output}`]
      const rest = await runCli(['train', recipe, ...more])
      expect(rest.stderr).toContain(`Going on after step ${last.toLocaleString('en-US')}.`)
      expect(rest.code).toBe(0)
    },
  )

  test('--show-batch and --dry-run train nothing', async () => {
    const output = join(scratch, 'nothing')
    const set = ['--set', `output=${output}`]
    const shown = await runCli(['train', recipe, '--show-batch', '1', ...set], { env: { NO_COLOR: '1' } })
    expect(shown.code).toBe(0)
    expect(shown.stdout).toMatch(/^── document 1 of \d/)
    expect(shown.stdout).toContain('<bos>⟦The fox number')
    expect(shown.stderr).toMatch(/^The first batch: \d runs \(1 shown\), \d+ documents, 1\d\d tokens/m)
    const tried = await runCli(['train', recipe, '--dry-run', ...set])
    expect([tried.code, tried.stderr]).toEqual([0, ''])
    expect(tried.stdout).toContain(
      'Each step learns from 128 tokens, as near as whole runs of 64 tokens allow',
    )
    const [yaml] = tried.stdout.split('\n\n')
    expect(parse(yaml!)).toMatchObject({ output, steps: 12 })
    const json = await runCli(['train', recipe, '--dry-run', '--json', '--device', 'cpu', ...set])
    expect(JSON.parse(json.stdout)).toMatchObject({
      steps: 12,
      recipe: { device: 'cpu' },
      plan: { device: { kind: 'cpu' }, threads: 0 },
    })
    const rows = await runCli(['train', recipe, '--show-batch', '--json', ...set])
    const runs = rows.stdout.trimEnd().split('\n')
    expect(runs.map((line) => JSON.parse(line).tokens[0])).toEqual(runs.map(() => 2))
    expect(await readdir(scratch)).not.toContain('nothing')
  })

  test('mistakes', async () => {
    const wrong = join(scratch, 'wrong.yaml')
    await writeFile(wrong, (await readFile(recipe, 'utf8')).replace('learningRate', 'learning_rate'))
    const unknown = await runCli(['train', wrong])
    expect([unknown.code, unknown.stdout]).toEqual([1, ''])
    expect(unknown.stderr).toBe(`gemma: ${wrong}:14: learning_rate is no key. Did you mean learningRate?\n`)
    await writeFile(wrong, `${await readFile(wrong, 'utf8')}\nclip: -1\n`)
    expect((await runCli(['train', wrong])).stderr).toMatch(
      /^gemma: .*:\d+: clip is -1, expected a number above 0\.\n {7}.*:14: learning_rate is no key\..*\n$/,
    )
    const both = await runCli(['train', recipe, '--dry-run', '--show-batch'])
    expect([both.code, both.stdout]).toEqual([2, ''])
    const missing = await runCli(['train', join(scratch, 'nowhere.yaml')])
    expect([missing.code, missing.stderr]).toEqual([
      1,
      `gemma: ${join(scratch, 'nowhere.yaml')} does not exist.\n`,
    ])
    const set = await runCli(['train', recipe, '--set', 'steps'])
    expect([set.code, set.stderr]).toEqual([
      2,
      'gemma: --set steps: expected key=value, with a dot between nested keys.\n',
    ])
    const none = await runCli(['train'])
    expect(none.code).toBe(2)
    expect((await runCli(['train', 'report'])).code).toBe(2)
    const help = await runCli(['train', '--help'])
    expect([help.code, help.stdout]).toEqual([
      0,
      expect.stringContaining('gemma train recipe.yaml --dry-run'),
    ])
  })
})
