// Runs of training around the fake model, written down: what was told, and what lies on disk afterwards.

import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach } from 'vitest'
import type { TrainingParts } from '../prepare.node.ts'
import type { Recipe } from '../recipe.ts'
import { trainRecipe } from '../train.node.ts'
import type { TrainEvent, TrainOptions, TrainResult } from '../train-events.ts'
import { fakeParts } from './fake-run.ts'

/** A folder for each test, gone after the last of a file. Call it at the top of a file. */
export function useDirectory(): () => string {
  let scratch: string
  let count = 0
  beforeAll(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'gemma-train-'))
  })
  beforeEach(() => {
    count++
  })
  afterAll(() => rm(scratch, { recursive: true, force: true }))
  return () => join(scratch, String(count))
}

export interface Told {
  readonly events: TrainEvent[]
  readonly result: TrainResult | undefined
  readonly error: unknown
}

/** Trains and writes down what it tells. */
export async function run(
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
export async function runUntil(recipe: Recipe, step: number): Promise<Told> {
  const controller = new AbortController()
  const onProgress = (event: TrainEvent): void => {
    if (event.kind === 'step' && event.record.step === step) controller.abort()
  }
  return run(recipe, { signal: controller.signal, onProgress })
}

export const notes = ({ events }: Told): string[] =>
  events.flatMap((event) => (event.kind === 'note' ? [event.text] : []))
export const startOf = ({ events }: Told): Extract<TrainEvent, { kind: 'start' }> =>
  events.find((event) => event.kind === 'start')!
export const weightsIn = (output: string): Promise<Buffer> =>
  readFile(join(output, 'model', 'model.safetensors'))

/** Steps of metrics.jsonl with what does not depend on the clock. */
export async function curve(output: string): Promise<unknown[]> {
  const lines = (await readFile(join(output, 'metrics.jsonl'), 'utf8')).trimEnd().split('\n')
  return lines
    .map((line) => JSON.parse(line))
    .filter(({ event }) => event === undefined)
    .map(({ step, loss, eval_loss, grad_norm, num_tokens, learning_rate }) => [
      ...[step, loss, eval_loss, grad_norm, num_tokens, learning_rate],
    ])
}
