// The two halves of a transformer layer, shared by all generations. What differs between them comes in as
// options and as weights that are there or not; this file never asks which generation it serves.

import type { CacheDtype } from '../graph/dtype.ts'
import { persistentTensor, type Tape, type Tensor } from '../graph/tape.ts'
import { append } from '../ops/append/append.ts'
import { attention } from '../ops/attention/attention.ts'
import { geglu } from '../ops/geglu/geglu.ts'
import { linear } from '../ops/linear/linear.ts'
import { rmsNorm } from '../ops/rmsnorm/rmsnorm.ts'
import { rope, ropeTable } from '../ops/rope/rope.ts'
import type { ModelConfig } from './config.ts'
import type { LayerParameters } from './parameters.ts'

/** Keys and values of one layer for all sequences: [sequences · capacity, kvHeads · headDim] each. */
export interface LayerCache {
  readonly keys: Tensor
  readonly values: Tensor
  /** Slots of one sequence's ring. */
  readonly capacity: number
}

/** What a model reads and keeps besides its weights. */
export interface ModelState {
  readonly caches: readonly LayerCache[]
  /** Angles of full-attention layers and of sliding layers (the same table where θ is the same). */
  readonly fullAngles: Tensor
  readonly slidingAngles: Tensor
  readonly constants: ReadonlyMap<Tensor, Float32Array>
}

export interface StateOptions {
  /** Longest context in tokens. */
  readonly contextLength: number
  /** Independent sequences that may be held at once. */
  readonly sequences: number
  /** Most rows one run may have. */
  readonly maxRows: number
  /** What keys and values are kept in; default 'f32'. */
  readonly cacheDtype?: CacheDtype
}

export function createState(config: ModelConfig, options: StateOptions): ModelState {
  const { contextLength, sequences, maxRows, cacheDtype = 'f32' } = options
  const width = config.numKeyValueHeads * config.headDim
  const caches = config.layerTypes.map((type, i): LayerCache => {
    const capacity = cacheCapacity(config, type, contextLength, maxRows)
    const make = (part: string): Tensor =>
      persistentTensor('cache', `cache.${i}.${part}`, [sequences * capacity, width], cacheDtype)
    return { keys: make('keys'), values: make('values'), capacity }
  })
  const constants = new Map<Tensor, Float32Array>()
  const angles = (name: string, theta: number, factor: number): Tensor => {
    const tensor = persistentTensor('constant', name, [contextLength, config.headDim], 'f32')
    constants.set(tensor, ropeTable(contextLength, config.headDim, theta, factor))
    return tensor
  }
  const fullAngles = angles('rope.full', config.ropeTheta, config.ropeFactor)
  const same = config.ropeLocalTheta === config.ropeTheta && config.ropeFactor === 1
  const sliding = config.layerTypes.includes('sliding') && !same
  const slidingAngles = sliding ? angles('rope.sliding', config.ropeLocalTheta, 1) : fullAngles
  return { caches, fullAngles, slidingAngles, constants }
}

/** A sliding layer keeps what the first of `maxRows` new rows can still see when the last is written. */
export function cacheCapacity(
  config: ModelConfig,
  type: 'full' | 'sliding',
  contextLength: number,
  maxRows: number,
): number {
  if (type === 'full') return contextLength
  return Math.min(contextLength, config.slidingWindow + maxRows - 1)
}

/** Called with the hidden state at places that tests and tools want to see. */
export type Trace = (name: string, tensor: Tensor) => void

export interface LayerContext {
  readonly config: ModelConfig
  readonly state: ModelState
  readonly index: number
}

/** normalised x [rows, hiddenSize] → what attention adds to the residual stream, [rows, hiddenSize] */
export function attentionBlock(
  tape: Tape,
  x: Tensor,
  layer: LayerParameters,
  { config, state, index }: LayerContext,
): Tensor {
  const sliding = config.layerTypes[index] === 'sliding'
  const angles = sliding ? state.slidingAngles : state.fullAngles
  const cache = state.caches[index]!
  const normed = (y: Tensor, weight: Tensor | undefined): Tensor =>
    weight ? rmsNorm(tape, y, weight, config.rmsNormEps) : y
  const query = normed(linear(tape, x, layer.query), layer.queryNorm) // [rows, heads · headDim]
  const key = normed(linear(tape, x, layer.key), layer.keyNorm) // [rows, kvHeads · headDim]
  const value = linear(tape, x, layer.value)
  append(tape, rope(tape, key, angles), cache.keys, cache.capacity)
  append(tape, value, cache.values, cache.capacity)
  const mixed = attention(tape, rope(tape, query, angles), cache.keys, cache.values, {
    heads: config.numAttentionHeads,
    kvHeads: config.numKeyValueHeads,
    headDim: config.headDim,
    scale: Math.fround(config.queryPreAttnScalar ** -0.5),
    capacity: cache.capacity,
    window: sliding ? config.slidingWindow : 0,
    softcap: config.attnLogitSoftcapping,
  })
  return linear(tape, mixed, layer.output)
}

/** normalised x [rows, hiddenSize] → down(gelu(gate(x)) · up(x)), [rows, hiddenSize] */
export function feedForwardBlock(tape: Tape, x: Tensor, layer: LayerParameters): Tensor {
  return linear(tape, geglu(tape, linear(tape, x, layer.gate), linear(tape, x, layer.up)), layer.down)
}
