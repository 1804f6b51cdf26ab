// Ids become text, at once or one by one. Byte pieces are collected until they make a character, so that a
// stream never shows half of one. Knows nothing about encoding or chat.

import { GemmaError } from '../error.ts'
import { byteOfPiece, PIECE_TYPE, SPACE_MARK, type Vocabulary } from './vocabulary.ts'

/** Text as ids arrive. All that `push` returned and the final `flush` together are what `decode` gives. */
export interface DecodeStream {
  /** The text that this id completes; '' while a character is incomplete. */
  push(id: number): string
  /** What is left at the end: U+FFFD for every byte of a character that was never completed. */
  flush(): string
}

const REPLACEMENT = '\ufffd'
const UNKNOWN = ' \u2047 ' // what SentencePiece writes for <unk>

/** Makes streams over one vocabulary. `push` throws GemmaError 'usage' for an id outside it. */
export function createDecoder(vocabulary: Vocabulary): () => DecodeStream {
  const { pieces, types } = vocabulary
  return () => {
    const pending: number[] = [] // at most 3 bytes between calls
    const drain = (whole: boolean): string => {
      let text = ''
      while (pending.length > 0) {
        const length = wellFormedLength(pending)
        if (length > 0) text += String.fromCodePoint(codePoint(pending.splice(0, length)))
        else if (length < 0 && !whole) break
        else {
          pending.shift()
          text += REPLACEMENT
        }
      }
      return text
    }
    return {
      push(id) {
        const type = checkId(id, pieces.length, types)
        if (type === PIECE_TYPE.byte) {
          pending.push(byteOfPiece(pieces[id]))
          return drain(false)
        }
        const before = pending.length > 0 ? drain(true) : ''
        if (type === PIECE_TYPE.control) return before
        return before + (type === PIECE_TYPE.unknown ? UNKNOWN : pieces[id].replaceAll(SPACE_MARK, ' '))
      },
      flush: () => drain(true),
    }
  }
}

function checkId(id: number, count: number, types: Uint8Array): number {
  const type = types[id]
  if (type === undefined) {
    throw new GemmaError('usage', `Expected a token id from 0 to ${count - 1}, got ${id}.`)
  }
  return type
}

/**
 * Length of the UTF-8 character at the beginning of `bytes`; 0 when none begins there, −1 when one may once
 * more bytes come (Unicode 16.0, table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF).
 */
function wellFormedLength(bytes: readonly number[]): number {
  const lead = bytes[0]
  if (lead < 0x80) return 1
  if (lead < 0xc2 || lead > 0xf4) return 0
  const length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4
  for (let i = 1; i < length; i++) {
    if (i >= bytes.length) return -1
    let low = 0x80
    let high = 0xbf
    if (i === 1) {
      if (lead === 0xe0) low = 0xa0
      else if (lead === 0xed) high = 0x9f
      else if (lead === 0xf0) low = 0x90
      else if (lead === 0xf4) high = 0x8f
    }
    if (bytes[i] < low || bytes[i] > high) return 0
  }
  return length
}

function codePoint(bytes: readonly number[]): number {
  if (bytes.length === 1) return bytes[0]
  let point = bytes[0] & (0x7f >> bytes.length)
  for (let i = 1; i < bytes.length; i++) point = (point << 6) | (bytes[i] & 63)
  return point
}
