// Reads the vocabulary in a GGUF file's metadata (tokenizer.ggml.*). Knows nothing about the file's layout
// or its tensors.

import { GemmaError } from '../error.ts'
import { brokenTokenizer, createVocabulary, PIECE_TYPE, type Vocabulary } from './vocabulary.ts'

const FILE = 'GGUF tokenizer'
// llama.cpp's converter marks every piece below <end_of_turn> as control, and pieces added later;
// SentencePiece has only these, and matches the others whole.
const CONTROL = new Set(['<pad>', '<eos>', '<bos>'])

/** Throws GemmaError 'tokenizer' for broken metadata and 'unsupported' for a tokenizer of another kind. */
export function parseGgufTokenizer(metadata: ReadonlyMap<string, unknown>): Vocabulary {
  const kind = metadata.get('tokenizer.ggml.model')
  if (kind !== 'llama') {
    throw new GemmaError(
      'unsupported',
      `${FILE}: expected the kind "llama" (SentencePiece BPE), found ${JSON.stringify(kind)}.`,
      'Use a file converted from a Gemma model.',
    )
  }
  const tokens = listOf(metadata, 'tokens')
  const scores = listOf(metadata, 'scores')
  const kinds = listOf(metadata, 'token_type')
  if (scores.length !== tokens.length || kinds.length !== tokens.length) {
    throw brokenTokenizer(
      `${FILE}: ${tokens.length} tokens, ${scores.length} scores and ${kinds.length} types; expected as many of each.`,
    )
  }
  const pieces: string[] = []
  const types = new Uint8Array(tokens.length)
  const values = new Float64Array(tokens.length)
  for (let id = 0; id < tokens.length; id++) {
    const piece = tokens[id]
    if (typeof piece !== 'string') throw brokenTokenizer(`${FILE}: token ${id} is not a string.`)
    pieces.push(piece)
    values[id] = Number(scores[id])
    types[id] = typeOf(piece, Number(kinds[id]))
  }
  return createVocabulary(FILE, { pieces, scores: values, types })
}

function typeOf(piece: string, type: number): number {
  if (piece === '<unk>') return PIECE_TYPE.unknown
  if (type === PIECE_TYPE.control && !CONTROL.has(piece)) return PIECE_TYPE.userDefined
  return Number.isInteger(type) && type > 0 && type < 256 ? type : 255
}

function listOf(metadata: ReadonlyMap<string, unknown>, key: string): ArrayLike<unknown> {
  const value = metadata.get(`tokenizer.ggml.${key}`)
  if (Array.isArray(value) || (ArrayBuffer.isView(value) && 'length' in value))
    return value as ArrayLike<unknown>
  throw brokenTokenizer(`${FILE}: expected tokenizer.ggml.${key} to be a list.`)
}
