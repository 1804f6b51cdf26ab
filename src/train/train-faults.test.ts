// train() where something is wrong: numbers, records, memory, the GPU, the recipe. The model is a fake, the rest is real.

import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { GemmaError } from '../error.ts'
import { parseConfig } from '../model/config.ts'
import type { TrainingParts } from './prepare.node.ts'
import type { Recipe } from './recipe.ts'
import { resolveRecipe } from './recipe-defaults.ts'
import { diskNeeded, type MemoryPlan, planMemory } from './resources.ts'
import { FAKE_CONFIG } from './testing/fake-model.ts'
import { fakeParts, fakeRecipe } from './testing/fake-run.ts'
import { run, startOf, useDirectory, weightsIn } from './testing/told-run.ts'
import type { TrainingModel } from './training-model.ts'

const directory = useDirectory()

describe('what breaks', () => {
  test('a loss that is no number leaves the batch and the checkpoint before', async () => {
    const recipe = await fakeRecipe(directory())
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
    const recipe = await fakeRecipe(directory(), { checkpoint: { everySteps: 1 }, steps: 6 })
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
    const recipe = await fakeRecipe(directory(), { steps: 8 })
    const path = join(directory(), 'broken.jsonl')
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
    const recipe = await fakeRecipe(directory())
    const [first, second] = await Promise.all([run(recipe, {}, fakeParts({ delay: 1 })), run(recipe)])
    const errors = [first!.error, second!.error].filter((error) => error !== undefined)
    expect(errors).toHaveLength(1)
    expect(errors[0]).toMatchObject({
      code: 'training',
      message: expect.stringMatching(/trains in .* already/),
    })
  })

  test('memory: refused with what would fit', async () => {
    const recipe = await fakeRecipe(directory(), { batch: { tokensPerBatch: 4096, rowsPerRun: 2048 } })
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
    const recipe = await fakeRecipe(directory())
    const limits = { maxStorageBufferBindingSize: 1 << 27, maxBufferSize: 1 << 28 }
    const info = { vendor: '', architecture: '', device: '', description: 'Voodoo', isFallbackAdapter: false }
    const requestDevice = () => Promise.reject(new Error('it is asleep'))
    const adapter = { info, limits, features: new Set(), requestDevice }
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
    const recipe = await fakeRecipe(directory(), { batch: { tokensPerBatch: 4096, rowsPerRun: 2048 } })
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
    const recipe = await fakeRecipe(directory())
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
    const recipe = await fakeRecipe(directory(), { steps: 1 })
    await run(recipe)
    const other = { ...recipe, output: join(directory(), 'other') }
    await run(other)
    expect(await weightsIn(other.output)).toEqual(await weightsIn(recipe.output))
    const seeded = { ...recipe, output: join(directory(), 'seeded'), seed: 5 }
    await run(seeded)
    expect(await weightsIn(seeded.output)).not.toEqual(await weightsIn(recipe.output))
  })
})
