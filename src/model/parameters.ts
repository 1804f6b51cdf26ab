// The tree of weights of a model, with Hugging Face's name and shape of each. Loader, trainer, quantiser and
// tests all walk this one tree. Knows no backend and no file.

import type { Dtype } from '../graph/dtype.ts'
import { elementCount, persistentTensor, type Tensor } from '../graph/tape.ts'
import type { ModelConfig } from './config.ts'

export interface LayerParameters {
  readonly inputNorm: Tensor
  readonly query: Tensor
  readonly key: Tensor
  readonly value: Tensor
  readonly output: Tensor
  /** Gemma 3. */
  readonly queryNorm?: Tensor
  readonly keyNorm?: Tensor
  /** Gemma 2 and 3: on what attention gives, before the residual sum. */
  readonly postAttentionNorm?: Tensor
  readonly preFeedForwardNorm: Tensor
  readonly gate: Tensor
  readonly up: Tensor
  readonly down: Tensor
  /** Gemma 2 and 3. */
  readonly postFeedForwardNorm?: Tensor
}

export interface Parameters {
  /** [vocabSize, hiddenSize]; also the output head. */
  readonly embedding: Tensor
  readonly layers: readonly LayerParameters[]
  readonly finalNorm: Tensor
}

export interface ParameterSpec {
  readonly name: string
  readonly shape: readonly number[]
}

type LayerKey = keyof LayerParameters

/** Hugging Face's name within a layer and the shape of each weight; absent ones are left out. */
function layerSpecs(config: ModelConfig): Map<LayerKey, ParameterSpec> {
  const { hiddenSize, intermediateSize, headDim, generation } = config
  const queryWidth = config.numAttentionHeads * headDim
  const keyWidth = config.numKeyValueHeads * headDim
  const specs = new Map<LayerKey, ParameterSpec>()
  const put = (key: LayerKey, name: string, ...shape: number[]): void => void specs.set(key, { name, shape })
  put('inputNorm', 'input_layernorm', hiddenSize)
  put('query', 'self_attn.q_proj', queryWidth, hiddenSize)
  put('key', 'self_attn.k_proj', keyWidth, hiddenSize)
  put('value', 'self_attn.v_proj', keyWidth, hiddenSize)
  put('output', 'self_attn.o_proj', hiddenSize, queryWidth)
  if (generation === 3) {
    put('queryNorm', 'self_attn.q_norm', headDim)
    put('keyNorm', 'self_attn.k_norm', headDim)
  }
  if (generation === 1) {
    // The name says "post-attention", but in Gemma 1 it is the norm before the feed-forward layer.
    put('preFeedForwardNorm', 'post_attention_layernorm', hiddenSize)
  } else {
    put('postAttentionNorm', 'post_attention_layernorm', hiddenSize)
    put('preFeedForwardNorm', 'pre_feedforward_layernorm', hiddenSize)
  }
  put('gate', 'mlp.gate_proj', intermediateSize, hiddenSize)
  put('up', 'mlp.up_proj', intermediateSize, hiddenSize)
  put('down', 'mlp.down_proj', hiddenSize, intermediateSize)
  if (generation !== 1) put('postFeedForwardNorm', 'post_feedforward_layernorm', hiddenSize)
  return specs
}

const EMBEDDING = 'model.embed_tokens.weight'
const FINAL_NORM = 'model.norm.weight'

/** All weights of a model, in the order in which a run meets them. */
export function parameterSpecs(config: ModelConfig): ParameterSpec[] {
  const specs: ParameterSpec[] = [{ name: EMBEDDING, shape: [config.vocabSize, config.hiddenSize] }]
  const layer = layerSpecs(config)
  for (let i = 0; i < config.numHiddenLayers; i++) {
    for (const { name, shape } of layer.values()) specs.push({ name: layerName(i, name), shape })
  }
  specs.push({ name: FINAL_NORM, shape: [config.hiddenSize] })
  return specs
}

function layerName(index: number, name: string): string {
  return `model.layers.${index}.${name}.weight`
}

/** Counts of parameters: the embedding (shared with the output head, counted once) and the rest. */
export function parameterCounts(config: ModelConfig): {
  total: number
  embedding: number
  nonEmbedding: number
} {
  const total = parameterSpecs(config).reduce((sum, { shape }) => sum + elementCount(shape), 0)
  const embedding = config.vocabSize * config.hiddenSize
  return { total, embedding, nonEmbedding: total - embedding }
}

/** Makes the tensors; `dtypeOf` chooses the dtype of each. */
export function createParameters(config: ModelConfig, dtypeOf: (spec: ParameterSpec) => Dtype): Parameters {
  const make = (spec: ParameterSpec): Tensor =>
    persistentTensor('weight', spec.name, spec.shape, dtypeOf(spec))
  const specs = layerSpecs(config)
  const embedding = make({ name: EMBEDDING, shape: [config.vocabSize, config.hiddenSize] })
  const layers = Array.from({ length: config.numHiddenLayers }, (_, i) => {
    const entries = [...specs].map(([key, { name, shape }]) => [
      key,
      make({ name: layerName(i, name), shape }),
    ])
    return Object.fromEntries(entries) as LayerParameters
  })
  return { embedding, layers, finalNorm: make({ name: FINAL_NORM, shape: [config.hiddenSize] }) }
}

/** Weights of a layer that have the same inputs, so that one product may read them as one matrix. */
export function readTogether({ layers }: Parameters): Tensor[][] {
  return layers.flatMap(({ query, key, value, gate, up }) => [
    [query, key, value],
    [gate, up],
  ])
}
