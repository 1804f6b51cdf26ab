// Chooses the model function of a generation and adds the output head: the embedding again, with the soft
// cap where there is one.

import type { Tape, Tensor } from '../graph/tape.ts'
import { linear } from '../ops/linear/linear.ts'
import { softcap } from '../ops/softcap/softcap.ts'
import type { ModelState, Trace } from './blocks.ts'
import type { Generation, ModelConfig } from './config.ts'
import { gemma1 } from './gemma1.ts'
import { gemma2 } from './gemma2.ts'
import type { Parameters } from './parameters.ts'

export type ModelFunction = (
  tape: Tape,
  config: ModelConfig,
  parameters: Parameters,
  state: ModelState,
  trace?: Trace,
) => Tensor

export const models: Readonly<Record<Generation, ModelFunction>> = { 1: gemma1, 2: gemma2, 3: gemma2 }

/** hidden [rows, hiddenSize] → logits [rows, count] of tokens from … from + count */
export function head(
  tape: Tape,
  config: ModelConfig,
  parameters: Parameters,
  hidden: Tensor,
  slice: { from: number; count: number } = { from: 0, count: config.vocabSize },
): Tensor {
  const logits = linear(tape, hidden, parameters.embedding, slice)
  return config.finalLogitSoftcapping > 0 ? softcap(tape, logits, config.finalLogitSoftcapping) : logits
}
