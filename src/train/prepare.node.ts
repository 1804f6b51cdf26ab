// Everything of a run that can be known before the first step: the recipe without gaps, the model's source, the data, how
// many steps there will be, and whether memory and disk suffice. Training, --dry-run and --show-batch begin here. Node only.

import { statfs } from 'node:fs/promises'
import { availableParallelism, totalmem } from 'node:os'
import { dirname, resolve } from 'node:path'
import { largestBindingOf } from '../backends/webgpu/device.ts'
import { openGpu } from '../backends/webgpu/open.node.ts'
import { openTrainingData, readAll } from '../data/open.node.ts'
import type { DataPosition, LeftOutRecord, TrainingData, TrainingDataOptions } from '../data/training-data.ts'
import type { TrainingRows } from '../data/training-rows.ts'
import { GemmaError } from '../error.ts'
import { type ChosenDevice, chooseDevice } from '../generate/choose-device.ts'
import { elementCount } from '../graph/tape.ts'
import { memoryBudget } from '../load.node.ts'
import { loraSpecs } from '../model/lora.ts'
import { parameterCounts, parameterSpecs } from '../model/parameters.ts'
import { type Batch, collectBatch } from './batch.ts'
import { createTrainingModel } from './create-training-model.ts'
import { createLeftOutTally } from './left-out.ts'
import { type ModelSource, openModelSource } from './model-source.node.ts'
import type { Recipe, ResolvedRecipe } from './recipe.ts'
import { resolveRecipe } from './recipe-defaults.ts'
import { formatRecipe, readRecipe } from './recipe-file.node.ts'
import { checkDisk, diskNeeded, type EstimateMemory, type MemoryPlan, planMemory } from './resources.ts'
import { checkSchedule } from './schedule.ts'
import { estimateTrainingMemory } from './training-layout.ts'
import type { TrainingModel, TrainingModelOptions } from './training-model.ts'

/** A recipe's file, or a recipe. */
export type RecipeInput = string | Recipe

/** What training needs of others, so that tests can put something quick in its place. */
export interface TrainingParts {
  readonly createModel: (options: TrainingModelOptions) => Promise<TrainingModel>
  readonly estimateMemory: EstimateMemory
  readonly memoryBudget: () => number
  /** Gives the entry to WebGPU, or throws GemmaError. */
  readonly openGpu: () => Promise<GPU>
}

export const trainingParts: TrainingParts = {
  createModel: createTrainingModel,
  estimateMemory: estimateTrainingMemory,
  openGpu,
  memoryBudget() {
    const limit = process.constrainedMemory?.() ?? 0 // of a container: 0, or more than there is, where there is none
    const isLimited = limit > 0 && limit < totalmem()
    return isLimited ? Math.min(memoryBudget(), process.availableMemory()) : memoryBudget()
  },
}

export interface LoadedRecipe {
  readonly recipe: ResolvedRecipe
  /** As YAML, its defaults marked. */
  readonly text: string
}

/** Reads (if it is a file), checks and fills a recipe. Throws GemmaError 'recipe', 'file', 'usage' (`set`). */
export async function loadRecipe(input: RecipeInput, set: readonly string[] = []): Promise<LoadedRecipe> {
  if (typeof input === 'string') {
    const { recipe, written } = await readRecipe(input, set)
    return { recipe, text: formatRecipe(recipe, written) }
  }
  const recipe = resolveRecipe(input)
  return { recipe, text: formatRecipe(recipe, input) }
}

/** Where a run will compute. */
export interface PlannedDevice {
  readonly kind: 'cpu' | 'webgpu'
  /** Of the GPU. */
  readonly name?: string
  /** Why no GPU was taken, where there might have been one. */
  readonly remark?: string
}

/** What a run will take and be. */
export interface TrainingPlan extends MemoryPlan {
  readonly parameters: number
  readonly trainableParameters: number
  readonly device: PlannedDevice
  /** Of the CPU. */
  readonly threads: number
  /** Bytes on disk: of all checkpoints that are there at a time, of the finished weights. */
  readonly disk: { readonly checkpoints: number; readonly final: number; readonly total: number }
}

/**
 * Throws GemmaError 'memory', 'unsupported' or 'file' when the run does not fit. `existing`: checkpoints of it that are on
 * disk.
 */
export async function planRun(
  recipe: ResolvedRecipe,
  source: ModelSource,
  parts: TrainingParts,
  chosen: ChosenDevice,
  existing = 0,
): Promise<TrainingPlan> {
  const threads = recipe.threads === 'auto' ? availableParallelism() : recipe.threads
  const { device, memory } = placeRun(recipe, source, parts, chosen, threads)
  const { config } = source
  const learning =
    recipe.lora === undefined
      ? parameterSpecs(config)
      : loraSpecs(config, recipe.lora.targets, recipe.lora.rank).flatMap(({ down, up }) => [down, up])
  const trainableParameters = learning.reduce((sum, { shape }) => sum + elementCount(shape), 0)
  // Moments as the estimate counts them, which knows the optimiser.
  const checkpoint = 4 * trainableParameters + memory.memory.optimizer
  const disk = diskNeeded(recipe, checkpoint, trainableParameters)
  const free = await freeBytes(recipe.output)
  if (free !== undefined) checkDisk(recipe.output, disk, free + existing * checkpoint)
  return { ...memory, parameters: parameterCounts(config).total, trainableParameters, device, threads, disk }
}

/** On the GPU if one was chosen and can hold what a step makes, else on the CPU if that may be. */
function placeRun(
  recipe: ResolvedRecipe,
  source: ModelSource,
  parts: TrainingParts,
  { gpu, mayFallBack, remark }: ChosenDevice,
  threads: number,
): { readonly device: PlannedDevice; readonly memory: MemoryPlan } {
  const options = { estimate: parts.estimateMemory, budget: parts.memoryBudget(), threads }
  if (!gpu) return { device: { kind: 'cpu', remark }, memory: planMemory(recipe, source, options) }
  const { name, software } = gpu
  try {
    const limits = { largestBinding: largestBindingOf(gpu), software }
    return {
      device: { kind: 'webgpu', name },
      memory: planMemory(recipe, source, { ...options, gpu: limits }),
    }
  } catch (error) {
    if (!mayFallBack || !(error instanceof GemmaError)) throw error
    const why = { mayFallBack, remark: `${name}: ${error.message}` }
    return placeRun(recipe, source, parts, why, threads)
  }
}

/** Free bytes where a directory is or will be; undefined where the system cannot tell. */
async function freeBytes(directory: string): Promise<number | undefined> {
  for (let path = resolve(directory); ; path = dirname(path)) {
    const found = await statfs(path).catch(() => undefined) // not there yet: its parent tells
    if (found !== undefined) return found.bavail * found.bsize
    if (dirname(path) === path) return undefined
  }
}

/** What reading documents takes. */
export interface ReadOptions {
  readonly signal?: AbortSignal
  readonly onLeftOut?: (record: LeftOutRecord) => void
}

function dataOptions(
  recipe: ResolvedRecipe,
  { tokenizer }: ModelSource,
  { signal, onLeftOut }: ReadOptions,
): Omit<TrainingDataOptions, 'sources'> {
  const { packing, tooLong, shuffleWindow, endOfText, maxBadRecords, maxBadShare } = recipe.data
  const { batch, contextLength, seed } = recipe
  return {
    ...{ tokenizer, packing, tooLong, shuffleWindow, endOfText, contextLength, seed, signal },
    ...{ maxBadRecords, maxBadShare, onLeftOut, rows: batch.rowsPerRun },
  }
}

/** The documents that are learned from, from the beginning or from where a checkpoint stood. */
export function openRunData(
  recipe: ResolvedRecipe,
  source: ModelSource,
  { position, ...options }: ReadOptions & { readonly position?: DataPosition } = {},
): Promise<TrainingData> {
  const { sources, stages } = recipe.data
  return openTrainingData({ ...dataOptions(recipe, source, options), sources, stages, position })
}

/** The rows that the loss is measured on, by source, at most evaluateTokens of all. */
export async function readHeldOut(
  recipe: ResolvedRecipe,
  source: ModelSource,
  options: ReadOptions = {},
): Promise<ReadonlyMap<string, readonly TrainingRows[]>> {
  const { heldOut = [], evaluateTokens = 0 } = recipe.data
  const runs = new Map<string, TrainingRows[]>()
  for (const [i, one] of heldOut.entries()) {
    // What a short source leaves over, the later ones may take.
    const taken = [...runs.values()].flat().reduce((sum, { tokens }) => sum + tokens.length, 0)
    let room = Math.floor((evaluateTokens - taken) / (heldOut.length - i))
    const rows: TrainingRows[] = []
    for await (const run of readAll({ ...dataOptions(recipe, source, options), source: one })) {
      if (run.tokens.length > room && rows.length > 0) break
      rows.push(run)
      room -= run.tokens.length
    }
    runs.set(one.name, rows)
  }
  return runs
}

/**
 * How many steps a run has. Epochs are counted by going through the data once as training will: batches end where
 * documents do, so that no formula knows. Throws GemmaError 'recipe' where the schedule does not fit, 'data'.
 */
export async function countSteps(
  recipe: ResolvedRecipe,
  source: ModelSource,
  options: ReadOptions = {},
): Promise<number> {
  const { steps, tokens, batch } = recipe
  const count =
    steps ??
    (tokens === undefined
      ? await countBatches(recipe, source, options)
      : Math.ceil(tokens / batch.tokensPerBatch!))
  checkSchedule(recipe.schedule, count)
  return count
}

async function countBatches(
  recipe: ResolvedRecipe,
  source: ModelSource,
  options: ReadOptions,
): Promise<number> {
  const data = await openRunData(recipe, source, options)
  try {
    let count = 0
    while ((await collectBatch(() => data.next(0), recipe.batch)) !== undefined) count++
    return Math.max(1, count)
  } finally {
    await data.close()
  }
}

export interface DryRun extends LoadedRecipe {
  readonly steps: number
  readonly plan: TrainingPlan
  /** What was read and left out, in a sentence: with epochs all of the data are read, else only those held out. */
  readonly leftOut: string | undefined
}

/** Everything before the first step but loading the weights, for people who want to know before they begin. */
export async function dryRun(
  input: RecipeInput,
  { set, signal, onDownload }: LookOptions = {},
  parts: TrainingParts = trainingParts,
): Promise<DryRun> {
  const loaded = await loadRecipe(input, set)
  const { recipe } = loaded
  const source = await openModelSource(recipe, { signal, onDownload })
  try {
    const tally = createLeftOutTally()
    const options = { signal, onLeftOut: tally.add }
    const steps = await countSteps(recipe, source, options)
    const plan = await planRun(recipe, source, parts, await chooseDevice(recipe.device, parts.openGpu))
    const data = await openRunData(recipe, source, { signal }) // says what is wrong with the files
    await data.close()
    await readHeldOut(recipe, source, options)
    return { ...loaded, steps, plan, leftOut: tally.describe() }
  } finally {
    await source.close()
  }
}

/** What looking at a run before it begins takes. */
export interface LookOptions {
  readonly set?: readonly string[]
  readonly signal?: AbortSignal
  readonly onDownload?: (bytes: number, totalBytes: number) => void
}

export interface FirstBatch {
  readonly recipe: ResolvedRecipe
  readonly source: ModelSource
  readonly batch: Batch | undefined
  /** What was left out of the documents that were read for it, in a sentence. */
  readonly leftOut: string | undefined
}

/** The batch of the first step, for people to look at before they train; the source must be closed. */
export async function firstBatch(
  input: RecipeInput,
  { set, signal, onDownload }: LookOptions = {},
): Promise<FirstBatch> {
  const { recipe } = await loadRecipe(input, set)
  const source = await openModelSource(recipe, { signal, onDownload })
  try {
    const tally = createLeftOutTally()
    const data = await openRunData(recipe, source, { signal, onLeftOut: tally.add })
    try {
      const batch = await collectBatch(() => data.next(0), recipe.batch)
      return { recipe, source, batch, leftOut: tally.describe() }
    } finally {
      await data.close()
    }
  } catch (error) {
    await source.close()
    throw error
  }
}
