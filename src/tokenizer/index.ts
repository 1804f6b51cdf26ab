// What other parts and programs use of the tokenizer.

export type { BuiltInTemplate } from './built-in-template.ts'
export type { ChatContent, ChatMessage, ChatPart } from './chat-message.ts'
export type { DecodeStream } from './decode.ts'
export { parseGgufTokenizer } from './gguf.ts'
export { parseSentencePieceModel } from './sentencepiece.ts'
export { toTokenizerJson } from './to-tokenizer-json.ts'
export {
  type ChatOptions,
  createTokenizer,
  type EncodeOptions,
  type Tokenizer,
  type TokenizerOptions,
} from './tokenizer.ts'
export { parseTokenizerJson } from './tokenizer-json.ts'
export type { PieceLayout } from './train/special-pieces.ts'
export {
  type TrainedTokenizer,
  type TrainedTokenizerFiles,
  type TrainTokenizerOptions,
  type TrainTokenizerProgress,
  type TrainTokenizerStatistics,
  trainTokenizer,
} from './train/train-tokenizer.ts'
export { PIECE_TYPE, SPACE_MARK, type Vocabulary } from './vocabulary.ts'
