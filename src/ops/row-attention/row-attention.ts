// Causal attention of the run's rows over each other, for training: no cache, every document of the run by itself.
// Rows of a document follow each other with positions 0, 1, 2, …, so row r of position p sees the rows from r − p on.
// Options as in attention.ts. The logarithm of each softmax's sum is kept for the way back (Dao et al. 2022, arXiv
// 2205.14135).

import type { BackwardRule } from '../../graph/gradient.ts'
import { expectShape, type Op, record, type Tape, type Tensor, type Values } from '../../graph/tape.ts'
import type { AttentionOptions } from '../attention/attention.ts'
import { type Argument, float, int, reads, type WasmLowering, writes } from '../lowering.ts'

export type RowAttentionOptions = Omit<AttentionOptions, 'capacity'>

/** inputs query [rows, heads · headDim], keys, values [rows, kvHeads · headDim] → mixed values, logarithms [rows, heads] */
export const rowAttentionOp: Op = {
  name: 'rowAttention',
  shape(inputs, attributes) {
    const { heads, kvHeads, headDim } = attributes as unknown as RowAttentionOptions
    const [query, keys, values] = inputs
    expectShape(
      query!.shape[1] === heads * headDim &&
        keys!.shape[1] === kvHeads * headDim &&
        values!.shape[1] === keys!.shape[1] &&
        heads % kvHeads === 0,
      'rowAttention',
      inputs,
      'query is [rows, heads · headDim], keys and values [rows, kvHeads · headDim]',
    )
    return [
      { shape: query!.shape, dtype: 'f32' },
      { shape: [query!.shape[0]!, heads], dtype: 'f32' },
    ]
  },
  reference({ inputs, outputs, attributes, run }) {
    const options = attributes as unknown as RowAttentionOptions
    const [query, keys, values] = inputs as [Values, Values, Values]
    const [out, logs] = outputs as [Values, Values]
    forEachHead(run.positions, run.rows, options, ({ row, at, keyAt, first, head }) => {
      const scores: number[] = []
      for (let k = first; k <= row; k++) scores.push(score(query, at, keys, keyAt(k), options))
      const largest = Math.max(...scores)
      const sum = scores.reduce((total, s) => total + Math.exp(s - largest), 0)
      const log = largest + Math.log(sum)
      logs[row * options.heads + head] = log
      for (let i = 0; i < options.headDim; i++) {
        let mixed = 0
        scores.forEach((s, k) => {
          mixed += Math.exp(s - log) * values[keyAt(first + k) + i]!
        })
        out[at + i] = mixed
      }
    })
  },
}

interface HeadPlace {
  readonly row: number
  readonly head: number
  /** Where this head's query, and its result, begin. */
  readonly at: number
  /** Where the key and the value of a row begin that this head reads. */
  readonly keyAt: (row: number) => number
  /** The first row that this row sees. */
  readonly first: number
}

function forEachHead(
  positions: Int32Array,
  rows: number,
  { heads, kvHeads, headDim, window }: RowAttentionOptions,
  visit: (place: HeadPlace) => void,
): void {
  for (let row = 0; row < rows; row++) {
    const first = Math.max(row - positions[row]!, window > 0 ? row - window + 1 : 0)
    for (let head = 0; head < heads; head++) {
      const kvHead = Math.floor(head / (heads / kvHeads))
      const keyAt = (key: number): number => (key * kvHeads + kvHead) * headDim
      visit({ row, head, at: (row * heads + head) * headDim, keyAt, first })
    }
  }
}

function score(
  query: Values,
  at: number,
  keys: Values,
  keyAt: number,
  { headDim, scale, softcap }: RowAttentionOptions,
): number {
  let dot = 0
  for (let i = 0; i < headDim; i++) dot += query[at + i]! * keys[keyAt + i]!
  return softcap > 0 ? softcap * Math.tanh((dot * scale) / softcap) : dot * scale
}

/**
 * inputs query, keys, values, mixed, logarithms, gradient of mixed → gradients of query, keys and values. With
 * p = e^(s − log): dv = Σ p · dy, ds = p · (dy·v − dy·y), through the cap ds · (1 − (s/c)²), then dq = scale · Σ ds · k,
 * dk = scale · Σ ds · q.
 */
export const rowAttentionGradientOp: Op = {
  name: 'rowAttentionGradient',
  shape: ([query, keys, values]) => [query!, keys!, values!].map(({ shape }) => ({ shape, dtype: 'f32' })),
  reference({ inputs, outputs, attributes, run }) {
    const options = attributes as unknown as RowAttentionOptions
    const { headDim, heads, scale, softcap } = options
    const [query, keys, values, mixed, logs, gradient] = inputs as [
      Values,
      Values,
      Values,
      Values,
      Values,
      Values,
    ]
    const [queryGradient, keyGradient, valueGradient] = outputs as [Values, Values, Values]
    forEachHead(run.positions, run.rows, options, ({ row, head, at, keyAt, first }) => {
      let along = 0
      for (let i = 0; i < headDim; i++) along += gradient[at + i]! * mixed[at + i]!
      for (let k = first; k <= row; k++) {
        const from = keyAt(k)
        const s = score(query, at, keys, from, options)
        const probability = Math.exp(s - logs[row * heads + head]!)
        let dot = 0
        for (let i = 0; i < headDim; i++) {
          dot += gradient[at + i]! * values[from + i]!
          valueGradient[from + i]! += probability * gradient[at + i]!
        }
        const pull = scale * probability * (dot - along) * (softcap > 0 ? 1 - (s / softcap) ** 2 : 1)
        for (let i = 0; i < headDim; i++) {
          queryGradient[at + i]! += pull * keys[from + i]!
          keyGradient[from + i]! += pull * query[at + i]!
        }
      }
    })
  },
}

/** query [rows, heads · headDim] over keys, values [rows, kvHeads · headDim] → [rows, heads · headDim] */
export function rowAttention(
  tape: Tape,
  query: Tensor,
  keys: Tensor,
  values: Tensor,
  options: RowAttentionOptions,
): Tensor {
  return record(tape, rowAttentionOp, [query, keys, values], { ...options })[0]!
}

export const rowAttentionBackward: BackwardRule = ({ inputs, outputs, attributes }, [gradient], flow) => {
  const all = [...inputs, ...outputs, gradient!]
  const made = record(flow.tape, rowAttentionGradientOp, all, attributes)
  inputs.forEach((input, i) => void flow.give(input, made[i]!))
}

export const rowAttentionWasm: WasmLowering = ({ inputs, outputs, attributes }, lower) => {
  // Scores, four at a time.
  const workBytes = Math.ceil((lower.rows * 4) / 64) * 64
  lower.call('rowAttention', [
    ...inputs.map((tensor) => reads(tensor)),
    ...outputs.map((tensor) => writes(tensor)),
    writes(lower.scratch(workBytes * lower.threads)),
    int(workBytes),
    ...optionArguments(attributes as unknown as RowAttentionOptions),
  ])
}

export const rowAttentionGradientWasm: WasmLowering = ({ inputs, outputs, attributes }, lower) => {
  const options = attributes as unknown as RowAttentionOptions
  const [query, keys, values, mixed, logs, gradient] = inputs.map((tensor) => reads(tensor))
  const [queryGradient, keyGradient, valueGradient] = outputs.map((tensor) => writes(tensor))
  const along = lower.scratch(lower.rows * options.heads * 4)
  lower.call('rowAttentionQueryGradient', [
    ...[query!, keys!, values!, mixed!, logs!, gradient!, queryGradient!, writes(along)],
    ...optionArguments(options),
  ])
  lower.call('rowAttentionKeyGradient', [
    ...[query!, keys!, values!, logs!, gradient!, reads(along), keyGradient!, valueGradient!],
    ...optionArguments(options),
  ])
}

function optionArguments(options: RowAttentionOptions): Argument[] {
  const { heads, kvHeads, headDim, window, scale, softcap } = options
  return [int(heads), int(kvHeads), int(headDim), int(window), float(scale), float(softcap)]
}
