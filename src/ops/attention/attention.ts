// Causal attention of the new rows over the cache (Vaswani et al. 2017, arXiv 1706.03762), with grouped
// key/value heads (Ainslie et al. 2023, arXiv 2305.13245), and Gemma 2's and 3's options: a sliding window
// and a soft cap c · tanh(s / c) on the scores (Gemma 2 report, §2). The keys of the rows themselves are in
// the cache already (see append).

import { cacheRowBytes, DTYPE_CODE } from '../../graph/dtype.ts'
import { expectShape, type Op, record, type Tape, type Tensor } from '../../graph/tape.ts'
import { float, int, reads, type WasmLowering, writes } from '../lowering.ts'

export interface AttentionOptions {
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  /** Factor of the scores, usually headDim^−½. */
  readonly scale: number
  /** Slots of one sequence's ring in the cache. */
  readonly capacity: number
  /** Keys a row can see, itself included; 0: all. */
  readonly window: number
  /** 0: none. */
  readonly softcap: number
}

export const attentionOp: Op = {
  name: 'attention',
  shape(inputs, attributes) {
    const { heads, kvHeads, headDim } = attributes as unknown as AttentionOptions
    const [query, keys, values] = inputs
    expectShape(
      query!.shape[1] === heads * headDim &&
        keys!.shape[1] === kvHeads * headDim &&
        values!.shape[1] === keys!.shape[1] &&
        heads % kvHeads === 0,
      'attention',
      inputs,
      'query is [rows, heads · headDim], keys and values [slots, kvHeads · headDim]',
    )
    return [{ shape: query!.shape, dtype: 'f32' }]
  },
  reference({ inputs, outputs, attributes, run }) {
    const options = attributes as unknown as AttentionOptions
    const [query, keys, values] = inputs as [Float32Array, Float32Array, Float32Array]
    const { heads, kvHeads, headDim } = options
    const kvWidth = kvHeads * headDim
    for (let t = 0; t < run.rows; t++) {
      for (let head = 0; head < heads; head++) {
        const kvHead = Math.floor(head / (heads / kvHeads))
        const q = query.subarray((t * heads + head) * headDim, (t * heads + head + 1) * headDim)
        const slots = visibleSlots(run.positions[t]!, run.sequences[t]!, options)
        const probabilities = softmax(
          slots.map((slot) => score(q, keys, slot * kvWidth + kvHead * headDim, options)),
        )
        for (let i = 0; i < headDim; i++) {
          let sum = 0
          slots.forEach((slot, k) => {
            sum += probabilities[k]! * values[slot * kvWidth + kvHead * headDim + i]!
          })
          outputs[0]![(t * heads + head) * headDim + i] = sum
        }
      }
    }
  },
}

function visibleSlots(position: number, sequence: number, { capacity, window }: AttentionOptions): number[] {
  const first = window > 0 ? Math.max(0, position - window + 1) : 0
  const slots: number[] = []
  for (let p = first; p <= position; p++) slots.push(sequence * capacity + (p % capacity))
  return slots
}

function score(
  q: Float32Array,
  keys: Float32Array,
  at: number,
  { scale, softcap }: AttentionOptions,
): number {
  let dot = 0
  for (let i = 0; i < q.length; i++) dot += q[i]! * keys[at + i]!
  return softcap > 0 ? softcap * Math.tanh((dot * scale) / softcap) : dot * scale
}

function softmax(scores: readonly number[]): number[] {
  const largest = Math.max(...scores)
  const exponentials = scores.map((s) => Math.exp(s - largest))
  const sum = exponentials.reduce((a, b) => a + b, 0)
  return exponentials.map((e) => e / sum)
}

/** query [rows, heads · headDim] over caches [sequences · capacity, kvHeads · headDim] → [rows, heads · headDim] */
export function attention(
  tape: Tape,
  query: Tensor,
  keys: Tensor,
  values: Tensor,
  options: AttentionOptions,
): Tensor {
  return record(tape, attentionOp, [query, keys, values], { ...options })[0]!
}

/** Keys are taken in runs of at least this many; the division never depends on the number of threads. */
const SHORTEST_SPLIT = 128
/** At most this many splits of the keys, when there are few rows to share among the workers. */
const MOST_SPLITS = 64
/** Up to so many rows the keys are split among workers; beyond, the rows are work enough. */
const FEW_ROWS = 8
/** Query vectors that one pass over the keys serves. The kernel's scratch is sized by it. */
const QUERIES_PER_TILE = 8

export const attentionWasm: WasmLowering = (step, lower) => {
  const [query, keys, values] = step.inputs
  const [out] = step.outputs
  const { heads, kvHeads, headDim, scale, capacity, window, softcap } =
    step.attributes as unknown as AttentionOptions
  const group = heads / kvHeads
  const visible = window > 0 ? Math.min(window, capacity) : capacity
  const splits =
    lower.rows <= FEW_ROWS ? Math.max(1, Math.min(MOST_SPLITS, Math.ceil(visible / SHORTEST_SPLIT))) : 1
  const splitLength = splits === 1 ? 0x7fffffff : Math.ceil(visible / splits)
  const rowsPerTile = lower.rows <= FEW_ROWS ? 1 : Math.max(1, Math.floor(QUERIES_PER_TILE / group))
  const partial = lower.scratch(lower.rows * heads * splits * (headDim + 2) * 4)
  // Scores of one tile against one run of keys, and the running sums: per worker. Narrow keys and values are
  // widened there too, a run at a time.
  const wide = keys!.dtype === 'f32' ? 0 : SHORTEST_SPLIT * headDim * 4
  const workBytes = rowsPerTile * group * (SHORTEST_SPLIT + headDim + 4) * 4 + 64 + wide
  const work = lower.scratch(workBytes * lower.threads)
  const shape = [int(heads), int(kvHeads), int(headDim), int(splits), int(splitLength), int(window)]
  lower.call('attentionPartial', [
    reads(query!),
    reads(keys!),
    reads(values!),
    writes(partial),
    writes(work),
    int(workBytes),
    ...shape,
    int(capacity),
    int(rowsPerTile),
    float(scale),
    float(softcap),
    int(cacheRowBytes(keys!.dtype, kvHeads * headDim)),
    int(DTYPE_CODE[keys!.dtype]),
  ])
  lower.call('attentionCombine', [reads(partial), writes(out!), ...shape])
}
