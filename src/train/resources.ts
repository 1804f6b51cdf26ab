// Whether a run fits the machine before it begins, and what else would: memory by the estimate of the training model,
// which is asked again for every way out that a message names. Knows neither backend nor disk.

import { GemmaError } from '../error.ts'
import type { ModelConfig } from '../model/config.ts'
import type { Encoding } from '../weights/checkpoint.ts'
import { LINEAR_NAMES, type ResolvedOptimizer, type ResolvedRecipe } from './recipe.ts'
import type {
  EstimateOptions,
  LoraSettings,
  OptimizerSettings,
  TrainingMemory,
  TrainingModelOptions,
} from './training-model.ts'

export type EstimateMemory = (options: EstimateOptions) => TrainingMemory

export interface MemoryPlan {
  readonly memory: TrainingMemory
  /** Bytes that this process may still take. What a GPU has is not known. */
  readonly budget: number
  /** Whether inner values are computed again in the backward pass. */
  readonly checkpointing: boolean
}

/** The program itself, the window of documents that are packed together, and a tensor on its way to a file. */
const WORKING_BYTES = 250e6

/** The training model's options that follow from a recipe. Matrices decay; norms, which scale, do not. */
export function modelOptions(
  recipe: ResolvedRecipe,
  config: ModelConfig,
  { threads, checkpointing }: { readonly threads: number; readonly checkpointing: boolean },
): Omit<TrainingModelOptions, 'weights' | 'onProgress' | 'signal'> {
  const { batch, contextLength, optimizer, lora, baseDtype, seed } = recipe
  return {
    ...{ config, rows: batch.rowsPerRun, contextLength, threads, checkpointing, lora, baseDtype, seed },
    optimizer: withDecay(optimizer),
  }
}

function withDecay(optimizer: ResolvedOptimizer): OptimizerSettings {
  const decays = (_name: string, dimensions: number): boolean => dimensions > 1
  return optimizer.name === 'adamw' ? { ...optimizer, decays } : { ...optimizer, decays }
}

export interface PlanMemoryOptions {
  readonly estimate: EstimateMemory
  /** Bytes that this process may still take. */
  readonly budget: number
  readonly threads: number
  /**
   * Of the GPU that it will run on. WebGPU does not tell how much memory that has: the machine's own decides what is
   * computed again, but refuses nothing unless the GPU is a program that takes it.
   */
  readonly gpu?: { readonly largestBinding: number; readonly software: boolean }
}

/**
 * The memory of a run, with inner values kept where they fit and the recipe does not say. Throws GemmaError when it does
 * not fit, with what would: 'memory' for the whole, 'unsupported' for a tensor that no memory of the backend can hold.
 */
export function planMemory(
  recipe: ResolvedRecipe,
  source: { readonly config: ModelConfig; readonly encoding: Encoding },
  { estimate, budget, threads, gpu }: PlanMemoryOptions,
): MemoryPlan {
  const wanted = recipe.checkpointing
  // What exceeds one memory of the backend takes too much as well.
  const memoryOf = (other: ResolvedRecipe, checkpointing: boolean): TrainingMemory | GemmaError => {
    try {
      return estimate({
        ...modelOptions(other, source.config, { threads, checkpointing }),
        stored: source.encoding,
        largestBinding: gpu?.largestBinding,
      })
    } catch (error) {
      if (error instanceof GemmaError && error.code === 'unsupported') return error
      throw error
    }
  }
  const fits = (memory: TrainingMemory | GemmaError): memory is TrainingMemory =>
    !(memory instanceof GemmaError) && memory.total + WORKING_BYTES <= budget
  const choices = wanted === 'auto' ? [false, true] : [wanted]
  let last: TrainingMemory | GemmaError | undefined
  for (const checkpointing of choices) {
    last = memoryOf(recipe, checkpointing)
    if (fits(last)) return { memory: last, budget, checkpointing }
  }
  if (gpu && !gpu.software && last !== undefined && !(last instanceof GemmaError)) {
    return { memory: last, budget, checkpointing: choices.at(-1)! }
  }
  const ways = waysOut(recipe).filter(({ recipe: other }) =>
    fits(memoryOf(other, other.checkpointing !== false)),
  )
  const unplaced = last instanceof GemmaError
  throw new GemmaError(
    unplaced ? 'unsupported' : 'memory',
    last instanceof GemmaError
      ? last.message
      : `Training needs ${size(last!.total + WORKING_BYTES)}, but ${size(budget)} are free.`,
    ways.length === 0
      ? 'Nothing that a recipe could say makes it fit; choose a smaller model or another machine.'
      : `It fits with ${ways.map(({ what }) => what).join('; ')}.`,
    unplaced ? { cause: last } : undefined,
  )
}

/** Changes that take less memory, the mildest first; each by itself, but adapters over a base as narrow as need be. */
function waysOut(recipe: ResolvedRecipe): { readonly what: string; readonly recipe: ResolvedRecipe }[] {
  const { batch, contextLength, lora, optimizer, model } = recipe
  const ways: { what: string; recipe: ResolvedRecipe }[] = []
  const add = (what: string, changes: Partial<ResolvedRecipe>): void => {
    ways.push({ what, recipe: { ...recipe, checkpointing: 'auto', ...changes } })
  }
  if (recipe.checkpointing === false) add('checkpointing: true', {})
  for (const rowsPerRun of fewerRows(batch, contextLength)) {
    add(`batch.rowsPerRun: ${rowsPerRun}`, { batch: { ...batch, rowsPerRun } })
  }
  if (optimizer.name === 'adamw' && lora === undefined) {
    const { weightDecay } = optimizer
    const adafactor = {
      name: 'adafactor',
      decayRate: 0.8,
      epsilon: 1e-30,
      clipThreshold: 1,
      weightDecay,
    } as const
    add('optimizer.name: adafactor', { optimizer: adafactor })
  }
  if (model.from !== undefined) {
    const adapters: LoraSettings = {
      ...{ rank: 16, alpha: 32, dropout: 0, rsLora: false },
      targets: [...LINEAR_NAMES],
    }
    for (const baseDtype of ['bf16', 'int8', 'int4'] as const) {
      const what = `${lora === undefined ? 'lora and ' : ''}baseDtype: ${baseDtype}`
      add(what, { lora: lora ?? adapters, baseDtype })
    }
  }
  return ways
}

/** Half and half again, as long as a context fits and the batch is whole runs. */
function fewerRows({ tokensPerBatch, rowsPerRun }: ResolvedRecipe['batch'], contextLength: number): number[] {
  const rows: number[] = []
  for (let half = rowsPerRun / 2; Number.isInteger(half) && half >= contextLength; half /= 2) {
    if (tokensPerBatch === undefined || tokensPerBatch % half === 0) rows.push(half)
  }
  return rows
}

function size(bytes: number): string {
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB` : `${(bytes / 1e9).toFixed(1)} GB`
}

/**
 * Bytes that a run will write: its checkpoints (one more than stay, since the new one is there before an old one goes,
 * and the best) and the finished weights.
 */
export function diskNeeded(
  recipe: ResolvedRecipe,
  checkpoint: number,
  finalValues: number,
): { readonly checkpoints: number; readonly final: number; readonly total: number } {
  const best = recipe.data.heldOut === undefined ? 0 : 1
  const checkpoints = (recipe.checkpoint.keep + 1 + best) * checkpoint
  const final = finalValues * (recipe.saveDtype === 'bf16' ? 2 : 4)
  return { checkpoints, final, total: checkpoints + final }
}

/** Throws GemmaError 'file' when the disk cannot hold what a run will write besides what it has written. */
export function checkDisk(
  output: string,
  { total, checkpoints, final }: ReturnType<typeof diskNeeded>,
  free: number,
): void {
  if (total <= free) return
  throw new GemmaError(
    'file',
    `The run will write ${size(checkpoints)} of checkpoints and ${size(final)} of finished weights into ${output}, but ${size(free)} are free there.`,
    'Keep fewer checkpoints (checkpoint.keep), free some space, or choose another output.',
  )
}
