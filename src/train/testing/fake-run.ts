// A run around the fake model with documents and a tokenizer that are real: what train() does with files, without the time
// that learning takes.

import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { GemmaError } from '../../error.ts'
import { createRandom } from '../../generate/random.ts'
import type { TrainingParts } from '../prepare.node.ts'
import type { Recipe } from '../recipe.ts'
import type { TrainingModel } from '../training-model.ts'
import { createFakeModel, FAKE_CONFIG, type FakeOptions } from './fake-model.ts'

const TOKENIZER: string = fileURLToPath(
  new URL('../../../test/data/models/gemma1-mqa/tokenizer.model', import.meta.url),
)

/** `made` takes the models that training makes. */
export function fakeParts(fake: FakeOptions = {}, made: TrainingModel[] = []): TrainingParts {
  return {
    async createModel(options) {
      const model = await createFakeModel(options, fake)
      made.push(model)
      return model
    },
    estimateMemory: ({ rows, checkpointing }) => {
      const scratch = rows * (checkpointing ? 1e4 : 1e5)
      return { weights: 1e6, gradients: 1e6, optimizer: 1e6, scratch, total: 3e6 + scratch }
    },
    memoryBudget: () => 4e9,
    openGpu: () => Promise.reject(new GemmaError('unsupported', 'There is no WebGPU here.')),
  }
}

/** Writes documents into a directory and gives a recipe that learns from them, with changes. */
export async function fakeRecipe(
  directory: string,
  more: Readonly<Record<string, unknown>> = {},
): Promise<Recipe> {
  await mkdir(directory, { recursive: true })
  await writeFile(join(directory, 'train.jsonl'), documents(200, 1))
  await writeFile(join(directory, 'held-out.jsonl'), documents(10, 2))
  return {
    stage: 'pretrain',
    output: join(directory, 'run'),
    model: { config: { ...FAKE_CONFIG, vocab_size: 1024 }, tokenizer: TOKENIZER },
    data: {
      sources: [{ files: join(directory, 'train.jsonl') }],
      heldOut: [{ files: join(directory, 'held-out.jsonl') }],
      evaluateEvery: 10,
      shuffleWindow: 50,
    },
    batch: { tokensPerBatch: 256, rowsPerRun: 128 },
    contextLength: 64,
    learningRate: 0.05,
    checkpoint: { everySteps: 5 },
    threads: 0,
    steps: 30,
    ...more,
  } as Recipe
}

function documents(count: number, seed: number): string {
  const random = createRandom(seed)
  const words = ['the', 'fox', 'sees', 'a', 'red', 'barn', 'and', 'runs', '12', 'home']
  const line = (): string => {
    const text = Array.from({ length: 3 + Math.floor(20 * random()) }, () => words[Math.floor(10 * random())])
    return JSON.stringify({ text: text.join(' ') })
  }
  return `${Array.from({ length: count }, line).join('\n')}\n`
}
