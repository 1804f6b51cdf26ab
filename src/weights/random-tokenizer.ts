// A synthetic vocabulary of any size with Gemma's control tokens, byte pieces and turn markers at Gemma's
// ids: for files with random weights. Its words mean nothing. Knows no weights.

import { PIECE_TYPE, SPACE_MARK, type Vocabulary } from '../tokenizer/vocabulary.ts'

const { control, unknown, userDefined, byte, normal } = PIECE_TYPE

/** At least 700 pieces: ids 0 to 472 as in Gemma 1 and 2 (tags replaced by unused pieces), words, characters. */
export function randomVocabulary(size: number): Vocabulary {
  const pieces: string[] = []
  const types: number[] = []
  const put = (piece: string, type: number): void => {
    pieces.push(piece)
    types.push(type)
  }
  for (const piece of ['<pad>', '<eos>', '<bos>']) put(piece, control)
  put('<unk>', unknown)
  for (const piece of ['<mask>', '[2mass]', '[@BOS@]']) put(piece, userDefined)
  for (let i = 0; i < 99; i++) put(`<unused${i}>`, userDefined)
  put('<start_of_turn>', userDefined)
  put('<end_of_turn>', userDefined)
  for (let i = 1; i <= 31; i++) put('\n'.repeat(i), userDefined)
  for (let i = 2; i <= 31; i++) put(SPACE_MARK.repeat(i), userDefined)
  for (let i = 99; i < 147; i++) put(`<unused${i}>`, userDefined)
  for (let i = 0; i < 256; i++) put(`<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`, byte)
  const characters = [SPACE_MARK, ...Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i))]
  for (let i = 0; pieces.length < size - characters.length; i++) {
    put((i % 2 === 0 ? SPACE_MARK : '') + word(i >> 1), normal)
  }
  for (const character of characters) put(character, normal)
  const scores = Float64Array.from(pieces, (_, id) => (types[id] === normal ? -id : 0))
  return { pieces, scores, types: Uint8Array.from(types), padId: 0, eosId: 1, bosId: 2, unkId: 3 }
}

/** aa, ab, … zz, aaa, …: the i-th word of two or more letters. */
function word(i: number): string {
  let letters = ''
  for (let rest = i + 26; rest >= 0; rest = Math.floor(rest / 26) - 1) {
    letters = String.fromCharCode(97 + (rest % 26)) + letters
  }
  return letters
}

/** The vocabulary as a tokenizer.model: SentencePiece's ModelProto (sentencepiece_model.proto). */
export function sentencePieceBytes(vocabulary: Vocabulary): Uint8Array {
  const encoder = new TextEncoder()
  const chunks: Uint8Array[] = []
  const score = new Uint8Array(4)
  vocabulary.pieces.forEach((piece, id) => {
    new DataView(score.buffer).setFloat32(0, vocabulary.scores[id], true)
    const name = encoder.encode(piece)
    // SentencePiece { 1: piece, 2: score (float), 3: type }
    const body = [0x0a, ...varint(name.length), ...name, 0x15, ...score, 0x18, vocabulary.types[id]]
    chunks.push(Uint8Array.from([0x0a, ...varint(body.length), ...body]))
  })
  const text = (field: number, value: string): number[] => [
    ...varint(field * 8 + 2),
    value.length,
    ...encoder.encode(value),
  ]
  const number = (field: number, value: number): number[] => [...varint(field * 8), value]
  const { pieces, unkId, bosId, eosId, padId } = vocabulary
  // TrainerSpec: model_type BPE, byte_fallback, the ids and names of the control pieces.
  const trainer = [
    ...[...number(3, 2), ...number(35, 1)],
    ...[...number(40, unkId), ...number(41, bosId), ...number(42, eosId), ...number(43, padId)],
    ...[
      ...text(45, pieces[unkId]),
      ...text(46, pieces[bosId]),
      ...text(47, pieces[eosId]),
      ...text(48, pieces[padId]),
    ],
  ]
  // NormalizerSpec: identity, no dummy prefix, extra spaces kept, spaces escaped.
  const normalizer = [...text(1, 'identity'), ...number(3, 0), ...number(4, 0), ...number(5, 1)]
  chunks.push(
    Uint8Array.from([0x12, ...varint(trainer.length), ...trainer, 0x1a, normalizer.length, ...normalizer]),
  )
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0))
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.length
  }
  return bytes
}

function varint(value: number): number[] {
  const bytes: number[] = []
  for (let rest = value; ; rest >>>= 7) {
    if (rest < 128) return [...bytes, rest]
    bytes.push((rest & 127) | 128)
  }
}
