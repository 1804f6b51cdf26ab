// The tokenizer of a checkpoint, from whichever of its files is there: text to ids, ids to text, messages
// to a prompt. Knows nothing about models, sessions or where files come from.

import { GemmaError } from '../error.ts'
import type { TokenizerFiles } from '../weights/checkpoint.ts'
import type { BuiltInTemplate } from './built-in-template.ts'
import type { ChatMessage } from './chat-message.ts'
import { createDecoder, type DecodeStream } from './decode.ts'
import { createEncodeText } from './encode.ts'
import { parseGgufTokenizer } from './gguf.ts'
import { parseSentencePieceModel } from './sentencepiece.ts'
import { createRenderChat, type RenderChat } from './template.ts'
import { parseTokenizerJson } from './tokenizer-json.ts'
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

export interface ChatOptions {
  /** End the prompt with the beginning of the model's turn. Default false. */
  addGenerationPrompt?: boolean
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
  /** The prompt for a conversation, as text beginning with <bos>. Throws GemmaError 'template' on a refusal. */
  applyChatTemplate(messages: readonly ChatMessage[], options?: ChatOptions): string
  /** The ids of a prompt with exactly one <bos> in front, whether or not its text begins with one. */
  encodePrompt(prompt: string): number[]
  /** encodePrompt(applyChatTemplate(…)). */
  encodeChat(messages: readonly ChatMessage[], options?: ChatOptions): number[]
}

export interface TokenizerOptions {
  /** The format for checkpoints without a chat template. Default: 'gemma3' when the vocabulary has images. */
  template?: BuiltInTemplate
}

/**
 * Takes tokenizer.model where it is there, else tokenizer.json, else what GGUF metadata holds.
 * Throws GemmaError 'tokenizer' when there is none or it is broken, 'unsupported' for other kinds.
 */
export function createTokenizer(files: TokenizerFiles, options: TokenizerOptions = {}): Tokenizer {
  const vocabulary = readVocabulary(files)
  const fallback = options.template ?? (vocabulary.pieces.includes('<start_of_image>') ? 'gemma3' : 'gemma')
  return tokenizerOf(vocabulary, createRenderChat(files, vocabulary, fallback))
}

function readVocabulary(files: TokenizerFiles): Vocabulary {
  if (files.sentencePiece !== undefined) return parseSentencePieceModel(files.sentencePiece)
  if (files.tokenizerJson !== undefined) return parseTokenizerJson(files.tokenizerJson)
  if (files.gguf?.has('tokenizer.ggml.model')) return parseGgufTokenizer(files.gguf)
  throw new GemmaError(
    'tokenizer',
    'The checkpoint has no tokenizer.',
    'Put its tokenizer.model beside the weights.',
  )
}

function tokenizerOf(vocabulary: Vocabulary, renderChat: RenderChat): Tokenizer {
  const { pieces, types, bosId, eosId, padId, unkId } = vocabulary
  const encodeText = createEncodeText(vocabulary)
  const openStream = createDecoder(vocabulary)
  let ids: Map<string, number> | undefined
  const idOf = (piece: string): number | undefined => {
    ids ??= new Map(pieces.map((text, id) => [text, id]))
    return ids.get(piece)
  }
  const endOfTurn = pieces.indexOf('<end_of_turn>')
  const encode = (text: string, output: number[], parseControl: boolean): number[] => {
    encodeText(text, parseControl, output)
    return output
  }
  const encodePrompt = (prompt: string): number[] => {
    const bos = pieces[bosId]
    return encode(prompt.startsWith(bos) ? prompt.slice(bos.length) : prompt, [bosId], false)
  }
  const applyChatTemplate = (messages: readonly ChatMessage[], options: ChatOptions = {}): string =>
    renderChat(messages, options.addGenerationPrompt === true)
  return {
    vocabulary,
    vocabSize: pieces.length,
    bosId,
    eosId,
    padId,
    unkId,
    endOfTurnId: endOfTurn < 0 ? undefined : endOfTurn,
    encode: (text, options = {}) =>
      encode(text, options.bos === true ? [bosId] : [], options.parseControl === true),
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
    applyChatTemplate,
    encodePrompt,
    encodeChat: (messages, options) => encodePrompt(applyChatTemplate(messages, options)),
    isControl: (id) => types[id] === PIECE_TYPE.control,
  }
}
