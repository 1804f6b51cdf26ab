// train() with real models: what it leaves generates, what was stopped goes on to the bit with threads and dropout, and
// adapters of a published model are read where they are used.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { missingWebGpu } from '../backends/webgpu/testing/webgpu.node.ts'
import { load } from '../load.node.ts'
import { openAdapter } from '../weights/peft.node.ts'
import { type Recipe, train } from './index.ts'

const MODEL = fileURLToPath(new URL('../../test/data/models/gemma1-mqa', import.meta.url))
const missing = await missingWebGpu()
let scratch: string

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'gemma-train-real-'))
  const texts = Array.from({ length: 60 }, (_, i) => ({ text: `The fox number ${i % 7} runs home.` }))
  const chats = Array.from({ length: 40 }, (_, i) => ({
    messages: [
      { role: 'user', content: `Say ${i % 5}.` },
      { role: 'assistant', content: `I say ${i % 5}.` },
    ],
  }))
  const lines = (list: readonly unknown[]): string => list.map((one) => `${JSON.stringify(one)}\n`).join('')
  await writeFile(join(scratch, 'texts.jsonl'), lines(texts))
  await writeFile(join(scratch, 'chats.jsonl'), lines(chats))
})
afterAll(() => rm(scratch, { recursive: true, force: true }))

const pretrain = (output: string): Recipe => ({
  stage: 'pretrain',
  output: join(scratch, output),
  model: {
    config: {
      ...{ model_type: 'gemma', vocab_size: 1024, hidden_size: 32, intermediate_size: 64 },
      ...{ num_hidden_layers: 2, num_attention_heads: 2, num_key_value_heads: 1, head_dim: 16 },
      max_position_embeddings: 64,
    },
    tokenizer: join(MODEL, 'tokenizer.model'),
  },
  data: { sources: [{ files: join(scratch, 'texts.jsonl') }], shuffleWindow: 16 },
  batch: { tokensPerBatch: 256, rowsPerRun: 128 },
  contextLength: 64,
  learningRate: 0.02,
  threads: 2,
  steps: 40,
})

const adapters = (output: string): Recipe => ({
  stage: 'sft',
  output: join(scratch, output),
  model: { from: MODEL },
  data: {
    sources: [{ files: join(scratch, 'chats.jsonl') }],
    heldOut: [{ files: join(scratch, 'chats.jsonl') }],
  },
  batch: { documents: 8, rowsPerRun: 128 },
  contextLength: 128,
  learningRate: 0.01,
  lora: { rank: 4, dropout: 0.1 },
  threads: 2,
  epochs: 4,
})

/** Trains until some time into the step after `step`, stops, and goes on. */
async function inTwoSessions(recipe: Recipe, step: number): Promise<void> {
  const controller = new AbortController()
  const stopped = train(recipe, {
    signal: controller.signal,
    onProgress(event) {
      if (event.kind === 'step' && event.record.step === step) setTimeout(() => controller.abort(), 3)
    },
  })
  await expect(stopped).rejects.toMatchObject({ code: 'aborted' })
  await train(recipe)
}

describe('a new model', () => {
  test('learns its texts, and says them', async () => {
    const { model, loss } = await train(pretrain('whole'))
    expect(loss).toBeLessThan(1)
    const gemma = await load(model!, { threads: 0 })
    let text = ''
    for await (const piece of gemma.generate('The fox', { maxTokens: 20 })) text += piece.text
    await gemma.dispose()
    expect(text).toMatch(/^ number \d runs home\.$/)
  })

  test('stopped and gone on with, it is the same to the bit', async () => {
    const weights = (output: string): Promise<Buffer> =>
      readFile(join(scratch, output, 'model', 'model.safetensors'))
    await inTwoSessions(pretrain('stopped'), 17)
    expect(await weights('stopped')).toEqual(await weights('whole'))
  })
})

describe.skipIf(missing !== undefined)('a new model on WebGPU', () => {
  const short = (output: string): Recipe => ({
    ...pretrain(output),
    ...{ batch: { tokensPerBatch: 64, rowsPerRun: 64 }, steps: 5, device: 'webgpu' },
  })

  test('learns as on the CPU; stopped and gone on with, it is the same to the bit', async () => {
    const cpu = await train({ ...short('short'), device: 'cpu' })
    const whole = await train(short('gpu'), {
      onProgress(event) {
        if (event.kind === 'start') expect(event.plan.device).toMatchObject({ kind: 'webgpu' })
      },
    })
    expect(Math.abs(whole.loss / cpu.loss - 1)).toBeLessThan(1e-3)
    await inTwoSessions(short('gpu-stopped'), 2)
    const [stopped, expected] = await Promise.all(
      ['gpu-stopped', 'gpu'].map((run) => readFile(join(scratch, run, 'model', 'model.safetensors'))),
    )
    expect(stopped).toEqual(expected)
    const metrics = await readFile(join(scratch, 'gpu', 'metrics.jsonl'), 'utf8')
    expect(metrics).toContain('"WebGPU on ')
  })

  test('going on elsewhere is said, and a program that plays a GPU is passed over', async () => {
    const recipe = short('moved')
    const controller = new AbortController()
    const stopped = train(recipe, {
      signal: controller.signal,
      onProgress: (event) => event.kind === 'step' && controller.abort(),
    })
    await expect(stopped).rejects.toMatchObject({ code: 'aborted' })
    const said: string[] = []
    await train(
      { ...recipe, device: 'auto' },
      {
        onProgress(event) {
          if (event.kind === 'note') said.push(event.text)
          if (event.kind === 'start') said.push(event.plan.device.remark!)
        },
      },
    )
    expect(said.slice(0, 3)).toEqual([
      'Going on with other values of device.',
      'Up to step 1 it learned on a GPU, now on the CPU: what comes is not bit for bit the same.',
      expect.stringMatching(/is no GPU but a program$/),
    ])
  })
})

test.each([
  ['all weights', (output: string): Recipe => ({ ...pretrain(output), steps: 8 })],
  [
    'adapters with dropout',
    (output: string): Recipe => ({ ...adapters(output), epochs: undefined, steps: 8 }),
  ],
])('%s: 1, 2 and 4 threads give the same losses and weights', async (name, recipe) => {
  const runs: { losses: number[]; weights: Buffer }[] = []
  for (const threads of [1, 2, 4]) {
    const losses: number[] = []
    const result = await train(
      { ...recipe(`${name} ${threads}`), threads },
      {
        onProgress(event) {
          if (event.kind === 'step') losses.push(event.record.loss)
        },
      },
    )
    const { model, adapter } = result
    const file = adapter === undefined ? 'model.safetensors' : 'adapter_model.safetensors'
    runs.push({ losses, weights: await readFile(join((model ?? adapter)!, file)) })
  }
  expect(runs[0]!.losses).toHaveLength(8)
  for (const run of runs) expect(run).toEqual(runs[0])
})

describe('adapters of a published model', () => {
  test('learn, resume to the bit, and are read where they are used', async () => {
    const whole = await train(adapters('adapter'))
    expect(whole.model).toBe(undefined)
    expect(whole.loss).toBeLessThan(2)
    await inTwoSessions(adapters('adapter-stopped'), 9)
    const file = 'adapter_model.safetensors'
    const [stopped, expected] = await Promise.all(
      ['adapter-stopped', 'adapter'].map((run) => readFile(join(scratch, run, 'adapter', file))),
    )
    expect(stopped).toEqual(expected)
    const adapter = await openAdapter(whole.adapter!)
    expect([adapter.baseName, adapter.layers.size]).toEqual([MODEL, 14])
    await adapter.close()
    const gemma = await load(MODEL, { threads: 0, adapters: { mine: whole.adapter! } })
    const say = async (name: string | undefined): Promise<string> => {
      let text = ''
      const messages = [{ role: 'user', content: 'Say 3.' }]
      for await (const piece of gemma.chat(messages, { maxTokens: 12, adapter: name })) text += piece
      return text
    }
    expect(await say('mine')).toMatch(/^I say \d\.$/)
    expect(await say(undefined)).not.toMatch(/^I say/)
    await gemma.dispose()
  })

  test('of a base in 4 bits', async () => {
    const recipe = { ...adapters('narrow'), baseDtype: 'int4' as const, epochs: undefined, steps: 5 }
    const first: number[] = []
    const { loss } = await train(recipe, {
      onProgress: (event) => {
        if (event.kind === 'step') first.push(event.record.loss)
      },
    })
    expect(loss).toBeLessThan(first[0]!)
  })
})
