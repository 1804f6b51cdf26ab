// The loop against a fake model: batches, their mean, clipping, rates, evaluation, checkpoints, and every way to stop.

import { describe, expect, test } from 'vitest'
import { countTargets, type TrainingRows } from '../data/training-rows.ts'
import { GemmaError } from '../error.ts'
import { parseConfig } from '../model/config.ts'
import { readFloats } from '../weights/encodings.ts'
import { collectBatch } from './batch.ts'
import { evaluateRows } from './held-out.ts'
import { initialWeights } from './initialize.ts'
import { type LoopOptions, type RunState, runLoop } from './loop.ts'
import type { EvaluationRecord, StepRecord } from './metrics.ts'
import { resolveRecipe } from './recipe-defaults.ts'
import { checkSchedule, learningRateAt, warmupSteps } from './schedule.ts'
import { derivedSeed } from './seeds.ts'
import { type FakeData, fakeData, fakeRows } from './testing/fake-data.ts'
import { FAKE_CONFIG, fakeModel, valuesOf } from './testing/fake-model.ts'
import type { TrainingModel, UpdateSettings } from './training-model.ts'

const recipeOf = (more: Readonly<Record<string, unknown>> = {}): LoopOptions['recipe'] =>
  resolveRecipe({
    stage: 'pretrain',
    output: 'run',
    model: { config: FAKE_CONFIG, tokenizer: 't.model' },
    data: { sources: [{ files: 'a.txt' }] },
    batch: { tokensPerBatch: 128, rowsPerRun: 64 },
    contextLength: 64,
    learningRate: 0.05,
    steps: 20,
    ...more,
  })

const START: RunState = { step: 0, tokens: 0, seconds: 0, loss: Number.NaN, position: null }

interface Trace {
  readonly steps: StepRecord[]
  readonly evaluations: EvaluationRecord[]
  readonly saves: { readonly state: RunState; readonly values: Map<string, Float32Array> }[]
  readonly notes: string[]
}

/** Runs the loop and writes down all that it tells. */
async function run(
  model: TrainingModel,
  data: Pick<FakeData, 'next' | 'position'>,
  more: Partial<LoopOptions> = {},
): Promise<Trace & { end: RunState | undefined; error: unknown }> {
  const trace: Trace = { steps: [], evaluations: [], saves: [], notes: [] }
  let clock = 0
  const ended = await runLoop({
    model,
    data,
    recipe: recipeOf(),
    steps: 20,
    from: START,
    onStep: (record) => trace.steps.push(record),
    onEvaluation: (record) => trace.evaluations.push(record),
    save: async (state) => void trace.saves.push({ state, values: await valuesOf(model) }),
    keepFailed: async (step) => `failed-${step}`,
    onNote: (text) => trace.notes.push(text),
    now: () => (clock += 500),
    ...more,
  }).then(
    (end) => ({ end, error: undefined }),
    (error: unknown) => ({ end: undefined, error }),
  )
  return { ...trace, ...ended }
}

describe('batches', () => {
  const rows = (tokens: number, targets = tokens - 1, documents = 1): TrainingRows => ({
    tokens: new Int32Array(tokens),
    positions: Int32Array.from({ length: tokens }, (_, i) => i),
    sequences: Int32Array.from({ length: tokens }, (_, i) => Math.floor((i * documents) / tokens)),
    targets: Int32Array.from({ length: tokens }, (_, i) => (i < targets ? 1 : -1)),
  })
  const from = (list: readonly TrainingRows[]): (() => Promise<TrainingRows | undefined>) => {
    const left = [...list]
    return async () => left.shift()
  }

  test('end where they are nearest to their size', async () => {
    const sizes = async (runs: readonly number[], tokensPerBatch: number): Promise<number | undefined> =>
      (await collectBatch(from(runs.map((size) => rows(size))), { tokensPerBatch }))?.runs.length
    expect(await sizes([100, 100, 100, 100], 200)).toBe(2)
    expect(await sizes([97, 97, 97, 97], 200)).toBe(2)
    expect(await sizes([60, 60, 60, 60], 200)).toBe(3)
    expect(await sizes([50, 50, 50, 50, 50], 200)).toBe(4)
    expect(await sizes([10, 500, 10], 200)).toBe(2)
    expect(await sizes([500, 10], 200)).toBe(1)
    expect(await sizes([50], 200)).toBe(1)
    expect(await sizes([], 200)).toBe(undefined)
  })

  test('count documents', async () => {
    const batch = await collectBatch(from([rows(30, 20, 3), rows(30, 10, 2), rows(30, 5, 3)]), {
      documents: 5,
    })
    expect(batch).toMatchObject({ tokens: 60, documents: 5, targets: 30 })
    const single = await collectBatch(from([1, 2, 3, 4].map(() => rows(9))), { documents: 3 })
    expect(single?.documents).toBe(3)
  })
})

describe('the schedule', () => {
  const cosine = { name: 'cosine', warmup: 0.1, finalFraction: 0.1 } as const

  test('rises to the peak and falls to its fraction', () => {
    const rate = (step: number): number => learningRateAt(step, 100, 2, cosine)
    expect(rate(1)).toBeCloseTo(0.2, 12)
    expect(rate(10)).toBe(2)
    expect(rate(55)).toBeCloseTo(2 * (0.1 + 0.9 * 0.5), 12)
    expect(rate(100)).toBeCloseTo(0.2, 12)
    expect(rate(120)).toBeCloseTo(0.2, 12)
    for (let step = 11; step <= 100; step++) expect(rate(step)).toBeLessThan(rate(step - 1))
    const linear = { ...cosine, name: 'linear', warmup: 0, finalFraction: 0 } as const
    expect([25, 50, 100].map((step) => learningRateAt(step, 100, 4, linear))).toEqual([3, 2, 0])
    const constant = { name: 'constant', warmup: 3, finalFraction: 1 } as const
    expect([1, 3, 50, 100].map((step) => learningRateAt(step, 100, 3, constant))).toEqual([1, 3, 3, 3])
  })

  test('no warm-up is longer than the run', () => {
    expect(warmupSteps({ ...cosine, warmup: 0.99 }, 2)).toBe(1)
    expect(learningRateAt(1, 1, 5, { ...cosine, warmup: 0.5 })).toBeCloseTo(0.5, 12)
    expect(() => checkSchedule({ ...cosine, warmup: 20 }, 20)).toThrow(
      'schedule.warmup is 20 steps, but the run has 20.',
    )
    checkSchedule({ ...cosine, warmup: 19 }, 20)
  })
})

describe('first weights', () => {
  test('normal matrices and zero norms, whoever asks in which pieces', async () => {
    const config = parseConfig({ ...FAKE_CONFIG, vocab_size: 4000, hidden_size: 10 })
    const weights = initialWeights(config, { seed: 3, range: 0.02 })
    const embedding = weights.get('model.embed_tokens.weight')!
    const values = await readFloats(embedding)
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length
    expect(Math.abs(mean)).toBeLessThan(4 * (0.02 / Math.sqrt(values.length)))
    expect(Math.sqrt(variance)).toBeCloseTo(0.02, 3)
    const within = (deviations: number): number =>
      values.filter((value) => Math.abs(value) < deviations * 0.02).length / values.length
    expect(within(1)).toBeCloseTo(0.6827, 2)
    expect(within(2)).toBeCloseTo(0.9545, 2)
    const part = new Uint8Array(3 * embedding.rowBytes)
    await embedding.readRows(17, part)
    expect(new Float32Array(part.buffer)).toEqual(values.slice(170, 200))
    expect((await readFloats(weights.get('model.norm.weight')!)).every((value) => value === 0)).toBe(true)
    const fanIn = initialWeights(config, { seed: 3, range: 'fan-in' })
    const [narrow, wide] = ['up', 'down'].map((kind) => `model.layers.0.mlp.${kind}_proj.weight`)
    for (const [name, columns] of [
      [narrow!, 10],
      [wide!, 16],
    ] as const) {
      const [scaled, plain] = [await readFloats(fanIn.get(name)!), await readFloats(weights.get(name)!)]
      const factor = 1 / Math.sqrt(columns) / 0.02
      scaled.forEach((value, i) => {
        expect(value / plain[i]!).toBeCloseTo(factor, 3)
      })
    }
    const [first, other] = [3, 4].map((seed) => initialWeights(config, { seed, range: 0.02 }))
    const name = 'model.layers.0.mlp.up_proj.weight'
    expect(await readFloats(first!.get(name)!)).not.toEqual(await readFloats(other!.get(name)!))
    expect(await readFloats(first!.get(name)!)).toEqual(await readFloats(weights.get(name)!))
  })
})

describe('a step', () => {
  test('divides gradients by the targets of the whole batch', async () => {
    const scales: number[] = []
    const targets: number[] = []
    const model = fakeModel()
    const spy: TrainingModel = {
      ...model,
      accumulate: async (rows, options) => {
        scales.push(options.scale)
        targets.push(countTargets(rows))
        return model.accumulate(rows, options)
      },
    }
    await run(spy, fakeData(), { steps: 1 })
    expect(scales.length).toBeGreaterThan(2)
    const all = targets.reduce((sum, count) => sum + count, 0)
    expect(scales).toEqual(scales.map(() => 1 / all))
  })

  test('loss, accuracy, tokens, rate and norm are those of the batch', async () => {
    const model = fakeModel()
    const updates: UpdateSettings[] = []
    const spy: TrainingModel = {
      ...model,
      update: async (settings) => {
        updates.push(settings)
        await model.update(settings)
      },
    }
    const recipe = recipeOf({ clip: 0.05, schedule: { warmup: 4, name: 'linear' } })
    const { steps, end } = await run(spy, fakeData(), { recipe })
    expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1))
    expect(steps[0]!.learningRate).toBeCloseTo(0.0125, 12)
    for (const [i, { learningRate, gradientNorm }] of steps.entries()) {
      expect(updates[i]!.step).toBe(i + 1)
      expect(updates[i]!.learningRate).toBe(learningRate)
      const scale = gradientNorm! > 0.05 ? 0.05 / gradientNorm! : 1
      expect(updates[i]!.gradientScale).toBe(scale)
    }
    expect(updates.some(({ gradientScale }) => gradientScale < 1)).toBe(true)
    // The first batch by hand: all weights are zero, so the error of each target is (token mod 7) / 7.
    const data = fakeData()
    const batch = (await collectBatch(() => data.next(0), recipe.batch))!
    const errors = batch.runs.flatMap(({ tokens, targets }) =>
      [...tokens].filter((_, i) => targets[i]! >= 0).map((token) => (token % 7) / 7),
    )
    const mean = errors.reduce((sum, error) => sum + error ** 2 / 2, 0) / errors.length
    expect(steps[0]!.loss).toBeCloseTo(mean, 12)
    expect(steps[0]!.meanTokenAccuracy).toBeCloseTo(
      errors.filter((error) => error < 0.1).length / errors.length,
      12,
    )
    expect(steps[0]!.tokens).toBe(batch.tokens)
    expect(end).toMatchObject({ step: 20, tokens: steps.at(-1)!.tokens, loss: steps.at(-1)!.loss })
  })

  test('data hear how far training is', async () => {
    const data = fakeData()
    await run(fakeModel(), data, { steps: 4 })
    expect([...new Set(data.heard)]).toEqual([0, 0.25, 0.5, 0.75])
  })

  test('each run of each step has a seed of its own', () => {
    const seeds = new Set<number>()
    for (let step = 0; step < 100; step++) {
      for (let i = 0; i < 100; i++) seeds.add(derivedSeed(7, 'dropout', step, i))
    }
    expect(seeds.size).toBeGreaterThan(9_995) // 32 bits: a chance of about 1 % that any two agree
    expect(derivedSeed(7, 'a')).not.toBe(derivedSeed(8, 'a'))
  })
})

describe('evaluation', () => {
  const heldOut = [fakeRows(91), fakeRows(92)]
  const recipe = recipeOf({ data: { ...recipeOf().data, heldOut: [{ files: 'h.txt' }], evaluateEvery: 8 } })

  test('before the first step, every so many and at the end; the best is kept', async () => {
    const model = fakeModel()
    const { evaluations, saves, end } = await run(model, fakeData(), {
      recipe,
      evaluate: async (signal) => {
        const { loss, targets, correct } = await evaluateRows(model, heldOut, signal)
        return [{ loss: loss / targets, accuracy: correct / targets, targets }]
      },
    })
    expect(evaluations.map(({ step }) => step)).toEqual([0, 8, 16, 20])
    expect(evaluations[0]!.targets).toBe(countTargets(heldOut[0]!) + countTargets(heldOut[1]!))
    const best = evaluations.slice(1).reduce((a, b) => (b.loss < a.loss ? b : a))
    expect(end!.best).toEqual({ step: best.step, loss: best.loss })
    expect(evaluations[3]!.loss).toBeLessThan(evaluations[0]!.loss)
    expect(end!.evaluation).toEqual({ step: 20, loss: evaluations[3]!.loss })
    expect(saves.map(({ state }) => state.step)).toContain(best.step)
    expect(saves.at(-1)!.state).toEqual(end)
  })

  test('what was looked at already is not looked at again', async () => {
    const evaluate = async (): Promise<{ loss: number }[]> => [{ loss: 1 }]
    const from = { ...START, step: 8, evaluation: { step: 8, loss: 1 }, best: { step: 8, loss: 1 } }
    const first = await run(fakeModel(), fakeData(), { recipe, evaluate, from })
    expect(first.evaluations.map(({ step }) => step)).toEqual([16, 20])
    const missed = await run(fakeModel(), fakeData(), { recipe, evaluate, from: { ...START, step: 8 } })
    expect(missed.evaluations.map(({ step }) => step)).toEqual([8, 16, 20])
  })
})

describe('checkpoints', () => {
  test('by steps, by minutes, and at the end', async () => {
    const bySteps = await run(fakeModel(), fakeData(), {
      recipe: recipeOf({ checkpoint: { everySteps: 7 } }),
    })
    expect(bySteps.saves.map(({ state }) => state.step)).toEqual([7, 14, 20])
    let clock = 0
    const byMinutes = await run(fakeModel(), fakeData(), {
      recipe: recipeOf({ checkpoint: { everyMinutes: 2 } }),
      now: () => (clock += 10_000), // several looks at the clock make a step
    })
    const steps = byMinutes.saves.map(({ state }) => state.step)
    expect(steps.length).toBeGreaterThan(2)
    expect(steps.length).toBeLessThan(15)
    expect(steps.at(-1)).toBe(20)
  })

  test('going on from any of them is the same, bit for bit', async () => {
    const recipe = recipeOf({ checkpoint: { everySteps: 1 } })
    const whole = await run(fakeModel(), fakeData(), { recipe })
    const wanted = whole.saves.at(-1)!
    for (const { state, values } of whole.saves.filter((_, i) => i % 4 === 1)) {
      const model = fakeModel()
      for (const { name } of model.trainable) await model.write(name, values.get(name)!)
      for (const { name } of model.optimizerState) await model.writeState(name, values.get(name)!)
      const { taken } = state.position as { taken: number }
      const rest = await run(model, fakeData(1, { from: taken }), { recipe, from: state })
      expect(rest.saves.at(-1)!.values).toEqual(wanted.values)
      const figures = (list: readonly StepRecord[]): unknown[] =>
        list.map(({ step, loss, gradientNorm, tokens }) => [step, loss, gradientNorm, tokens])
      expect(figures(rest.steps)).toEqual(figures(whole.steps.slice(state.step)))
    }
  })
})

describe('ends', () => {
  test('the data end first', async () => {
    const { end, notes, saves } = await run(fakeModel(), fakeData(1, { runs: 12 }))
    expect(end!.step).toBeGreaterThan(1)
    expect(end!.step).toBeLessThan(12)
    expect(notes).toEqual([
      `The data ended after step ${end!.step} of 20; what was learned until then is kept.`,
    ])
    expect(saves.at(-1)!.state.step).toBe(end!.step)
  })

  test('no data at all', async () => {
    const { error, saves } = await run(fakeModel(), fakeData(1, { runs: 0 }))
    expect(error).toMatchObject({ code: 'data', message: expect.stringMatching(/^The sources hold nothing/) })
    expect(saves).toEqual([])
  })

  test('a loss that is no number: the batch is kept, no checkpoint is written', async () => {
    const recipe = recipeOf({ checkpoint: { everySteps: 1 } })
    const failed: unknown[] = []
    const { error, saves, steps } = await run(fakeModel(undefined, { breakAt: 12 }), fakeData(), {
      recipe,
      keepFailed: async (step, { runs }, { runLosses }) => {
        failed.push([step, runs.length, runLosses])
        return `failed-step-${step}.json`
      },
    })
    const step = steps.length + 1
    expect(error).toMatchObject({ code: 'training' })
    expect((error as GemmaError).message).toMatch(
      `Step ${step}: the loss is no finite number. Nothing of this step was learned; its batch is in failed-step-${step}.json.`,
    )
    expect(failed).toHaveLength(1)
    expect((failed[0] as [number, number, number[]])[2].at(-1)).toBeNaN()
    expect(saves.at(-1)!.state.step).toBe(step - 1)
  })

  test('a gradient that is no number', async () => {
    const broken = { ...fakeModel(), gradientNorm: async () => Number.POSITIVE_INFINITY }
    const { error, saves } = await run(broken, fakeData())
    expect((error as GemmaError).message).toMatch(/^Step 1: the gradient is no finite number\./)
    expect(saves).toEqual([])
  })

  test('a batch with nothing to learn', async () => {
    const rows = { ...fakeRows(1), targets: new Int32Array(fakeRows(1).tokens.length).fill(-1) }
    const { error } = await run(fakeModel(), { next: async () => rows, position: () => null })
    expect(error).toMatchObject({ code: 'training' })
    expect((error as GemmaError).message).toMatch(/have nothing to learn/)
  })

  test('the caller stops it: a checkpoint of the last whole step, as if it had ended there', async () => {
    const whole = await run(fakeModel(), fakeData(), { recipe: recipeOf({ checkpoint: { everySteps: 1 } }) })
    for (const stopAt of [1, 2, 7, 23]) {
      const controller = new AbortController()
      const model = fakeModel()
      let runs = 0
      const stopped: TrainingModel = {
        ...model,
        accumulate: (rows, options) => {
          if (++runs === stopAt) controller.abort()
          return model.accumulate(rows, options)
        },
      }
      const { error, saves, steps } = await run(stopped, fakeData(), { signal: controller.signal })
      expect(error).toMatchObject({ code: 'aborted' })
      expect(saves.map(({ state }) => state.step)).toEqual(steps.length === 0 ? [] : [steps.length])
      if (saves.length > 0) expect(saves[0]!.values).toEqual(whole.saves[steps.length - 1]!.values)
      expect(await model.gradientNorm()).toBe(0)
    }
  })

  test('a checkpoint that cannot be written stops it with that error', async () => {
    const full = new GemmaError('file', 'The disk is full.')
    const { error } = await run(fakeModel(), fakeData(), {
      recipe: recipeOf({ checkpoint: { everySteps: 5 } }),
      save: () => Promise.reject(full),
    })
    expect(error).toBe(full)
  })
})
