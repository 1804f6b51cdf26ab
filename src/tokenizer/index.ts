// What other parts and programs use of the tokenizer.

export type { DecodeStream } from './decode.ts'
export { parseSentencePieceModel } from './sentencepiece.ts'
export { createTokenizer, type EncodeOptions, type Tokenizer } from './tokenizer.ts'
export { PIECE_TYPE, SPACE_MARK, type Vocabulary } from './vocabulary.ts'
