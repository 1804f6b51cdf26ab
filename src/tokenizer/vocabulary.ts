// The one vocabulary every tokenizer file becomes: pieces in the order of their ids, with a score and a
// type each, as SentencePiece defines them. Knows nothing about the files it came from or about encoding.

import { GemmaError } from '../error.ts'

/** U+2581, which stands for a space inside pieces. */
export const SPACE_MARK: string = '\u2581'

/** The types of sentencepiece_model.proto (GGUF uses the same numbers). */
export const PIECE_TYPE: {
  readonly normal: 1
  readonly unknown: 2
  readonly control: 3
  readonly userDefined: 4
  readonly unused: 5
  readonly byte: 6
} = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 }

export interface Vocabulary {
  /** By id; a space is written as U+2581. */
  readonly pieces: readonly string[]
  /** By id; of two possible merges the one whose piece scores higher is made first. */
  readonly scores: Float64Array
  /** By id; values of PIECE_TYPE. */
  readonly types: Uint8Array
  readonly bosId: number
  readonly eosId: number
  readonly padId: number
  readonly unkId: number
}

/** What a reader of a file knows; ids it does not name are found by Gemma's own names. */
export interface VocabularyParts {
  pieces: readonly string[]
  scores: Float64Array
  types: Uint8Array
  bosId?: number
  eosId?: number
  padId?: number
  unkId?: number
}

/** A GemmaError 'tokenizer' with the usual advice. */
export function brokenTokenizer(message: string, cause?: unknown): GemmaError {
  return new GemmaError(
    'tokenizer',
    message,
    'The tokenizer file is damaged or not one of Gemma; fetch it again.',
    {
      cause,
    },
  )
}

/**
 * Checks what the encoder relies on and finds the four control ids.
 * Throws GemmaError 'tokenizer': empty pieces (createPieceTable finds repeated ones), unknown types, scores that are not finite,
 * an incomplete set of byte pieces, no <bos>, <eos>, <pad> or <unk>.
 */
export function createVocabulary(file: string, parts: VocabularyParts): Vocabulary {
  const { pieces, scores, types } = parts
  if (pieces.length === 0) throw brokenTokenizer(`${file}: expected pieces, found none.`)
  let bytePieces = 0
  for (let id = 0; id < pieces.length; id++) {
    const piece = pieces[id]
    if (piece === '' || !piece.isWellFormed()) {
      throw brokenTokenizer(`${file}: piece ${id} is empty or holds half of a surrogate pair.`)
    }
    const type = types[id]
    if (type < 1 || type > 6) throw brokenTokenizer(`${file}: piece ${id} has the unknown type ${type}.`)
    if (!Number.isFinite(scores[id]))
      throw brokenTokenizer(`${file}: the score of piece ${id} is ${scores[id]}.`)
    if (type === PIECE_TYPE.byte) {
      if (byteOfPiece(piece) < 0) {
        throw brokenTokenizer(
          `${file}: byte piece ${id} should read <0x00> to <0xFF>, not ${JSON.stringify(piece)}.`,
        )
      }
      bytePieces++
    }
  }
  if (bytePieces !== 0 && bytePieces !== 256) {
    throw brokenTokenizer(`${file}: expected all 256 byte pieces or none, found ${bytePieces}.`)
  }
  const control = (known: number | undefined, name: string): number => {
    const id = known ?? pieces.indexOf(name)
    if (!(Number.isInteger(id) && id >= 0 && id < pieces.length)) {
      const found = known === undefined ? 'none' : `id ${id}`
      throw brokenTokenizer(`${file}: expected a piece ${name}, found ${found}.`)
    }
    return id
  }
  return {
    pieces,
    scores,
    types,
    bosId: control(parts.bosId, '<bos>'),
    eosId: control(parts.eosId, '<eos>'),
    padId: control(parts.padId, '<pad>'),
    unkId: control(parts.unkId, '<unk>'),
  }
}

/** The byte that a piece like <0x41> stands for, or −1. */
export function byteOfPiece(piece: string): number {
  return /^<0x[0-9A-F]{2}>$/.test(piece) ? Number.parseInt(piece.slice(3, 5), 16) : -1
}
