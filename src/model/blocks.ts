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
import { type RowAttentionOptions, rowAttention } from '../ops/row-attention/row-attention.ts'
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
  /** One per layer; none for training, where the rows of a run see only each other. */
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
  return { caches: createCaches(config, options), ...createAngles(config, options.contextLength) }
}

/** The state of a model whose rows see only each other: whole documents of at most so many tokens. */
export function createRowState(config: ModelConfig, contextLength: number): ModelState {
  return { caches: [], ...createAngles(config, contextLength) }
}

function createCaches(config: ModelConfig, options: StateOptions): LayerCache[] {
  const { contextLength, sequences, maxRows, cacheDtype = 'f32' } = options
  const width = config.numKeyValueHeads * config.headDim
  return config.layerTypes.map((type, i): LayerCache => {
    const capacity = cacheCapacity(config, type, contextLength, maxRows)
    const make = (part: string): Tensor =>
      persistentTensor('cache', `cache.${i}.${part}`, [sequences * capacity, width], cacheDtype)
    return { keys: make('keys'), values: make('values'), capacity }
  })
}

function createAngles(config: ModelConfig, contextLength: number): Omit<ModelState, 'caches'> {
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
  return { fullAngles, slidingAngles, constants }
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
  const normed = (y: Tensor, weight: Tensor | undefined): Tensor =>
    weight ? rmsNorm(tape, y, weight, config.rmsNormEps) : y
  const query = rope(tape, normed(linear(tape, x, layer.query), layer.queryNorm), angles) // [rows, heads · headDim]
  const key = rope(tape, normed(linear(tape, x, layer.key), layer.keyNorm), angles) // [rows, kvHeads · headDim]
  const value = linear(tape, x, layer.value)
  const options: RowAttentionOptions = {
    heads: config.numAttentionHeads,
    kvHeads: config.numKeyValueHeads,
    headDim: config.headDim,
    scale: Math.fround(config.queryPreAttnScalar ** -0.5),
    window: sliding ? config.slidingWindow : 0,
    softcap: config.attnLogitSoftcapping,
  }
  return linear(tape, mix(tape, query, key, value, options, state.caches[index]), layer.output)
}

/** Attention over the cache, which gains the rows' own keys and values first; without one, over the rows alone. */
function mix(
  tape: Tape,
  query: Tensor,
  key: Tensor,
  value: Tensor,
  options: RowAttentionOptions,
  cache: LayerCache | undefined,
): Tensor {
  if (!cache) return rowAttention(tape, query, key, value, options)
  const { keys, values, capacity } = cache
  append(tape, key, keys, capacity)
  append(tape, value, values, capacity)
  return attention(tape, query, keys, values, { ...options, capacity })
}

/** normalised x [rows, hiddenSize] → down(gelu(gate(x)) · up(x)), [rows, hiddenSize] */
export function feedForwardBlock(tape: Tape, x: Tensor, layer: LayerParameters): Tensor {
  return linear(tape, geglu(tape, linear(tape, x, layer.gate), linear(tape, x, layer.up)), layer.down)
}
