// Gemma 1, 1.1 and CodeGemma (arXiv 2403.08295): pre-normed layers, one norm before each half.

import type { Tape, Tensor } from '../graph/tape.ts'
import { add } from '../ops/add/add.ts'
import { embed } from '../ops/embed/embed.ts'
import { rmsNorm } from '../ops/rmsnorm/rmsnorm.ts'
import { attentionBlock, feedForwardBlock, type ModelState, type Trace } from './blocks.ts'
import type { ModelConfig } from './config.ts'
import type { Parameters } from './parameters.ts'

/** The run's tokens → the hidden state after the final norm, [rows, hiddenSize] */
export function gemma1(
  tape: Tape,
  config: ModelConfig,
  parameters: Parameters,
  state: ModelState,
  trace: Trace = () => {},
): Tensor {
  const norm = (y: Tensor, weight: Tensor): Tensor => rmsNorm(tape, y, weight, config.rmsNormEps)
  let x = embed(tape, parameters.embedding, Math.sqrt(config.hiddenSize)) // [rows, hiddenSize]
  trace('hidden.0', x)
  parameters.layers.forEach((layer, index) => {
    const attended = attentionBlock(tape, norm(x, layer.inputNorm), layer, { config, state, index })
    x = add(tape, x, attended)
    x = add(tape, x, feedForwardBlock(tape, norm(x, layer.preFeedForwardNorm), layer))
    trace(`hidden.${index + 1}`, x)
  })
  const final = norm(x, parameters.finalNorm)
  trace(`hidden.${parameters.layers.length + 1}`, final)
  return final
}
