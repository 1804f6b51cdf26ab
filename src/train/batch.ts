// Collects the runs of one step of the optimiser. The whole batch is there before any of it is computed, because
// gradients are divided by the targets of all of it: a mean of means would weigh short runs more. Knows no model.

import { countTargets, type TrainingRows } from '../data/training-rows.ts'

export interface Batch {
  readonly runs: readonly TrainingRows[]
  readonly tokens: number
  readonly documents: number
  /** Rows that have something to learn: what losses and gradients are divided by. */
  readonly targets: number
}

export interface BatchSize {
  readonly tokensPerBatch?: number
  readonly documents?: number
}

/**
 * Takes runs until the batch is as near to its size as whole runs allow: another run of the mean size so far would
 * lead further away than stopping. Undefined when there are no more runs; a last batch may be smaller.
 */
export async function collectBatch(
  next: () => Promise<TrainingRows | undefined>,
  { tokensPerBatch, documents: wanted }: BatchSize,
): Promise<Batch | undefined> {
  const runs: TrainingRows[] = []
  const size = { tokens: 0, documents: 0, targets: 0 }
  const isFull = (): boolean => {
    const [done, all] =
      tokensPerBatch === undefined ? [size.documents, wanted!] : [size.tokens, tokensPerBatch]
    return done + done / runs.length / 2 > all
  }
  while (runs.length === 0 || !isFull()) {
    const run = await next()
    if (run === undefined) break
    runs.push(run)
    size.tokens += run.tokens.length
    size.documents += countDocuments(run)
    size.targets += countTargets(run)
  }
  return runs.length === 0 ? undefined : { runs, ...size }
}

function countDocuments({ sequences }: TrainingRows): number {
  let count = 0
  for (let i = 0; i < sequences.length; i++) if (i === 0 || sequences[i] !== sequences[i - 1]) count++
  return count
}
