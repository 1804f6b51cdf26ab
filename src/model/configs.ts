// Every released size of Gemma 1, 2 and 3 as data: what `inspect` compares against, what examples choose from
// and what makes random models of real size. Sources: the reports (arXiv 2403.08295, 2408.00118, 2503.19786)
// and the published configuration files.

import type { Generation } from './config.ts'

export interface ModelSize {
  readonly name: string
  readonly generation: Generation
  /** Hugging Face repositories with these dimensions. */
  readonly repositories: readonly string[]
  /** As in config.json. */
  readonly config: Readonly<Record<string, unknown>>
}

function size(
  generation: Generation,
  name: string,
  repositories: readonly string[],
  [hidden, intermediate, layers, heads, kvHeads, headDim]: readonly [
    number,
    number,
    number,
    number,
    number,
    number,
  ],
  more: Readonly<Record<string, unknown>> = {},
): ModelSize {
  const config = {
    model_type: ['gemma', 'gemma2', 'gemma3_text'][generation - 1],
    vocab_size: 256000,
    hidden_size: hidden,
    intermediate_size: intermediate,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    head_dim: headDim,
    max_position_embeddings: 8192,
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    hidden_activation: 'gelu_pytorch_tanh',
    bos_token_id: 2,
    eos_token_id: 1,
    pad_token_id: 0,
    ...more,
  }
  return { name, generation, repositories, config }
}

const gemma2 = (scalar: number): Readonly<Record<string, unknown>> => ({
  query_pre_attn_scalar: scalar,
  sliding_window: 4096,
  attn_logit_softcapping: 50,
  final_logit_softcapping: 30,
})

const gemma3 = (
  window: number,
  more: Readonly<Record<string, unknown>> = {},
): Readonly<Record<string, unknown>> => ({
  vocab_size: 262144,
  query_pre_attn_scalar: 256,
  sliding_window: window,
  sliding_window_pattern: 6,
  rope_theta: 1_000_000,
  rope_local_base_freq: 10000,
  max_position_embeddings: 32768,
  ...more,
})

/** The larger Gemma 3 read 128 k tokens: positions of full layers are divided by eight. */
const LONG = {
  vocab_size: 262208,
  max_position_embeddings: 131072,
  rope_scaling: { factor: 8, rope_type: 'linear' },
}

export const modelSizes: readonly ModelSize[] = [
  size(
    1,
    '2b',
    [
      'google/gemma-2b',
      'google/gemma-2b-it',
      'google/gemma-1.1-2b-it',
      'google/codegemma-2b',
      'google/codegemma-1.1-2b',
    ],
    [2048, 16384, 18, 8, 1, 256],
  ),
  size(
    1,
    '7b',
    [
      'google/gemma-7b',
      'google/gemma-7b-it',
      'google/gemma-1.1-7b-it',
      'google/codegemma-7b',
      'google/codegemma-7b-it',
      'google/codegemma-1.1-7b-it',
    ],
    [3072, 24576, 28, 16, 16, 256],
  ),
  size(2, '2-2b', ['google/gemma-2-2b', 'google/gemma-2-2b-it'], [2304, 9216, 26, 8, 4, 256], gemma2(256)),
  size(2, '2-9b', ['google/gemma-2-9b', 'google/gemma-2-9b-it'], [3584, 14336, 42, 16, 8, 256], gemma2(256)),
  size(
    2,
    '2-27b',
    ['google/gemma-2-27b', 'google/gemma-2-27b-it'],
    [4608, 36864, 46, 32, 16, 128],
    gemma2(144),
  ),
  size(
    3,
    '3-270m',
    ['google/gemma-3-270m', 'google/gemma-3-270m-it'],
    [640, 2048, 18, 4, 1, 256],
    gemma3(512),
  ),
  size(3, '3-1b', ['google/gemma-3-1b-pt', 'google/gemma-3-1b-it'], [1152, 6912, 26, 4, 1, 256], gemma3(512)),
  size(
    3,
    '3-4b',
    ['google/gemma-3-4b-pt', 'google/gemma-3-4b-it'],
    [2560, 10240, 34, 8, 4, 256],
    gemma3(1024, LONG),
  ),
  size(
    3,
    '3-12b',
    ['google/gemma-3-12b-pt', 'google/gemma-3-12b-it'],
    [3840, 15360, 48, 16, 8, 256],
    gemma3(1024, LONG),
  ),
  size(
    3,
    '3-27b',
    ['google/gemma-3-27b-pt', 'google/gemma-3-27b-it'],
    [5376, 21504, 62, 32, 16, 128],
    gemma3(1024, { ...LONG, query_pre_attn_scalar: 168 }),
  ),
]

/**
 * Sizes that nobody publishes: small enough to be trained from nothing where they run, with the structure of Gemma 1 2B
 * (one key-value head, GeGLU, tied embedding). The feed-forward layer is 4 times as wide as the model, not Gemma's
 * 8: at so little compute depth pays more. 303 680, 1 213 568 and 6 655 232 parameters.
 */
export const miniatureSizes: readonly ModelSize[] = [
  size(1, 'nano', [], [64, 256, 4, 4, 1, 16], { vocab_size: 1024, max_position_embeddings: 256 }),
  size(1, 'micro', [], [128, 512, 4, 4, 1, 32], { vocab_size: 2048, max_position_embeddings: 512 }),
  size(1, 'mini', [], [256, 1024, 6, 8, 1, 32], { vocab_size: 4096, max_position_embeddings: 512 }),
]
