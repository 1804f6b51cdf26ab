// Chooses the characters that get pieces of their own; all others are written as bytes. Knows nothing about words.

import { GemmaError } from '../../error.ts'
import { SPACE_MARK } from '../vocabulary.ts'

export interface Alphabet {
  /** Code points, a space as U+2581; the most frequent first, equal ones by code point. */
  readonly characters: readonly number[]
  /** The share of all characters of the text that these are. */
  readonly coverage: number
}

export interface AlphabetOptions {
  /** Share of the characters of the text that shall be pieces, 0 to 1. */
  readonly coverage: number
  /** Characters that are pieces even when no text has them. */
  readonly required: string
  /** Pieces that exist already. */
  readonly special: ReadonlySet<string>
}

/** Tabs are no part of any piece, so the number of what is matched whole stands in their place. */
const WHOLE = 0x09

/** U+0021 to U+007E and the space: what Gemma's own vocabulary has in any case. */
export const PRINTABLE_ASCII: string = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).join(
  '',
)

/**
 * As SentencePiece chooses: required characters, then the most frequent, until the share is reached. `counts`: by code
 * point, the space at 0x20. `whole`: pieces matched whole in the text, each of which counts as one covered character.
 * Throws GemmaError 'usage' when a required character is half of a pair.
 */
export function chooseAlphabet(
  counts: Float64Array,
  whole: number,
  { coverage, required, special }: AlphabetOptions,
): Alphabet {
  const wanted = new Set(requiredPoints(required, special))
  const byCount = counts.slice()
  byCount[WHOLE] = whole
  const met: number[] = []
  let total = 0
  for (let point = 0; point < byCount.length; point++) {
    if (byCount[point] === 0) continue
    total += byCount[point]
    if (!wanted.has(point)) met.push(point)
  }
  const falling = (a: number, b: number): number => byCount[b] - byCount[a] || a - b
  const chosen = [...wanted]
  let covered = chosen.reduce((sum, point) => sum + byCount[point], 0)
  for (const point of met.sort(falling)) {
    if (covered >= coverage * total) break
    if (point !== WHOLE) chosen.push(point)
    covered += byCount[point]
  }
  return {
    characters: chosen.sort(falling).map((point) => (point === 0x20 ? 0x2581 : point)),
    coverage: total === 0 ? 1 : covered / total,
  }
}

function requiredPoints(required: string, special: ReadonlySet<string>): number[] {
  if (!required.isWellFormed()) {
    throw new GemmaError('usage', 'The required characters hold half of a surrogate pair.')
  }
  const points = [...required.replaceAll(SPACE_MARK, ' ')]
    // Line feeds are special pieces already; tabs and NUL are the bytes <0x09> and <0x00> (see character-class.ts).
    .filter((character) => !special.has(character) && character !== '\t' && character !== '\0')
    .map((character) => character.codePointAt(0)!)
  return [...new Set(points)]
}
