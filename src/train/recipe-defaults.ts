// Fills the gaps of a checked recipe: every default of training is here. Knows no file; a recipe that is filled stays
// the same when it is filled again.

import type { DataSource } from '../data/training-data.ts'
import { miniatureSizes } from '../model/configs.ts'
import type {
  NamedShape,
  Recipe,
  RecipeBatch,
  RecipeSource,
  ResolvedData,
  ResolvedOptimizer,
  ResolvedRecipe,
} from './recipe.ts'
import { LINEAR_NAMES } from './recipe.ts'
import { sourceName } from './recipe-contradictions.ts'
import { parseRecipe, type RecipeFault } from './recipe-schema.ts'
import type { LoraSettings } from './training-model.ts'

// Peak rates and batches of the named shapes: smaller models bear higher rates and learn from smaller batches.
const SHAPES: Readonly<Record<NamedShape, { learningRate: number; tokensPerBatch: number }>> = {
  nano: { learningRate: 3e-3, tokensPerBatch: 8192 },
  micro: { learningRate: 2e-3, tokensPerBatch: 16_384 },
  mini: { learningRate: 1e-3, tokensPerBatch: 65_536 },
}

/** Without a wish, a run has at most so many rows unless a document needs more: longer runs gain little speed. */
const DEFAULT_ROWS = 2048
/** … and at least so many where a batch counts documents, so that short ones share a run. */
const LEAST_ROWS = 1024
const DEFAULT_CONTEXT = 1024

/** Checks and fills a recipe. Throws GemmaError 'recipe'; `place` as in parseRecipe. */
export function resolveRecipe(value: unknown, place?: (fault: RecipeFault) => string): ResolvedRecipe {
  const resolved = fillRecipe(parseRecipe(value, place))
  // What defaults made of it must be sound too: a batch that no default fits, say.
  parseRecipe(resolved, place)
  return resolved
}

function fillRecipe(recipe: Recipe): ResolvedRecipe {
  const { stage, model } = recipe
  const pretrain = stage === 'pretrain'
  const shape = model.shape === undefined ? undefined : SHAPES[model.shape]
  const contextLength = recipe.contextLength ?? defaultContext(recipe)
  const { steps, tokens, epochs, checkpoint = {}, schedule = {} } = recipe
  const scheduleName = schedule.name ?? 'cosine'
  return withoutUndefined({
    stage,
    seed: recipe.seed ?? 0,
    output: recipe.output,
    model:
      model.from === undefined ? { ...model, initializerRange: model.initializerRange ?? 'fan-in' } : model,
    data: fillData(recipe),
    batch: fillBatch(recipe.batch ?? {}, pretrain, contextLength, shape?.tokensPerBatch),
    contextLength,
    ...{ steps, tokens, epochs },
    optimizer: fillOptimizer(recipe.optimizer, pretrain),
    learningRate: recipe.learningRate ?? defaultRate(recipe, shape?.learningRate),
    schedule: {
      name: scheduleName,
      warmup: schedule.warmup ?? (pretrain ? 0.02 : 0.03),
      finalFraction: schedule.finalFraction ?? (scheduleName === 'constant' ? 1 : pretrain ? 0.1 : 0),
    },
    clip: recipe.clip ?? 1,
    lora: recipe.lora === undefined ? undefined : fillLora(recipe.lora),
    baseDtype: recipe.lora === undefined ? undefined : (recipe.baseDtype ?? 'auto'),
    checkpoint: withoutUndefined({
      everySteps: checkpoint.everySteps,
      everyMinutes: checkpoint.everyMinutes ?? (checkpoint.everySteps === undefined ? 10 : undefined),
      keep: checkpoint.keep ?? 2,
    }),
    saveDtype: recipe.saveDtype ?? 'f32',
    saveWeights: recipe.saveWeights ?? 'last',
    device: recipe.device ?? 'auto',
    threads: recipe.threads ?? 'auto',
    checkpointing: recipe.checkpointing ?? 'auto',
  })
}

function defaultContext({ model }: Recipe): number {
  const size = miniatureSizes.find(({ name }) => name === model.shape)
  const most = size?.config.max_position_embeddings ?? model.config?.max_position_embeddings
  return Number.isSafeInteger(most) ? Math.min(most as number, DEFAULT_CONTEXT) : DEFAULT_CONTEXT
}

function defaultRate({ stage, lora }: Recipe, ofShape: number | undefined): number {
  if (stage === 'pretrain') return ofShape ?? 3e-4
  return lora === undefined ? 2e-5 : 2e-4
}

function fillData({ data, epochs }: Recipe): ResolvedData {
  const { sources, stages, heldOut } = data
  return withoutUndefined({
    sources: sources.map((source, i) => {
      const filled = fillSource(source, i)
      return withoutUndefined({ ...filled, epochs: filled.epochs ?? epochs })
    }),
    stages,
    tooLong: data.tooLong,
    packing: data.packing ?? true,
    shuffleWindow: data.shuffleWindow ?? 10_000,
    endOfText: data.endOfText ?? true,
    maxBadRecords: data.maxBadRecords ?? 100,
    maxBadShare: data.maxBadShare ?? 0.1,
    heldOut: heldOut?.map((source, i) => {
      const { weight: _, ...filled } = fillSource(source, i)
      return filled
    }),
    evaluateEvery: heldOut === undefined ? undefined : (data.evaluateEvery ?? 100),
    evaluateTokens: heldOut === undefined ? undefined : (data.evaluateTokens ?? 100_000),
  })
}

function fillSource(source: RecipeSource, index: number): DataSource {
  const files = typeof source.files === 'string' ? [source.files] : source.files
  const name = sourceName(source, index)
  // The name goes first: the resolved recipe is read by people.
  return { ...{ name, files }, ...source, ...{ name, files, weight: source.weight ?? 1 } }
}

function fillBatch(
  batch: RecipeBatch,
  pretrain: boolean,
  contextLength: number,
  ofShape: number | undefined,
): ResolvedRecipe['batch'] {
  const { documents = pretrain || batch.tokensPerBatch !== undefined ? undefined : 32 } = batch
  if (documents !== undefined) {
    return { documents, rowsPerRun: batch.rowsPerRun ?? Math.max(contextLength, LEAST_ROWS) }
  }
  const tokensPerBatch = batch.tokensPerBatch ?? (pretrain ? (ofShape ?? 65_536) : undefined)!
  return { tokensPerBatch, rowsPerRun: batch.rowsPerRun ?? divisorFor(tokensPerBatch, contextLength) }
}

/** The largest divisor that holds a context and is not larger than a run shall be; else the context, to be refused. */
function divisorFor(tokensPerBatch: number, contextLength: number): number {
  for (let rows = Math.max(DEFAULT_ROWS, contextLength); rows >= contextLength; rows--) {
    if (tokensPerBatch % rows === 0) return rows
  }
  return contextLength
}

function fillOptimizer(optimizer: Recipe['optimizer'] = {}, pretrain: boolean): ResolvedOptimizer {
  const weightDecay = optimizer.weightDecay ?? (pretrain ? 0.1 : 0)
  if (optimizer.name === 'adafactor') {
    const { decayRate = 0.8, epsilon = 1e-30, clipThreshold = 1 } = optimizer
    return { name: 'adafactor', decayRate, epsilon, clipThreshold, weightDecay }
  }
  const { beta1 = 0.9, beta2 = pretrain ? 0.95 : 0.999, epsilon = 1e-8 } = optimizer
  return { name: 'adamw', beta1, beta2, epsilon, weightDecay }
}

function fillLora(lora: NonNullable<Recipe['lora']>): LoraSettings {
  const { rank = 16, alpha = 2 * rank, dropout = 0, rsLora = false, targets = 'all-linear' } = lora
  return { rank, alpha, dropout, rsLora, targets: targets === 'all-linear' ? [...LINEAR_NAMES] : targets }
}

function withoutUndefined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as T
}
