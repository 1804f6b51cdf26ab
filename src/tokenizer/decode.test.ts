// Decoding one by one gives what decoding at once gives, and never half a character.

import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createTokenizer, PIECE_TYPE } from './index.ts'
import { arbitraryText } from './testing/texts.ts'

const tokenizer = createTokenizer({
  sentencePiece: readFileSync(new URL('../../test/data/models/gemma1-mqa/tokenizer.model', import.meta.url)),
})
const { vocabulary } = tokenizer

// Byte pieces are 217 to 472; half of the ids are bytes, so that characters form and break off.
const byte = fc.integer({ min: 217, max: 472 })
const id = fc.oneof(byte, fc.integer({ min: 0, max: tokenizer.vocabSize - 1 }))
const utf8 = fc
  .string({ unit: 'binary', maxLength: 4 })
  .map((text) => [...new TextEncoder().encode(text)].map((b) => b + 217))
const ids = fc
  .array(
    fc.oneof(
      id.map((one) => [one]),
      utf8,
    ),
    { maxLength: 40 },
  )
  .map((lists) => lists.flat())

/** Decoding by its definition: runs of byte pieces are decoded together, one U+FFFD per byte that fits nowhere. */
function plainDecode(tokens: readonly number[]): string {
  let text = ''
  let run: number[] = []
  const endRun = (): void => {
    for (let i = 0; i < run.length; ) {
      const length = [1, 2, 3, 4].find((n) => i + n <= run.length && isCharacter(run.slice(i, i + n)))
      text +=
        length === undefined
          ? '\ufffd'
          : new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(run.slice(i, i + length)))
      i += length ?? 1
    }
    run = []
  }
  for (const token of tokens) {
    if (vocabulary.types[token] === PIECE_TYPE.byte) {
      run.push(token - 217)
      continue
    }
    endRun()
    if (vocabulary.types[token] === PIECE_TYPE.unknown) text += ' \u2047 '
    else if (vocabulary.types[token] !== PIECE_TYPE.control)
      text += vocabulary.pieces[token].replaceAll('\u2581', ' ')
  }
  endRun()
  return text
}

function isCharacter(bytes: readonly number[]): boolean {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes))
    return [...text].length === 1
  } catch {
    return false
  }
}

test('a stream gives in pieces what decode gives at once', () => {
  fc.assert(
    fc.property(ids, (tokens) => {
      const stream = tokenizer.stream()
      const parts = tokens.map((token) => stream.push(token))
      parts.push(stream.flush())
      expect(parts.join('')).toBe(tokenizer.decode(tokens))
      for (const part of parts) expect(part.isWellFormed()).toBe(true)
    }),
    { numRuns: 3000 },
  )
})

test('decode follows the definition for any bytes', () => {
  fc.assert(
    fc.property(ids, (tokens) => {
      expect(tokenizer.decode(tokens)).toBe(plainDecode(tokens))
    }),
    { numRuns: 3000 },
  )
})

test('text survives encoding and decoding', () => {
  fc.assert(
    fc.property(arbitraryText(vocabulary), (text) => {
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text.toWellFormed().replaceAll('\u2581', ' '))
    }),
    { numRuns: 2000 },
  )
})

test('an incomplete character is held back, then shown as one mark per byte', () => {
  const stream = tokenizer.stream()
  const [a, b, c, d] = new TextEncoder().encode('😀')
  expect([a, b, c].map((one) => stream.push(one + 217))).toEqual(['', '', ''])
  expect(stream.push(d + 217)).toBe('😀')
  expect([a, b].map((one) => stream.push(one + 217))).toEqual(['', ''])
  expect(stream.push(857)).toBe('\ufffd\ufffda')
  expect(stream.push(a + 217)).toBe('')
  expect(stream.flush()).toBe('\ufffd')
  expect(stream.flush()).toBe('')
})

test.each([-1, 1024, 1.5, Number.NaN])('the id %s is refused', (bad) => {
  expect(() => tokenizer.decode([bad])).toThrow(/expected a token id from 0 to 1023/i)
  expect(() => tokenizer.pieceOf(bad)).toThrow(/expected a token id from 0 to 1023/i)
})
