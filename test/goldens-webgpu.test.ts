// The numbers of Google's own PyTorch code once more, on WebGPU: every generation, every precision.

import { describe, expect, test } from 'vitest'
import { missingWebGpu } from '../src/backends/webgpu/testing/webgpu.node.ts'
import type { Gemma as GemmaModel, LoadOptions } from '../src/index.ts'
import { Gemma } from '../src/index.ts'
import {
  expectedOf,
  largestDifference,
  MODELS,
  meanDivergence,
  modelPath,
  PROMPTS,
  readTensors,
} from './goldens.ts'

const missing = await missingWebGpu()

/** Of logits, in float32; as on the CPU (goldens.test.ts). */
const TOLERANCE = 1e-4
/** Of the mean KL divergence from the CPU's run with the same 16-bit weights, nat: sums are added in another order. */
const SAME_SUMS = 1e-6
/**
 * The same with 8- and 4-bit weights. An activation on the edge between two integers may be rounded either way and moves the
 * later ones, by up to 1e-6 in the model used here; without one it is 1e-14.
 */
const SAME_ROUNDING = 1e-5

function load(source: string, options: LoadOptions): Promise<GemmaModel> {
  return Gemma.load(source, { device: 'webgpu', ...options })
}

describe.skipIf(missing !== undefined)('on WebGPU', () => {
  test.each(MODELS)('%s: logits, log-probabilities and greedy text in float32', async (name) => {
    await using gemma = await load(modelPath(name), { dtype: 'f32' })
    expect(gemma.description).toMatch(/^WebGPU on /)
    const expected = expectedOf(name)
    const tensors = readTensors(`${modelPath(name)}/expected.safetensors`)
    for (const prompt of PROMPTS) {
      const { ids, prompt_logprobs: logprobs, greedy: continuation } = expected.prompts[prompt]!
      const off = largestDifference(tensors.get(`${prompt}.logits`)!.values, await gemma.logits(ids))
      console.log(`${name} ${prompt}: logits differ by ${off.toExponential(1)}`)
      expect(off).toBeLessThan(TOLERANCE)
      const score = await gemma.score(ids)
      expect(
        largestDifference(logprobs.slice(1) as number[], score.logprobs.slice(1) as number[]),
      ).toBeLessThan(TOLERANCE)
      const pieces = await Array.fromAsync(gemma.generate(ids, { maxTokens: 32, temperature: 0 }))
      expect(pieces.map((piece) => piece.token)).toEqual(continuation.ids)
      expect(
        largestDifference(
          continuation.logprobs,
          pieces.map((piece) => piece.logprob),
        ),
      ).toBeLessThan(TOLERANCE)
    }
  })

  test.each(MODELS)('%s: 16-bit weights and an f16 cache, the same greedy text', async (name) => {
    const { ids, greedy: continuation } = expectedOf(name).prompts.long!
    const options = { dtype: 'auto', cacheDtype: 'f16' } as const
    await using onGpu = await load(modelPath(name), options)
    await using onCpu = await Gemma.load(modelPath(name), { ...options, device: 'cpu', threads: 1 })
    const { vocabSize } = onGpu.config
    const divergence = meanDivergence(await onCpu.logits(ids), await onGpu.logits(ids), vocabSize)
    console.log(`${name}: KL(CPU ‖ GPU) = ${divergence.toExponential(1)} nat`)
    expect(divergence).toBeLessThan(SAME_SUMS)
    const pieces = await Array.fromAsync(
      onGpu.generate(ids, { maxTokens: 32, temperature: 0, stopTokens: [] }),
    )
    expect(pieces.map(({ token }) => token)).toEqual(continuation.ids)
  })

  test.each(['gguf/model-q8_0.gguf', 'gguf/model-q4_0.gguf'])(
    '%s as on the CPU: logits, and greedy text of a long context',
    async (file) => {
      const source = `${modelPath('gemma1-mqa')}/${file}`
      await using onGpu = await load(source, {})
      await using onCpu = await Gemma.load(source, { device: 'cpu', threads: 1 })
      const { ids } = expectedOf('gemma1-mqa').prompts.long!
      const divergence = meanDivergence(
        await onCpu.logits(ids),
        await onGpu.logits(ids),
        onGpu.config.vocabSize,
      )
      console.log(`${file}: KL(CPU ‖ GPU) = ${divergence.toExponential(1)} nat`)
      expect(divergence).toBeLessThan(SAME_ROUNDING)
      const options = { maxTokens: 32, temperature: 0, stopTokens: [], speculative: false } as const
      const [gpu, cpu] = [onGpu, onCpu].map((gemma) => Array.fromAsync(gemma.generate(ids, options)))
      expect((await gpu!).map(({ token }) => token)).toEqual((await cpu!).map(({ token }) => token))
    },
  )

  test.each(['int8', 'int8row', 'int4'] as const)('narrowed at load to %s as on the CPU', async (dtype) => {
    const { ids } = expectedOf('gemma1-mqa').prompts.long!
    await using onGpu = await load(modelPath('gemma1-mqa'), { dtype })
    await using onCpu = await Gemma.load(modelPath('gemma1-mqa'), { dtype, device: 'cpu', threads: 1 })
    const [cpu, gpu] = [await onCpu.logits(ids), await onGpu.logits(ids)]
    const divergence = meanDivergence(cpu, gpu, onGpu.config.vocabSize)
    console.log(`${dtype}: KL(CPU ‖ GPU) = ${divergence.toExponential(1)} nat`)
    expect(divergence).toBeLessThan(SAME_ROUNDING)
  })

  test('sampling with a seed draws what the CPU draws', async () => {
    const source = modelPath('gemma3')
    await using onGpu = await load(source, { dtype: 'f32', sequences: 3 })
    await using onCpu = await Gemma.load(source, { dtype: 'f32', device: 'cpu', threads: 1, sequences: 3 })
    const prompts = PROMPTS.map((prompt) => expectedOf('gemma3').prompts[prompt]!.ids)
    for (const options of [{ temperature: 1 }, { temperature: 0.7, topK: 40, topP: 0.9 }]) {
      const ask = { ...options, maxTokens: 16, seed: 7, stopTokens: [] }
      const [gpu, cpu] = await Promise.all([onGpu, onCpu].map((gemma) => gemma.generateBatch(prompts, ask)))
      expect(gpu!.map(({ tokens }) => tokens)).toEqual(cpu!.map(({ tokens }) => tokens))
    }
  })
})
