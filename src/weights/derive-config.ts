// The configuration of a bare gemma_pytorch checkpoint: what the shapes tell, completed by the published
// numbers of the model with those shapes (google/gemma_pytorch's config.py). Knows no file format.

import { GemmaError } from '../error.ts'
import type { FileTensor } from './collect.ts'
import type { Config } from './config.ts'

/** Published models by `hidden_size` × `num_hidden_layers`: what shapes do not tell. */
const published: Readonly<Record<string, Config>> = {
  '2048x18': { head_dim: 256 }, // Gemma 2B
  '3072x28': { head_dim: 256 }, // Gemma 7B
  '2304x26': { head_dim: 256, query_pre_attn_scalar: 256 }, // Gemma 2 2B
  '3584x42': { head_dim: 256, query_pre_attn_scalar: 256 }, // Gemma 2 9B
  '4608x46': { head_dim: 128, query_pre_attn_scalar: 144 }, // Gemma 2 27B
  '640x18': {
    head_dim: 256,
    query_pre_attn_scalar: 256,
    sliding_window: 512,
    max_position_embeddings: 32_768,
  }, // Gemma 3 270M
  '1152x26': {
    head_dim: 256,
    query_pre_attn_scalar: 256,
    sliding_window: 512,
    max_position_embeddings: 32_768,
  }, // Gemma 3 1B
  '2560x34': { head_dim: 256, query_pre_attn_scalar: 256, ...scaledGemma3() }, // Gemma 3 4B
  '3840x48': { head_dim: 256, query_pre_attn_scalar: 256, ...scaledGemma3() }, // Gemma 3 12B
  '5376x62': { head_dim: 128, query_pre_attn_scalar: 168, ...scaledGemma3() }, // Gemma 3 27B
}

function scaledGemma3(): Config {
  return {
    sliding_window: 1024,
    max_position_embeddings: 131_072,
    rope_scaling: { rope_type: 'linear', factor: 8 },
  }
}

const common: Config = {
  hidden_activation: 'gelu_pytorch_tanh',
  rms_norm_eps: 1e-6,
  attention_bias: false,
  tie_word_embeddings: true,
  bos_token_id: 2,
  eos_token_id: 1,
  pad_token_id: 0,
}

const generation: Readonly<Record<string, Config>> = {
  gemma: { rope_theta: 10_000, max_position_embeddings: 8192 },
  gemma2: {
    rope_theta: 10_000,
    max_position_embeddings: 8192,
    sliding_window: 4096,
    attn_logit_softcapping: 50,
    final_logit_softcapping: 30,
  },
  gemma3_text: {
    rope_theta: 1_000_000,
    rope_local_base_freq: 10_000,
    rope_scaling: null,
    sliding_window_pattern: 6,
    attn_logit_softcapping: null,
    final_logit_softcapping: null,
  },
}

// gemma_pytorch's own word for a key of Hugging Face's, where they differ.
const renamed: ReadonlyArray<readonly [string, string]> = [['sliding_window_size', 'sliding_window']]

/**
 * The configuration of a checkpoint in gemma_pytorch's layout. What `given` (a config.json, or {}) says
 * comes first, then the shapes, then the published numbers.
 */
export function derivePytorchConfig(files: readonly FileTensor[], given: Config, name: string): Config {
  const shapes = new Map(files.map((file) => [file.name, file.shape]))
  const first = 'model.layers.0.'
  const embedding = shapes.get('embedder.weight') ?? shapes.get('text_token_embedder.weight')
  const stacked = shapes.get(`${first}self_attn.qkv_proj.weight`)
  const output = shapes.get(`${first}self_attn.o_proj.weight`)
  const gate = shapes.get(`${first}mlp.gate_proj.weight`)
  if (embedding?.length !== 2 || stacked?.length !== 2 || output?.length !== 2 || gate?.length !== 2) {
    throw new GemmaError(
      'config',
      `${name} has no config.json beside it, and its tensors are not those of google/gemma_pytorch.`,
      'Put the config.json of the model into the same directory.',
    )
  }
  const model = shapes.has(`${first}self_attn.query_norm.weight`)
    ? 'gemma3_text'
    : shapes.has(`${first}pre_feedforward_layernorm.weight`)
      ? 'gemma2'
      : 'gemma'
  const layers = countLayers(files)
  const table = published[`${embedding[1]}x${layers}`] ?? {}
  const frequencies = shapes.get('freqs_cis') ?? shapes.get('global_freqs_cis')
  const known: Config = { ...table, ...givenKeys(given), ...fromFrequencies(frequencies) }
  const width = headWidth(known, name)
  const fromShapes = {
    model_type: model,
    vocab_size: embedding[0],
    hidden_size: embedding[1],
    num_hidden_layers: layers,
    intermediate_size: gate[0],
    head_dim: width,
    num_attention_heads: output[1] / width,
    num_key_value_heads: (stacked[0] - output[1]) / 2 / width,
  }
  checkHeads(fromShapes, stacked[0], output[1], name)
  const config = { ...common, ...generation[model], ...known, ...fromShapes }
  if (model !== 'gemma') requireKeys(config, ['query_pre_attn_scalar', 'sliding_window'], name)
  return config
}

function countLayers(files: readonly FileTensor[]): number {
  const layers = new Set<string>()
  for (const { name } of files) {
    const match = /^model\.layers\.(\d+)\./.exec(name)
    if (match !== null) layers.add(match[1])
  }
  return layers.size
}

function givenKeys(given: Config): Config {
  const keys: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(given))
    if (value !== null && value !== undefined) keys[key] = value
  for (const [from, to] of renamed)
    if (keys[to] === undefined && keys[from] !== undefined) keys[to] = keys[from]
  return keys
}

/** `freqs_cis` is [2 × longest sequence, head_dim / 2]. */
function fromFrequencies(shape: readonly number[] | undefined): Config {
  if (shape?.length !== 2) return {}
  return { head_dim: 2 * shape[1], max_position_embeddings: shape[0] / 2 }
}

function headWidth(known: Config, name: string): number {
  if (typeof known.head_dim === 'number' && known.head_dim > 0) return known.head_dim
  throw new GemmaError(
    'config',
    `${name} has no config.json beside it, and its shapes are not those of a published Gemma, so head_dim is unknown.`,
    'Put a config.json with head_dim into the same directory.',
  )
}

function checkHeads(config: Config, stackedRows: number, queryRows: number, name: string): void {
  const { num_attention_heads: heads, num_key_value_heads: groups, head_dim } = config
  const whole = (count: unknown): boolean => Number.isInteger(count) && (count as number) > 0
  if (whole(heads) && whole(groups)) return
  throw new GemmaError(
    'config',
    `${name}: ${stackedRows} stacked and ${queryRows} query rows are not whole heads of ${head_dim}.`,
    'The config.json beside the file belongs to another model.',
  )
}

function requireKeys(config: Config, keys: readonly string[], name: string): void {
  const missing = keys.filter((key) => typeof config[key] !== 'number')
  if (missing.length === 0) return
  throw new GemmaError(
    'config',
    `${name} has no config.json beside it, and its shapes do not tell ${missing.join(' and ')}.`,
    `Put a config.json with ${missing.join(', ')} into the same directory.`,
  )
}
