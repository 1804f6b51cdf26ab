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
  if (typeof text !== 'object' || text === null || Array.isArray(text)) return config
  const inherited = { eos_token_id: config.eos_token_id, torch_dtype: config.torch_dtype ?? config.dtype }
  const merged: Record<string, unknown> = { ...gemma3TextDefaults, ...inherited, ...text }
  if (config.model_type === 'gemma3') merged.model_type = 'gemma3_text'
  if (merged.layer_types !== undefined) delete merged.sliding_window_pattern
  return merged
}
