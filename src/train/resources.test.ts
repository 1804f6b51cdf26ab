// What a recipe of real size is told before anything is set aside: Gemma 2B by the estimate that training uses.

import { expect, test } from 'vitest'
import { GemmaError } from '../error.ts'
import { parseConfig } from '../model/config.ts'
import { modelSizes } from '../model/configs.ts'
import type { Recipe } from './recipe.ts'
import { resolveRecipe } from './recipe-defaults.ts'
import { type MemoryPlan, planMemory } from './resources.ts'
import { estimateTrainingMemory } from './training-layout.ts'

const config = parseConfig(modelSizes.find(({ name }) => name === '2b')!.config)

function plan(changes: Partial<Recipe>, budget: number): MemoryPlan | GemmaError {
  const recipe = resolveRecipe({
    ...{ stage: 'sft', output: 'run', model: { from: 'google/gemma-2b' }, epochs: 1 },
    ...{ data: { sources: [{ files: 'chats.jsonl' }] }, contextLength: 512, batch: { rowsPerRun: 512 } },
    ...changes,
  })
  try {
    const source = { config, encoding: 'BF16' } as const
    return planMemory(recipe, source, { estimate: estimateTrainingMemory, budget, threads: 2 })
  } catch (error) {
    if (error instanceof GemmaError) return error
    throw error
  }
}

test('all of Gemma 2B learns by Adafactor: its embedding and the gradient share one memory', () => {
  const { memory, checkpointing } = plan({ optimizer: { name: 'adafactor' } }, 22e9) as MemoryPlan
  expect(checkpointing).toBe(true)
  // 2 506 172 416 values and as many gradients, in float32.
  expect(memory.weights + memory.gradients).toBeGreaterThan(2 * 4 * 2_506_172_416)
  expect(memory.optimizer).toBeLessThan(10e6)
  expect(memory.total).toBeLessThan(21.5e9)
})

test('by AdamW it does not, whatever the machine has; the message names what does', () => {
  const error = plan({}, 1e12)
  expect(error).toMatchObject({ code: 'unsupported' })
  expect((error as GemmaError).message).toBe(
    'model.embed_tokens.weight, its gradient and what the optimiser keeps take 8.39 GB, which with working memory is more than ' +
      'one WebAssembly memory of 4 GiB can hold. It fits with optimizer.name: adafactor; lora and baseDtype: bf16; ' +
      'lora and baseDtype: int8; lora and baseDtype: int4.',
  )
})

test('on a machine of 16 GB only adapters do', () => {
  const error = plan({ optimizer: { name: 'adafactor' } }, 14e9)
  expect(error).toMatchObject({
    code: 'memory',
    remedy: 'It fits with lora and baseDtype: bf16; lora and baseDtype: int8; lora and baseDtype: int4.',
  })
})
