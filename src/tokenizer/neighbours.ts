// Which two characters stand side by side in some piece that merging can make. Where two do not, no merge
// crosses, however the text around them is merged. Knows nothing about texts.

import { characterLength } from './merge.ts'
import { NO_RANK, type PieceTable } from './piece-table.ts'
import type { Vocabulary } from './vocabulary.ts'

export interface Neighbours {
  /** [128 × 128], row: left character: 1 when two ASCII characters stand side by side. Exact. */
  readonly ascii: Uint8Array
  /** The same for any two code points; a wrong true is possible and costs a cut, a wrong false is not. */
  meet(left: number, right: number): boolean
}

export function createNeighbours(vocabulary: Vocabulary, table: PieceTable): Neighbours {
  const { bytes, starts, ranks } = table
  const ascii = new Uint8Array(128 * 128)
  // One bit per hash of a pair. A few bits for every byte of all pieces, so that the size follows the file's.
  const size = 2 ** Math.min(22, Math.max(10, Math.ceil(Math.log2(bytes.length + 1)) + 1))
  const bits = new Int32Array(size / 32)
  const bitOf = (left: number, right: number): number => {
    const mixed = Math.imul(left, 0x85ebca6b) ^ Math.imul(right, 0xc2b2ae35)
    return (mixed ^ (mixed >>> 15)) & (size - 1)
  }
  for (let id = 0; id < vocabulary.pieces.length; id++) {
    if (ranks[id] === NO_RANK) continue
    let previous = -1
    for (let i = starts[id]; i < starts[id + 1]; i += characterLength(bytes[i])) {
      const point = codePoint(bytes, i)
      if (previous >= 0) {
        if ((previous | point) < 128) ascii[(previous << 7) | point] = 1
        else {
          const bit = bitOf(previous, point)
          bits[bit >>> 5] |= 1 << (bit & 31)
        }
      }
      previous = point
    }
  }
  return {
    ascii,
    meet(left, right) {
      const bit = bitOf(left, right)
      return ((bits[bit >>> 5] >>> (bit & 31)) & 1) === 1
    },
  }
}

/** The code point that begins at bytes[at], which must be well-formed UTF-8 (TextEncoder writes no other). */
export function codePoint(bytes: Uint8Array, at: number): number {
  const lead = bytes[at]
  if (lead < 0x80) return lead
  if (lead < 0xe0) return ((lead & 31) << 6) | (bytes[at + 1] & 63)
  if (lead < 0xf0) return ((lead & 15) << 12) | ((bytes[at + 1] & 63) << 6) | (bytes[at + 2] & 63)
  const high = ((lead & 7) << 18) | ((bytes[at + 1] & 63) << 12)
  return high | ((bytes[at + 2] & 63) << 6) | (bytes[at + 3] & 63)
}
