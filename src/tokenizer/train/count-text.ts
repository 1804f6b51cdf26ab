// Reads all documents once and keeps what training needs of them: words with their counts, and how often each character
// was met. Memory does not grow with the corpus. Knows nothing about merging or files.

import { GemmaError } from '../../error.ts'
import { characterLength } from '../merge.ts'
import { codePoint } from '../neighbours.ts'
import { SPACE_MARK } from '../vocabulary.ts'
import { createWholePieceMatcher } from '../whole-piece-matcher.ts'
import type { ClassOfCharacter } from './character-class.ts'
import type { SpecialPiece } from './special-pieces.ts'
import { createSplitWords } from './split-words.ts'
import { type CountedWords, createWordTable } from './word-table.ts'

export interface TextCounts {
  readonly documents: number
  /** UTF-8 of all documents. */
  readonly bytes: number
  /** Of these, bytes in words that were forgotten for want of room. */
  readonly forgottenBytes: number
  /** By so much the count of a word may be short; 0 when nothing was forgotten. */
  readonly shortBy: number
  readonly words: CountedWords
  /** By code point: characters that stood alone. A space counts as 0x20. */
  readonly alone: Float64Array
  /** By code point: all characters, those in words too; but not what is matched whole, tabs and NUL. */
  readonly characters: Float64Array
  /** Pieces matched whole, tabs and NULs. */
  readonly whole: number
}

export interface CountOptions {
  /** Words kept at most. */
  readonly maxWords: number
  /** Called after every document and every part of a long one; what it returns is awaited. */
  readonly afterPart: (state: { documents: number; bytes: number; words: number }) => Promise<void> | void
}

/** A long document is taken in parts of so many UTF-16 units. */
const PART = 1 << 20
const CODE_POINTS = 0x110000

export async function countText(
  documents: AsyncIterable<string> | Iterable<string>,
  special: readonly SpecialPiece[],
  classOf: ClassOfCharacter,
  { maxWords, afterPart }: CountOptions,
): Promise<TextCounts> {
  const alone = new Float64Array(CODE_POINTS)
  const forgotten = new Float64Array(CODE_POINTS)
  const total = { documents: 0, bytes: 0, forgottenBytes: 0, whole: 0 }
  const table = createWordTable(maxWords, (bytes, from, to, count) => {
    total.forgottenBytes += (to - from) * count
    countCharacters(forgotten, bytes, from, to, count)
  })
  const matcher = createWholePieceMatcher(
    special.map(({ piece }) => piece),
    special.map((_, id) => id),
  )
  const split = createSplitWords(matcher, classOf, {
    word: table.add,
    character: (point) => void alone[point]++,
    whole: () => void total.whole++,
  })
  const encoder = new TextEncoder()
  const scratch = new Uint8Array(PART * 3)
  for await (const document of documents) {
    if (typeof document !== 'string') {
      throw new GemmaError('usage', `Expected documents to be strings, got one of type ${typeof document}.`)
    }
    for (const part of partsOf(document.replaceAll(SPACE_MARK, ' '))) {
      const { written } = encoder.encodeInto(part, scratch) // lone surrogates become U+FFFD
      split(scratch, written)
      total.bytes += written
      const pause = afterPart({ documents: total.documents, bytes: total.bytes, words: table.size() })
      if (pause !== undefined) await pause
    }
    total.documents++
  }
  const words = table.words()
  const characters = forgotten
  for (let point = 0; point < CODE_POINTS; point++) characters[point] += alone[point]
  for (let word = 0; word < words.count; word++) {
    countCharacters(characters, words.bytes, words.starts[word], words.starts[word + 1], words.counts[word])
  }
  return { ...total, shortBy: table.shortBy(), words, alone, characters }
}

function countCharacters(
  counts: Float64Array,
  bytes: Uint8Array,
  from: number,
  to: number,
  count: number,
): void {
  for (let i = from; i < to; i += characterLength(bytes[i])) counts[codePoint(bytes, i)] += count
}

/** Parts of at most PART units that end before white space where there is some, and never inside a character. */
function* partsOf(text: string): Generator<string, void> {
  let from = 0
  while (text.length - from > PART) {
    const to = from + endOfPart(text.slice(from, from + PART))
    yield text.slice(from, to)
    from = to
  }
  yield from === 0 ? text : text.slice(from)
}

function endOfPart(part: string): number {
  const least = part.length - 4096
  for (let at = part.length - 1; at > least; at--) {
    if (isSpace(part.charCodeAt(at)) && !isSpace(part.charCodeAt(at - 1))) return at
  }
  const last = part.charCodeAt(part.length - 1)
  return last >= 0xd800 && last < 0xdc00 ? part.length - 1 : part.length
}

/** What runs are made of: a run that is matched whole must not be cut. */
function isSpace(unit: number): boolean {
  return unit === 0x20 || unit === 0x0a || unit === 0x09
}
