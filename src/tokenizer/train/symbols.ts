// What words are made of while merges are learned: characters, and what was merged from them. Decides which two may be
// merged, and which of two possible pieces comes first. Knows nothing about counts.

import { SPACE_MARK } from '../vocabulary.ts'
import { type ClassOfCharacter, INHERITED, SPACE } from './character-class.ts'

export interface Symbols {
  /** [symbols] the script of all characters that have one; 0: only spaces and marks that go with any script. */
  readonly scripts: Uint8Array
  /** [symbols] in characters. */
  readonly lengths: Uint8Array
  /** [symbols] where the characters of each begin in `points`. */
  readonly starts: Int32Array
  /** Code points, a space as U+2581. */
  readonly points: Int32Array
  count: number
  /** In characters. */
  readonly longest: number
}

/** `characters` become the symbols 0, 1, …; there is room for `merges` more. */
export function createSymbols(
  characters: readonly number[],
  classOf: ClassOfCharacter,
  merges: number,
  longest: number,
): Symbols {
  const capacity = characters.length + merges
  const symbols: Symbols = {
    scripts: new Uint8Array(capacity),
    lengths: new Uint8Array(capacity),
    starts: new Int32Array(capacity),
    points: new Int32Array(characters.length + merges * longest),
    count: characters.length,
    longest,
  }
  characters.forEach((point, id) => {
    const kind = classOf(point === 0x2581 ? 0x20 : point)
    symbols.scripts[id] = kind === SPACE || kind === INHERITED ? 0 : kind
    symbols.lengths[id] = 1
    symbols.starts[id] = id
    symbols.points[id] = point
  })
  return symbols
}

/** Whether SentencePiece's rules allow the piece. Words are cut so that spaces, digits and tabs need no rule here. */
export function mayMerge({ scripts, lengths, longest }: Symbols, left: number, right: number): boolean {
  const one = scripts[left]
  const other = scripts[right]
  return lengths[left] + lengths[right] <= longest && (one === other || one === 0 || other === 0)
}

/** The new symbol. */
export function addMerged(symbols: Symbols, left: number, right: number): number {
  const { scripts, lengths, starts, points } = symbols
  const id = symbols.count++
  const start = starts[id - 1] + lengths[id - 1]
  scripts[id] = scripts[left] || scripts[right]
  lengths[id] = lengths[left] + lengths[right]
  starts[id] = start
  points.copyWithin(start, starts[left], starts[left] + lengths[left])
  points.copyWithin(start + lengths[left], starts[right], starts[right] + lengths[right])
  return id
}

/** The piece, spaces as U+2581. */
export function textOf({ points, starts, lengths }: Symbols, id: number): string {
  return String.fromCodePoint(...points.subarray(starts[id], starts[id] + lengths[id]))
}

/**
 * Which of two pieces, each given by its halves, comes first when both are met equally often: the one with fewer
 * characters, then the one that comes first by code points. Negative: the first one.
 */
export function compareMerged(
  symbols: Symbols,
  left: number,
  right: number,
  otherLeft: number,
  otherRight: number,
): number {
  const { lengths } = symbols
  const length = lengths[left] + lengths[right]
  const difference = length - (lengths[otherLeft] + lengths[otherRight])
  if (difference !== 0) return difference
  for (let k = 0; k < length; k++) {
    const order = pointAt(symbols, left, right, k) - pointAt(symbols, otherLeft, otherRight, k)
    if (order !== 0) return order
  }
  return 0
}

function pointAt({ lengths, starts, points }: Symbols, left: number, right: number, k: number): number {
  const inRight = k - lengths[left]
  return inRight < 0 ? points[starts[left] + k] : points[starts[right] + inRight]
}

/** By code point, the space at 0x20: the symbol of a character, or −1. */
export function symbolsByPoint(characters: readonly number[]): Int32Array {
  const ids = new Int32Array(0x110000).fill(-1)
  const space = SPACE_MARK.codePointAt(0)
  characters.forEach((point, id) => {
    ids[point === space ? 0x20 : point] = id
  })
  return ids
}
