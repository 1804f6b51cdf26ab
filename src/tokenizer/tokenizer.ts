// The tokenizer of a checkpoint, from whichever of its files is there: text to ids, ids to text, messages
// to a prompt. Knows nothing about models, sessions or where files come from.

import { GemmaError } from '../error.ts'
import type { TokenizerFiles } from '../weights/checkpoint.ts'
import { createDecoder, type DecodeStream } from './decode.ts'
import { createEncodeText } from './encode.ts'
import { parseSentencePieceModel } from './sentencepiece.ts'
import { PIECE_TYPE, type Vocabulary } from './vocabulary.ts'

export interface EncodeOptions {
  /** Put <bos> in front. Default false, as in SentencePiece; a model wants it exactly once. */
  bos?: boolean
  /**
   * Read control pieces such as <bos> in the text as what they name. Default false: they are letters.
   * User-defined pieces (turn markers, runs of spaces and line feeds, tags) are always matched whole.
   */
  parseControl?: boolean
}

export interface Tokenizer {
  readonly vocabulary: Vocabulary
  /** Pieces; ids are 0 to vocabSize − 1. */
  readonly vocabSize: number
  readonly bosId: number
  readonly eosId: number
  readonly padId: number
  readonly unkId: number
  /** <end_of_turn>, where the vocabulary has it. */
  readonly endOfTurnId: number | undefined
  /** Lone surrogates count as U+FFFD; '' gives []. */
  encode(text: string, options?: EncodeOptions): number[]
  /** Control pieces are left out. Throws GemmaError 'usage' for an id outside the vocabulary. */
  decode(ids: ArrayLike<number>): string
  /** A decoder for ids that come one by one. */
  stream(): DecodeStream
  /** As the vocabulary writes it, spaces as U+2581. Throws GemmaError 'usage' outside the vocabulary. */
  pieceOf(id: number): string
  idOf(piece: string): number | undefined
  /** Whether decoding leaves the id out: <pad>, <eos>, <bos>. */
  isControl(id: number): boolean
}

/** Throws GemmaError 'tokenizer' when no file is there or the file is broken, 'unsupported' for other kinds. */
export function createTokenizer(files: TokenizerFiles): Tokenizer {
  return tokenizerOf(readVocabulary(files))
}

function readVocabulary(files: TokenizerFiles): Vocabulary {
  if (files.sentencePiece !== undefined) return parseSentencePieceModel(files.sentencePiece)
  throw new GemmaError(
    'tokenizer',
    'The checkpoint has no tokenizer.',
    'Put its tokenizer.model beside the weights.',
  )
}

function tokenizerOf(vocabulary: Vocabulary): Tokenizer {
  const { pieces, types, bosId, eosId, padId, unkId } = vocabulary
  const encodeText = createEncodeText(vocabulary)
  const openStream = createDecoder(vocabulary)
  let ids: Map<string, number> | undefined
  const idOf = (piece: string): number | undefined => {
    ids ??= new Map(pieces.map((text, id) => [text, id]))
    return ids.get(piece)
  }
  return {
    vocabulary,
    vocabSize: pieces.length,
    bosId,
    eosId,
    padId,
    unkId,
    endOfTurnId: pieces.indexOf('<end_of_turn>') < 0 ? undefined : pieces.indexOf('<end_of_turn>'),
    encode(text, options = {}) {
      const output: number[] = options.bos === true ? [bosId] : []
      encodeText(text, options.parseControl === true, output)
      return output
    },
    decode(tokens) {
      const stream = openStream()
      let text = ''
      for (let i = 0; i < tokens.length; i++) text += stream.push(tokens[i])
      return text + stream.flush()
    },
    stream: openStream,
    pieceOf(id) {
      const piece = pieces[id]
      if (piece === undefined) {
        throw new GemmaError('usage', `Expected a token id from 0 to ${pieces.length - 1}, got ${id}.`)
      }
      return piece
    },
    idOf,
    isControl: (id) => types[id] === PIECE_TYPE.control,
  }
}
