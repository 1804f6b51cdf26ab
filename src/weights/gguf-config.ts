// GGUF metadata to a configuration with Hugging Face's keys, and the way back. Where the metadata has no
// key for something, the value is the one llama.cpp's loader assumes for the architecture
// (llama.cpp src/llama-model.cpp, the cases LLM_ARCH_GEMMA, GEMMA2 and GEMMA3). Knows no file layout.

import { GemmaError } from '../error.ts'
import type { Config } from './config.ts'
import type { GgufValue } from './gguf.ts'

type Metadata = ReadonlyMap<string, GgufValue>

/** Hugging Face's model_type of each GGUF architecture that is read. */
export const modelTypes: Readonly<Record<string, string>> = {
  gemma: 'gemma',
  gemma2: 'gemma2',
  gemma3: 'gemma3_text',
}

/** The architecture named in the metadata; throws GemmaError 'unsupported' for one that is not Gemma 1 to 3. */
export function ggufArchitecture(metadata: Metadata, name: string): string {
  const architecture = metadata.get('general.architecture')
  if (typeof architecture === 'string' && Object.hasOwn(modelTypes, architecture)) return architecture
  throw new GemmaError(
    'unsupported',
    `${name} holds a model of the architecture ${JSON.stringify(String(architecture)).slice(0, 60)}; expected ${Object.keys(modelTypes).join(', ')}.`,
    'Choose a Gemma 1, 2 or 3 text model.',
  )
}

/** config.json's keys from GGUF metadata. `vocabulary` is the number of rows of the embedding. */
export function configFromGguf(metadata: Metadata, vocabulary: number, name: string): Config {
  const architecture = ggufArchitecture(metadata, name)
  const read = (key: string, fallback?: number): number =>
    readNumber(metadata, `${architecture}.${key}`, fallback, name)
  const hidden = read('embedding_length')
  const heads = read('attention.head_count')
  const headDim = read('attention.key_length', hidden / heads)
  const config: Record<string, unknown> = {
    model_type: modelTypes[architecture],
    hidden_size: hidden,
    intermediate_size: read('feed_forward_length'),
    num_hidden_layers: read('block_count'),
    num_attention_heads: heads,
    num_key_value_heads: read('attention.head_count_kv', heads),
    head_dim: headDim,
    hidden_activation: 'gelu_pytorch_tanh',
    rms_norm_eps: tidy(read('attention.layer_norm_rms_epsilon')),
    rope_theta: read('rope.freq_base', 10_000),
    max_position_embeddings: read('context_length'),
    vocab_size: vocabulary,
    attention_bias: false,
    tie_word_embeddings: true,
    ...tokenIds(metadata),
  }
  if (read('attention.value_length', headDim) !== headDim) {
    throw new GemmaError('unsupported', `${name}: keys and values of different lengths are not Gemma's.`)
  }
  if (architecture === 'gemma2') Object.assign(config, gemma2Config(config, read))
  if (architecture === 'gemma3') Object.assign(config, gemma3Config(config, read, metadata))
  return config
}

function gemma2Config(config: Config, read: (key: string, fallback?: number) => number): Config {
  return {
    query_pre_attn_scalar: queryScalar(config, 46, read('attention.scale', 0)),
    sliding_window: read('attention.sliding_window', 4096),
    attn_logit_softcapping: read('attn_logit_softcapping', 50),
    final_logit_softcapping: read('final_logit_softcapping', 30),
  }
}

function gemma3Config(
  config: Config,
  read: (key: string, fallback?: number) => number,
  metadata: Metadata,
): Config {
  const factor = read('rope.scaling.factor', 1)
  const scaled = metadata.get('gemma3.rope.scaling.type') === 'linear' && factor !== 1
  const softcap = read('final_logit_softcapping', 0)
  return {
    query_pre_attn_scalar: queryScalar(config, 62, read('attention.scale', 0)),
    sliding_window: read('attention.sliding_window'),
    sliding_window_pattern: read('attention.sliding_window_pattern', 6),
    rope_theta: read('rope.freq_base', 1_000_000),
    rope_local_base_freq: read('rope.freq_base_swa', 10_000),
    rope_scaling: scaled ? { rope_type: 'linear', factor } : null,
    attn_logit_softcapping: null,
    final_logit_softcapping: softcap === 0 ? null : softcap,
  }
}

// llama.cpp divides queries by √(width / heads) in the 27B models, known by their number of layers, and by
// √head_dim elsewhere. `attention.scale` is the general GGUF key; our writer sets it when neither holds.
function queryScalar(config: Config, layersOf27b: number, scale: number): number {
  const { hidden_size, num_attention_heads, num_hidden_layers, head_dim } = config as Record<string, number>
  if (scale !== 0) return tidy(1 / scale ** 2)
  return num_hidden_layers === layersOf27b ? hidden_size / num_attention_heads : head_dim
}

// Metadata floats are float32: 1e-6 comes back as 9.99999997475e-7. Seven digits are all that is stored.
function tidy(value: number): number {
  return Number(value.toPrecision(7))
}

function tokenIds(metadata: Metadata): Record<string, number> {
  const ids: Record<string, number> = {}
  for (const [key, name] of [
    ['bos', 'bos_token_id'],
    ['eos', 'eos_token_id'],
    ['padding', 'pad_token_id'],
  ]) {
    const id = metadata.get(`tokenizer.ggml.${key}_token_id`)
    if (typeof id === 'number') ids[name] = id
  }
  return ids
}

/** generation_config.json's keys: the tokens that end a text, end-of-turn among them. */
export function generationConfigFromGguf(metadata: Metadata): Config {
  const { bos_token_id, eos_token_id, pad_token_id } = tokenIds(metadata)
  const endOfTurn = metadata.get('tokenizer.ggml.eot_token_id')
  if (eos_token_id === undefined) return {}
  const ends =
    typeof endOfTurn === 'number' && endOfTurn !== eos_token_id ? [eos_token_id, endOfTurn] : eos_token_id
  return { bos_token_id, eos_token_id: ends, pad_token_id }
}

function readNumber(metadata: Metadata, key: string, fallback: number | undefined, name: string): number {
  const value = metadata.get(key)
  if (value === undefined && fallback !== undefined) return fallback
  if (typeof value === 'number' && Number.isFinite(value)) return value
  // Some converters write one number per layer; Gemma 1 to 3 have the same in all.
  if (ArrayBuffer.isView(value)) {
    const numbers = Array.from(value as Iterable<number | bigint>, Number)
    if (numbers.length > 0 && numbers.every((each) => each === numbers[0])) return numbers[0]
  }
  throw new GemmaError(
    'config',
    `${name}: expected a number for ${key}, but it is ${value === undefined ? 'missing' : String(value).slice(0, 60)}.`,
    'Convert the model again with a current converter.',
  )
}

/** GGUF's keys (without `general.*` and the tokenizer) for a configuration with Hugging Face's keys. */
export function ggufFromConfig(
  config: Config,
  name: string,
): Map<string, { type: 'u32' | 'f32' | 'string'; value: number | string }> {
  const architecture = Object.keys(modelTypes).find((key) => modelTypes[key] === config.model_type)
  if (architecture === undefined) {
    throw new GemmaError(
      'unsupported',
      `${name}: GGUF files of ${String(config.model_type)} cannot be written.`,
    )
  }
  const entries = new Map<string, { type: 'u32' | 'f32' | 'string'; value: number | string }>()
  entries.set('general.architecture', { type: 'string', value: architecture })
  const put = (key: string, type: 'u32' | 'f32', from: string, fallback?: number): void => {
    const value = config[from] ?? fallback
    if (typeof value !== 'number') {
      throw new GemmaError('config', `${name}: config.json has no number for ${from}, which GGUF needs.`)
    }
    entries.set(`${architecture}.${key}`, { type, value })
  }
  put('context_length', 'u32', 'max_position_embeddings', 8192)
  put('embedding_length', 'u32', 'hidden_size')
  put('block_count', 'u32', 'num_hidden_layers')
  put('feed_forward_length', 'u32', 'intermediate_size')
  put('attention.head_count', 'u32', 'num_attention_heads')
  put('attention.head_count_kv', 'u32', 'num_key_value_heads')
  put('attention.layer_norm_rms_epsilon', 'f32', 'rms_norm_eps', 1e-6)
  put('attention.key_length', 'u32', 'head_dim', 256)
  put('attention.value_length', 'u32', 'head_dim', 256)
  put('rope.freq_base', 'f32', 'rope_theta', architecture === 'gemma3' ? 1_000_000 : 10_000)
  if (architecture !== 'gemma') {
    put('attention.sliding_window', 'u32', 'sliding_window', 4096)
    putScale(entries, config, architecture)
  }
  if (architecture === 'gemma2') {
    put('attn_logit_softcapping', 'f32', 'attn_logit_softcapping', 50)
    put('final_logit_softcapping', 'f32', 'final_logit_softcapping', 30)
  }
  if (architecture === 'gemma3') putGemma3(entries, config, name)
  return entries
}

type Entries = Map<string, { type: 'u32' | 'f32' | 'string'; value: number | string }>

function putScale(entries: Entries, config: Config, architecture: string): void {
  const scalar = config.query_pre_attn_scalar
  if (typeof scalar !== 'number' || scalar <= 0) return
  if (queryScalar(config, architecture === 'gemma2' ? 46 : 62, 0) === scalar) return
  entries.set(`${architecture}.attention.scale`, { type: 'f32', value: scalar ** -0.5 })
}

function putGemma3(entries: Entries, config: Config, name: string): void {
  const pattern = slidingPattern(config)
  if (pattern === undefined) {
    throw new GemmaError(
      'unsupported',
      `${name}: GGUF has no place for this order of sliding and full layers.`,
    )
  }
  // llama.cpp takes 6 for granted; another number is written for readers that look.
  if (pattern !== 6) entries.set('gemma3.attention.sliding_window_pattern', { type: 'u32', value: pattern })
  const local = config.rope_local_base_freq
  if (typeof local === 'number') entries.set('gemma3.rope.freq_base_swa', { type: 'f32', value: local })
  const scaling = config.rope_scaling as Record<string, unknown> | null | undefined
  if (scaling === null || scaling === undefined) return
  const { rope_type = scaling.type, factor } = scaling
  if (rope_type !== 'linear' || typeof factor !== 'number') {
    throw new GemmaError(
      'unsupported',
      `${name}: rope scaling of type ${String(rope_type)} cannot be written to GGUF.`,
    )
  }
  entries.set('gemma3.rope.scaling.type', { type: 'string', value: 'linear' })
  entries.set('gemma3.rope.scaling.factor', { type: 'f32', value: factor })
}

/** Every which layer is full, from `sliding_window_pattern` or `layer_types`; undefined when irregular. */
function slidingPattern(config: Config): number | undefined {
  const types = config.layer_types
  if (!Array.isArray(types)) {
    const pattern = config.sliding_window_pattern ?? 6
    return typeof pattern === 'number' ? pattern : undefined
  }
  const first = types.indexOf('full_attention')
  const pattern = first === -1 ? types.length + 1 : first + 1
  const regular = types.every((type, i) => (type === 'full_attention') === ((i + 1) % pattern === 0))
  return regular ? pattern : undefined
}
