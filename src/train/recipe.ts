// What a training run is, said in one recipe: the keys that a person writes, and the form without gaps that training
// works with. recipe-schema.ts checks the first, recipe-defaults.ts makes the second of it. Knows no file and no YAML.

import type { DataSource, DataStage, TooLong } from '../data/training-data.ts'
import type { DeviceChoice } from '../generate/load-choices.ts'
import type { LoraSettings, OptimizerSettings } from './training-model.ts'

/** A recipe as written; `gemma train` reads it from YAML. examples/recipes/README.md tells each key. */
export interface Recipe {
  readonly stage: 'pretrain' | 'sft'
  /** Everything random comes from it: first weights, order of the data, dropout. Default 0. */
  readonly seed?: number
  /** The run directory. Paths are relative to where the program runs. */
  readonly output: string
  readonly model: RecipeModel
  readonly data: RecipeData
  /** Default for sft 32 documents; for pretrain what suits the shape, else 65536 tokens. */
  readonly batch?: RecipeBatch
  /** Longest document in tokens, <bos> included. Default: the shape's own, else 1024. */
  readonly contextLength?: number
  /** Exactly one of these three says how long training lasts. */
  readonly steps?: number
  readonly tokens?: number
  readonly epochs?: number
  readonly optimizer?: RecipeOptimizer
  /** The highest learning rate. Default: the shape's for pretrain, else 3e-4; 2e-5 for sft, with lora 2e-4. */
  readonly learningRate?: number
  readonly schedule?: RecipeSchedule
  /** Largest Euclidean norm of all gradients together; larger ones are scaled down to it. Default 1. */
  readonly clip?: number
  /** Adapters learn instead of the weights; `lora: {}` takes every default. */
  readonly lora?: RecipeLora
  /** What the frozen base is held in; only with lora. Default 'auto': as it is stored. */
  readonly baseDtype?: BaseDtype
  readonly checkpoint?: RecipeCheckpoint
  /** What the finished weights are written in. Default 'f32': exactly what was learnt. */
  readonly saveDtype?: 'f32' | 'bf16'
  /** The finished weights: those after the last step, or those with the lowest held-out loss. Default 'last'. */
  readonly saveWeights?: 'last' | 'best'
  /** Where it learns. Default 'auto': on a GPU if WebGPU finds one with room, else on the CPU. */
  readonly device?: DeviceChoice
  /** Of the CPU. Default: one worker thread for each core. */
  readonly threads?: number | 'auto'
  /** Compute inner values again in the backward pass instead of keeping them. Default 'auto': if memory asks for it. */
  readonly checkpointing?: boolean | 'auto'
}

export type BaseDtype = 'auto' | 'f32' | 'bf16' | 'int8' | 'int4'

export type NamedShape = 'nano' | 'micro' | 'mini'

export interface RecipeModel {
  /** A directory, a file or a Hugging Face id: training goes on from these weights. */
  readonly from?: string
  /** A new model of a size that has a name … */
  readonly shape?: NamedShape
  /** … or of one given with the keys of Hugging Face's config.json. */
  readonly config?: Readonly<Record<string, unknown>>
  /** tokenizer.model, tokenizer.json or a directory with one of them. Needed for a new model. */
  readonly tokenizer?: string
  /** Standard deviation of a new model's first weights; 'fan-in', the default, is 1 / √columns of each matrix. */
  readonly initializerRange?: number | 'fan-in'
}

/** Sources, mixture and form of the documents: what openTrainingData takes, and what the loss is measured on. */
export interface RecipeData {
  readonly sources: readonly RecipeSource[]
  /** Shares of the sources over the course of training. Default: their weights from beginning to end. */
  readonly stages?: readonly DataStage[]
  /** What happens to documents longer than the context. Default: 'split' for text, 'drop' for conversations. */
  readonly tooLong?: TooLong
  /** Several documents in one run, each of which sees only itself. Default true. */
  readonly packing?: boolean
  /** Records of each source that are shuffled among each other. Default 10000. */
  readonly shuffleWindow?: number
  /** Texts end with <eos>, which teaches where they end. Default true. */
  readonly endOfText?: boolean
  /** Broken records of a source that are left out before training stops. Default 100. */
  readonly maxBadRecords?: number
  /** The same as a share of the records, looked at from the hundredth on. Default 0.1. */
  readonly maxBadShare?: number
  /** What the loss is measured on and nothing is learned from. */
  readonly heldOut?: readonly RecipeSource[]
  /** Steps between two looks at the held-out documents. Default 100. */
  readonly evaluateEvery?: number
  /** Most tokens of each look. Default 100000. */
  readonly evaluateTokens?: number
}

/** A source as openTrainingData takes it, whose name may be left out and whose one file needs no list. */
export interface RecipeSource extends Omit<DataSource, 'name' | 'files'> {
  /** Default: its place in the list, 'source-1'. */
  readonly name?: string
  /** Paths, directories or patterns. */
  readonly files: string | readonly string[]
}

export interface RecipeBatch {
  /** Tokens that one step of the optimiser learns from; a multiple of rowsPerRun. This … */
  readonly tokensPerBatch?: number
  /** … or documents. */
  readonly documents?: number
  /**
   * Rows (tokens) computed at once; memory grows with them. Default: with documents the contextLength, at least 1024;
   * else the largest divisor of tokensPerBatch that holds a context and is at most 2048 or the contextLength.
   */
  readonly rowsPerRun?: number
}

export type RecipeOptimizer =
  | {
      readonly name?: 'adamw'
      /** Default 0.9. */
      readonly beta1?: number
      /** Default 0.95 for pretrain, 0.999 for sft. */
      readonly beta2?: number
      /** Default 1e-8. */
      readonly epsilon?: number
      /** Default 0.1 for pretrain, 0 for sft. Matrices decay, norms do not. */
      readonly weightDecay?: number
    }
  | {
      readonly name: 'adafactor'
      /** Default 0.8. */
      readonly decayRate?: number
      /** Default 1e-30. */
      readonly epsilon?: number
      /** Default 1. */
      readonly clipThreshold?: number
      readonly weightDecay?: number
    }

export interface RecipeSchedule {
  /** How the learning rate falls after the warm-up. Default 'cosine'. */
  readonly name?: 'cosine' | 'linear' | 'constant'
  /** Below 1 a share of all steps, else steps. Default 0.02 for pretrain, 0.03 for sft. */
  readonly warmup?: number
  /** What is left of the learning rate at the end. Default 0.1 for pretrain, 0 for sft. */
  readonly finalFraction?: number
}

export interface RecipeLora {
  /** Default 16. */
  readonly rank?: number
  /** Default 2 · rank. */
  readonly alpha?: number
  /** Default 0. */
  readonly dropout?: number
  /** Default false. */
  readonly rsLora?: boolean
  /** Names of linear layers. Default 'all-linear'. */
  readonly targets?: 'all-linear' | readonly LinearName[]
}

export const LINEAR_NAMES = [
  'q_proj',
  'k_proj',
  'v_proj',
  'o_proj',
  'gate_proj',
  'up_proj',
  'down_proj',
] as const

export type LinearName = (typeof LINEAR_NAMES)[number]

export interface RecipeCheckpoint {
  /** Steps between two checkpoints. */
  readonly everySteps?: number
  /** Minutes between two. Default 10, unless everySteps is given. */
  readonly everyMinutes?: number
  /** How many of the newest stay, besides the best. Default 2. */
  readonly keep?: number
}

/** A recipe without gaps: what a run works with and `recipe.resolved.yaml` holds. It is a recipe itself. */
export interface ResolvedRecipe {
  readonly stage: 'pretrain' | 'sft'
  readonly seed: number
  readonly output: string
  readonly model: RecipeModel
  readonly data: ResolvedData
  readonly batch: RecipeBatch & { readonly rowsPerRun: number }
  readonly contextLength: number
  readonly steps?: number
  readonly tokens?: number
  readonly epochs?: number
  readonly optimizer: ResolvedOptimizer
  readonly learningRate: number
  readonly schedule: Required<RecipeSchedule>
  readonly clip: number
  readonly lora?: LoraSettings
  readonly baseDtype?: BaseDtype
  readonly checkpoint: RecipeCheckpoint & { readonly keep: number }
  readonly saveDtype: 'f32' | 'bf16'
  readonly saveWeights: 'last' | 'best'
  readonly device: DeviceChoice
  readonly threads: number | 'auto'
  readonly checkpointing: boolean | 'auto'
}

export type ResolvedOptimizer = OptimizerSettings extends infer Settings
  ? Settings extends OptimizerSettings
    ? Omit<Settings, 'decays'>
    : never
  : never

export interface ResolvedData extends Omit<RecipeData, 'sources' | 'heldOut'> {
  readonly sources: readonly DataSource[]
  readonly packing: boolean
  readonly shuffleWindow: number
  readonly endOfText: boolean
  readonly maxBadRecords: number
  readonly maxBadShare: number
  /** With its last two companions, or none of the three. */
  readonly heldOut?: readonly DataSource[]
}
