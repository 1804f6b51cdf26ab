// What a caller of training says, hears and gets. Types only.

import type { EvaluationRecord, StepRecord } from './metrics.ts'
import type { TrainingPlan } from './prepare.node.ts'
import type { ResolvedRecipe } from './recipe.ts'

export interface TrainOptions {
  readonly onProgress?: (event: TrainEvent) => void
  /** Stops at once, writes a checkpoint of the last whole step and throws GemmaError 'aborted'. */
  readonly signal?: AbortSignal
  /** Begin anew although the run directory has checkpoints; they are removed. */
  readonly restart?: boolean
  /** Changes to a recipe's file, as with --set: 'batch.rowsPerRun=512'. */
  readonly set?: readonly string[]
}

/** What happens while training: recipe, download …, start, load …, and then the others as they come. */
export type TrainEvent =
  | {
      readonly kind: 'recipe'
      readonly recipe: ResolvedRecipe
      /** As YAML, its defaults marked. */
      readonly text: string
    }
  | { readonly kind: 'download'; readonly bytes: number; readonly totalBytes: number }
  | { readonly kind: 'load'; readonly bytes: number; readonly totalBytes: number }
  | {
      readonly kind: 'start'
      /** Steps that the run shall have, and those that it has had. */
      readonly steps: number
      readonly resumedAt: number
      readonly plan: TrainingPlan
    }
  | { readonly kind: 'step'; readonly steps: number; readonly record: StepRecord }
  | { readonly kind: 'evaluation'; readonly record: EvaluationRecord }
  | { readonly kind: 'checkpoint'; readonly step: number; readonly path: string }
  /** For people: a fallback, what is being waited for; `warning` where something is not as they may think. */
  | { readonly kind: 'note'; readonly text: string; readonly warning?: boolean }

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
  /** Of the last look at the held-out documents, if there are any; and the lowest. */
  readonly heldOutLoss: number | undefined
  readonly bestHeldOutLoss: number | undefined
  /** Seconds of training, over all sessions of the run. */
  readonly seconds: number
}
