// Gradients, the optimiser's step and losses of Google's own PyTorch code, and what must not change them: threads,
// packing, accumulation, recomputation.

import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { missingWebGpu, sharedDevice } from '../src/backends/webgpu/testing/webgpu.node.ts'
import type { TrainingRows } from '../src/data/training-rows.ts'
import { Gemma } from '../src/index.ts'
import { parseConfig } from '../src/model/config.ts'
import { createTrainingModel } from '../src/train/create-training-model.ts'
import { runLoop } from '../src/train/loop.ts'
import { lossAndGradients } from '../src/train/loss-and-gradients.ts'
import { resolveRecipe } from '../src/train/recipe-defaults.ts'
import type { TrainingModel, TrainingModelOptions } from '../src/train/training-model.ts'
import { openCheckpoint } from '../src/weights/open.node.ts'
import { expectedOf, gradientsOf, MODELS, modelPath } from './goldens.ts'

const missing = await missingWebGpu()

/** Relative to the largest magnitude of a tensor's gradient. */
const TOLERANCE = 1e-4
const ROWS = 96

type Place = Pick<TrainingModelOptions, 'backend' | 'gpu'>

const onGpu = async (): Promise<Place> => ({ gpu: await sharedDevice() })

async function trainingModel(
  name: string,
  options: Partial<TrainingModelOptions> = {},
): Promise<TrainingModel> {
  const checkpoint = await openCheckpoint(modelPath(name))
  try {
    const config = parseConfig(checkpoint.config)
    const contextLength = config.maxPositionEmbeddings
    const weights = checkpoint.tensors
    return await createTrainingModel({ config, weights, rows: ROWS, contextLength, threads: 1, ...options })
  } finally {
    await checkpoint.close()
  }
}

/** Documents one after the other as the rows of one run. */
function rowsOf(...documents: readonly (readonly number[])[]): TrainingRows {
  const each = <T>(value: (tokens: readonly number[], i: number, document: number) => T): T[] =>
    documents.flatMap((tokens, document) => tokens.map((_, i) => value(tokens, i, document)))
  return {
    tokens: Int32Array.from(each((tokens, i) => tokens[i]!)),
    positions: Int32Array.from(each((_, i) => i)),
    sequences: Int32Array.from(each((_, __, document) => document)),
    targets: Int32Array.from(each((tokens, i) => tokens[i + 1] ?? -1)),
  }
}

async function gradientsIn(model: TrainingModel): Promise<Map<string, Float32Array>> {
  const gradients = new Map<string, Float32Array>()
  for (const { name } of model.trainable) gradients.set(name, await model.readGradient(name))
  return gradients
}

function expectGoldenGradients(name: string, gradients: ReadonlyMap<string, Float32Array>): void {
  const expected = gradientsOf(name)
  expect([...gradients.keys()].sort()).toEqual(Object.keys(expected).sort())
  for (const [tensor, { at, values, abs_max: largest, l2, shape }] of Object.entries(expected)) {
    const actual = gradients.get(tensor)!
    expect(actual.length, tensor).toBe(shape.reduce((a, b) => a * b))
    at.forEach((place, i) => {
      expect(Math.abs(actual[place]! - values[i]!) / largest, `${tensor}[${place}]`).toBeLessThan(TOLERANCE)
    })
    const norm = Math.sqrt(actual.reduce((sum, g) => sum + g * g, 0))
    expect(Math.abs(norm - l2) / l2, `norm of ${tensor}`).toBeLessThan(TOLERANCE)
  }
}

/** Largest difference of two sets of gradients, relative to each tensor's largest magnitude. */
function difference(a: ReadonlyMap<string, Float32Array>, b: ReadonlyMap<string, Float32Array>): number {
  let worst = 0
  for (const [name, values] of a) {
    const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-12)
    b.get(name)!.forEach((value, i) => {
      worst = Math.max(worst, Math.abs(value - values[i]!) / largest)
    })
  }
  return worst
}

describe.each(MODELS)('%s', (name) => {
  const { ids } = expectedOf(name).prompts.long!
  const { loss, masked } = expectedOf(name).train

  test.each([
    { backend: 'reference', threads: 0, checkpointing: false },
    { backend: 'wasm', threads: 0, checkpointing: false },
    { backend: 'wasm', threads: 2, checkpointing: true },
  ] as const)('loss and gradients: $backend, $threads threads', async (options) => {
    const model = await trainingModel(name, options)
    const result = await model.accumulate(rowsOf(ids), { scale: 1 / (ids.length - 1) })
    expect(Math.abs(result.loss / result.targets - loss)).toBeLessThan(1e-5)
    expectGoldenGradients(name, await gradientsIn(model))
    await model.dispose()
  })

  test('lossAndGradients of a loaded model, whatever it is held in', async () => {
    for (const dtype of ['f32', 'auto'] as const) {
      await using gemma = await Gemma.load(modelPath(name), { dtype, threads: 1 })
      const result = await lossAndGradients(gemma, ids)
      expect(Math.abs(result.loss - loss)).toBeLessThan(1e-5)
      expectGoldenGradients(name, result.gradients)
      const part = await lossAndGradients(gemma, ids, { keepTarget: masked.keep_target })
      expect(Math.abs(part.loss - masked.loss)).toBeLessThan(1e-5)
    }
  })

  test.skipIf(missing !== undefined)('loss and gradients: WebGPU', async () => {
    const model = await trainingModel(name, { ...(await onGpu()), checkpointing: true })
    const result = await model.accumulate(rowsOf(ids), { scale: 1 / (ids.length - 1) })
    expect(Math.abs(result.loss / result.targets - loss)).toBeLessThan(1e-5)
    const gradients = await gradientsIn(model)
    expectGoldenGradients(name, gradients)
    await model.dispose()
    await using gemma = await Gemma.load(modelPath(name), { device: 'webgpu' })
    const again = await lossAndGradients(gemma, ids)
    // Straight through is recomputed, bit for bit; and the model can still be asked.
    expect(again.loss).toBe(result.loss / result.targets)
    expect(again.gradients).toEqual(gradients)
    expect((await gemma.score(ids)).sum / (1 - ids.length)).toBeCloseTo(loss, 5)
  })

  test('1, 2 and 4 threads, with recomputation or without, give the same bits', async () => {
    const results: { loss: number; gradients: Map<string, Float32Array> }[] = []
    for (const threads of [0, 1, 2, 4]) {
      for (const checkpointing of [false, true]) {
        const model = await trainingModel(name, { threads, checkpointing })
        const result = await model.accumulate(rowsOf(ids), { scale: 1 })
        results.push({ loss: result.loss, gradients: await gradientsIn(model) })
        await model.dispose()
      }
    }
    for (const { loss: other, gradients } of results) {
      expect(other).toBe(results[0]!.loss)
      expect(gradients).toEqual(results[0]!.gradients)
    }
  })

  test('several documents in one run are the same as one after the other', async () => {
    const documents = [ids.slice(0, 30), ids.slice(10, 17), ids.slice(3, 35)]
    const together = await trainingModel(name)
    const packed = await together.accumulate(rowsOf(...documents), { scale: 0.01 })
    const apart = await trainingModel(name)
    let sum = 0
    for (const document of documents) sum += (await apart.accumulate(rowsOf(document), { scale: 0.01 })).loss
    expect(Math.abs(packed.loss - sum) / sum).toBeLessThan(1e-5)
    expect(difference(await gradientsIn(together), await gradientsIn(apart))).toBeLessThan(1e-5)
    await together.dispose()
    await apart.dispose()
  })
})

describe('gemma1-mqa', () => {
  const { ids } = expectedOf('gemma1-mqa').prompts.long!
  const { adamw } = expectedOf('gemma1-mqa').train
  const optimizer = {
    name: 'adamw',
    beta1: adamw!.beta1,
    beta2: adamw!.beta2,
    epsilon: adamw!.eps,
    weightDecay: adamw!.weight_decay,
    decays: () => true,
  } as const

  const places: readonly (readonly [string, () => Promise<Place>])[] = [
    ['reference', async () => ({ backend: 'reference' })],
    ['wasm', async () => ({ backend: 'wasm' })],
    ...(missing === undefined ? ([['WebGPU', onGpu]] as const) : []),
  ]

  test.each(places)('AdamW: weights after one step, losses of five, %s', async (_, place) => {
    const model = await trainingModel('gemma1-mqa', { ...(await place()), optimizer })
    const losses: number[] = []
    for (let step = 1; step <= 6; step++) {
      const { loss, targets } = await model.accumulate(rowsOf(ids), { scale: 1 / (ids.length - 1) })
      losses.push(loss / targets)
      await model.update({ step, learningRate: adamw!.lr, gradientScale: 1 })
      if (step > 1) continue
      const expected: Record<string, { at: number[]; values: number[] }> = JSON.parse(
        readFileSync(`${modelPath('gemma1-mqa')}/adamw_step1.json`, 'utf8'),
      )
      for (const [name, { at, values }] of Object.entries(expected)) {
        const weights = await model.read(name)
        const worst = at.reduce((most, place, i) => Math.max(most, Math.abs(weights[place]! - values[i]!)), 0)
        expect(worst, name).toBeLessThan(2e-6)
      }
      expect((await model.readGradient('model.norm.weight')).every((g) => g === 0)).toBe(true)
    }
    losses.forEach((loss, i) => {
      expect(Math.abs(loss - adamw!.losses[i]!), `after step ${i}`).toBeLessThan(1e-5)
    })
    await model.dispose()
  })

  test('a batch of eight runs of one document learns as one run of all eight does', async () => {
    // Lengths differ, so that a mean of the runs' means would be another loss.
    const documents = [3, 11, 5, 9, 2, 12, 7, 4].map((length, i) => ids.slice(i, i + length))
    const recipe = {
      ...resolveRecipe({
        stage: 'sft',
        output: 'nowhere',
        model: { from: 'nothing' },
        data: { sources: [{ files: 'none' }] },
        batch: { documents: 8 },
        steps: 5,
        learningRate: 1e-3,
        schedule: { warmup: 0 },
      }),
    }
    const learn = async (runs: readonly TrainingRows[]): Promise<readonly (number | undefined)[]> => {
      const model = await trainingModel('gemma1-mqa', { optimizer })
      const figures: (number | undefined)[] = []
      let given = 0
      await runLoop({
        ...{ model, recipe, steps: 5 },
        from: { step: 0, tokens: 0, seconds: 0, loss: Number.NaN, position: undefined },
        data: { next: async () => runs[given++ % runs.length], position: () => given },
        onStep: ({ loss, gradientNorm, tokens }) => void figures.push(loss, gradientNorm, tokens),
        onEvaluation: () => expect.unreachable(),
        keepFailed: () => expect.unreachable(),
        onNote: expect.unreachable,
        save: async () => {},
      })
      await model.dispose()
      return figures
    }
    const apart = await learn(documents.map((document) => rowsOf(document)))
    const together = await learn([rowsOf(...documents)])
    expect(apart).toHaveLength(15)
    apart.forEach((value, i) => {
      expect(Math.abs(value! - together[i]!) / together[i]!).toBeLessThan(1e-5)
    })
    expect(apart[12]).toBeLessThan(apart[0]! - 0.5)
  })

  test('the norm of the gradient is that of its parts', async () => {
    const model = await trainingModel('gemma1-mqa', { threads: 2 })
    await model.accumulate(rowsOf(ids), { scale: 1 })
    let squares = 0
    for (const gradient of (await gradientsIn(model)).values()) for (const g of gradient) squares += g * g
    expect(Math.abs((await model.gradientNorm()) / Math.sqrt(squares) - 1)).toBeLessThan(1e-6)
    await model.resetGradients()
    expect(await model.gradientNorm()).toBe(0)
    await model.dispose()
  })

  test('evaluation gives the loss of accumulation and changes nothing', async () => {
    const model = await trainingModel('gemma1-mqa', { optimizer })
    const rows = rowsOf(ids, ids.slice(5, 20))
    const accumulated = await model.accumulate(rows, { scale: 1 })
    const norm = await model.gradientNorm()
    expect(await model.evaluate(rows)).toEqual(accumulated)
    expect(await model.gradientNorm()).toBe(norm)
    await model.dispose()
  })
})

describe.skipIf(missing !== undefined)('on WebGPU as on the CPU', () => {
  const lora = { rank: 4, alpha: 8, dropout: 0.1, rsLora: false, targets: ['q_proj', 'down_proj'] }
  const weightDecay = 0.1
  const decays = (_: string, dimensions: number): boolean => dimensions > 1

  test.each([
    {
      what: 'all weights by Adafactor',
      model: 'gemma2',
      options: {
        optimizer: {
          ...({ name: 'adafactor', decayRate: 0.8, epsilon: 1e-30, clipThreshold: 1 } as const),
          ...{ weightDecay, decays },
        },
      },
    },
    {
      what: 'adapters by AdamW, over 4 bits, with dropout',
      model: 'gemma3',
      options: {
        ...({ lora, baseDtype: 'int4', seed: 3 } as const),
        optimizer: {
          ...({ name: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8 } as const),
          ...{ weightDecay, decays },
        },
      },
    },
  ])('$what: losses, norms and what was learned', async ({ model: name, options }) => {
    const { ids } = expectedOf(name).prompts.long!
    const batches = [rowsOf(ids.slice(0, 15), ids.slice(10, 17)), rowsOf(ids.slice(3, 25))]
    const results: { figures: number[]; learned: Map<string, Float32Array> }[] = []
    for (const place of [{}, await onGpu()]) {
      const model = await trainingModel(name, { ...options, ...place, rows: 32 })
      const figures: number[] = []
      for (let step = 1; step <= 3; step++) {
        for (const [i, rows] of batches.entries()) {
          figures.push((await model.accumulate(rows, { scale: 0.02, seed: 10 * step + i })).loss)
        }
        figures.push(await model.gradientNorm())
        await model.update({ step, learningRate: 0.01, gradientScale: 1 / figures.at(-1)! })
      }
      figures.push((await model.evaluate(batches[0]!)).loss)
      const learned = new Map<string, Float32Array>()
      for (const { name: tensor } of model.trainable) learned.set(tensor, await model.read(tensor))
      results.push({ figures, learned })
      await model.dispose()
    }
    const [cpu, gpu] = results
    // It learns, so that there is something to compare.
    expect(cpu!.figures.at(-1)! / cpu!.figures[0]!).toBeLessThan(0.9)
    for (const [i, figure] of cpu!.figures.entries()) {
      expect(Math.abs(gpu!.figures[i]! / figure - 1)).toBeLessThan(2e-4)
    }
    // AdamW divides by the size of gradients, be they nothing but rounding.
    expect(difference(cpu!.learned, gpu!.learned)).toBeLessThan(5e-3)
  })
})
