// Writes a vocabulary as tokenizer.model: SentencePiece's protobuf (sentencepiece_model.proto, ModelProto) with the
// settings by which it was trained. Knows nothing about training.

import { PIECE_TYPE, SPACE_MARK, type Vocabulary } from '../vocabulary.ts'

export interface ModelSettings {
  /** Share of the text's characters that are pieces. */
  readonly characterCoverage: number
  /** Characters of the longest piece. */
  readonly maxPieceLength: number
  readonly requiredCharacters: string
}

/** The bytes of the file, as sentencepiece itself reads them. */
export function sentencePieceModel(vocabulary: Vocabulary, settings: ModelSettings): Uint8Array {
  const out = createProtobufWriter()
  vocabulary.pieces.forEach((piece, id) => {
    const body = createProtobufWriter()
    body.text(1, piece)
    body.float(2, vocabulary.scores[id])
    body.number(3, vocabulary.types[id])
    out.block(1, body.bytes())
  })
  out.block(2, trainerSpec(vocabulary, settings))
  out.block(3, normalizerSpec())
  return out.bytes()
}

/** TrainerSpec. Only what differs from its defaults, or what readers look at. */
function trainerSpec(vocabulary: Vocabulary, settings: ModelSettings): Uint8Array {
  const { pieces, types, unkId, bosId, eosId, padId } = vocabulary
  const out = createProtobufWriter()
  out.number(3, 2) // model_type: BPE
  out.number(4, pieces.length) // vocab_size
  out.float(10, settings.characterCoverage)
  out.number(20, settings.maxPieceLength) // max_sentencepiece_length
  out.number(21, 1) // split_by_unicode_script
  out.number(22, 1) // split_by_whitespace
  out.number(23, 1) // split_by_number
  out.number(24, 0) // treat_whitespace_as_suffix
  out.number(25, 1) // split_digits
  out.number(26, 1) // allow_whitespace_only_pieces
  pieces.forEach((piece, id) => {
    if (types[id] === PIECE_TYPE.userDefined) out.text(31, piece) // user_defined_symbols
  })
  out.number(33, 1) // hard_vocab_limit
  out.number(35, 1) // byte_fallback
  out.text(36, settings.requiredCharacters.replaceAll(' ', SPACE_MARK)) // required_chars
  const control = [unkId, bosId, eosId, padId]
  for (let i = 0; i < 4; i++) out.number(40 + i, control[i]) // unk_id, bos_id, eos_id, pad_id
  out.text(44, ' \u2047 ') // unk_surface
  for (let i = 0; i < 4; i++) out.text(45 + i, pieces[control[i]]) // unk_piece, …
  return out.bytes()
}

/** NormalizerSpec: text as it is, spaces as U+2581. */
function normalizerSpec(): Uint8Array {
  const out = createProtobufWriter()
  out.text(1, 'identity')
  out.text(2, '') // precompiled_charsmap
  out.number(3, 0) // add_dummy_prefix
  out.number(4, 0) // remove_extra_whitespaces
  out.number(5, 1) // escape_whitespaces
  return out.bytes()
}

// ---- Protocol buffers, as far as needed (protobuf.dev/programming-guides/encoding) ----

interface ProtobufWriter {
  number(field: number, value: number): void
  float(field: number, value: number): void
  text(field: number, value: string): void
  block(field: number, content: Uint8Array): void
  bytes(): Uint8Array
}

function createProtobufWriter(): ProtobufWriter {
  const encoder = new TextEncoder()
  let buffer = new Uint8Array(64)
  let length = 0
  const append = (content: ArrayLike<number>): void => {
    if (length + content.length > buffer.length) {
      const wider = new Uint8Array(2 * (length + content.length))
      wider.set(buffer)
      buffer = wider
    }
    buffer.set(content, length)
    length += content.length
  }
  const varint = (value: number): void => {
    const bytes: number[] = []
    let rest = value
    for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128)
    append([...bytes, rest])
  }
  const block = (field: number, content: Uint8Array): void => {
    varint(field * 8 + 2)
    varint(content.length)
    append(content)
  }
  return {
    number(field, value) {
      varint(field * 8)
      varint(value)
    },
    float(field, value) {
      varint(field * 8 + 5)
      const content = new Uint8Array(4)
      new DataView(content.buffer).setFloat32(0, value, true)
      append(content)
    },
    text: (field, value) => block(field, encoder.encode(value)),
    block,
    bytes: () => buffer.slice(0, length),
  }
}
