// Byte-pair encoding learned from counted words (Sennrich, Haddow and Birch, arXiv:1508.07909): as long as pieces are
// wanted, the two neighbours met most often become one. Words are changed in place and pairs are counted along, so a
// step costs what the words that have the pair cost. Knows nothing about texts, special pieces or files.
//
// Two different pairs never spell the same piece: what is joined inside a stretch of characters follows from the stretch
// alone as long as nothing crosses its ends, so whenever it becomes two symbols, it becomes the same two. Hence the
// words end up as the encoder would cut them.

import { characterLength } from '../merge.ts'
import { codePoint } from '../neighbours.ts'
import type { ClassOfCharacter } from './character-class.ts'
import { createPairs, type Pairs } from './pairs.ts'
import {
  addMerged,
  compareMerged,
  createSymbols,
  mayMerge,
  type Symbols,
  symbolsByPoint,
  textOf,
} from './symbols.ts'
import type { CountedWords } from './word-table.ts'

export interface LearnOptions {
  /** Merges wanted; fewer come back when nothing is left to merge. */
  readonly merges: number
  /** Characters of the longest piece. */
  readonly maxPieceLength: number
  readonly classOf: ClassOfCharacter
  /** Called with the merges learned so far, and now and then before the first; what it returns is awaited. */
  readonly pause: (merges: number) => Promise<void> | void
}

export interface LearnedMerges {
  /** In the order of learning, spaces as U+2581. */
  readonly pieces: readonly string[]
  /** How often the last of them was met; 0 when there is none. */
  readonly lastCount: number
  /** Tokens that all words together have become, bytes of characters outside the alphabet included. */
  readonly tokens: number
}

/** `characters`: the alphabet, code points with the space as U+2581. */
export async function learnMerges(
  words: CountedWords,
  characters: readonly number[],
  { merges, maxPieceLength, classOf, pause }: LearnOptions,
): Promise<LearnedMerges> {
  const symbols = createSymbols(characters, classOf, merges, maxPieceLength)
  const sequences = spellWords(words, symbolsByPoint(characters))
  const pairs = createPairs((...pair) => compareMerged(symbols, ...pair))
  for (let word = 0; word < words.count; word++) {
    countPairs(sequences, word, words.counts[word], symbols, pairs)
    if ((word & 0x3fff) === 0) {
      const waiting = pause(0)
      if (waiting !== undefined) await waiting
    }
  }
  pairs.settle()
  const pieces: string[] = []
  let lastCount = 0
  while (pieces.length < merges) {
    const best = pairs.take()
    if (best === undefined) break
    const { left, right, count, words: found } = best
    const merged = addMerged(symbols, left, right)
    for (const word of found) {
      mergeInWord(sequences, word, words.counts[word], { left, right, merged }, symbols, pairs)
    }
    pairs.settle()
    pieces.push(textOf(symbols, merged))
    lastCount = count
    const waiting = pause(pieces.length)
    if (waiting !== undefined) await waiting
  }
  return { pieces, lastCount, tokens: countTokens(sequences, words.counts) }
}

/** Words as symbols. */
interface Sequences {
  /** Those of word w from starts[w] on; −n is a character of n bytes outside the alphabet. */
  readonly symbols: Int32Array
  readonly starts: Int32Array
  readonly lengths: Uint16Array
}

function spellWords({ count, bytes, starts }: CountedWords, symbolOf: Int32Array): Sequences {
  const from = new Int32Array(count)
  const lengths = new Uint16Array(count)
  const symbols = new Int32Array(countCharacters(bytes))
  let at = 0
  for (let word = 0; word < count; word++) {
    from[word] = at
    for (let i = starts[word]; i < starts[word + 1]; ) {
      const size = characterLength(bytes[i])
      const symbol = symbolOf[codePoint(bytes, i)]
      // A space outside the alphabet would be the three bytes of U+2581.
      symbols[at++] = symbol >= 0 ? symbol : bytes[i] === 0x20 ? -3 : -size
      i += size
    }
    lengths[word] = at - from[word]
  }
  return { symbols, starts: from, lengths }
}

function countCharacters(bytes: Uint8Array): number {
  let count = 0
  for (let i = 0; i < bytes.length; i++) if ((bytes[i] & 0xc0) !== 0x80) count++
  return count
}

function countPairs(
  { symbols: all, starts, lengths }: Sequences,
  word: number,
  times: number,
  symbols: Symbols,
  pairs: Pairs,
): void {
  const last = starts[word] + lengths[word] - 1
  for (let i = starts[word]; i < last; i++) {
    if (all[i] >= 0 && all[i + 1] >= 0 && mayMerge(symbols, all[i], all[i + 1])) {
      pairs.add(all[i], all[i + 1], word, times)
    }
  }
}

interface Merge {
  readonly left: number
  readonly right: number
  readonly merged: number
}

/** Merges the pair wherever it stands in the word, from the left, and counts its neighbours anew. */
function mergeInWord(
  { symbols: all, starts, lengths }: Sequences,
  word: number,
  times: number,
  { left, right, merged }: Merge,
  symbols: Symbols,
  pairs: Pairs,
): void {
  const start = starts[word]
  const end = start + lengths[word]
  let to = start
  for (let from = start; from < end; ) {
    if (all[from] !== left || from + 1 === end || all[from + 1] !== right) {
      all[to++] = all[from++]
      continue
    }
    const before = to > start ? all[to - 1] : -1
    const after = from + 2 < end ? all[from + 2] : -1
    if (before >= 0) {
      pairs.subtract(before, left, times)
      if (mayMerge(symbols, before, merged)) pairs.add(before, merged, word, times)
    }
    if (after >= 0) {
      pairs.subtract(right, after, times)
      if (mayMerge(symbols, merged, after)) pairs.add(merged, after, word, times)
    }
    all[to++] = merged
    from += 2
  }
  lengths[word] = to - start
}

function countTokens({ symbols, starts, lengths }: Sequences, counts: Float64Array): number {
  let tokens = 0
  for (let word = 0; word < counts.length; word++) {
    let own = 0
    for (let i = starts[word]; i < starts[word] + lengths[word]; i++) own += symbols[i] < 0 ? -symbols[i] : 1
    tokens += own * counts[word]
  }
  return tokens
}
