// The numbers of Google's own PyTorch code: every generation, container and precision against them.

import { copyFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { inputsOf, recordPlan } from '../src/generate/engine.ts'
import { loadModel } from '../src/generate/load-model.ts'
import { keep, type Tensor } from '../src/graph/tape.ts'
import type { Gemma as GemmaModel } from '../src/index.ts'
import { Gemma } from '../src/index.ts'
import { openCheckpoint } from '../src/weights/open.node.ts'
import {
  expectedOf,
  largestDifference,
  MODELS,
  meanDivergence,
  modelPath,
  PROMPTS,
  readTensors,
} from './goldens.ts'

const TOLERANCE = 1e-4

/** A directory with these weight files of a folder, and configuration and tokenizer beside them. */
async function assemble(folder: string, weights: readonly string[]): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'gemma-golden-'))
  onTestFinished(() => rm(directory, { recursive: true }))
  const source = modelPath('gemma1-mqa')
  for (const file of weights) await copyFile(join(source, folder, file), join(directory, file))
  for (const file of ['config.json', 'tokenizer.model'])
    await copyFile(join(source, file), join(directory, file))
  return directory
}

async function greedy(gemma: GemmaModel, ids: readonly number[], maxTokens = 32): Promise<number[]> {
  const tokens: number[] = []
  for await (const piece of gemma.generate(ids, { maxTokens, temperature: 0, stopTokens: [] }))
    tokens.push(piece.token)
  return tokens
}

async function expectFloatGoldens(source: string, name: string, threads = 2): Promise<void> {
  await using gemma = await Gemma.load(source, { dtype: 'f32', threads })
  const expected = expectedOf(name)
  const tensors = readTensors(`${modelPath(name)}/expected.safetensors`)
  for (const prompt of PROMPTS) {
    const { ids, text, prompt_logprobs: logprobs, greedy: continuation } = expected.prompts[prompt]!
    expect(gemma.tokenizer.encode(text, { bos: true })).toEqual(ids)
    expect(largestDifference(tensors.get(`${prompt}.logits`)!.values, await gemma.logits(ids))).toBeLessThan(
      TOLERANCE,
    )
    const score = await gemma.score(ids)
    expect(score.logprobs[0]).toBeNull()
    expect(
      largestDifference(logprobs.slice(1) as number[], score.logprobs.slice(1) as number[]),
    ).toBeLessThan(TOLERANCE)
    const pieces = await Array.fromAsync(gemma.generate(ids, { maxTokens: 32, temperature: 0 }))
    expect(pieces.map((piece) => piece.token)).toEqual(continuation.ids)
    expect(pieces.map((piece) => piece.text).join('')).toBe(continuation.text)
    expect(
      largestDifference(
        continuation.logprobs,
        pieces.map((piece) => piece.logprob),
      ),
    ).toBeLessThan(TOLERANCE)
  }
}

describe.each(MODELS)('%s', (name) => {
  test('logits, log-probabilities and greedy text in float32', () =>
    expectFloatGoldens(modelPath(name), name))

  test('hidden states after every layer, on both backends', async () => {
    const checkpoint = await openCheckpoint(modelPath(name))
    const tensors = readTensors(`${modelPath(name)}/expected.safetensors`)
    for (const backend of ['wasm', 'reference'] as const) {
      const engine = await loadModel(checkpoint, { dtype: 'f32', threads: 1, backend })
      const { ids } = expectedOf(name).prompts.long!
      const traced = new Map<string, Tensor>()
      const { tape } = recordPlan(engine.model, 'cache', 128, {
        trace: (place, tensor) => void traced.set(place, tensor),
      })
      for (const tensor of traced.values()) keep(tape, tensor)
      const plan = engine.backend.compile(tape)
      await engine.backend.run(
        plan,
        inputsOf(ids.map((token, position) => ({ token, position, sequence: 0 }))),
      )
      expect(traced.size).toBe(engine.model.config.numHiddenLayers + 2)
      for (const [place, tensor] of traced) {
        const wanted = tensors.get(`long.${place}`)!.values
        expect(largestDifference(wanted, engine.backend.read(plan, tensor, ids.length)), place).toBeLessThan(
          2e-4,
        )
      }
      await engine.backend.dispose()
    }
    await checkpoint.close()
  })

  test('the text does not depend on the number of threads', async () => {
    const { ids, greedy: continuation } = expectedOf(name).prompts.long!
    for (const dtype of ['f32', 'auto', 'int8', 'int4'] as const) {
      const texts: number[][] = []
      for (const threads of [0, 1, 2, 4]) {
        await using gemma = await Gemma.load(modelPath(name), { dtype, threads })
        texts.push(await greedy(gemma, ids))
      }
      expect(new Set(texts.map(String)).size, dtype).toBe(1)
      if (dtype === 'f32' || dtype === 'auto') expect(texts[0]).toEqual(continuation.ids)
    }
  })
})

describe('containers of gemma1-mqa in float32', () => {
  test.each([
    ['GGUF F32', 'gguf/model-f32.gguf'],
    ['GGUF F16', 'gguf/model-f16.gguf'],
  ])('%s', (_, file) => expectFloatGoldens(`${modelPath('gemma1-mqa')}/${file}`, 'gemma1-mqa'))

  test.each([
    [
      'sharded safetensors',
      'sharded',
      [
        'model.safetensors.index.json',
        'model-00001-of-00002.safetensors',
        'model-00002-of-00002.safetensors',
      ],
    ],
    ['a directory as kagglehub leaves it', 'official', ['model.ckpt']],
  ])('%s', async (_, folder, weights) => {
    const directory = await assemble(folder, weights)
    await expectFloatGoldens(directory, 'gemma1-mqa')
  })
})

describe('quantised files of gemma1-mqa', () => {
  const expected = expectedOf('gemma1-mqa')
  const tensors = readTensors(`${modelPath('gemma1-mqa')}/expected_quantised.safetensors`)
  const limits: Readonly<Record<string, number>> = { int8: 1e-3, q8_0: 1e-3, q4_0: 2e-3 }

  test.each(Object.entries(expected.quantised!))('%s', async (kind, { file, greedy_from_short: wanted }) => {
    const torch = file.endsWith('.ckpt')
    const source = torch
      ? await assemble('official', [file.split('/').pop()!])
      : `${modelPath('gemma1-mqa')}/${file}`
    await using exact = await Gemma.load(source, { dtype: 'f32', threads: 2 })
    await using stored = await Gemma.load(source, { dtype: 'auto', threads: 2 })
    const { vocabSize } = exact.config
    for (const prompt of PROMPTS) {
      const { ids } = expected.prompts[prompt]!
      const values = tensors.get(`${kind}.${prompt}.logits`)?.values
      if (!values) continue
      const exactLogits = await exact.logits(ids)
      expect(largestDifference(values, exactLogits.slice(-values.length)), prompt).toBeLessThan(TOLERANCE)
      const limit = limits[kind]
      if (limit === undefined) continue
      const divergence = meanDivergence(exactLogits, await stored.logits(ids), vocabSize)
      console.log(
        `${kind} ${prompt}: KL(float activations ‖ 8-bit activations) = ${divergence.toExponential(2)} nat`,
      )
      expect(divergence).toBeLessThan(limit)
    }
    expect(await greedy(exact, expected.prompts.short!.ids)).toEqual(wanted)
  })
})

describe('narrow caches', () => {
  test.each([
    ['f16', 1e-5],
    ['int8', 1e-3],
  ] as const)(
    'keys and values in %s change the distribution by less than %f nat',
    async (cacheDtype, limit) => {
      for (const name of MODELS) {
        await using exact = await Gemma.load(modelPath(name), { dtype: 'f32', threads: 1 })
        await using narrow = await Gemma.load(modelPath(name), { dtype: 'f32', threads: 1, cacheDtype })
        const { ids } = expectedOf(name).prompts.long!
        const divergence = meanDivergence(
          await exact.logits(ids),
          await narrow.logits(ids),
          exact.config.vocabSize,
        )
        console.log(`${name}, ${cacheDtype} cache: KL = ${divergence.toExponential(2)} nat`)
        expect(divergence).toBeLessThan(limit)
        expect(narrow.memory().caches).toBeLessThan(
          exact.memory().caches * (cacheDtype === 'f16' ? 0.51 : 0.3),
        )
      }
    },
  )
})
