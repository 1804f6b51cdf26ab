// Text becomes ids. The text is cut where no merge can ever cross: between two characters that stand side
// by side in no piece (for Gemma that is before every space, between letters and punctuation, between
// digits, …), and around pieces that are matched whole. Merging inside the cuts therefore gives exactly what merging the
// whole text would; a cache of recent segments answers for most words. Knows nothing about chat or files.

import { characterLength, createMergeSegment } from './merge.ts'
import { createPieceTable, HASH_BASE, type PieceTable } from './piece-table.ts'
import { PIECE_TYPE, SPACE_MARK, type Vocabulary } from './vocabulary.ts'
import { createWholePieceMatcher, type WholePieceMatcher } from './whole-piece-matcher.ts'

/** Appends the ids of `text` to `output`; `parseControl` looks for control pieces in the text. */
export type EncodeText = (text: string, parseControl: boolean, output: number[]) => void

// A cache line of the segment cache, as 16 integers (64 bytes): hash, length | ids << 8, the bytes, the ids.
const LINE_BITS = 16
const CACHED_BYTES = 24
const CACHED_IDS = 8
const SCRATCH_BYTES = 1 << 16

export function createEncodeText(vocabulary: Vocabulary): EncodeText {
  const table = createPieceTable(vocabulary)
  const neighbours = createNeighbours(vocabulary, table)
  const encodeSegment = createEncodeSegment(vocabulary, table)
  const { userDefined, control } = wholePieces(vocabulary)
  const plainMatcher = createWholePieceMatcher(vocabulary.pieces, userDefined)
  let controlMatcher: WholePieceMatcher | undefined
  const encoder = new TextEncoder()
  const scratch = new Uint8Array(SCRATCH_BYTES)

  return (text, parseControl, output) => {
    if (parseControl) {
      controlMatcher ??= createWholePieceMatcher(vocabulary.pieces, [...userDefined, ...control])
    }
    const matcher = parseControl ? controlMatcher! : plainMatcher
    // U+2581 in a text and a space are the same to SentencePiece; lone surrogates become U+FFFD here.
    const spaced = text.replaceAll(SPACE_MARK, ' ')
    let bytes = scratch
    let length: number
    if (spaced.length * 3 <= SCRATCH_BYTES) length = encoder.encodeInto(spaced, scratch).written
    else {
      bytes = encoder.encode(spaced)
      length = bytes.length
    }
    encodeBytes(bytes, length, neighbours, matcher, encodeSegment, output)
  }
}

function encodeBytes(
  bytes: Uint8Array,
  length: number,
  neighbours: Neighbours,
  matcher: WholePieceMatcher,
  encodeSegment: EncodeSegment,
  output: number[],
): void {
  const { ascii, bits, bitMask } = neighbours
  const { begins } = matcher
  let i = 0
  while (i < length) {
    if (begins[bytes[i]] === 1) {
      const id = matcher.match(bytes, i, length)
      if (id >= 0) {
        output.push(id)
        i += matcher.lengthOf(id)
        continue
      }
    }
    const start = i
    let hash = 0
    let previous = -1 // code point
    while (i < length) {
      const byte = bytes[i]
      if (byte < 128) {
        if (previous >= 0) {
          if (previous < 128) {
            if (ascii[(previous << 7) | byte] === 0) break
          } else {
            const bit = neighbourHash(previous, byte) & bitMask
            if (((bits[bit >>> 5] >>> (bit & 31)) & 1) === 0) break
          }
          if (begins[byte] === 1 && matcher.match(bytes, i, length) >= 0) break
        }
        hash = (Math.imul(hash, HASH_BASE) + byte) | 0
        previous = byte
        i++
      } else {
        const point = codePoint(bytes, i)
        if (previous >= 0) {
          const bit = neighbourHash(previous, point) & bitMask
          if (((bits[bit >>> 5] >>> (bit & 31)) & 1) === 0) break
          if (begins[byte] === 1 && matcher.match(bytes, i, length) >= 0) break
        }
        const end = i + characterLength(byte)
        for (; i < end; i++) hash = (Math.imul(hash, HASH_BASE) + bytes[i]) | 0
        previous = point
      }
    }
    encodeSegment(bytes, start, i, hash, output)
  }
}

// ---- Which characters stand side by side in some piece ----

interface Neighbours {
  /** [128 × 128]: exact for two ASCII characters. */
  readonly ascii: Uint8Array
  /** One bit per hash of a pair: a false 1 costs a cut and nothing else; there is no false 0. */
  readonly bits: Int32Array
  readonly bitMask: number
}

function createNeighbours(vocabulary: Vocabulary, table: PieceTable): Neighbours {
  const { bytes, starts } = table
  const ascii = new Uint8Array(128 * 128)
  // About 8 bits for every byte of all pieces at most, so the table follows the size of the file.
  const size = 2 ** Math.min(22, Math.max(10, Math.ceil(Math.log2(bytes.length + 1)) + 1))
  const bits = new Int32Array(size / 32)
  for (let id = 0; id < vocabulary.pieces.length; id++) {
    if (vocabulary.types[id] !== PIECE_TYPE.normal) continue
    let previous = -1
    for (let i = starts[id]; i < starts[id + 1]; i += characterLength(bytes[i])) {
      const point = codePoint(bytes, i)
      if (previous >= 0) {
        if (previous < 128 && point < 128) ascii[(previous << 7) | point] = 1
        else {
          const bit = neighbourHash(previous, point) & (size - 1)
          bits[bit >>> 5] |= 1 << (bit & 31)
        }
      }
      previous = point
    }
  }
  return { ascii, bits, bitMask: size - 1 }
}

function neighbourHash(left: number, right: number): number {
  const mixed = Math.imul(left, 0x85ebca6b) ^ Math.imul(right, 0xc2b2ae35)
  return mixed ^ (mixed >>> 15)
}

// The text was made by TextEncoder, so it is well-formed.
function codePoint(bytes: Uint8Array, at: number): number {
  const lead = bytes[at]
  if (lead < 0x80) return lead
  if (lead < 0xe0) return ((lead & 31) << 6) | (bytes[at + 1] & 63)
  if (lead < 0xf0) return ((lead & 15) << 12) | ((bytes[at + 1] & 63) << 6) | (bytes[at + 2] & 63)
  return (
    ((lead & 7) << 18) | ((bytes[at + 1] & 63) << 12) | ((bytes[at + 2] & 63) << 6) | (bytes[at + 3] & 63)
  )
}

// ---- Segments, through the cache ----

type EncodeSegment = (bytes: Uint8Array, from: number, to: number, hash: number, output: number[]) => void

function createEncodeSegment(vocabulary: Vocabulary, table: PieceTable): EncodeSegment {
  const merge = createMergeSegment(vocabulary, table)
  const lines = new Int32Array(16 << LINE_BITS)
  const lineBytes = new Uint8Array(lines.buffer)
  const fused = vocabulary.types.indexOf(PIECE_TYPE.byte) < 0

  return (bytes, from, to, hash, output) => {
    const length = to - from
    // Unknown characters share one <unk> with the segment before, so such a segment has no ids of its own.
    if (length > CACHED_BYTES || fused) {
      merge(bytes, from, to, output)
      return
    }
    const line = (Math.imul(hash, 0x9e3779b1) >>> (32 - LINE_BITS)) << 4
    const keys = (line << 2) + 8
    const head = lines[line + 1]
    if (lines[line] === hash && (head & 255) === length) {
      let k = 0
      while (k < length && lineBytes[keys + k] === bytes[from + k]) k++
      if (k === length) {
        const end = line + 8 + (head >>> 8)
        for (let at = line + 8; at < end; at++) output.push(lines[at])
        return
      }
    }
    const before = output.length
    merge(bytes, from, to, output)
    const count = output.length - before
    if (count > CACHED_IDS) return
    lines[line] = hash
    lines[line + 1] = length | (count << 8)
    for (let k = 0; k < length; k++) lineBytes[keys + k] = bytes[from + k]
    for (let k = 0; k < count; k++) lines[line + 8 + k] = output[before + k]
  }
}

function wholePieces(vocabulary: Vocabulary): { userDefined: number[]; control: number[] } {
  const userDefined: number[] = []
  const control: number[] = []
  for (let id = 0; id < vocabulary.pieces.length; id++) {
    const type = vocabulary.types[id]
    if (type === PIECE_TYPE.userDefined) userDefined.push(id)
    else if (type === PIECE_TYPE.control || type === PIECE_TYPE.unknown) control.push(id)
  }
  return { userDefined, control }
}
