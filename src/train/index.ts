// The public surface of gemma-ts/train: training from a recipe, and the loss and gradients of one text. Node only.

import type { RecipeInput } from './prepare.node.ts'
import { trainRecipe } from './train.node.ts'
import type { TrainOptions, TrainResult } from './train-events.ts'

export {
  type LossAndGradients,
  type LossAndGradientsOptions,
  lossAndGradients,
} from './loss-and-gradients.ts'
export type { EvaluationRecord, StepRecord } from './metrics.ts'
export type { RecipeInput, TrainingPlan } from './prepare.node.ts'
export type { Recipe, ResolvedRecipe } from './recipe.ts'
export type { TrainEvent, TrainOptions, TrainResult } from './train-events.ts'

/**
 * Trains as a recipe says: a YAML file's path, or the same as an object (examples/recipes/README.md tells every key). A run
 * directory that has checkpoints is gone on with, bit for bit. Throws GemmaError: 'recipe' (what the recipe says, with file
 * and line), 'data', 'memory' and 'file' (what does not fit), 'training' (a loss that is no number, another run in the
 * directory), 'aborted' (after a checkpoint of the last whole step).
 */
export function train(recipe: RecipeInput, options: TrainOptions = {}): Promise<TrainResult> {
  return trainRecipe(recipe, options)
}
