// Low-rank adapters on real (tiny) models: applied beside the weights they give what merged weights give; several lie
// beside one base, and no request ever meets the keys, values or rows of another's.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { expectedOf, largestDifference, MODELS, meanDivergence, modelPath } from '../../test/goldens.ts'
import { findAdapter } from '../backends/webgpu/device.ts'
import { openGpu } from '../backends/webgpu/open.node.ts'
import { missingWebGpu } from '../backends/webgpu/testing/webgpu.node.ts'
import type { GemmaError } from '../error.ts'
import { Gemma, type Summary } from '../index.ts'
import { adapterBytes } from '../model/lora.ts'
import { mergeAdapters } from '../weights/merge-adapters.ts'
import { openCheckpoint } from '../weights/open.node.ts'
import { openAdapter } from '../weights/peft.node.ts'
import { configIn, type TestAdapter, writeTestAdapter } from '../weights/testing/adapter-files.ts'
import type { Engine, Row } from './engine.ts'
import { dtypeFor, type LoadModelOptions, loadModel, memoryNeeded, WORKING_BYTES } from './load-model.ts'

const missing = await missingWebGpu()

/** Different ranks, targets and scales; odd ranks end in the middle of a vector. */
const ADAPTERS: Readonly<Record<string, TestAdapter>> = {
  all: { rank: 8, alpha: 16, seed: 1 },
  attention: { rank: 3, alpha: 9, seed: 2, targets: ['q_proj', 'v_proj'], type: 'BF16' },
  one: { rank: 1, alpha: 4, seed: 3, targets: ['down_proj', 'o_proj', 'k_proj'], type: 'F16' },
  wide: { rank: 33, alpha: 3, seed: 4, rsLora: true, targets: ['gate_proj', 'up_proj', 'q_proj'] },
}

let root = ''
const pathOf = (model: string, adapter: string): string => join(root, model, adapter)
const pathsOf = (model: string): Record<string, string> =>
  Object.fromEntries(Object.keys(ADAPTERS).map((name) => [name, pathOf(model, name)]))

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'gemma-adapters-'))
  for (const model of MODELS) {
    const config = await configIn(modelPath(model))
    for (const [name, options] of Object.entries(ADAPTERS)) {
      await writeTestAdapter(pathOf(model, name), config, options)
    }
  }
})
afterAll(() => rm(root, { recursive: true }))

const idsOf = (model: string, prompt = 'long'): number[] => expectedOf(model).prompts[prompt]!.ids

async function engineOf(
  model: string,
  names: readonly string[],
  options: Partial<LoadModelOptions> = {},
): Promise<Engine> {
  const checkpoint = await openCheckpoint(modelPath(model))
  const adapters = new Map(
    await Promise.all(names.map(async (name) => [name, await openAdapter(pathOf(model, name))] as const)),
  )
  try {
    const engine = await loadModel(checkpoint, { threads: 0, adapters, ...options })
    onTestFinished(() => engine.backend.dispose())
    return engine
  } finally {
    await checkpoint.close()
    for (const adapter of adapters.values()) await adapter.close()
  }
}

/** A model whose weights have the adapters added to them. */
async function mergedEngine(model: string, names: readonly string[]): Promise<Engine> {
  const adapters = await Promise.all(names.map((name) => openAdapter(pathOf(model, name))))
  const { checkpoint } = mergeAdapters(await openCheckpoint(modelPath(model)), adapters)
  const engine = await loadModel(checkpoint, { threads: 0, dtype: 'f32' })
  await checkpoint.close()
  onTestFinished(() => engine.backend.dispose())
  return engine
}

const rowsOf = (ids: readonly number[]): Row[] =>
  ids.map((token, position) => ({ token, position, sequence: 0 }))

async function logitsOf({ run }: Engine, ids: readonly number[], adapter?: string): Promise<Float32Array> {
  const prompt = await run('logits', rowsOf(ids.slice(0, -1)), { adapter })
  const next = await run('logits', rowsOf(ids).slice(-1), { adapter })
  return Float32Array.of(...prompt.slice(-8 * 1024), ...next)
}

describe.each(MODELS)('on %s', (model) => {
  test('applied gives what merged gives, for every adapter, and for none what the base gives', async () => {
    const engine = await engineOf(model, Object.keys(ADAPTERS), { dtype: 'f32' })
    const ids = idsOf(model)
    const bare = await logitsOf(await engineOf(model, [], { dtype: 'f32' }), ids)
    const seen: Float32Array[] = [bare]
    for (const name of Object.keys(ADAPTERS)) {
      const applied = await logitsOf(engine, ids, name)
      const merged = await logitsOf(await mergedEngine(model, [name]), ids)
      const largest = merged.reduce((most, logit) => Math.max(most, Math.abs(logit)), 0)
      expect(largestDifference(merged, applied) / largest).toBeLessThan(1e-5)
      // Each says something else, and far more so than rounding does.
      for (const other of seen) expect(largestDifference(other, applied)).toBeGreaterThan(0.01)
      seen.push(applied)
    }
    expect(await logitsOf(engine, ids)).toEqual(bare)
  })
})

describe('backends', () => {
  test.each(['bf16', 'int8', 'int8row', 'int4'] as const)(
    'beside %s weights: kernels agree with the reference, threads and memories change no bit',
    async (dtype) => {
      const model = 'gemma2'
      const ids = idsOf(model).slice(0, 24)
      const names = ['all', 'wide']
      const alone = await engineOf(model, names, { dtype, contextLength: 64 })
      const reference = await engineOf(model, names, { dtype, contextLength: 64, backend: 'reference' })
      const { weights, caches, scratch } = alone.backend.memoryBytes()
      const memoryLimit = scratch + 40_000 + (weights + caches) / 2
      const split = await engineOf(model, names, { dtype, contextLength: 64, memoryLimit, threads: 2 })
      expect(split.backend.description).toMatch(/, [23] memories/)
      for (const adapter of [...names, undefined]) {
        const logits = await logitsOf(alone, ids, adapter)
        expect(await logitsOf(split, ids, adapter)).toEqual(logits)
        const expected = await logitsOf(reference, ids, adapter)
        if (dtype === 'bf16') expect(largestDifference(expected, logits)).toBeLessThan(1e-4)
        if (adapter === undefined) continue
        // Where activations are rounded to 8 bits, a last bit here is a step there; on the distribution it is little.
        const moved = meanDivergence(expected, await logitsOf(reference, ids), 1024)
        expect(meanDivergence(expected, logits, 1024) / moved).toBeLessThan(0.1)
      }
    },
  )

  test('memory counts them, and a model that fits only without them is refused', async () => {
    const model = 'gemma1-mqa'
    const bare = await engineOf(model, [])
    const engine = await engineOf(model, ['all', 'one'])
    const adapter = await openAdapter(pathOf(model, 'all'))
    await adapter.close()
    const bytes = adapterBytes(adapter.layers)
    const added = engine.backend.memoryBytes().weights - bare.backend.memoryBytes().weights
    expect(added).toBeGreaterThan(bytes)
    expect(added).toBeLessThan(2 * bytes)

    const { config, contextLength } = bare.model
    const { weights, kv } = memoryNeeded(
      config,
      ({ shape }) => dtypeFor('auto', 'BF16', shape.length),
      contextLength,
    )
    const needed = weights + kv + WORKING_BYTES
    await engineOf(model, [], { memoryBudget: needed })
    await engineOf(model, ['all'], { memoryBudget: needed + bytes })
    for (const memoryBudget of [needed, needed + bytes - 1]) {
      await expect(engineOf(model, ['all'], { memoryBudget })).rejects.toMatchObject({ code: 'memory' })
    }
  })
})

const GREEDY = { temperature: 0, maxTokens: 12, stopTokens: [] }
const QUESTIONS = ['Hello there', 'And then?', 'Why is that?', 'What else', 'Go on']

async function said(running: AsyncGenerator<unknown, Summary>): Promise<Summary> {
  for (;;) {
    const { value, done } = await running.next()
    if (done) return value as Summary
  }
}

/** A conversation in which each answer comes from another adapter. */
async function converse(
  answer: (messages: { role: string; content: string }[], adapter: string | undefined) => Promise<Summary>,
): Promise<string[]> {
  const messages: { role: string; content: string }[] = []
  const turns = ['all', undefined, 'attention', 'all', undefined]
  const texts: string[] = []
  for (const [i, adapter] of turns.entries()) {
    messages.push({ role: 'user', content: QUESTIONS[i]! })
    const { text } = await answer(messages, adapter)
    messages.push({ role: 'assistant', content: text })
    texts.push(text)
  }
  return texts
}

describe.each(['gemma1-mqa', 'gemma3'])('requests on %s', (model) => {
  test('a conversation that changes its adapter says what separate models say', async () => {
    const swapped = await Gemma.load(modelPath(model), { dtype: 'f32', threads: 1, adapters: pathsOf(model) })
    onTestFinished(() => swapped.dispose())
    expect(swapped.adapters).toEqual(Object.keys(ADAPTERS))
    const separate = new Map<string | undefined, Gemma>()
    for (const name of ['all', 'attention', undefined]) {
      const adapters: Record<string, string> = name === undefined ? {} : { only: pathOf(model, name) }
      const gemma = await Gemma.load(modelPath(model), { dtype: 'f32', threads: 1, adapters })
      onTestFinished(() => gemma.dispose())
      separate.set(name, gemma)
    }
    const expected = await converse((messages, name) => {
      const adapter = name === undefined ? undefined : 'only'
      return said(separate.get(name)!.chat(messages, { ...GREEDY, adapter }))
    })
    expect(
      await converse((messages, adapter) => said(swapped.chat(messages, { ...GREEDY, adapter }))),
    ).toEqual(expected)
    // Scores and logits follow the request too, whatever was asked before.
    const ids = idsOf(model)
    for (const name of ['attention', undefined, 'all']) {
      const own = { adapter: name === undefined ? undefined : 'only' }
      expect(await swapped.score(ids, { adapter: name })).toEqual(await separate.get(name)!.score(ids, own))
      expect(await swapped.logits(ids.slice(0, 5), { adapter: name })).toEqual(
        await separate.get(name)!.logits(ids.slice(0, 5), own),
      )
    }
  })

  test('a batch of many adapters gives what each gives alone', async () => {
    const options = { dtype: 'f32', threads: 2, adapters: pathsOf(model) } as const
    const single = await Gemma.load(modelPath(model), options)
    const gemma = await Gemma.load(modelPath(model), { ...options, sequences: 3 })
    onTestFinished(() => single.dispose())
    onTestFinished(() => gemma.dispose())
    const names = ['all', undefined, 'wide', 'all', undefined, 'one', 'all', 'all']
    const prompts = names.map((_, i) => idsOf(model).slice(0, 6 + (i % 3)))
    const asked = { ...GREEDY, speculative: false }
    const alone: Summary[] = []
    for (const [i, adapter] of names.entries()) {
      alone.push(await said(single.generate(prompts[i]!, { ...asked, adapter })))
    }
    const together = await gemma.generateBatch(prompts, { ...asked, adapter: names })
    expect(together.map(({ tokens }) => tokens)).toEqual(alone.map(({ tokens }) => tokens))
    expect(new Set(alone.slice(0, 3).map(({ text }) => text)).size).toBe(3)
    // One name for all; and two batches at once, each with its own.
    const [a, b] = await Promise.all([
      gemma.generateBatch(prompts.slice(0, 3), { ...asked, adapter: 'all' }),
      gemma.generateBatch(prompts.slice(1, 3), { ...asked, adapter: 'wide' }),
    ])
    expect(a[0]!.tokens).toEqual(alone[0]!.tokens)
    expect(b[1]!.tokens).toEqual(alone[2]!.tokens)
  })

  test('drafts with an adapter change no token', async () => {
    const gemma = await Gemma.load(modelPath(model), { dtype: 'int8', threads: 1, adapters: pathsOf(model) })
    onTestFinished(() => gemma.dispose())
    const prompt = [...idsOf(model), ...idsOf(model).slice(1, 20)]
    const asked = { ...GREEDY, maxTokens: 40, adapter: 'attention' }
    const plain = await said(gemma.generate(prompt, { ...asked, speculative: false }))
    const auto = await said(gemma.generate(prompt, asked))
    const drafted = await said(gemma.generate(prompt, { ...asked, speculative: true }))
    expect(drafted.tokens).toEqual(plain.tokens)
    expect(drafted.drafts.offered).toBeGreaterThan(0)
    // A bit might change: by itself it is not done.
    expect(auto).toMatchObject({ tokens: plain.tokens, drafts: { offered: 0 } })
  })
})

describe.skipIf(missing !== undefined)('on WebGPU', () => {
  test('adapters take turns, and share a batch, with the text of the CPU', async () => {
    const model = 'gemma3'
    const ids = idsOf(model).slice(0, 9)
    const names = ['all', undefined, 'wide', 'one']
    const load = async (device: 'cpu' | 'webgpu'): Promise<Gemma> => {
      const gemma = await Gemma.load(modelPath(model), {
        ...({ device, dtype: 'f32', threads: 1, sequences: 3, contextLength: 256 } as const),
        adapters: pathsOf(model),
      })
      onTestFinished(() => gemma.dispose())
      return gemma
    }
    const [gpu, cpu] = [await load('webgpu'), await load('cpu')]
    expect(gpu.description).toMatch(/^WebGPU on /)
    const talk = (gemma: Gemma): Promise<string[]> =>
      converse((messages, adapter) => said(gemma.chat(messages, { ...GREEDY, adapter })))
    expect(await talk(gpu)).toEqual(await talk(cpu))
    for (const adapter of names) {
      const off = largestDifference(await cpu.logits(ids, { adapter }), await gpu.logits(ids, { adapter }))
      expect(off).toBeLessThan(2e-4)
    }
    const batch = async (gemma: Gemma): Promise<(readonly number[])[]> => {
      const together = await gemma.generateBatch(Array(4).fill(ids), { ...GREEDY, adapter: names })
      return together.map(({ tokens }) => tokens)
    }
    const answers = await batch(gpu)
    expect(answers).toEqual(await batch(cpu))
    expect(new Set(answers.map(String)).size).toBe(4)
  })

  test('beside weights of 4 and 8 bits', async () => {
    for (const dtype of ['int8', 'int4'] as const) {
      const names = ['all', 'wide']
      const ids = idsOf('gemma2').slice(0, 24)
      const gpu = (await findAdapter(await openGpu()))!
      const device = { gpu, mayFallBack: false }
      const onGpu = await engineOf('gemma2', names, { dtype, contextLength: 64, device })
      const reference = await engineOf('gemma2', names, { dtype, contextLength: 64, backend: 'reference' })
      const bare = await logitsOf(reference, ids)
      for (const adapter of names) {
        const expected = await logitsOf(reference, ids, adapter)
        const moved = meanDivergence(expected, bare, 1024)
        const off = meanDivergence(expected, await logitsOf(onGpu, ids, adapter), 1024)
        expect(off / moved).toBeLessThan(0.1)
      }
    }
  })
})

describe('refused', () => {
  const refusal = async (work: () => Promise<unknown>): Promise<string> => {
    const error = (await work().then(
      () => new Error('nothing was refused'),
      (cause: unknown) => cause,
    )) as GemmaError
    return `${error.code}: ${error.message}`
  }
  const load = (adapters: unknown, model = 'gemma1-mqa'): Promise<unknown> =>
    Gemma.load(modelPath(model), { threads: 0, adapters: adapters as Record<string, string> }).then((gemma) =>
      gemma.dispose(),
    )

  test('adapters of other models, by name and with both shapes', async () => {
    for (const other of ['gemma1-mha', 'gemma2', 'gemma3']) {
      expect(await refusal(() => load({ a: pathOf(other, 'all') }))).toMatch(
        /^config: .*\/all adds .* to model\.layers\.\d+.* in the model\. The adapter was trained on another model/,
      )
    }
    expect(await refusal(() => load({ a: pathOf('gemma1-mqa', 'one'), b: join(root, 'nowhere') }))).toMatch(
      /^file: .*nowhere: no such file or directory/,
    )
    expect(await refusal(() => load({ a: modelPath('gemma1-mqa') }))).toMatch(/^file: .*is no adapter/)
    expect(await refusal(() => load({ a: '' }))).toMatch(/^usage: An adapter is ""/)
    expect(await refusal(() => load({ a: 7 }))).toMatch(/^usage: An adapter is 7/)
    expect(await refusal(() => load(['a']))).toMatch(/^usage: adapters is no object/)
  })

  test('names that were not loaded, in every call', async () => {
    const model = 'gemma1-mqa'
    const gemma = await Gemma.load(modelPath(model), {
      threads: 0,
      adapters: { mine: pathOf(model, 'one') },
    })
    onTestFinished(() => gemma.dispose())
    const message = /^usage: There is no adapter "yours": the model was loaded with "mine"/
    const adapter = 'yours'
    expect(await refusal(() => gemma.logits([2], { adapter }))).toMatch(message)
    expect(await refusal(() => gemma.score([2, 5], { adapter }))).toMatch(message)
    expect(await refusal(() => gemma.generate('a', { adapter }).next())).toMatch(message)
    expect(await refusal(() => gemma.chat([{ role: 'user', content: 'a' }], { adapter }).next())).toMatch(
      message,
    )
    expect(await refusal(() => gemma.generateBatch(['a', 'b'], { adapter }))).toMatch(message)
    expect(await refusal(() => gemma.generateBatch(['a', 'b'], { adapter: ['mine', adapter] }))).toMatch(
      message,
    )
    expect(await refusal(() => gemma.generateBatch(['a', 'b'], { adapter: ['mine'] }))).toMatch(
      /^usage: adapter lists 1 names for 2 prompts/,
    )
    await said(gemma.generate('a', { adapter: 'mine', maxTokens: 1 }))
  })
})
