// Keeps the batch on which training broke, for people to look at. Node only.

import { join } from 'node:path'
import type { Tokenizer } from '../tokenizer/index.ts'
import { writeAtomically } from '../weights/atomic.node.ts'
import type { Batch } from './batch.ts'
import type { FailedFigures } from './loop.ts'
import type { ResolvedRecipe } from './recipe.ts'

/** Writes RUN/failed-step-N.json: losses of the runs, their text, and the rows as the model had them. Returns its path. */
export async function writeFailed(
  { output }: ResolvedRecipe,
  tokenizer: Tokenizer,
  step: number,
  { runs, tokens, targets }: Batch,
  { learningRate, gradientNorm, runLosses }: FailedFigures,
): Promise<string> {
  const path = join(output, `failed-step-${step}.json`)
  const told = (value: number | undefined): string | number | undefined =>
    value === undefined || Number.isFinite(value) ? value : String(value) // JSON has no NaN
  const rows = runs.map((run, i) => ({
    loss: told(runLosses[i]),
    text: tokenizer.decode(run.tokens),
    tokens: [...run.tokens],
    positions: [...run.positions],
    targets: [...run.targets],
  }))
  const content = { step, learningRate, gradientNorm: told(gradientNorm), tokens, targets, runs: rows }
  await writeAtomically(path, (out) => out.write(new TextEncoder().encode(`${JSON.stringify(content)}\n`)))
  return path
}
