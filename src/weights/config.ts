// Configurations with Hugging Face's keys, from the forms in which they are published. Knows no file
// format; the numbers are Google's (transformers' configuration_gemma*.py, google/gemma_pytorch's config.py).

export type Config = Readonly<Record<string, unknown>>

// What Gemma 3's text_config leaves out when it equals transformers' default (Gemma3TextConfig).
const gemma3TextDefaults: Config = {
  vocab_size: 262_208,
  hidden_size: 2304,
  intermediate_size: 9216,
  num_hidden_layers: 26,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  head_dim: 256,
  hidden_activation: 'gelu_pytorch_tanh',
  max_position_embeddings: 131_072,
  rms_norm_eps: 1e-6,
  rope_theta: 1_000_000,
  rope_local_base_freq: 10_000,
  query_pre_attn_scalar: 256,
  sliding_window: 4096,
  sliding_window_pattern: 6,
  tie_word_embeddings: true,
}

/**
 * The text model's part of a config.json: the object itself, or Gemma 3's `text_config` with the defaults
 * it leaves out. Always flat, always with the text model's `model_type`.
 */
export function textConfig(config: Config): Config {
  const text = config.text_config
  if (!isObject(text)) return withRopeKeys(config)
  const inherited = { eos_token_id: config.eos_token_id, torch_dtype: config.torch_dtype ?? config.dtype }
  const merged: Record<string, unknown> = { ...gemma3TextDefaults, ...inherited, ...text }
  if (config.model_type === 'gemma3') merged.model_type = 'gemma3_text'
  if (merged.layer_types !== undefined) delete merged.sliding_window_pattern
  return withRopeKeys(merged)
}

/** transformers 5 writes `rope_parameters`, for Gemma 3 one set per layer type; earlier ones flat keys. */
function withRopeKeys(config: Config): Config {
  const parameters = config.rope_parameters
  if (!isObject(parameters)) return config
  const { full_attention: full, sliding_attention: sliding } = parameters
  const main = isObject(full) ? full : parameters
  const flat: Record<string, unknown> = { ...config, rope_scaling: null }
  delete flat.rope_parameters
  if (main.rope_theta !== undefined) flat.rope_theta = main.rope_theta
  if (isObject(sliding) && sliding.rope_theta !== undefined) flat.rope_local_base_freq = sliding.rope_theta
  if (main.rope_type !== undefined && main.rope_type !== 'default') {
    const { rope_theta: _, ...scaling } = main
    flat.rope_scaling = scaling
  }
  return flat
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
