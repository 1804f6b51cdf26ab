// Measures a model on documents that it does not learn from. Knows no file.

import type { TrainingRows } from '../data/training-rows.ts'
import { GemmaError } from '../error.ts'
import { breathe } from './breathe.ts'
import type { EvaluationRecord } from './metrics.ts'
import type { RunLoss, TrainingModel } from './training-model.ts'

/** Losses, targets and correct guesses of all runs together. */
export async function evaluateRows(
  model: TrainingModel,
  runs: readonly TrainingRows[],
  signal?: AbortSignal,
): Promise<RunLoss> {
  const total = { loss: 0, targets: 0, correct: 0 }
  for (const run of runs) {
    await breathe()
    const { loss, targets, correct } = await model.evaluate(run, { signal })
    total.loss += loss
    total.targets += targets
    total.correct += correct
  }
  return total
}

/** The loss over all held-out rows and, where there are several sources, over each. */
export async function evaluateHeldOut(
  model: TrainingModel,
  heldOut: ReadonlyMap<string, readonly TrainingRows[]>,
  signal: AbortSignal | undefined,
): Promise<Omit<EvaluationRecord, 'step'>[]> {
  const start = performance.now()
  const total = { loss: 0, targets: 0, correct: 0 }
  const parts: Omit<EvaluationRecord, 'step'>[] = []
  for (const [source, rows] of heldOut) {
    const one = await evaluateRows(model, rows, signal)
    const { loss, targets, correct } = one
    if (targets === 0) {
      throw new GemmaError(
        'data',
        `The held-out source ${source} has nothing that the loss could be measured on.`,
        'Give it documents that fit the context, or take it out of data.heldOut.',
      )
    }
    parts.push({ source, loss: loss / targets, accuracy: correct / targets, targets })
    for (const key of ['loss', 'targets', 'correct'] as const) total[key] += one[key]
  }
  const { loss, targets, correct } = total
  const seconds = (performance.now() - start) / 1000
  const all = { loss: loss / targets, accuracy: correct / targets, targets, seconds }
  return parts.length > 1 ? [all, ...parts] : [all]
}
