// Text becomes ids. The text is cut where no merge can ever cross: between two characters that stand side
// by side in no piece (for Gemma that is before every space, between letters and punctuation, between
// digits), and around pieces that are matched whole. Merging inside the cuts therefore gives exactly what
// merging the whole text would. Knows nothing about chat or files.

import { characterLength, createMergeSegment, type MergeSegment } from './merge.ts'
import { codePoint, createNeighbours, type Neighbours } from './neighbours.ts'
import { createPieceTable, findPiece, HASH_BASE, NO_RANK, type PieceTable } from './piece-table.ts'
import { CACHED_BYTES, createSegmentCache, recall, remember, type SegmentCache } from './segment-cache.ts'
import { PIECE_TYPE, SPACE_MARK, type Vocabulary } from './vocabulary.ts'
import { createWholePieceMatcher, type WholePieceMatcher } from './whole-piece-matcher.ts'

/** Appends the ids of `text` to `output`; `parseControl` looks for control pieces in the text. */
export type EncodeText = (text: string, parseControl: boolean, output: number[]) => void

const SCRATCH_BYTES = 1 << 16

/** Throws GemmaError 'tokenizer' when a piece comes twice. */
export function createEncodeText(vocabulary: Vocabulary): EncodeText {
  const table = createPieceTable(vocabulary)
  const machine: Machine = {
    neighbours: createNeighbours(vocabulary, table),
    merge: createMergeSegment(vocabulary, table),
    singles: singleCharacters(table),
    cache: createSegmentCache(table),
    // Without byte pieces, unknown characters share one <unk> across segments: a segment has no ids of its own.
    cachedBytes: vocabulary.types.includes(PIECE_TYPE.byte) ? CACHED_BYTES : 0,
  }
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
    encodeBytes(bytes, length, machine, matcher, output)
  }
}

interface Machine {
  readonly neighbours: Neighbours
  readonly merge: MergeSegment
  /** [128]: the piece that is this ASCII character alone, or −1. */
  readonly singles: Int32Array
  readonly cache: SegmentCache
  /** Bytes of the longest segment that is looked up in the cache. */
  readonly cachedBytes: number
}

function encodeBytes(
  bytes: Uint8Array,
  length: number,
  machine: Machine,
  matcher: WholePieceMatcher,
  output: number[],
): void {
  const { neighbours } = machine
  const { ascii } = neighbours
  const { begins } = matcher
  let i = 0
  while (i < length) {
    if (begins[bytes[i]] !== 0) {
      const id = matcher.match(bytes, i, length)
      if (id >= 0) {
        output.push(id)
        i += matcher.lengthOf(id)
        continue
      }
    }
    const start = i
    let hash = bytes[i]
    let previous = hash // code point
    if (previous < 128) i++
    else {
      previous = codePoint(bytes, i)
      const end = i + characterLength(hash)
      for (i++; i < end; i++) hash = (Math.imul(hash, HASH_BASE) + bytes[i]) | 0
    }
    while (i < length) {
      const byte = bytes[i]
      if ((previous | byte) < 128) {
        if (ascii[(previous << 7) | byte] === 0) break
        if (begins[byte] !== 0 && matcher.match(bytes, i, length) >= 0) break
        hash = (Math.imul(hash, HASH_BASE) + byte) | 0
        previous = byte
        i++
      } else {
        const point = codePoint(bytes, i)
        if (!neighbours.meet(previous, point)) break
        if (begins[byte] !== 0 && matcher.match(bytes, i, length) >= 0) break
        const end = i + characterLength(byte)
        for (; i < end; i++) hash = (Math.imul(hash, HASH_BASE) + bytes[i]) | 0
        previous = point
      }
    }
    encodeSegment(bytes, start, i - start, hash, machine, output)
  }
}

/** A segment that is one piece, that is remembered, or that has to be merged. */
function encodeSegment(
  bytes: Uint8Array,
  from: number,
  size: number,
  hash: number,
  machine: Machine,
  output: number[],
): void {
  const { cache, singles } = machine
  if (size === 1 && singles[hash] >= 0) {
    output.push(singles[hash])
    return
  }
  if (size > machine.cachedBytes) {
    machine.merge(bytes, from, from + size, output)
    return
  }
  const { lines } = cache
  const found = recall(cache, bytes, from, size, hash)
  if (found >= 0) {
    const end = found + (lines[found - 7] >>> 8)
    for (let at = found; at < end; at++) output.push(lines[at])
    return
  }
  const before = output.length
  machine.merge(bytes, from, from + size, output)
  remember(cache, bytes, from, size, hash, output, before)
}

function singleCharacters(table: PieceTable): Int32Array {
  const ids = new Int32Array(128).fill(-1)
  for (let byte = 0; byte < 128; byte++) {
    const id = findPiece(table, Uint8Array.of(byte), 0, 1, byte)
    if (id >= 0 && table.ranks[id] !== NO_RANK) ids[byte] = id
  }
  return ids
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
