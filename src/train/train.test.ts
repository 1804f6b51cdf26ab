// train() on files: what a run leaves, how it goes on after every kind of stop, and what it refuses. The model is a fake,
// the rest is real; kill.test.ts ends the process, train-real.test.ts has real models.

import { mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Template } from '@huggingface/jinja'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import type { GemmaError } from '../error.ts'
import { parseConfig } from '../model/config.ts'
import { createTokenizer } from '../tokenizer/index.ts'
import { readFloats } from '../weights/encodings.ts'
import { openCheckpoint } from '../weights/open.node.ts'
import { readSafetensors } from '../weights/safetensors.ts'
import { openFile } from '../weights/source.node.ts'
import { readBytes } from '../weights/source.ts'
import { CHAT_TEMPLATE } from './chat-template.ts'
import { completeTokenizer } from './finish.node.ts'
import { firstBatch, type TrainingParts } from './prepare.node.ts'
import type { Recipe } from './recipe.ts'
import { changedKeys } from './recipe-changes.ts'
import { resolveRecipe } from './recipe-defaults.ts'
import { diskNeeded, type MemoryPlan, planMemory } from './resources.ts'
import { FAKE_CONFIG } from './testing/fake-model.ts'
import { fakeParts, fakeRecipe } from './testing/fake-run.ts'
import { trainRecipe } from './train.node.ts'
import type { TrainEvent, TrainOptions, TrainResult } from './train-events.ts'
import type { TrainingModel } from './training-model.ts'

let scratch: string
let directory: string
let count = 0

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'gemma-train-'))
})
beforeEach(() => {
  directory = join(scratch, String(count++))
})
afterAll(() => rm(scratch, { recursive: true, force: true }))

interface Told {
  readonly events: TrainEvent[]
  readonly result: TrainResult | undefined
  readonly error: unknown
}

/** Trains and writes down what it tells. */
async function run(
  recipe: Recipe | string,
  options: TrainOptions = {},
  parts: TrainingParts = fakeParts(),
): Promise<Told> {
  const events: TrainEvent[] = []
  const onProgress = (event: TrainEvent): void => {
    events.push(event)
    options.onProgress?.(event)
  }
  return trainRecipe(recipe, { ...options, onProgress }, parts).then(
    (result) => ({ events, result, error: undefined }),
    (error: unknown) => ({ events, result: undefined, error }),
  )
}

/** Stops when a step has been taken. */
async function runUntil(recipe: Recipe, step: number): Promise<Told> {
  const controller = new AbortController()
  const onProgress = (event: TrainEvent): void => {
    if (event.kind === 'step' && event.record.step === step) controller.abort()
  }
  return run(recipe, { signal: controller.signal, onProgress })
}

const notes = ({ events }: Told): string[] =>
  events.flatMap((event) => (event.kind === 'note' ? [event.text] : []))
const startOf = ({ events }: Told): Extract<TrainEvent, { kind: 'start' }> =>
  events.find((event) => event.kind === 'start')!
const weightsIn = (output: string): Promise<Buffer> => readFile(join(output, 'model', 'model.safetensors'))

/** Steps of metrics.jsonl with what does not depend on the clock. */
async function curve(output: string): Promise<unknown[]> {
  const lines = (await readFile(join(output, 'metrics.jsonl'), 'utf8')).trimEnd().split('\n')
  return lines
    .map((line) => JSON.parse(line))
    .filter(({ event }) => event === undefined)
    .map(({ step, loss, eval_loss, grad_norm, num_tokens, learning_rate }) => [
      ...[step, loss, eval_loss, grad_norm, num_tokens, learning_rate],
    ])
}

describe('a run from beginning to end', () => {
  test('leaves weights, tokenizer, curves, recipe and checkpoints', async () => {
    const recipe = await fakeRecipe(directory)
    const made: TrainingModel[] = []
    const told = await run(recipe, {}, fakeParts({}, made))
    const { events, result } = told
    expect(result).toMatchObject({ output: recipe.output, steps: 30, adapter: undefined })
    expect(result!.model).toBe(join(recipe.output, 'model'))
    expect(result!.heldOutLoss).toBeLessThan(0.99 * lossAt(events, 0))
    expect(result!.bestHeldOutLoss).toBeLessThanOrEqual(result!.heldOutLoss!)
    const kinds = events.map(({ kind }) => kind).filter((kind, i, all) => kind !== all[i - 1])
    expect(kinds.slice(0, 4)).toEqual(['recipe', 'start', 'evaluation', 'step'])
    expect(startOf(told)).toMatchObject({ steps: 30, resumedAt: 0, plan: { checkpointing: false } })
    expect((await readdir(recipe.output)).sort()).toEqual([
      ...['checkpoints', 'finished.json', 'metrics.jsonl', 'model', 'recipe.resolved.yaml', 'tensorboard'],
    ])
    const resolved = parse(await readFile(join(recipe.output, 'recipe.resolved.yaml'), 'utf8'))
    expect(resolved).toEqual(resolveRecipe(recipe))
    const best = Math.min(...[10, 20, 30].map((step) => lossAt(events, step)))
    const bestStep = [10, 20, 30].find((step) => lossAt(events, step) === best)!
    const kept = [...new Set([bestStep, 25, 30])].sort((a, b) => a - b)
    expect((await readdir(join(recipe.output, 'checkpoints'))).sort()).toEqual(
      kept.map((step) => `step-0000${step}`),
    )
    await expectModel(join(recipe.output, 'model'), made[0]!)
  })

  function lossAt(events: readonly TrainEvent[], step: number): number {
    const event = events.find((one) => one.kind === 'evaluation' && one.record.step === step)
    return (event as Extract<TrainEvent, { kind: 'evaluation' }>).record.loss
  }

  async function expectModel(path: string, model: TrainingModel): Promise<void> {
    const checkpoint = await openCheckpoint(path)
    try {
      expect([...checkpoint.tensors.keys()].sort()).toEqual(model.trainable.map(({ name }) => name).sort())
      for (const { name } of model.trainable) {
        expect(await readFloats(checkpoint.tensors.get(name)!)).toEqual(await model.read(name))
      }
      const tokenizer = createTokenizer(checkpoint.tokenizer)
      const messages = [
        { role: 'user', content: ' Hi ' },
        { role: 'assistant', content: 'Ho' },
        { role: 'user', content: '?' },
      ]
      expect(checkpoint.tokenizer.tokenizerConfigJson).toContain('chat_template')
      expect(tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true })).toBe(
        '<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHo<end_of_turn>\n' +
          '<start_of_turn>user\n?<end_of_turn>\n<start_of_turn>model\n',
      )
    } finally {
      await checkpoint.close()
    }
  }

  test('is not trained again, but begun anew when asked', async () => {
    const recipe = await fakeRecipe(directory, { steps: 10 })
    const first = await run(recipe)
    const again = await run(recipe)
    expect(again.result).toEqual(JSON.parse(JSON.stringify(first.result)))
    expect(notes(again)).toEqual([`The run in ${recipe.output} is finished; --restart begins it anew.`])
    expect(again.events.some(({ kind }) => kind === 'step')).toBe(false)
    const other = { ...recipe, learningRate: 0.01 }
    const restarted = await run(other, { restart: true })
    expect(startOf(restarted).resumedAt).toBe(0)
    expect(restarted.result!.loss).not.toBe(first.result!.loss)
    expect((await curve(recipe.output)).length).toBe(12)
  })

  test('in bf16, and when the finished files are gone', async () => {
    const recipe = await fakeRecipe(directory, { steps: 10 })
    await run(recipe)
    await rm(join(recipe.output, 'model'), { recursive: true })
    const made: TrainingModel[] = []
    const told = await run({ ...recipe, saveDtype: 'bf16' }, {}, fakeParts({}, made))
    expect(told.events.some(({ kind }) => kind === 'step')).toBe(false)
    const checkpoint = await openCheckpoint(join(recipe.output, 'model'))
    const tensor = checkpoint.tensors.get('model.embed_tokens.weight')!
    expect(tensor.encoding).toBe('BF16')
    const [values, learned] = [await readFloats(tensor), await made[0]!.read(tensor.name)]
    values.forEach((value, i) => {
      expect(Math.abs(value - learned[i]!)).toBeLessThanOrEqual(2 ** -8 * Math.abs(learned[i]!))
    })
    await checkpoint.close()
  })

  test('epochs are counted, and all of them are read', async () => {
    const recipe = await fakeRecipe(directory, { steps: undefined, epochs: 2 })
    const { events, result } = await run(recipe)
    const records = events.flatMap((event) => (event.kind === 'step' ? [event.record] : []))
    expect(records.length).toBe(startOf({ events } as Told).steps)
    expect(records.at(-1)!.epoch).toBe(2)
    const { source, batch } = await firstBatch(recipe)
    const lines = (await readFile(join(directory, 'train.jsonl'), 'utf8')).trimEnd().split('\n')
    const tokens = lines.reduce(
      (sum, line) => sum + source.tokenizer.encode(JSON.parse(line).text).length + 2,
      0,
    )
    await source.close()
    expect(batch!.tokens).toBeGreaterThan(200)
    expect(result!.tokens).toBe(2 * tokens)
    const stopped = { ...recipe, output: join(directory, 'stopped') }
    await runUntil(stopped, 7)
    expect(startOf(await run(stopped)).steps).toBe(records.length)
    expect(await weightsIn(stopped.output)).toEqual(await weightsIn(recipe.output))
  })

  test('the best weights instead of the last', async () => {
    const recipe = await fakeRecipe(directory, { saveWeights: 'best', steps: 40 })
    const losses = [1, 4, 2, 3, 2.5] // at steps 0, 10, 20, 30 and 40; what was there before training is not its best
    const parts = fakeParts()
    const { events, result } = await run(
      recipe,
      {},
      {
        ...parts,
        async createModel(options) {
          const model = await parts.createModel(options)
          let step = 0
          return {
            ...model,
            update: async (settings) => {
              step = settings.step
              await model.update(settings)
            },
            evaluate: async () => ({ loss: 7 * losses[step / 10]!, targets: 7, correct: 0 }),
          }
        },
      },
    )
    expect(result).toMatchObject({ steps: 40, heldOutLoss: 2.5, bestHeldOutLoss: 2 })
    expect(notes({ events } as Told)).toContain(
      'The weights of step 20 are saved, the best on what is held out.',
    )
    const checkpoint = join(recipe.output, 'checkpoints', 'step-000020', 'weights.safetensors')
    const [kept, saved] = [
      await tensorsIn(checkpoint),
      await tensorsIn(join(result!.model!, 'model.safetensors')),
    ]
    expect([...saved.keys()].sort()).toEqual([...kept.keys()].sort())
    for (const [name, bytes] of kept) expect(saved.get(name)).toEqual(bytes)
  })

  async function tensorsIn(path: string): Promise<Map<string, Uint8Array>> {
    const source = await openFile(path)
    const tensors = new Map<string, Uint8Array>()
    for (const { name, offset, bytes } of (await readSafetensors(source)).entries.values()) {
      tensors.set(name, await readBytes(source, offset, bytes))
    }
    await source.close()
    return tensors
  }
})

describe('going on', () => {
  test.each([1, 4, 13, 29])('after a stop at step %i is as if nothing had happened', async (step) => {
    const whole = await fakeRecipe(directory)
    await run(whole)
    const recipe = { ...whole, output: join(directory, 'stopped') }
    const stopped = await runUntil(recipe, step)
    expect(stopped.error).toMatchObject({ code: 'aborted' })
    const rest = await run(recipe)
    expect(startOf(rest).resumedAt).toBe(step)
    expect(await weightsIn(recipe.output)).toEqual(await weightsIn(whole.output))
    expect(await curve(recipe.output)).toEqual(await curve(whole.output))
    const { seconds: _, output: __, model: ___, ...figures } = rest.result!
    const marker = JSON.parse(await readFile(join(whole.output, 'finished.json'), 'utf8'))
    expect(marker.result).toMatchObject(JSON.parse(JSON.stringify(figures)))
  })

  test('after a stop before the first step', async () => {
    const whole = await fakeRecipe(directory)
    await run(whole)
    const recipe = { ...whole, output: join(directory, 'stopped') }
    const controller = new AbortController()
    const onProgress = ({ kind }: TrainEvent): void => {
      if (kind === 'evaluation') controller.abort()
    }
    const stopped = await run(recipe, { signal: controller.signal, onProgress })
    expect(stopped.error).toMatchObject({ code: 'aborted' })
    await run(recipe)
    expect(await weightsIn(recipe.output)).toEqual(await weightsIn(whole.output))
    expect(await curve(recipe.output)).toEqual(await curve(whole.output))
  })

  test('a damaged checkpoint costs the steps since the one before', async () => {
    const whole = await fakeRecipe(directory)
    await run(whole)
    const recipe = { ...whole, output: join(directory, 'damaged') }
    await runUntil(recipe, 17)
    const file = await open(join(recipe.output, 'checkpoints', 'step-000017', 'weights.safetensors'), 'r+')
    await file.truncate(500)
    await file.close()
    const rest = await run(recipe)
    expect(startOf(rest).resumedAt).toBe(15)
    expect(notes(rest)[0]).toMatch(/^The checkpoint of step 17 is damaged/)
    expect(await weightsIn(recipe.output)).toEqual(await weightsIn(whole.output))
    expect(await curve(recipe.output)).toEqual(await curve(whole.output))
  })

  test('with more steps, other threads and other habits, but with nothing that shapes the numbers', async () => {
    const recipe = await fakeRecipe(directory, { steps: 10 })
    await run(recipe)
    const more = { ...recipe, steps: 20, threads: 2, checkpoint: { everySteps: 3, keep: 1 } }
    const longer = await run(more)
    expect(startOf(longer)).toMatchObject({ resumedAt: 10, steps: 20 })
    expect(notes(longer)[0]).toMatch(/^Going on with other values of .*steps/)
    expect(longer.result!.steps).toBe(20)
    const shorter = await run({ ...recipe, steps: 15 })
    expect(shorter.error).toMatchObject({ code: 'training' })
    expect((shorter.error as GemmaError).message).toMatch(
      /has taken 20 steps, but the recipe now asks for 15/,
    )
    for (const [change, told] of [
      [{ learningRate: 1 }, 'learningRate was 0.05 and is 1'],
      [{ seed: 4 }, 'seed was 0 and is 4'],
      [{ optimizer: { beta2: 0.9 } }, 'optimizer.beta2 was 0.95 and is 0.9'],
      [{ batch: { tokensPerBatch: 256, rowsPerRun: 64 } }, 'batch.rowsPerRun was 128 and is 64'],
      [{ optimizer: { name: 'adafactor' } }, 'optimizer.name was "adamw" and is "adafactor"'],
    ] as const) {
      const { error } = await run({ ...more, ...change } as Recipe)
      expect(error).toMatchObject({ code: 'training' })
      expect((error as GemmaError).message).toContain(told)
    }
  })

  test('not with other documents', async () => {
    const recipe = await fakeRecipe(directory)
    await runUntil(recipe, 8)
    const file = join(directory, 'train.jsonl')
    await writeFile(file, `{"text":"new"}\n${await readFile(file, 'utf8')}`)
    const { error } = await run(recipe)
    expect(error).toMatchObject({ code: 'data' })
    expect((error as GemmaError).message).toContain('train.jsonl')
  })

  test('keys that differ', () => {
    const before = { a: 1, b: { c: [1, { d: 2 }], e: 'x' } }
    expect(changedKeys(before, structuredClone(before))).toEqual([])
    expect(changedKeys(before, { a: 1, b: { c: [1, { d: 3 }] }, f: 0 })).toEqual(['b.c.1.d', 'b.e', 'f'])
  })
})

describe('what breaks', () => {
  test('a loss that is no number leaves the batch and the checkpoint before', async () => {
    const recipe = await fakeRecipe(directory)
    const { error, events } = await run(recipe, {}, fakeParts({ breakAt: 25 }))
    const last = events.filter(({ kind }) => kind === 'step').length
    expect(error).toMatchObject({ code: 'training' })
    const path = join(recipe.output, `failed-step-${last + 1}.json`)
    expect((error as GemmaError).message).toContain(path)
    const failed = JSON.parse(await readFile(path, 'utf8'))
    const broken = failed.runs.filter(({ loss }: { loss: unknown }) => loss === 'NaN')
    expect(broken).toHaveLength(1)
    expect(broken[0].text).toMatch(/fox|barn|the/)
    expect(broken[0].tokens.length).toBe(broken[0].targets.length)
    const names = await readdir(join(recipe.output, 'checkpoints'))
    expect(names.at(-1)).toBe(`step-0000${String(5 * Math.floor(last / 5)).padStart(2, '0')}`)
    const lines = (await readFile(join(recipe.output, 'metrics.jsonl'), 'utf8')).trimEnd().split('\n')
    expect(JSON.parse(lines.at(-1)!)).toMatchObject({ event: 'end', reason: 'failed', step: last })
    // Numbers that were bad by chance (memory, say) may be good the next time.
    expect((await run(recipe)).result!.steps).toBe(30)
  })

  test('weights that are no numbers are not taken for a checkpoint', async () => {
    const recipe = await fakeRecipe(directory, { checkpoint: { everySteps: 1 }, steps: 6 })
    const made: TrainingModel[] = []
    const { createModel, ...parts } = fakeParts({}, made)
    const breaking: TrainingParts = {
      ...parts,
      async createModel(options) {
        const model = await createModel(options)
        const update: TrainingModel['update'] = async (settings) => {
          await model.update(settings)
          const { name, shape } = model.trainable[1]!
          const values = new Float32Array(shape.reduce((a, b) => a * b)).fill(Number.POSITIVE_INFINITY)
          if (settings.step === 4) await model.write(name, values)
        }
        return { ...model, update }
      },
    }
    const { error } = await run(recipe, {}, breaking)
    expect(error).toMatchObject({
      code: 'training',
      message: expect.stringMatching(/^Step 4: model\..* is no longer made of finite numbers/),
    })
    const names = await readdir(join(recipe.output, 'checkpoints'))
    expect(names.sort()).toEqual(['step-000002', 'step-000003'])
  })

  test('records that cannot be used are each named, once, and told even where it shall be quiet', async () => {
    const recipe = await fakeRecipe(directory, { steps: 8 })
    const path = join(directory, 'broken.jsonl')
    const lines = ['{"text":"The fox sees a red barn."}', '', '{"text":', `{"text":"${'barn '.repeat(90)}"}`]
    await writeFile(path, lines.join('\n'))
    const [train, heldOut] = [recipe.data.sources[0]!.files as string, path]
    const data = { ...recipe.data, tooLong: 'drop' as const, evaluateEvery: 100 }
    const broken = {
      ...recipe,
      data: { ...data, sources: [{ name: 'a', files: [path, train] }], heldOut: [{ files: heldOut }] },
    }
    const named = async (): Promise<string[]> =>
      (await readFile(join(recipe.output, 'left-out.jsonl'), 'utf8'))
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line))
        .filter(({ place }) => place.startsWith(path))
        .map(({ source, place, reason }) => `${source} ${place.slice(path.length)} ${reason}`)
        .sort()
    const all = ['a', 'held-out source-1'].flatMap((source) => [
      `${source} :2 empty`,
      `${source} :3 not JSON`,
      `${source} :4 longer than the context`,
    ])
    const controller = new AbortController()
    const stopped = await run(broken, {
      signal: controller.signal,
      onProgress: (event) => event.kind === 'step' && event.record.step === 6 && controller.abort(),
    })
    expect(stopped.error).toMatchObject({ code: 'aborted' })
    const warnings = stopped.events.filter((event) => event.kind === 'note' && event.warning)
    expect(warnings).toMatchObject([
      {
        text: expect.stringMatching(/^Held-out documents: 3 records left out: 1 empty, 1 not JSON, 1 longer/),
      },
      { text: expect.stringMatching(/^So far: .*left out.*Each is named in .*left-out\.jsonl\.$/) },
    ])
    expect(await named()).toEqual(all)
    expect((await run(broken)).error).toBe(undefined)
    expect(await named()).toEqual(all)
  })

  test('two at a time in one directory', async () => {
    const recipe = await fakeRecipe(directory)
    const [first, second] = await Promise.all([run(recipe, {}, fakeParts({ delay: 1 })), run(recipe)])
    const errors = [first!.error, second!.error].filter((error) => error !== undefined)
    expect(errors).toHaveLength(1)
    expect(errors[0]).toMatchObject({
      code: 'training',
      message: expect.stringMatching(/trains in .* already/),
    })
  })

  test('memory: refused with what would fit', async () => {
    const recipe = await fakeRecipe(directory, { batch: { tokensPerBatch: 4096, rowsPerRun: 2048 } })
    const parts = { ...fakeParts(), memoryBudget: () => 262e6 }
    const { error } = await run({ ...recipe, checkpointing: false }, {}, parts)
    expect(error).toMatchObject({ code: 'memory' })
    expect((error as GemmaError).message).toBe(
      'Training needs 458 MB, but 262 MB are free. It fits with batch.rowsPerRun: 512; batch.rowsPerRun: 256; ' +
        'batch.rowsPerRun: 128; batch.rowsPerRun: 64.',
    )
    const tight = { ...fakeParts(), memoryBudget: () => 280e6 }
    expect(startOf(await run(recipe, {}, tight)).plan.checkpointing).toBe(true)
    const none = { ...fakeParts(), memoryBudget: () => 1e6 }
    expect(((await run(recipe, { restart: true }, none)).error as GemmaError).message).toMatch(
      /Nothing that a recipe could say makes it fit/,
    )
  })

  test('a GPU that gives no device: the CPU serves, unless the GPU was insisted on', async () => {
    const recipe = await fakeRecipe(directory)
    const limits = { maxStorageBufferBindingSize: 1 << 27, maxBufferSize: 1 << 28 }
    const info = { vendor: '', architecture: '', device: '', description: 'Voodoo', isFallbackAdapter: false }
    const adapter = { info, limits, requestDevice: () => Promise.reject(new Error('it is asleep')) }
    const gpu = { requestAdapter: async () => adapter } as unknown as GPU
    const parts = { ...fakeParts(), openGpu: async () => gpu }
    const insisted = await run({ ...recipe, device: 'webgpu' }, {}, parts)
    expect(startOf(insisted).plan.device).toEqual({ kind: 'webgpu', name: 'Voodoo' })
    expect(insisted.error).toMatchObject({ code: 'device' })
    const told = await run(recipe, {}, parts)
    const devices = told.events.flatMap((event) => (event.kind === 'start' ? [event.plan.device] : []))
    expect(devices).toEqual([
      { kind: 'webgpu', name: 'Voodoo' },
      { kind: 'cpu', remark: 'Voodoo: The GPU Voodoo gave no device: it is asleep' },
    ])
    expect(told.result).toMatchObject({ steps: 30 })
    // It was not even looked for.
    const asked = await run({ ...recipe, device: 'cpu' }, { restart: true }, parts)
    expect(startOf(asked).plan.device).toEqual({ kind: 'cpu' })
  })

  test("a GPU's memory is not known: it refuses nothing, but values are computed again where they are many", async () => {
    const recipe = await fakeRecipe(directory, { batch: { tokensPerBatch: 4096, rowsPerRun: 2048 } })
    const gpu = { largestBinding: 1 << 27, software: false }
    const config = parseConfig(FAKE_CONFIG)
    const planned = (software: boolean, budget: number): MemoryPlan =>
      planMemory(
        resolveRecipe(recipe),
        { config, encoding: 'F32' },
        { estimate: fakeParts().estimateMemory, budget, threads: 1, gpu: { ...gpu, software } },
      )
    expect(planned(false, 1e9).checkpointing).toBe(false)
    expect(planned(false, 1e6).checkpointing).toBe(true)
    expect(() => planned(true, 1e6)).toThrow('are free')
  })

  test('disk: what a run will write', () => {
    const recipe = resolveRecipe({
      stage: 'pretrain',
      output: 'run',
      model: { shape: 'nano', tokenizer: 't' },
      data: { sources: [{ files: 'a' }], heldOut: [{ files: 'b' }] },
      steps: 1,
      checkpoint: { keep: 3 },
      saveDtype: 'bf16',
    })
    expect(diskNeeded(recipe, 1000, 50)).toEqual({ checkpoints: 5000, final: 100, total: 5100 })
  })

  test.each([
    ['a tokenizer that is not there', { model: { shape: 'nano', tokenizer: '/nowhere/t.model' } }, 'file'],
    ['a shape too small for the tokenizer', { model: { config: { vocab_size: 512 } } }, 'recipe'],
    ['a context past the positions', { contextLength: 128 }, 'recipe'],
    ['no such documents', { data: { sources: [{ files: '/nowhere/*.jsonl' }] } }, 'file'],
    ['a warm-up longer than the run', { schedule: { warmup: 30 } }, 'recipe'],
    ['no model of that name', { model: { from: './nowhere' } }, 'file'],
  ])('%s', async (_, change, code) => {
    const recipe = await fakeRecipe(directory)
    const model = 'model' in change ? { ...recipe.model, ...change.model } : recipe.model
    const changed = { ...recipe, ...change, model } as Recipe & {
      model: { config?: unknown; shape?: unknown }
    }
    if ('model' in change && !('config' in change.model)) delete changed.model.config
    if ('model' in change && 'from' in change.model)
      delete (changed.model as { tokenizer?: unknown }).tokenizer
    if ('model' in change && 'config' in change.model) {
      changed.model.config = { ...(recipe.model.config as object), vocab_size: 512 }
    }
    expect((await run(changed)).error).toMatchObject({ code })
  })

  test('the first weights do not depend on when they are asked for', async () => {
    const recipe = await fakeRecipe(directory, { steps: 1 })
    await run(recipe)
    const other = { ...recipe, output: join(directory, 'other') }
    await run(other)
    expect(await weightsIn(other.output)).toEqual(await weightsIn(recipe.output))
    const seeded = { ...recipe, output: join(directory, 'seeded'), seed: 5 }
    await run(seeded)
    expect(await weightsIn(seeded.output)).not.toEqual(await weightsIn(recipe.output))
  })
})

describe('tokenizer files', () => {
  test('the template renders what the built-in one does, and refuses what it refuses', async () => {
    const { source } = await firstBatch(await fakeRecipe(directory))
    await source.close()
    const { tokenizer } = source
    const template = new Template(CHAT_TEMPLATE)
    const render = (messages: { role: string; content: string }[], add_generation_prompt: boolean): string =>
      template.render({
        ...{ messages, add_generation_prompt, bos_token: '<bos>' },
      })
    const turns = ['One', '  two\n', '', 'fo<ur>'].map((content, i) => ({
      role: i % 2 === 0 ? 'user' : 'assistant',
      content,
    }))
    for (let length = 1; length <= 4; length++) {
      for (const addGenerationPrompt of [false, true]) {
        const messages = turns.slice(0, length)
        expect(render(messages, addGenerationPrompt)).toBe(
          tokenizer.applyChatTemplate(messages, { addGenerationPrompt }),
        )
      }
    }
    expect(() => render([{ role: 'system', content: 'x' }], false)).toThrow('System role not supported')
    expect(() => render([turns[0]!, turns[0]!], false)).toThrow('Conversation roles must alternate')
  })

  test('what is there stays, what is missing is made', async () => {
    const { source } = await firstBatch(await fakeRecipe(directory))
    await source.close()
    const { tokenizer, tokenizerFiles } = source
    const all = completeTokenizer(tokenizer, tokenizerFiles)
    expect(all.sentencePiece).toBe(tokenizerFiles.sentencePiece)
    const fromJson = createTokenizer({ tokenizerJson: all.tokenizerJson })
    expect(fromJson.encode('The fox runs home. 12')).toEqual(tokenizer.encode('The fox runs home. 12'))
    expect(JSON.parse(all.tokenizerConfigJson!)).toMatchObject({
      bos_token: '<bos>',
      chat_template: CHAT_TEMPLATE,
    })
    const own = completeTokenizer(tokenizer, { ...tokenizerFiles, tokenizerConfigJson: '{"x":1}' })
    expect(JSON.parse(own.tokenizerConfigJson!)).toEqual({ x: 1, chat_template: CHAT_TEMPLATE })
    const theirs = '{"chat_template":"mine"}'
    expect(
      JSON.parse(
        completeTokenizer(tokenizer, { ...tokenizerFiles, tokenizerConfigJson: theirs }).tokenizerConfigJson!,
      ),
    ).toEqual({ chat_template: 'mine' })
    const broken = completeTokenizer(tokenizer, { ...tokenizerFiles, tokenizerConfigJson: '{' })
    expect(broken.tokenizerConfigJson).toBe('{')
  })
})
