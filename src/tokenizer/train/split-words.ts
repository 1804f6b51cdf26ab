// Cuts a text into the stretches inside which pieces are learned, here called words: no piece crosses a cut by
// SentencePiece's rules. Cuts stand before every space, between scripts (punctuation counts as one), around digits and
// around pieces that are matched whole. Knows nothing about counting or merging.

import { characterLength } from '../merge.ts'
import { codePoint } from '../neighbours.ts'
import type { WholePieceMatcher } from '../whole-piece-matcher.ts'
import { ALONE, BARRIER, type ClassOfCharacter, INHERITED, SPACE } from './character-class.ts'

/** Longer words are cut, so that one endless line cannot make everything slow. */
export const LONGEST_WORD_BYTES = 256

export interface WordSink {
  /** bytes[from, to) is two characters or more, a space written as 0x20 and only in front. */
  word(bytes: Uint8Array, from: number, to: number): void
  /** A character that stands alone. */
  character(point: number): void
  /** A piece that is matched whole, a tab or a NUL. */
  whole(): void
}

/** Takes bytes[0, length), well-formed UTF-8 with spaces as 0x20 and no U+2581. */
export type SplitWords = (bytes: Uint8Array, length: number) => void

const WHOLE = 255 // among ASCII classes: a special piece may begin here

export function createSplitWords(
  matcher: WholePieceMatcher,
  classOf: ClassOfCharacter,
  sink: WordSink,
): SplitWords {
  const ascii = Uint8Array.from({ length: 128 }, (_, byte) =>
    matcher.begins[byte] !== 0 ? WHOLE : classOf(byte),
  )
  return (bytes, length) => {
    let start = -1 // of the word that is open; −1: none is
    let script = 0 // of that word; 0: any, so far
    let marked = false // its last character is a mark that inherits its script
    const close = (to: number): void => {
      if (start >= 0) emit(sink, bytes, start, to)
      start = -1
    }
    const open = (at: number): void => {
      start = at
      script = 0
      marked = false
    }
    for (let i = 0; i < length; ) {
      const byte = bytes[i]
      let kind = byte < 128 ? ascii[byte] : classOf(codePoint(bytes, i))
      if (kind === WHOLE || (byte >= 128 && matcher.begins[byte] !== 0)) {
        const id = matcher.match(bytes, i, length)
        if (id >= 0) {
          close(i)
          sink.whole()
          i += matcher.lengthOf(id)
          continue
        }
        if (kind === WHOLE) kind = classOf(byte)
      }
      const next = i + characterLength(byte)
      if (kind === BARRIER) {
        close(i)
        sink.whole()
      } else if (kind === ALONE) {
        close(i)
        emit(sink, bytes, i, next)
      } else if (kind === SPACE) {
        close(i)
        open(i)
      } else {
        if (start >= 0 && next - start > LONGEST_WORD_BYTES) close(i)
        // A mark between two scripts may go with either, so there the rule is left to the merging.
        if (start >= 0 && kind !== INHERITED && script !== 0 && script !== kind && !marked) close(i)
        if (start < 0) open(i)
        marked = kind === INHERITED
        if (!marked) script = kind
      }
      i = next
    }
    close(length)
  }
}

function emit(sink: WordSink, bytes: Uint8Array, from: number, to: number): void {
  if (to - from <= 4 && characterLength(bytes[from]) === to - from) sink.character(codePoint(bytes, from))
  else sink.word(bytes, from, to)
}
