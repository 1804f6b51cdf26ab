// The tensor names of the three containers, mapped onto Hugging Face's. Pure tables: knows nothing about
// files, shapes or arithmetic.
//
// Sources of the names: transformers' modeling_gemma*.py; google/gemma_pytorch's model.py and
// gemma3_model.py; llama.cpp's gguf-py/gguf/constants.py and tensor_mapping.py.

/** What a stored name stands for. */
export type NamedTensor =
  /** A weight of the text model under its Hugging Face name. */
  | { readonly kind: 'weight'; readonly name: string }
  /** The query, key and value rows of one layer stacked in that order (gemma_pytorch). */
  | { readonly kind: 'stacked'; readonly layer: string }
  /** The int8 row scales of the weight or the stack with this stored name (gemma_pytorch). */
  | { readonly kind: 'scales'; readonly of: string }
  /** The output head, equal to the embedding in every published Gemma. */
  | { readonly kind: 'head' }
  /** A constant that the model code computes for itself. */
  | { readonly kind: 'buffer' }
  /** A part of the vision tower or its projection. */
  | { readonly kind: 'vision' }
  | { readonly kind: 'unknown' }

const unknown: NamedTensor = { kind: 'unknown' }
const head: NamedTensor = { kind: 'head' }
const buffer: NamedTensor = { kind: 'buffer' }
const vision: NamedTensor = { kind: 'vision' }

// Hugging Face names inside a layer, and the number of sides each has.
const layerWeights: Readonly<Record<string, 1 | 2>> = {
  'input_layernorm.weight': 1,
  'post_attention_layernorm.weight': 1,
  'pre_feedforward_layernorm.weight': 1,
  'post_feedforward_layernorm.weight': 1,
  'self_attn.q_proj.weight': 2,
  'self_attn.k_proj.weight': 2,
  'self_attn.v_proj.weight': 2,
  'self_attn.o_proj.weight': 2,
  'self_attn.q_norm.weight': 1,
  'self_attn.k_norm.weight': 1,
  'mlp.gate_proj.weight': 2,
  'mlp.up_proj.weight': 2,
  'mlp.down_proj.weight': 2,
}

export const embeddingName = 'model.embed_tokens.weight'
export const finalNormName = 'model.norm.weight'
export const headName = 'lm_head.weight'

const layerPattern = /^model\.layers\.(0|[1-9]\d{0,3})\.(.+)$/

/** Sides a weight with this Hugging Face name must have: 1 for norms, 2 for matrices. */
export function expectedRank(name: string): 1 | 2 {
  if (name === embeddingName || name === headName) return 2
  const match = layerPattern.exec(name)
  return match === null ? 1 : layerWeights[match[2]]
}

function isWeight(name: string): boolean {
  if (name === embeddingName || name === finalNormName) return true
  const match = layerPattern.exec(name)
  return match !== null && Object.hasOwn(layerWeights, match[2])
}

/** Names in safetensors and .bin files of transformers, of text models and of multimodal Gemma 3. */
export function fromHuggingFace(stored: string): NamedTensor {
  // Gemma 3 with vision: language_model.model.… (before transformers 4.52), model.language_model.… (after)
  const name = stored.replace(/^language_model\./, '').replace(/^model\.language_model\./, 'model.')
  if (isWeight(name)) return { kind: 'weight', name }
  if (name === headName) return head
  if (name.endsWith('.rotary_emb.inv_freq')) return buffer
  if (/^(model\.)?(vision_tower|multi_modal_projector)\./.test(name)) return vision
  return unknown
}

const pytorchRenames: ReadonlyArray<readonly [RegExp, string]> = [
  [/^(text_token_)?embedder\./, 'model.embed_tokens.'],
  [/\.self_attn\.query_norm\./, '.self_attn.q_norm.'],
  [/\.self_attn\.key_norm\./, '.self_attn.k_norm.'],
]

/** Names in .ckpt and .bin files of google/gemma_pytorch; those of transformers pass too. */
export function fromPytorch(stored: string): NamedTensor {
  if (/^((local|global)_)?freqs_cis$/.test(stored) || /^local_mask|\.k_cache$|\.v_cache$/.test(stored))
    return buffer
  if (/^(siglip_vision_model|mm_soft_embedding_norm|mm_input_projection)\./.test(stored)) return vision
  if (stored.endsWith('.weight_scaler')) return { kind: 'scales', of: stored.slice(0, -'_scaler'.length) }
  const stacked = /^model\.layers\.(0|[1-9]\d{0,3})\.self_attn\.qkv_proj\.weight$/.exec(stored)
  if (stacked !== null) return { kind: 'stacked', layer: `model.layers.${stacked[1]}` }
  const name = pytorchRenames.reduce((text, [from, to]) => text.replace(from, to), stored)
  return fromHuggingFace(name)
}

// llama.cpp's names inside blk.N. Gemma 2 and 3 have four norms a layer: there ffn_norm comes before the
// feed-forward part, where Gemma 1's Hugging Face name for that place is post_attention_layernorm.
const ggufLayer: Readonly<Record<string, string>> = {
  'attn_norm.weight': 'input_layernorm.weight',
  'attn_q.weight': 'self_attn.q_proj.weight',
  'attn_k.weight': 'self_attn.k_proj.weight',
  'attn_v.weight': 'self_attn.v_proj.weight',
  'attn_output.weight': 'self_attn.o_proj.weight',
  'attn_q_norm.weight': 'self_attn.q_norm.weight',
  'attn_k_norm.weight': 'self_attn.k_norm.weight',
  'post_attention_norm.weight': 'post_attention_layernorm.weight',
  'ffn_norm.weight': 'pre_feedforward_layernorm.weight',
  'post_ffw_norm.weight': 'post_feedforward_layernorm.weight',
  'ffn_gate.weight': 'mlp.gate_proj.weight',
  'ffn_up.weight': 'mlp.up_proj.weight',
  'ffn_down.weight': 'mlp.down_proj.weight',
}
const gemma1FeedForwardNorm = 'post_attention_layernorm.weight'

/** Names in GGUF files of the architectures gemma, gemma2 and gemma3. */
export function fromGguf(stored: string, architecture: string): NamedTensor {
  if (stored === 'token_embd.weight') return { kind: 'weight', name: embeddingName }
  if (stored === 'output_norm.weight') return { kind: 'weight', name: finalNormName }
  if (stored === 'output.weight') return head
  if (stored === 'rope_freqs.weight') return buffer
  const match = /^blk\.(0|[1-9]\d{0,3})\.(.+)$/.exec(stored)
  if (match === null || !Object.hasOwn(ggufLayer, match[2])) return unknown
  const gemma1Norm = architecture === 'gemma' && match[2] === 'ffn_norm.weight'
  return {
    kind: 'weight',
    name: `model.layers.${match[1]}.${gemma1Norm ? gemma1FeedForwardNorm : ggufLayer[match[2]]}`,
  }
}

/** The GGUF name of a weight with a Hugging Face name; undefined for one GGUF has no place for. */
export function toGguf(name: string, architecture: string): string | undefined {
  if (name === embeddingName) return 'token_embd.weight'
  if (name === finalNormName) return 'output_norm.weight'
  if (name === headName) return 'output.weight'
  const match = layerPattern.exec(name)
  if (match === null) return undefined
  if (architecture === 'gemma' && match[2] === gemma1FeedForwardNorm) return `blk.${match[1]}.ffn_norm.weight`
  const found = Object.entries(ggufLayer).find(([, huggingFace]) => huggingFace === match[2])
  return found === undefined ? undefined : `blk.${match[1]}.${found[0]}`
}
