// train() on files: what a run leaves, and how it goes on after every kind of stop. The model is a fake, the rest is real;
// kill.test.ts ends the process, train-real.test.ts has real models.

import { open, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import type { GemmaError } from '../error.ts'
import { createTokenizer } from '../tokenizer/index.ts'
import { readFloats } from '../weights/encodings.ts'
import { openCheckpoint } from '../weights/open.node.ts'
import { readSafetensors } from '../weights/safetensors.ts'
import { openFile } from '../weights/source.node.ts'
import { readBytes } from '../weights/source.ts'
import { firstBatch } from './prepare.node.ts'
import type { Recipe } from './recipe.ts'
import { changedKeys } from './recipe-changes.ts'
import { resolveRecipe } from './recipe-defaults.ts'
import { fakeParts, fakeRecipe } from './testing/fake-run.ts'
import {
  curve,
  notes,
  run,
  runUntil,
  startOf,
  type Told,
  useDirectory,
  weightsIn,
} from './testing/told-run.ts'
import type { TrainEvent } from './train-events.ts'
import type { TrainingModel } from './training-model.ts'

const directory = useDirectory()

describe('a run from beginning to end', () => {
  test('leaves weights, tokenizer, curves, recipe and checkpoints', async () => {
    const recipe = await fakeRecipe(directory())
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
    const recipe = await fakeRecipe(directory(), { steps: 10 })
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
    const recipe = await fakeRecipe(directory(), { steps: 10 })
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
    const recipe = await fakeRecipe(directory(), { steps: undefined, epochs: 2 })
    const { events, result } = await run(recipe)
    const records = events.flatMap((event) => (event.kind === 'step' ? [event.record] : []))
    expect(records.length).toBe(startOf({ events } as Told).steps)
    expect(records.at(-1)!.epoch).toBe(2)
    const { source, batch } = await firstBatch(recipe)
    const lines = (await readFile(join(directory(), 'train.jsonl'), 'utf8')).trimEnd().split('\n')
    const tokens = lines.reduce(
      (sum, line) => sum + source.tokenizer.encode(JSON.parse(line).text).length + 2,
      0,
    )
    await source.close()
    expect(batch!.tokens).toBeGreaterThan(200)
    expect(result!.tokens).toBe(2 * tokens)
    const stopped = { ...recipe, output: join(directory(), 'stopped') }
    await runUntil(stopped, 7)
    expect(startOf(await run(stopped)).steps).toBe(records.length)
    expect(await weightsIn(stopped.output)).toEqual(await weightsIn(recipe.output))
  })

  test('the best weights instead of the last', async () => {
    const recipe = await fakeRecipe(directory(), { saveWeights: 'best', steps: 40 })
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
    const whole = await fakeRecipe(directory())
    await run(whole)
    const recipe = { ...whole, output: join(directory(), 'stopped') }
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
    const whole = await fakeRecipe(directory())
    await run(whole)
    const recipe = { ...whole, output: join(directory(), 'stopped') }
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
    const whole = await fakeRecipe(directory())
    await run(whole)
    const recipe = { ...whole, output: join(directory(), 'damaged') }
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
    const recipe = await fakeRecipe(directory(), { steps: 10 })
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
    const recipe = await fakeRecipe(directory())
    await runUntil(recipe, 8)
    const file = join(directory(), 'train.jsonl')
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
