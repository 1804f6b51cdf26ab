// Training from a recipe to finished weights: what `gemma train` does. Node only.

import type { EvaluationRecord, StepRecord } from './metrics.ts'
import type { Recipe, ResolvedRecipe } from './recipe.ts'

export interface TrainOptions {
  readonly onProgress?: (event: TrainEvent) => void
  /** Stops at once, writes a checkpoint of the last whole step and throws GemmaError 'aborted'. */
  readonly signal?: AbortSignal
  /** Begin anew although the run directory has checkpoints; they are removed. */
  readonly restart?: boolean
}

/** What happens while training, in this order: start, load …, then step, evaluation, checkpoint and note as they come. */
export type TrainEvent =
  | {
      readonly kind: 'start'
      readonly recipe: ResolvedRecipe
      /** Steps that the run shall have, and those it has had before. */
      readonly steps: number
      readonly resumedAt: number
      readonly parameters: number
      readonly trainableParameters: number
      readonly description: string
    }
  | { readonly kind: 'load'; readonly bytes: number; readonly totalBytes: number }
  | { readonly kind: 'step'; readonly steps: number; readonly record: StepRecord }
  | { readonly kind: 'evaluation'; readonly record: EvaluationRecord }
  | { readonly kind: 'checkpoint'; readonly step: number; readonly path: string }
  /** For people: a fallback, a warning, an estimate. */
  | { readonly kind: 'note'; readonly text: string }

export interface TrainResult {
  /** The run directory. */
  readonly output: string
  /** The finished model in Hugging Face's layout; undefined with lora. */
  readonly model: string | undefined
  /** The finished adapter in PEFT's layout; undefined without lora. */
  readonly adapter: string | undefined
  readonly steps: number
  /** Tokens read, over all sessions of the run. */
  readonly tokens: number
  /** Mean loss of the last step's batch, in nats per target. */
  readonly loss: number
  /** Last look at the held-out documents, if there are any. */
  readonly heldOutLoss: number | undefined
  /** Seconds of training, over all sessions of the run. */
  readonly seconds: number
}

/** A recipe's file, or a recipe; see train() in index.ts. */
export type RecipeInput = string | Recipe
