// What tokenizer_config.json says, for programs that read a tokenizer by Hugging Face's files. Knows nothing about how
// the vocabulary was made.

import { addedTokens } from '../to-tokenizer-json.ts'
import type { Vocabulary } from '../vocabulary.ts'

const TURN_MARKERS = new Set(['<start_of_turn>', '<end_of_turn>'])

/**
 * The object of a tokenizer_config.json (for JSON.stringify). Like Gemma's, but without a chat template. It repeats every
 * piece that is matched whole: transformers 5 makes Gemma's tokenizer anew from the vocabulary and the merges of
 * tokenizer.json, and what it shall match whole it takes from here; without, runs of spaces and line feeds fell apart.
 */
export function tokenizerConfig(vocabulary: Vocabulary): Record<string, unknown> {
  const { pieces, bosId, eosId, padId, unkId } = vocabulary
  const added = addedTokens(vocabulary)
  const decoder = added.map(({ id, special, ...token }) => [
    id,
    { ...token, special: special || TURN_MARKERS.has(token.content) },
  ])
  return {
    add_bos_token: true,
    add_eos_token: false,
    added_tokens_decoder: Object.fromEntries(decoder),
    additional_special_tokens: added.map(({ content }) => content).filter((one) => TURN_MARKERS.has(one)),
    bos_token: pieces[bosId],
    clean_up_tokenization_spaces: false,
    eos_token: pieces[eosId],
    pad_token: pieces[padId],
    spaces_between_special_tokens: false,
    tokenizer_class: 'GemmaTokenizer',
    unk_token: pieces[unkId],
  }
}
