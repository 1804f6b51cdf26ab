// Finds a piece by the bytes of a text, in constant time for any substring: every piece lies in one hash
// table under a polynomial hash of its bytes, and the hash of a substring follows from two prefix hashes
// (Karp and Rabin, IBM J. Res. Dev. 31, 1987). So no table of pairs is needed to merge: the result of a merge is
// the piece that spells both halves. Knows nothing about the order of merges.
//
// Inside the encoder a space is the byte 0x20 and never U+2581; see `matchText`.

import { brokenTokenizer, PIECE_TYPE, SPACE_MARK, type Vocabulary } from './vocabulary.ts'

/** The base of the polynomial; odd, so that it is invertible modulo 2^32. */
export const HASH_BASE: number = 0x01000193

const SPREAD = 0x9e3779b1 // 2^32 / golden ratio: Knuth's multiplicative hashing
const LONGEST_CHAIN = 2048

/** The rank of pieces that merging never makes: control, user-defined, byte and unused ones. */
export const NO_RANK: number = 0x7fffffff

export interface PieceTable {
  /** UTF-8 of all pieces, one after another, U+2581 written as a space. */
  readonly bytes: Uint8Array
  /** [pieces + 1]: where each piece begins in `bytes`. */
  readonly starts: Int32Array
  /** [pieces]: place of the piece's score among all, best first; equal scores share a place. Or NO_RANK. */
  readonly ranks: Int32Array
  /** Bytes of the longest piece that merging can make, at least those of one character. */
  readonly longest: number
  /** HASH_BASE^k modulo 2^32 for k ≤ longest. */
  readonly powers: Int32Array
  /** Four integers each: hash, id + 1 (0: an empty slot), start and length in `bytes`, so that a miss costs one cache line. */
  readonly slots: Int32Array
  readonly shift: number
}

/** How a piece is spelled in a text that is being encoded; undefined when no text can contain it. */
export function matchText(piece: string): string | undefined {
  return piece.includes(' ') ? undefined : piece.replaceAll(SPACE_MARK, ' ')
}

/** Throws GemmaError 'tokenizer' when a piece comes twice. */
export function createPieceTable(vocabulary: Vocabulary): PieceTable {
  const { pieces } = vocabulary
  const { bytes, starts } = layOut(pieces)
  const ranks = rankScores(vocabulary)
  let longest = 4
  for (let id = 0; id < pieces.length; id++) {
    if (ranks[id] !== NO_RANK) longest = Math.max(longest, starts[id + 1] - starts[id])
  }
  const powers = new Int32Array(longest + 1)
  powers[0] = 1
  for (let k = 1; k <= longest; k++) powers[k] = Math.imul(powers[k - 1], HASH_BASE)
  const bits = Math.max(4, Math.ceil(Math.log2(pieces.length + 1)) + 1)
  const table: PieceTable = {
    bytes,
    starts,
    ranks,
    longest,
    powers,
    slots: new Int32Array(4 << bits),
    shift: 32 - bits,
  }
  for (let id = 0; id < pieces.length; id++) if (!pieces[id].includes(' ')) insert(table, pieces, id)
  return table
}

/** The id of the piece spelled by text[from, to), whose hash is `hash`, or −1. */
export function findPiece(
  table: PieceTable,
  text: Uint8Array,
  from: number,
  to: number,
  hash: number,
): number {
  const { slots, bytes } = table
  const mask = slots.length - 1
  const length = to - from
  let slot = (Math.imul(hash, SPREAD) >>> table.shift) << 2
  for (;;) {
    const entry = slots[slot + 1]
    if (entry === 0) return -1
    if (slots[slot] === hash && slots[slot + 3] === length) {
      const start = slots[slot + 2]
      let k = 0
      while (k < length && bytes[start + k] === text[from + k]) k++
      if (k === length) return entry - 1
    }
    slot = (slot + 4) & mask
  }
}

/** The hash of text[from, to). */
export function hashBytes(text: Uint8Array, from: number, to: number): number {
  let hash = 0
  for (let i = from; i < to; i++) hash = (Math.imul(hash, HASH_BASE) + text[i]) | 0
  return hash
}

function insert(table: PieceTable, pieces: readonly string[], id: number): void {
  const { slots, starts, bytes } = table
  const hash = hashBytes(bytes, starts[id], starts[id + 1])
  const mask = slots.length - 1
  let slot = (Math.imul(hash, SPREAD) >>> table.shift) << 2
  for (let chain = 0; slots[slot + 1] !== 0; chain++) {
    const other = slots[slot + 1] - 1
    if (slots[slot] === hash && pieces[other] === pieces[id]) {
      throw brokenTokenizer(`Tokenizer: pieces ${other} and ${id} are both ${JSON.stringify(pieces[id])}.`)
    }
    // Only a vocabulary made to collide comes here; it would make every text slow.
    if (chain > LONGEST_CHAIN)
      throw brokenTokenizer(`Tokenizer: more than ${LONGEST_CHAIN} pieces share a hash.`)
    slot = (slot + 4) & mask
  }
  slots[slot] = hash
  slots[slot + 1] = id + 1
  slots[slot + 2] = starts[id]
  slots[slot + 3] = starts[id + 1] - starts[id]
}

function layOut(pieces: readonly string[]): { bytes: Uint8Array; starts: Int32Array } {
  const starts = new Int32Array(pieces.length + 1)
  const bytes = new TextEncoder().encode(pieces.join('').replaceAll(SPACE_MARK, ' '))
  let at = 0
  for (let id = 0; id < pieces.length; id++) {
    starts[id] = at
    const piece = pieces[id]
    for (let i = 0; i < piece.length; i++) {
      const unit = piece.charCodeAt(i)
      // Half of a surrogate pair is 2 of the 4 bytes; createVocabulary has refused unpaired halves.
      if (unit < 0x80 || unit === 0x2581) at += 1
      else if (unit < 0x800 || (unit >= 0xd800 && unit < 0xe000)) at += 2
      else at += 3
    }
  }
  starts[pieces.length] = at
  return { bytes, starts }
}

function rankScores({ pieces, scores, types }: Vocabulary): Int32Array {
  const ranks = new Int32Array(pieces.length).fill(NO_RANK)
  const order: number[] = []
  let sorted = true // as trained vocabularies are
  for (let id = 0; id < pieces.length; id++) {
    if (types[id] !== PIECE_TYPE.normal) continue
    sorted &&= order.length === 0 || scores[order[order.length - 1]] >= scores[id]
    order.push(id)
  }
  if (!sorted) order.sort((a, b) => scores[b] - scores[a])
  let rank = -1
  for (let i = 0; i < order.length; i++) {
    if (i === 0 || scores[order[i]] !== scores[order[i - 1]]) rank++
    ranks[order[i]] = rank
  }
  return ranks
}
