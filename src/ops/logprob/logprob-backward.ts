// Gradient of Σ weight · −log p(target) with respect to a slice of the logits, from the finished running softmax
// (logprob.ts): weight · (softmax − [target]). Rows without a target have none.

import { expectShape, type Op, record, type Tape, type Tensor, type Values } from '../../graph/tape.ts'
import { int, reads, type WasmLowering, writes } from '../lowering.ts'
import { LOGPROB_STATE } from './logprob.ts'

/** inputs logits [rows, slice], state [rows, 4] after all slices → gradient of the logits */
export const logprobGradientOp: Op = {
  name: 'logprobGradient',
  shape(inputs) {
    const [logits, state] = inputs
    expectShape(state!.shape[1] === LOGPROB_STATE, 'logprobGradient', inputs, 'the state is [rows, 4]')
    return [{ shape: logits!.shape, dtype: 'f32' }]
  },
  reference({ inputs, outputs, inputTensors, attributes, run }) {
    const [logits, state] = inputs as [Values, Values]
    const width = inputTensors[0]!.shape[1]!
    const from = attributes.from as number
    for (let t = 0; t < run.rows; t++) {
      const target = run.targets[t]!
      const weight = target < 0 ? 0 : (run.weights?.[t] ?? 1)
      const [largest, sum] = state.subarray(LOGPROB_STATE * t, LOGPROB_STATE * t + 2)
      for (let i = 0; i < width; i++) {
        const probability = Math.exp(logits[t * width + i]! - largest!) / sum!
        outputs[0]![t * width + i] = weight * (probability - (target === from + i ? 1 : 0))
      }
    }
  },
}

/** logits [rows, slice] of tokens from …, state [rows, 4] → [rows, slice] */
export function logprobGradient(tape: Tape, logits: Tensor, state: Tensor, from: number): Tensor {
  return record(tape, logprobGradientOp, [logits, state], { from })[0]!
}

export const logprobGradientWasm: WasmLowering = ({ inputs, outputs: [out], attributes }, lower) => {
  const [logits, state] = inputs
  lower.call('logprobGradient', [
    reads(logits!),
    reads(state!),
    writes(out!),
    int(logits!.shape[1]!),
    int(attributes.from as number),
  ])
}
