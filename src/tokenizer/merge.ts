// Byte-pair merging as SentencePiece defines it: as long as two neighbours spell a piece together, join
// the pair whose piece scores best, the leftmost of equals (Sennrich, Haddow and Birch, arXiv:1508.07909).
// A short segment scans for the best pair; a long one keeps the pairs in a heap, so that a megabyte
// without a single cut still takes n·log n. Knows nothing about spaces, cuts or control pieces.

import { findPiece, HASH_BASE, NO_RANK, type PieceTable } from './piece-table.ts'
import { byteOfPiece, PIECE_TYPE, type Vocabulary } from './vocabulary.ts'

/** Up to this many characters the plain scan is faster than the heap. */
const SHORT = 48
const SPACE_BYTES: readonly number[] = [0xe2, 0x96, 0x81] // UTF-8 of U+2581

/** Appends the ids of text[from, to) to `output`; the segment must not be empty. */
export type MergeSegment = (text: Uint8Array, from: number, to: number, output: number[]) => void

export function createMergeSegment(vocabulary: Vocabulary, table: PieceTable): MergeSegment {
  const emitCharacter = createEmitCharacter(vocabulary, table)
  const mergeShort = createMergeShort(table, emitCharacter)
  const mergeLong = createMergeLong(table, emitCharacter)
  return (text, from, to, output) => {
    if (!mergeShort(text, from, to, output)) mergeLong(text, from, to, output)
  }
}

/** Bytes of the UTF-8 character that begins with `lead`. */
export function characterLength(lead: number): number {
  return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4
}

type EmitCharacter = (text: Uint8Array, from: number, to: number, hash: number, output: number[]) => void

// A character that is no piece becomes its bytes (a space those of U+2581, which it stands for here); without byte pieces it becomes <unk>, and neighbours
// that are unknown share one <unk>.
function createEmitCharacter(vocabulary: Vocabulary, table: PieceTable): EmitCharacter {
  const byteIds = new Int32Array(256).fill(-1)
  for (let id = 0; id < vocabulary.pieces.length; id++) {
    if (vocabulary.types[id] === PIECE_TYPE.byte) byteIds[byteOfPiece(vocabulary.pieces[id])] = id
  }
  const { unkId } = vocabulary
  const { ranks } = table
  return (text, from, to, hash, output) => {
    const id = findPiece(table, text, from, to, hash)
    if (id >= 0 && ranks[id] !== NO_RANK) output.push(id)
    else if (byteIds[0] >= 0 && text[from] === 0x20) output.push(...SPACE_BYTES.map((byte) => byteIds[byte]))
    else if (byteIds[0] >= 0) for (let i = from; i < to; i++) output.push(byteIds[text[i]])
    else if (output.length === 0 || output[output.length - 1] !== unkId) output.push(unkId)
  }
}

// Returns false, with nothing appended, when the segment has more than SHORT characters.
function createMergeShort(
  table: PieceTable,
  emitCharacter: EmitCharacter,
): (text: Uint8Array, from: number, to: number, output: number[]) => boolean {
  const { powers, ranks, longest } = table
  const starts = new Int32Array(SHORT + 1) // where each symbol begins
  const hashes = new Int32Array(SHORT + 1) // hash of the segment up to there
  const ids = new Int32Array(SHORT) // the piece a symbol was merged to; −1: still a character
  const pairIds = new Int32Array(SHORT) // the piece that symbols k and k + 1 spell
  const pairRanks = new Int32Array(SHORT)
  const asciiPairs = listAsciiPairs(table)
  const setPair = (k: number, id: number): void => {
    pairIds[k] = id
    pairRanks[k] = id < 0 ? NO_RANK : ranks[id]
  }

  return (text, from, to, output) => {
    let count = 0
    let hash = 0
    for (let i = from; i < to; ) {
      if (count === SHORT) return false
      starts[count] = i
      hashes[count] = hash
      ids[count++] = -1
      const end = i + characterLength(text[i])
      for (; i < end; i++) hash = (Math.imul(hash, HASH_BASE) + text[i]) | 0
    }
    starts[count] = to
    hashes[count] = hash

    const rankPair = (k: number): void => {
      const start = starts[k]
      const length = starts[k + 2] - start
      let id = -1
      if (length <= longest) {
        const pairHash = (hashes[k + 2] - Math.imul(hashes[k], powers[length])) | 0
        id = findPiece(table, text, start, starts[k + 2], pairHash)
      }
      setPair(k, id)
    }
    for (let k = 0; k + 1 < count; k++) {
      if (starts[k + 2] - starts[k] === 2)
        setPair(k, asciiPairs[(text[starts[k]] << 7) | text[starts[k] + 1]])
      else rankPair(k)
    }
    for (;;) {
      let best = -1
      let bestRank = NO_RANK
      for (let k = 0; k + 1 < count; k++) {
        if (pairRanks[k] < bestRank) {
          bestRank = pairRanks[k]
          best = k
        }
      }
      if (best < 0) break
      ids[best] = pairIds[best]
      count--
      for (let k = best + 1; k <= count; k++) {
        starts[k] = starts[k + 1]
        hashes[k] = hashes[k + 1]
        ids[k] = ids[k + 1]
        pairIds[k - 1] = pairIds[k]
        pairRanks[k - 1] = pairRanks[k]
      }
      if (best > 0) rankPair(best - 1)
      if (best + 1 < count) rankPair(best)
    }
    for (let k = 0; k < count; k++) {
      if (ids[k] >= 0) output.push(ids[k])
      else {
        const length = starts[k + 1] - starts[k]
        emitCharacter(
          text,
          starts[k],
          starts[k + 1],
          (hashes[k + 1] - Math.imul(hashes[k], powers[length])) | 0,
          output,
        )
      }
    }
    return true
  }
}

/** [128 × 128]: the piece that two ASCII characters spell, or −1. Most first lookups of a word are such pairs. */
function listAsciiPairs(table: PieceTable): Int32Array {
  const ids = new Int32Array(128 * 128)
  const text = new Uint8Array(2)
  for (let pair = 0; pair < ids.length; pair++) {
    text[0] = pair >> 7
    text[1] = pair & 127
    ids[pair] = findPiece(table, text, 0, 2, (Math.imul(text[0], HASH_BASE) + text[1]) | 0)
  }
  return ids
}

// Symbols are a doubly linked list over the bytes of the segment. The heap holds possible merges ordered by
// rank, then by position; an entry whose symbols have changed since is recognised by its length.
function createMergeLong(
  table: PieceTable,
  emitCharacter: EmitCharacter,
): (text: Uint8Array, from: number, to: number, output: number[]) => void {
  const { powers, ranks, longest, starts: pieceStarts } = table

  return (text, from, to, output) => {
    const size = to - from
    const hashes = new Int32Array(size + 1) // hash of the first i bytes
    const ends = new Int32Array(size) // where the symbol that begins at i ends; 0: none begins there
    const before = new Int32Array(size) // where the symbol before the one at i begins; −1: none
    const ids = new Int32Array(size).fill(-1)
    const heap = createMergeHeap(size)

    const offerPair = (left: number): void => {
      const right = ends[left]
      if (right >= size) return
      const end = ends[right]
      const length = end - left
      if (length > longest) return
      const hash = (hashes[end] - Math.imul(hashes[left], powers[length])) | 0
      const id = findPiece(table, text, from + left, from + end, hash)
      if (id >= 0 && ranks[id] !== NO_RANK) heap.push(ranks[id] * size + left, id)
    }
    let previous = -1
    for (let i = 0; i < size; ) {
      const end = i + characterLength(text[from + i])
      ends[i] = end
      before[i] = previous
      previous = i
      for (; i < end; i++) hashes[i + 1] = (Math.imul(hashes[i], HASH_BASE) + text[from + i]) | 0
    }
    for (let i = 0; i < size; i = ends[i]) offerPair(i)

    while (heap.size() > 0) {
      const left = heap.topKey() % size
      const id = heap.topId()
      heap.pop()
      const right = ends[left]
      const length = pieceStarts[id + 1] - pieceStarts[id]
      if (right === 0 || right >= size || ends[right] - left !== length) continue
      ends[left] = ends[right]
      ends[right] = 0
      ids[left] = id
      if (ends[left] < size) before[ends[left]] = left
      if (before[left] >= 0) offerPair(before[left])
      offerPair(left)
    }
    for (let i = 0; i < size; i = ends[i]) {
      if (ids[i] >= 0) output.push(ids[i])
      else {
        const hash = (hashes[ends[i]] - Math.imul(hashes[i], powers[ends[i] - i])) | 0
        emitCharacter(text, from + i, from + ends[i], hash, output)
      }
    }
  }
}

interface MergeHeap {
  size(): number
  topKey(): number
  topId(): number
  push(key: number, id: number): void
  pop(): void
}

// A binary heap with the smallest key on top. Keys stay exact: rank × bytes is far below 2^53.
function createMergeHeap(expected: number): MergeHeap {
  let keys = new Float64Array(expected + 1)
  let ids = new Int32Array(expected + 1)
  let count = 0
  return {
    size: () => count,
    topKey: () => keys[0],
    topId: () => ids[0],
    push(key, id) {
      if (count === keys.length) {
        const widerKeys = new Float64Array(count * 2)
        widerKeys.set(keys)
        keys = widerKeys
        const widerIds = new Int32Array(count * 2)
        widerIds.set(ids)
        ids = widerIds
      }
      let at = count++
      while (at > 0) {
        const parent = (at - 1) >> 1
        if (keys[parent] <= key) break
        keys[at] = keys[parent]
        ids[at] = ids[parent]
        at = parent
      }
      keys[at] = key
      ids[at] = id
    },
    pop() {
      count--
      if (count === 0) return
      const key = keys[count]
      const id = ids[count]
      let at = 0
      for (;;) {
        let child = 2 * at + 1
        if (child >= count) break
        if (child + 1 < count && keys[child + 1] < keys[child]) child++
        if (keys[child] >= key) break
        keys[at] = keys[child]
        ids[at] = ids[child]
        at = child
      }
      keys[at] = key
      ids[at] = id
    },
  }
}
