// What tokenizer_config.json says, for programs that read a tokenizer by Hugging Face's files. Knows nothing about how
// the vocabulary was made.

import { PIECE_TYPE, type Vocabulary } from '../vocabulary.ts'

const TURN_MARKERS = new Set(['<start_of_turn>', '<end_of_turn>'])

/** The object of a tokenizer_config.json (for JSON.stringify). Like Gemma's, but without a chat template. */
export function tokenizerConfig(vocabulary: Vocabulary): Record<string, unknown> {
  const { pieces, types, bosId, eosId, padId, unkId } = vocabulary
  const decoder: Record<string, unknown> = {}
  const turns: string[] = []
  pieces.forEach((content, id) => {
    const turn = TURN_MARKERS.has(content)
    if (turn) turns.push(content)
    if (!turn && types[id] !== PIECE_TYPE.control && types[id] !== PIECE_TYPE.unknown) return
    decoder[id] = {
      content,
      lstrip: false,
      normalized: false,
      rstrip: false,
      single_word: false,
      special: true,
    }
  })
  return {
    add_bos_token: true,
    add_eos_token: false,
    added_tokens_decoder: decoder,
    additional_special_tokens: turns,
    bos_token: pieces[bosId],
    clean_up_tokenization_spaces: false,
    eos_token: pieces[eosId],
    pad_token: pieces[padId],
    spaces_between_special_tokens: false,
    tokenizer_class: 'GemmaTokenizer',
    unk_token: pieces[unkId],
  }
}
