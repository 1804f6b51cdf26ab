// Encoding is exact: the cuts, the cache and the heap change no id against the plain definition.

import { existsSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createEncodeText } from './encode.ts'
import { createTokenizer, parseSentencePieceModel, type Tokenizer } from './index.ts'
import { createReferenceEncode } from './testing/reference-encode.ts'
import { arbitraryText } from './testing/texts.ts'
import { createVocabulary, type Vocabulary } from './vocabulary.ts'

const smallModel: Uint8Array = readFileSync(
  new URL('../../test/data/models/gemma1-mqa/tokenizer.model', import.meta.url),
)
const real = new URL('../../../shared/tokenizer/tokenizer.model', import.meta.url)

function expectExact(vocabulary: Vocabulary, runs: number): void {
  const reference = createReferenceEncode(vocabulary)
  const encodeText = createEncodeText(vocabulary)
  fc.assert(
    fc.property(arbitraryText(vocabulary), fc.boolean(), (text, parseControl) => {
      const output: number[] = []
      encodeText(text, parseControl, output)
      expect(output).toEqual(reference(text, parseControl))
    }),
    { numRuns: runs },
  )
}

describe('encode', () => {
  test('the small model encodes random texts exactly', () =>
    expectExact(parseSentencePieceModel(smallModel), 3000))

  test.skipIf(!existsSync(real))('Gemma’s own model does too (needs ../shared)', () =>
    expectExact(parseSentencePieceModel(readFileSync(real)), 1500),
  )

  test('random small vocabularies do too: equal scores, pieces that overlap themselves, spaces inside, no bytes', () => {
    const pieceText = fc.string({
      unit: fc.constantFrom('a', 'b', 'é', '語', '\u2581', '😀'),
      minLength: 1,
      maxLength: 7,
    })
    const scored = fc.record({
      piece: pieceText,
      score: fc.integer({ min: -6, max: 0 }),
      type: fc.constantFrom(1, 1, 1, 1, 4),
    })
    const text = fc.string({
      unit: fc.constantFrom('a', 'b', 'é', '語', ' ', '\u2581', '😀', 'x', '€'),
      maxLength: 120,
    })
    const lists = fc.uniqueArray(scored, { selector: ({ piece }) => piece, maxLength: 40 })
    fc.assert(
      fc.property(lists, fc.boolean(), fc.array(text, { maxLength: 6 }), (list, bytes, texts) => {
        const vocabulary = vocabularyOf(list, bytes)
        const reference = createReferenceEncode(vocabulary)
        const encodeText = createEncodeText(vocabulary)
        for (const sample of texts) {
          const output: number[] = []
          encodeText(sample, false, output)
          expect(output).toEqual(reference(sample))
        }
      }),
      { numRuns: 1000 },
    )
  })

  test('a text far longer than the scratch buffer gives the ids of its parts', () => {
    const tokenizer = createTokenizer({ sentencePiece: smallModel })
    const line = 'The quick brown fox 語 jumps over 13 lazy dogs.\n'
    const ids = tokenizer.encode(line)
    const many = tokenizer.encode(line.repeat(5000))
    expect(many.length).toBe(ids.length * 5000)
    expect(many.slice(-ids.length)).toEqual(ids)
  })

  const hostile: [string, string][] = [
    ['one letter', 'a'.repeat(1 << 20)],
    ['spaces', ' '.repeat(1 << 20)],
    ['no spaces', 'thequickbrownfoxjumpsoverthelazydog'.repeat(30_000)],
    ['combining marks', `e${'\u0301'.repeat(1 << 19)}`],
    ['tags cut short', '<unused'.repeat(150_000)],
  ]
  const tokenizers: [string, () => Tokenizer][] = [
    ['small', () => createTokenizer({ sentencePiece: smallModel })],
  ]
  if (existsSync(real))
    tokenizers.push(['Gemma’s own', () => createTokenizer({ sentencePiece: readFileSync(real) })])
  test.each(tokenizers)(
    'a megabyte without an end goes through and comes back (%s model)',
    (_name, create) => {
      const tokenizer = create()
      for (const [name, text] of hostile)
        expect(tokenizer.decode(tokenizer.encode(text)) === text, name).toBe(true)
    },
  )
})

function vocabularyOf(
  list: readonly { piece: string; score: number; type: number }[],
  bytes: boolean,
): Vocabulary {
  const control = ['<pad>', '<eos>', '<bos>', '<unk>'].map((piece, i) => ({
    piece,
    score: 0,
    type: i === 3 ? 2 : 3,
  }))
  const bytePieces = Array.from({ length: bytes ? 256 : 0 }, (_, byte) => ({
    piece: `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
    score: 0,
    type: 6,
  }))
  const all = [...control, ...bytePieces, ...list]
  return createVocabulary('test', {
    pieces: all.map(({ piece }) => piece),
    scores: Float64Array.from(all, ({ score }) => score),
    types: Uint8Array.from(all, ({ type }) => type),
  })
}
