// The tokenizer part of GGUF metadata (`tokenizer.ggml.*`), as llama.cpp's converter writes it for
// SentencePiece models. Knows nothing about files.

import { GemmaError } from '../error.ts'
import type { Vocabulary } from '../tokenizer/vocabulary.ts'
import type { GgufEntry } from './gguf-writer.node.ts'

/** What llama.cpp's converter gives to rows of the embedding that have no piece: type 5 is "unused". */
const filler = { score: -10_000, type: 5 }

/** Metadata of a vocabulary for an embedding of `rows` rows; rows past the pieces get filler tokens. */
export function ggufTokenizerEntries(
  vocabulary: Vocabulary,
  rows: number,
  chatTemplate?: string,
): Map<string, GgufEntry> {
  const { pieces, scores, types, bosId, eosId, padId, unkId } = vocabulary
  if (pieces.length > rows) {
    throw new GemmaError(
      'tokenizer',
      `The tokenizer has ${pieces.length} pieces, but the embedding has ${rows} rows.`,
      'The tokenizer belongs to another model.',
    )
  }
  const tokens = [...pieces]
  const allScores = new Float32Array(rows).fill(filler.score)
  const allTypes = new Int32Array(rows).fill(filler.type)
  allScores.set(scores)
  allTypes.set(types)
  for (let id = pieces.length; id < rows; id++) tokens.push(`[PAD${id}]`)
  const entries = new Map<string, GgufEntry>()
  const put = (key: string, entry: GgufEntry): void => void entries.set(`tokenizer.ggml.${key}`, entry)
  put('model', { type: 'string', value: 'llama' }) // llama.cpp's word for SentencePiece
  put('pre', { type: 'string', value: 'default' })
  put('tokens', { type: 'array', of: 'string', value: tokens })
  put('scores', { type: 'array', of: 'f32', value: allScores })
  put('token_type', { type: 'array', of: 'i32', value: allTypes })
  put('bos_token_id', { type: 'u32', value: bosId })
  put('eos_token_id', { type: 'u32', value: eosId })
  put('unknown_token_id', { type: 'u32', value: unkId })
  put('padding_token_id', { type: 'u32', value: padId })
  const endOfTurn = pieces.indexOf('<end_of_turn>')
  if (endOfTurn !== -1) put('eot_token_id', { type: 'u32', value: endOfTurn })
  put('add_bos_token', { type: 'bool', value: true })
  put('add_eos_token', { type: 'bool', value: false })
  put('add_space_prefix', { type: 'bool', value: false })
  if (chatTemplate !== undefined)
    entries.set('tokenizer.chat_template', { type: 'string', value: chatTemplate })
  return entries
}
