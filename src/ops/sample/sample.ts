// Draws the next token from the logits by Gemma's rule: divide by the temperature, softmax over all, drop a
// token whose rank is topK or more or before which, in falling order, more than topP of the probability
// lies; scale the rest to one (google/gemma_pytorch, Sampler). Also gives the token's log-probability under
// the model's own distribution (temperature 1, nothing dropped).

import { type Op, record, type SamplingInputs, type Tape, type Tensor } from '../../graph/tape.ts'
import { int, reads, type WasmLowering, writes } from '../lowering.ts'

export interface Choice {
  readonly token: number
  readonly logprob: number
}

/** Tokens in falling order of probability with the probabilities they are drawn with (float64). */
export function samplingDistribution(
  logits: Float32Array,
  { temperature, topK, topP }: Pick<SamplingInputs, 'temperature' | 'topK' | 'topP'>,
): { token: number; probability: number }[] {
  const largest = logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  const weights = Float64Array.from(logits, (l) => Math.exp((l - largest) / temperature))
  const total = weights.reduce((a, b) => a + b, 0)
  // Equal logits keep the order of their ids.
  const order = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]! || a - b)
  const kept: { token: number; probability: number }[] = []
  let before = 0
  for (const token of order) {
    if (kept.length >= topK || (topP < 1 && before > topP)) break
    kept.push({ token, probability: weights[token]! / total })
    before += weights[token]! / total
  }
  return kept.map(({ token, probability }) => ({ token, probability: probability / before }))
}

/** The reference draw: temperature 0 takes the most likely token, the first of equals. */
export function choose(logits: Float32Array, sampling: SamplingInputs, row: number): Choice {
  const largest = logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  const logTotal = Math.log(logits.reduce((sum, l) => sum + Math.exp(l - largest), 0))
  const choice = (token: number): Choice => ({ token, logprob: logits[token]! - largest - logTotal })
  if (sampling.temperature === 0) return choice(logits.indexOf(largest))
  const kept = samplingDistribution(logits, sampling)
  // With nothing dropped no order is needed, so ids are walked as they come; the kernel does the same.
  if (sampling.topK >= logits.length && sampling.topP >= 1) kept.sort((a, b) => a.token - b.token)
  let sum = 0
  for (const { token, probability } of kept) {
    sum += probability
    if (sum > sampling.uniform[row]!) return choice(token)
  }
  return choice(kept[kept.length - 1]!.token)
}

export const sampleOp: Op = {
  name: 'sample',
  shape: ([logits]) => [{ shape: [logits!.shape[0]!, 2], dtype: 'f32' }],
  reference({ inputs, outputs, inputTensors, run }) {
    const [capacity, vocabulary] = inputTensors[0]!.shape as [number, number]
    for (let t = 0; t < Math.min(run.rows, capacity); t++) {
      const row = (inputs[0] as Float32Array).subarray(t * vocabulary, (t + 1) * vocabulary)
      const { token, logprob } = choose(row, run.sampling, t)
      outputs[0]![2 * t] = token
      outputs[0]![2 * t + 1] = logprob
    }
  },
}

/** logits [rows, vocabulary] → [rows, 2]: token id (exact in f32 up to 2²⁴) and log-probability */
export function sample(tape: Tape, logits: Tensor): Tensor {
  return record(tape, sampleOp, [logits])[0]!
}

/** Logits that one partial maximum and sum cover: fixed, so that sums do not depend on the thread count. */
const CHUNK = 1024
/** Bins of the histogram that finds where top-k or top-p cuts; the kernel holds the same number. */
const BINS = 1024

export const sampleWasm: WasmLowering = ({ inputs: [logits], outputs: [out] }, lower) => {
  const [rows, vocabulary] = logits!.shape as [number, number]
  const chunks = Math.ceil(vocabulary / CHUNK)
  const partial = lower.scratch(rows * chunks * 16)
  // Candidates (logit and id, 8 bytes each, twice for the merge sort) and the histogram, per row.
  const work = lower.scratch(rows * (vocabulary * 16 + BINS * 16))
  lower.call('sampleScan', [reads(logits!), writes(partial), int(rows), int(vocabulary)])
  lower.call('samplePick', [
    reads(logits!),
    reads(partial),
    writes(work),
    writes(out!),
    int(rows),
    int(vocabulary),
  ])
}
