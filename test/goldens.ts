// Where the golden checkpoints are and how their expected numbers are read. Beside the repository may lie the
// full set; the committed part in test/data serves otherwise.

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export const MODELS: readonly string[] = ['gemma1-mqa', 'gemma1-mha', 'gemma2', 'gemma3', 'gemma3-scaled']
export const PROMPTS: readonly string[] = ['short', 'single', 'long']

export function modelPath(name: string): string {
  return fileURLToPath(new URL(`data/models/${name}`, import.meta.url))
}

export interface ExpectedPrompt {
  readonly text: string
  readonly ids: number[]
  readonly prompt_logprobs: (number | null)[]
  readonly greedy: { readonly ids: number[]; readonly text: string; readonly logprobs: number[] }
}

export interface ExpectedTraining {
  readonly loss: number
  readonly masked: { readonly keep_target: number[]; readonly loss: number }
  readonly adamw?: {
    readonly lr: number
    readonly beta1: number
    readonly beta2: number
    readonly eps: number
    readonly weight_decay: number
    readonly losses: number[]
  }
}

export interface Expected {
  readonly train: ExpectedTraining
  readonly prompts: Readonly<Record<string, ExpectedPrompt>>
  readonly quantised?: Readonly<
    Record<string, { file: string; greedy_from_short: number[]; min_margin: number }>
  >
}

export function expectedOf(name: string): Expected {
  return JSON.parse(readFileSync(`${modelPath(name)}/expected.json`, 'utf8'))
}

export interface ExpectedGradient {
  readonly shape: number[]
  readonly l2: number
  readonly sum: number
  readonly abs_max: number
  readonly at: number[]
  readonly values: number[]
}

export function gradientsOf(name: string): Readonly<Record<string, ExpectedGradient>> {
  return JSON.parse(readFileSync(`${modelPath(name)}/grads.json`, 'utf8'))
}

export interface ExpectedTensor {
  readonly shape: number[]
  readonly values: Float32Array
}

/** All F32 tensors of a safetensors file. */
export function readTensors(path: string): Map<string, ExpectedTensor> {
  const file = readFileSync(path)
  const length = Number(file.readBigUInt64LE(0))
  const header = JSON.parse(file.subarray(8, 8 + length).toString()) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >
  const tensors = new Map<string, ExpectedTensor>()
  for (const [name, entry] of Object.entries(header)) {
    if (entry.dtype !== 'F32') continue
    const from = file.byteOffset + 8 + length + entry.data_offsets[0]
    const bytes = file.buffer.slice(from, from + entry.data_offsets[1] - entry.data_offsets[0])
    tensors.set(name, { shape: entry.shape, values: new Float32Array(bytes) })
  }
  return tensors
}

export function largestDifference(expected: ArrayLike<number>, actual: ArrayLike<number>): number {
  if (expected.length !== actual.length) return Number.POSITIVE_INFINITY
  let largest = 0
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(expected[i]! - actual[i]!)
    if (!(difference <= largest)) largest = difference
  }
  return largest
}

/** Mean over rows of Σ p · ln(p / q), natural units; p and q are the softmaxes of two sets of logits. */
export function meanDivergence(p: Float32Array, q: Float32Array, columns: number): number {
  let sum = 0
  for (let at = 0; at < p.length; at += columns) {
    const a = logSoftmax(p.subarray(at, at + columns))
    const b = logSoftmax(q.subarray(at, at + columns))
    for (let i = 0; i < columns; i++) sum += Math.exp(a[i]!) * (a[i]! - b[i]!)
  }
  return sum / (p.length / columns)
}

function logSoftmax(logits: Float32Array): Float64Array {
  const largest = logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  const total = Math.log(logits.reduce((sum, l) => sum + Math.exp(l - largest), 0))
  return Float64Array.from(logits, (l) => l - largest - total)
}
