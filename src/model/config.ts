// What a Gemma is, as numbers: read from a configuration with Hugging Face's keys and checked. Knows the
// differences between the generations' configuration files, so that nothing after it has to.

import { GemmaError } from '../error.ts'

export type Generation = 1 | 2 | 3

/** Names are those of Hugging Face's config.json in camel case. */
export interface ModelConfig {
  readonly generation: Generation
  readonly vocabSize: number
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly numHiddenLayers: number
  readonly numAttentionHeads: number
  readonly numKeyValueHeads: number
  readonly headDim: number
  /** The longest context the model was trained for. */
  readonly maxPositionEmbeddings: number
  readonly rmsNormEps: number
  /** Scores are scaled by its −½ power. */
  readonly queryPreAttnScalar: number
  /** Soft cap on attention scores; 0: none. */
  readonly attnLogitSoftcapping: number
  /** Soft cap on logits; 0: none. */
  readonly finalLogitSoftcapping: number
  /** Tokens that a sliding layer sees, the current one included. */
  readonly slidingWindow: number
  readonly layerTypes: readonly LayerType[]
  /** θ of full-attention layers … */
  readonly ropeTheta: number
  /** … whose positions are divided by this. */
  readonly ropeFactor: number
  /** θ of sliding layers. */
  readonly ropeLocalTheta: number
  readonly bosTokenId: number
  readonly padTokenId: number
  /** Tokens that end an answer. */
  readonly eosTokenIds: readonly number[]
}

export type LayerType = 'full' | 'sliding'

type Json = Readonly<Record<string, unknown>>

// What transformers assumes where a published configuration is silent (Gemma 3's multimodal ones are).
const DEFAULTS: Readonly<Record<Generation, Json>> = {
  1: {
    vocab_size: 256000,
    hidden_size: 3072,
    intermediate_size: 24576,
    num_hidden_layers: 28,
    num_attention_heads: 16,
    num_key_value_heads: 16,
    head_dim: 256,
    max_position_embeddings: 8192,
    rope_theta: 10000,
  },
  2: {
    vocab_size: 256000,
    hidden_size: 2304,
    intermediate_size: 9216,
    num_hidden_layers: 26,
    num_attention_heads: 8,
    num_key_value_heads: 4,
    head_dim: 256,
    max_position_embeddings: 8192,
    rope_theta: 10000,
    query_pre_attn_scalar: 256,
    sliding_window: 4096,
  },
  3: {
    vocab_size: 262208,
    hidden_size: 2304,
    intermediate_size: 9216,
    num_hidden_layers: 26,
    num_attention_heads: 8,
    num_key_value_heads: 4,
    head_dim: 256,
    max_position_embeddings: 131072,
    rope_theta: 1_000_000,
    query_pre_attn_scalar: 256,
    sliding_window: 4096,
    rope_local_base_freq: 10000,
    sliding_window_pattern: 6,
  },
}

const GENERATIONS: Readonly<Record<string, Generation>> = {
  gemma: 1,
  gemma2: 2,
  gemma3: 3,
  gemma3_text: 3,
}

/** Sizes no model comes near; past them a configuration is broken or hostile. */
const LARGEST: Readonly<Record<string, number>> = {
  vocab_size: 2 ** 22,
  hidden_size: 2 ** 16,
  intermediate_size: 2 ** 20,
  num_hidden_layers: 1024,
  num_attention_heads: 1024,
  num_key_value_heads: 1024,
  head_dim: 4096,
  max_position_embeddings: 2 ** 24,
  sliding_window: 2 ** 24,
  sliding_window_pattern: 1024,
}

/**
 * Reads a configuration with Hugging Face's keys; `generationConfig` may name more end tokens. Throws
 * GemmaError 'config' or 'unsupported' for anything that is not a text Gemma 1, 2 or 3.
 */
export function parseConfig(raw: Json, generationConfig: Json = {}): ModelConfig {
  if (!isObject(raw))
    throw new GemmaError('config', 'config.json: expected an object.', 'The file is damaged.')
  const type = raw.model_type
  const generation =
    typeof type === 'string' && Object.hasOwn(GENERATIONS, type) ? GENERATIONS[type] : undefined
  if (generation === undefined) {
    throw new GemmaError(
      'unsupported',
      `config.json: model_type is ${shown(type)}, expected one of ${Object.keys(GENERATIONS).join(', ')}.`,
      'Choose a Gemma 1, 2 or 3 checkpoint.',
    )
  }
  const text = isObject(raw.text_config) ? raw.text_config : raw
  const json: Json = { ...DEFAULTS[generation], ...withoutNull(text) }
  checkActivation(text)
  const count = (key: string): number => positiveInteger(json, key)
  const layers = count('num_hidden_layers')
  const headDim = count('head_dim')
  const heads = count('num_attention_heads')
  const kvHeads = count('num_key_value_heads')
  if (heads % kvHeads !== 0) {
    throw new GemmaError(
      'config',
      `config.json: num_attention_heads (${heads}) must be a multiple of num_key_value_heads (${kvHeads}).`,
    )
  }
  if (headDim % 4 !== 0) {
    throw new GemmaError('unsupported', `config.json: head_dim is ${headDim}, expected a multiple of 4.`)
  }
  const rope = ropeOf(json)
  return {
    generation,
    vocabSize: count('vocab_size'),
    hiddenSize: count('hidden_size'),
    intermediateSize: count('intermediate_size'),
    numHiddenLayers: layers,
    numAttentionHeads: heads,
    numKeyValueHeads: kvHeads,
    headDim,
    maxPositionEmbeddings: count('max_position_embeddings'),
    rmsNormEps: positive(json, 'rms_norm_eps', 1e-6),
    queryPreAttnScalar: generation === 1 ? headDim : positive(json, 'query_pre_attn_scalar'),
    attnLogitSoftcapping: generation === 2 ? softcap(text, 'attn_logit_softcapping', 50) : 0,
    finalLogitSoftcapping: softcap(text, 'final_logit_softcapping', generation === 2 ? 30 : 0),
    slidingWindow: generation === 1 ? 0 : count('sliding_window'),
    layerTypes: layerTypesOf(json, generation, layers),
    ...rope,
    bosTokenId: tokenId(raw, text, 'bos_token_id', 2),
    padTokenId: tokenId(raw, text, 'pad_token_id', 0),
    eosTokenIds: endTokens(raw, text, generationConfig),
  }
}

/** A value for a message: whatever the file holds there, cut to a readable length. */
function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'undefined'
  return text.length > 80 ? `${text.slice(0, 80)}…` : text
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function withoutNull(json: Json): Json {
  return Object.fromEntries(Object.entries(json).filter(([, value]) => value !== null && value !== undefined))
}

/** Early files say "gelu" and mean its tanh form; anything else is another model. */
function checkActivation(text: Json): void {
  const name = text.hidden_activation ?? text.hidden_act ?? 'gelu_pytorch_tanh'
  if (name === 'gelu' || name === 'gelu_pytorch_tanh' || name === 'gelu_tanh') return
  throw new GemmaError(
    'unsupported',
    `config.json: hidden_activation is ${shown(name)}, expected "gelu_pytorch_tanh".`,
    'This is not a Gemma that this library knows.',
  )
}

function positiveInteger(json: Json, key: string): number {
  const value = json[key]
  const largest = LARGEST[key] ?? Number.MAX_SAFE_INTEGER
  if (Number.isSafeInteger(value) && (value as number) > 0 && (value as number) <= largest)
    return value as number
  throw new GemmaError(
    'config',
    `config.json: ${key} is ${shown(value)}, expected a whole number from 1 to ${largest}.`,
    'The file is damaged or not a Gemma configuration.',
  )
}

function positive(json: Json, key: string, fallback?: number): number {
  const value = json[key] ?? fallback
  if (typeof value === 'number' && Number.isFinite(value) && (value > 0 || value === fallback)) return value
  throw new GemmaError('config', `config.json: ${key} is ${shown(value)}, expected a positive number.`)
}

/** Silence means the generation's own cap, null means none. */
function softcap(text: Json, key: string, fallback: number): number {
  return text[key] === null ? 0 : positive(text, key, fallback)
}

/** transformers 4 writes rope_theta, rope_local_base_freq and rope_scaling; transformers 5 rope_parameters. */
function ropeOf(json: Json): Pick<ModelConfig, 'ropeTheta' | 'ropeFactor' | 'ropeLocalTheta'> {
  const parameters = isObject(json.rope_parameters) ? json.rope_parameters : {}
  const full = isObject(parameters.full_attention) ? parameters.full_attention : parameters
  const sliding = isObject(parameters.sliding_attention) ? parameters.sliding_attention : {}
  const scaling = isObject(json.rope_scaling) ? json.rope_scaling : full
  const kind = scaling.rope_type ?? scaling.type ?? 'default'
  if (kind !== 'linear' && kind !== 'default') {
    throw new GemmaError(
      'unsupported',
      `config.json: rope scaling of type ${shown(kind)}, expected "linear" or none.`,
    )
  }
  const ropeTheta = positive(
    withoutNull({ rope_theta: full.rope_theta ?? json.rope_theta }),
    'rope_theta',
    10000,
  )
  const local = sliding.rope_theta ?? json.rope_local_base_freq
  return {
    ropeTheta,
    ropeFactor: kind === 'linear' ? positive(scaling, 'factor') : 1,
    ropeLocalTheta: positive(withoutNull({ rope_local_base_freq: local }), 'rope_local_base_freq', ropeTheta),
  }
}

function layerTypesOf(json: Json, generation: Generation, layers: number): LayerType[] {
  if (Array.isArray(json.layer_types)) {
    const types = json.layer_types.map((type): LayerType | undefined =>
      type === 'sliding_attention' ? 'sliding' : type === 'full_attention' ? 'full' : undefined,
    )
    if (types.length === layers && types.every((type) => type !== undefined)) return types as LayerType[]
    throw new GemmaError(
      'config',
      `config.json: layer_types must name "sliding_attention" or "full_attention" for each of ${layers} layers.`,
    )
  }
  if (generation === 1) return new Array<LayerType>(layers).fill('full')
  // Gemma 2 alternates, beginning with a sliding layer; Gemma 3 has one full layer after each five.
  const pattern = generation === 2 ? 2 : positiveInteger(json, 'sliding_window_pattern')
  return Array.from({ length: layers }, (_, i) => ((i + 1) % pattern === 0 ? 'full' : 'sliding'))
}

function tokenId(raw: Json, text: Json, key: string, fallback: number): number {
  const value = raw[key] ?? text[key] ?? fallback
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number
  throw new GemmaError('config', `config.json: ${key} is ${shown(value)}, expected a token id.`)
}

function endTokens(raw: Json, text: Json, generationConfig: Json): number[] {
  const named = [
    isObject(generationConfig) ? generationConfig.eos_token_id : undefined,
    raw.eos_token_id,
    text.eos_token_id,
  ].flat()
  const ids = named.filter((id): id is number => Number.isSafeInteger(id) && (id as number) >= 0)
  return ids.length > 0 ? [...new Set(ids)] : [1]
}
