// Loss and gradients of one text under a loaded model: for people who want to look, and for tests against other
// implementations.

import { GemmaError } from '../error.ts'
import { type Gemma, schedulerOf } from '../gemma.ts'
import { storedWeights } from '../generate/read-weights.ts'
import { createTrainingModel } from './create-training-model.ts'
import { MOST_TRAINING_ROWS } from './training-model.ts'

export interface LossAndGradientsOptions {
  /** keepTarget[i]: whether tokens[i] counts as something to predict; the first token never does. Default: all do. */
  readonly keepTarget?: readonly (boolean | number)[]
  /** Worker threads; default: as many as the model itself has. A model on a GPU learns there. */
  readonly threads?: number
  readonly signal?: AbortSignal
}

export interface LossAndGradients {
  /** Mean cross-entropy of the kept targets, natural logarithm. */
  readonly loss: number
  /** d loss / d weight for every weight, by its Hugging Face name, row-major as the weight. */
  readonly gradients: Map<string, Float32Array>
}

/**
 * The mean next-token cross-entropy of `tokens` (taken as they are, <bos> included) and its gradient with respect to
 * every weight. It needs memory for the weights and their gradients in float32, besides the model itself. Throws
 * GemmaError 'usage' for fewer than two tokens, a mask of another length, or one that keeps nothing; 'context' for too
 * many tokens.
 */
export async function lossAndGradients(
  gemma: Gemma,
  tokens: readonly number[],
  { keepTarget, threads, signal }: LossAndGradientsOptions = {},
): Promise<LossAndGradients> {
  const scheduler = schedulerOf(gemma)
  check(gemma, tokens, keepTarget)
  const kept = tokens.map((_, i) => i > 0 && (keepTarget === undefined || Boolean(keepTarget[i])))
  const count = kept.filter(Boolean).length
  if (count === 0) throw new GemmaError('usage', 'keepTarget keeps no target, so that there is no loss.')
  const { gpu, threads: own } = scheduler.engine.backend
  const model = await createTrainingModel({
    config: gemma.config,
    weights: storedWeights(scheduler, signal),
    rows: tokens.length,
    contextLength: Math.max(2, tokens.length),
    threads: threads ?? own,
    // The model's own, which stays open.
    gpu: gpu && { ...gpu, close() {} },
    signal,
  })
  try {
    const rows = {
      tokens: Int32Array.from(tokens),
      positions: Int32Array.from(tokens, (_, i) => i),
      sequences: new Int32Array(tokens.length),
      targets: Int32Array.from(tokens, (_, i) => (kept[i + 1] ? tokens[i + 1]! : -1)),
    }
    const { loss } = await model.accumulate(rows, { scale: 1 / count, signal })
    const gradients = new Map<string, Float32Array>()
    for (const { name } of model.trainable) gradients.set(name, await model.readGradient(name))
    return { loss: loss / count, gradients }
  } finally {
    await model.dispose()
  }
}

function check(
  { config }: Gemma,
  tokens: readonly number[],
  keepTarget: readonly (boolean | number)[] | undefined,
): void {
  if (tokens.length < 2) {
    throw new GemmaError(
      'usage',
      `There are ${tokens.length} tokens, expected at least two: one to predict another.`,
    )
  }
  const most = Math.min(MOST_TRAINING_ROWS, config.maxPositionEmbeddings)
  if (tokens.length > most) {
    throw new GemmaError(
      'context',
      `There are ${tokens.length} tokens; at most ${most} are taken at once.`,
      'Take the text in parts.',
    )
  }
  if (keepTarget !== undefined && keepTarget.length !== tokens.length) {
    throw new GemmaError(
      'usage',
      `keepTarget has ${keepTarget.length} entries for ${tokens.length} tokens; expected one for each.`,
    )
  }
}
