// Log-probabilities of given targets without ever holding all logits: the vocabulary is taken in slices,
// and each slice updates a running maximum, sum of exponentials, target logit and best token (the online
// softmax of Milakov & Gimelshein 2018, arXiv 1805.02867).

import { expectShape, type Op, record, type Tape, type Tensor, type Values } from '../../graph/tape.ts'
import { int, reads, type WasmLowering, writes } from '../lowering.ts'

/** Columns of the running state: maximum, sum of exp(logit − maximum), target's logit, best token. */
export const LOGPROB_STATE = 4

export const logprobOp: Op = {
  name: 'logprob',
  shape(inputs) {
    const [logits, state] = inputs
    expectShape(
      state === undefined || state.shape[0] === logits!.shape[0],
      'logprob',
      inputs,
      'state is [rows, 4]',
    )
    return [{ shape: [logits!.shape[0]!, LOGPROB_STATE], dtype: 'f32' }]
  },
  reference({ inputs, outputs, inputTensors, attributes, run }) {
    const [logits, before] = inputs as [Values, Values | undefined]
    const width = inputTensors[0]!.shape[1]!
    const from = attributes.from as number
    for (let t = 0; t < run.rows; t++) {
      const old = before?.subarray(4 * t, 4 * t + 4) ?? [Number.NEGATIVE_INFINITY, 0, 0, 0]
      let [largest, sum, target, best] = old as unknown as [number, number, number, number]
      for (let i = 0; i < width; i++) {
        const logit = logits[t * width + i]!
        if (logit > largest) {
          sum *= Math.exp(largest - logit)
          largest = logit
          best = from + i
        }
        sum += Math.exp(logit - largest)
        if (run.targets[t] === from + i) target = logit
      }
      outputs[0]!.set([largest, sum, target, best], 4 * t)
    }
  },
}

/** Folds logits [rows, slice] of tokens from … into the state [rows, 4]; the first slice starts it. */
export function logprob(tape: Tape, logits: Tensor, from: number, state?: Tensor): Tensor {
  return record(tape, logprobOp, state ? [logits, state] : [logits], { from })[0]!
}

export const logprobWasm: WasmLowering = (
  { inputs: [logits, before], outputs: [out], attributes },
  lower,
) => {
  lower.call('logprob', [
    reads(logits!),
    // The first slice has no state to read; its flag tells the kernel so.
    before ? reads(before) : writes(out!),
    writes(out!),
    int(logits!.shape[1]!),
    int(attributes.from as number),
    int(before ? 0 : 1),
  ])
}
