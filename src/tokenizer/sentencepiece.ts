// Reads tokenizer.model, SentencePiece's protobuf (sentencepiece_model.proto: ModelProto), with a reader
// of its own for the few fields that matter. Knows nothing about encoding text.

import { GemmaError } from '../error.ts'
import { brokenTokenizer, createVocabulary, PIECE_TYPE, type Vocabulary } from './vocabulary.ts'

const FILE = 'tokenizer.model'
const MODEL_TYPES = ['', 'unigram', 'BPE', 'word', 'char']

// Field numbers of sentencepiece_model.proto.
const MODEL_PIECES = 1
const MODEL_TRAINER = 2
const MODEL_NORMALIZER = 3
const PIECE_TEXT = 1
const PIECE_SCORE = 2
const PIECE_KIND = 3
const TRAINER_MODEL_TYPE = 3
const TRAINER_SPACE_AS_SUFFIX = 24
const TRAINER_NAMES: Readonly<Record<number, 'unk' | 'bos' | 'eos' | 'pad'>> = {
  45: 'unk',
  46: 'bos',
  47: 'eos',
  48: 'pad',
}
const NORMALIZER_CHARACTER_MAP = 2
const NORMALIZER_DUMMY_PREFIX = 3
const NORMALIZER_REMOVE_SPACES = 4
const NORMALIZER_ESCAPE_SPACES = 5

/**
 * Parses a SentencePiece BPE model with Gemma's settings: text taken as it is (identity normalizer, no
 * space put in front, no spaces removed).
 * Throws GemmaError 'tokenizer' for a broken file and 'unsupported' for another kind of SentencePiece model.
 */
export function parseSentencePieceModel(bytes: Uint8Array): Vocabulary {
  const reader: ProtobufReader = {
    bytes,
    view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength),
  }
  const ranges: number[] = [] // start and end of every piece's text
  const scores: number[] = []
  const types: number[] = []
  const settings = defaultSettings()
  eachField(reader, 0, bytes.length, (field, value, start, wire) => {
    if (wire !== 2) return
    if (field === MODEL_PIECES) readPiece(reader, start, start + value, ranges, scores, types)
    else if (field === MODEL_TRAINER) readTrainer(reader, start, start + value, settings)
    else if (field === MODEL_NORMALIZER) readNormalizer(reader, start, start + value, settings)
  })
  refuseOtherModels(settings)
  const pieces = decodePieces(bytes, ranges)
  const idOf = (name: string | undefined): number | undefined => {
    const id = name === undefined ? -1 : pieces.indexOf(name)
    return id < 0 ? undefined : id
  }
  return createVocabulary(FILE, {
    pieces,
    scores: Float64Array.from(scores),
    types: Uint8Array.from(types),
    bosId: idOf(settings.names.bos),
    eosId: idOf(settings.names.eos),
    padId: idOf(settings.names.pad),
    unkId: idOf(settings.names.unk),
  })
}

interface Settings {
  modelType: number
  spaceAsSuffix: number
  characterMap: number // its length in bytes
  dummyPrefix: number
  removeSpaces: number
  escapeSpaces: number
  names: { unk?: string; bos?: string; eos?: string; pad?: string }
}

// What the .proto gives to fields that a file leaves out.
function defaultSettings(): Settings {
  return {
    modelType: 1,
    spaceAsSuffix: 0,
    characterMap: 0,
    dummyPrefix: 1,
    removeSpaces: 1,
    escapeSpaces: 1,
    names: {},
  }
}

function readPiece(
  reader: ProtobufReader,
  from: number,
  to: number,
  ranges: number[],
  scores: number[],
  types: number[],
): void {
  let start = from
  let end = from
  let score = 0
  let type: number = PIECE_TYPE.normal
  eachField(reader, from, to, (field, value, at, wire) => {
    if (field === PIECE_TEXT && wire === 2) {
      start = at
      end = at + value
    } else if (field === PIECE_SCORE && wire === 5) score = reader.view.getFloat32(at, true)
    else if (field === PIECE_KIND && wire === 0) type = value
  })
  ranges.push(start, end)
  scores.push(score)
  types.push(Math.min(type, 255))
}

function readTrainer(reader: ProtobufReader, from: number, to: number, settings: Settings): void {
  eachField(reader, from, to, (field, value, at, wire) => {
    if (wire === 0 && field === TRAINER_MODEL_TYPE) settings.modelType = value
    else if (wire === 0 && field === TRAINER_SPACE_AS_SUFFIX) settings.spaceAsSuffix = value
    else if (wire === 2 && TRAINER_NAMES[field] !== undefined) {
      settings.names[TRAINER_NAMES[field]] = decodePieces(reader.bytes, [at, at + value])[0]
    }
  })
}

function readNormalizer(reader: ProtobufReader, from: number, to: number, settings: Settings): void {
  eachField(reader, from, to, (field, value, _at, wire) => {
    if (wire === 2 && field === NORMALIZER_CHARACTER_MAP) settings.characterMap = value
    else if (wire !== 0) return
    else if (field === NORMALIZER_DUMMY_PREFIX) settings.dummyPrefix = value
    else if (field === NORMALIZER_REMOVE_SPACES) settings.removeSpaces = value
    else if (field === NORMALIZER_ESCAPE_SPACES) settings.escapeSpaces = value
  })
}

function refuseOtherModels(settings: Settings): void {
  const refuse = (what: string): never => {
    throw new GemmaError(
      'unsupported',
      `${FILE}: ${what}.`,
      'Use the tokenizer.model that came with a Gemma model.',
    )
  }
  if (settings.modelType !== 2) {
    const name = MODEL_TYPES[settings.modelType] ?? String(settings.modelType)
    refuse(`expected a BPE model, found the type ${name}`)
  }
  if (settings.characterMap !== 0)
    refuse('it rewrites characters (its normalizer is not identity); Gemma takes text as it is')
  if (settings.dummyPrefix !== 0) refuse('it puts a space in front of every text; Gemma does not')
  if (settings.removeSpaces !== 0) refuse('it removes repeated spaces; Gemma keeps them')
  if (settings.escapeSpaces !== 1) refuse('it does not write spaces as U+2581; Gemma does')
  if (settings.spaceAsSuffix !== 0) refuse('it puts spaces at the end of words; Gemma puts them in front')
}

/**
 * The texts in `ranges` (start, end, start, end, …). One decoder call for all of them: 256 000 calls
 * would take longer than everything else here. A line feed between two pieces keeps a cut character
 * at the end of one from being completed by the next.
 */
function decodePieces(bytes: Uint8Array, ranges: readonly number[]): string[] {
  let total = 0
  for (let i = 0; i < ranges.length; i += 2) total += ranges[i + 1] - ranges[i] + 1
  const joined = new Uint8Array(total)
  const lengths: number[] = [] // in UTF-16 code units
  let at = 0
  for (let i = 0; i < ranges.length; i += 2) {
    let units = 0
    for (let j = ranges[i]; j < ranges[i + 1]; j++) {
      const byte = bytes[j]
      joined[at++] = byte
      if ((byte & 0xc0) !== 0x80) units += byte >= 0xf0 ? 2 : 1
    }
    joined[at++] = 10
    lengths.push(units)
  }
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(joined)
  } catch (cause) {
    throw brokenTokenizer(`${FILE}: a piece is not valid UTF-8.`, cause)
  }
  let from = 0
  return lengths.map((units) => {
    const piece = text.slice(from, from + units)
    from += units + 1
    return piece
  })
}

// ---- Protocol buffers, as far as needed (protobuf.dev/programming-guides/encoding) ----

interface ProtobufReader {
  readonly bytes: Uint8Array
  readonly view: DataView
}

/**
 * Calls `visit` for every field between `from` and `to`. `value` is the number of a varint (wire 0) or the
 * length of a block (wire 2); `start` is where the content begins.
 */
function eachField(
  reader: ProtobufReader,
  from: number,
  to: number,
  visit: (field: number, value: number, start: number, wire: number) => void,
): void {
  let at = from
  const varint = (): number => {
    let value = 0
    let scale = 1
    for (let i = 0; i < 10; i++) {
      if (at >= to) throw brokenTokenizer(`${FILE}: it ends in the middle of a number at byte ${at}.`)
      const byte = reader.bytes[at++]
      value += (byte & 127) * scale
      if (byte < 128) return value
      scale *= 128
    }
    throw brokenTokenizer(`${FILE}: a number before byte ${at} is longer than 10 bytes.`)
  }
  while (at < to) {
    const tag = varint()
    const wire = tag % 8
    const field = Math.floor(tag / 8)
    const value = wire === 0 || wire === 2 ? varint() : 0
    const start = at
    if (wire === 2) at += value
    else if (wire === 1) at += 8
    else if (wire === 5) at += 4
    else if (wire !== 0) throw brokenTokenizer(`${FILE}: unknown wire type ${wire} before byte ${at}.`)
    if (at > to) {
      throw brokenTokenizer(
        `${FILE}: a field at byte ${start} needs ${at - start} bytes, only ${to - start} are left.`,
      )
    }
    if (field === 0)
      throw brokenTokenizer(`${FILE}: field number 0 before byte ${start}; not a SentencePiece model.`)
    visit(field, value, start, wire)
  }
}
