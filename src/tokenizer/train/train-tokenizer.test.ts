// Training: against pieces that sentencepiece's own trainer learned from the same texts, against the plain definition,
// and what callers can get wrong.

import { existsSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { GemmaError } from '../../error.ts'
import { createTokenizer, PIECE_TYPE, parseSentencePieceModel, SPACE_MARK, trainTokenizer } from '../index.ts'
import type { Vocabulary } from '../vocabulary.ts'
import { createClassOfCharacter } from './character-class.ts'
import { learnMerges } from './learn-merges.ts'
import { specialPieces } from './special-pieces.ts'
import { createSymbols, mayMerge } from './symbols.ts'
import { testDocuments } from './testing/documents.ts'
import { referenceMerges } from './testing/reference-train.ts'
import type { TrainTokenizerOptions, TrainTokenizerProgress } from './train-tokenizer.ts'
import type { CountedWords } from './word-table.ts'

const goldenModel = readFileSync(
  new URL('../../../test/data/models/gemma1-mqa/tokenizer.model', import.meta.url),
)
const real = new URL('../../../../shared/tokenizer/tokenizer.model', import.meta.url)

/** What is learned from the texts: merges, then characters. */
function learned({ pieces, types }: Vocabulary): string[] {
  return pieces.filter((_, id) => types[id] === PIECE_TYPE.normal)
}

function countedWords(words: readonly (readonly [string, number])[]): CountedWords {
  const spelled = words.map(([word]) => new TextEncoder().encode(word))
  const starts = new Int32Array(words.length + 1)
  spelled.forEach((bytes, i) => {
    starts[i + 1] = starts[i] + bytes.length
  })
  const counts = Float64Array.from(words, ([, count]) => count)
  return {
    count: words.length,
    bytes: Uint8Array.from(spelled.flatMap((bytes) => [...bytes])),
    starts,
    counts,
  }
}

async function errorOf(options: TrainTokenizerOptions, documents: Iterable<string>): Promise<GemmaError> {
  const error = await trainTokenizer(documents, options).then(
    () => undefined,
    (cause: unknown) => cause,
  )
  expect(error).toBeInstanceOf(GemmaError)
  return error as GemmaError
}

describe('what is learned', () => {
  test('is what sentencepiece learns', async () => {
    // sentencepiece 0.2.2 on these documents with Gemma's settings, this vocabulary's user-defined pieces and this coverage
    const wanted = JSON.parse(
      readFileSync(new URL('testing/sentencepiece-pieces.json', import.meta.url), 'utf8'),
    )
    const options = { vocabSize: 1024, requiredCharacters: '', characterCoverage: 0.995 }
    const { vocabulary } = await trainTokenizer(testDocuments(3000, 7), options)
    expect(learned(vocabulary)).toEqual(wanted)
  })

  test('is what the definition says, from random words', async () => {
    const alphabet = [SPACE_MARK, 'a', 'b', 'c', 'é', '語']
    const characters = alphabet.map((character) => character.codePointAt(0)!)
    const classOf = createClassOfCharacter()
    const text = fc.string({ unit: fc.constantFrom(...alphabet.slice(1), 'x'), minLength: 1, maxLength: 12 })
    const corpus = fc.array(fc.tuple(text, fc.integer({ min: 1, max: 9 })), { minLength: 1, maxLength: 30 })
    await fc.assert(
      fc.asyncProperty(corpus, fc.integer({ min: 0, max: 20 }), async (counted, merges) => {
        const wanted = referenceMerges(
          counted.map(([word, count]) => [SPACE_MARK + word, count] as const),
          {
            merges,
            alphabet: new Set(alphabet),
            allowed: (piece) => [...piece].length <= 5 && !(/語/.test(piece) && /[abcé]/.test(piece)),
          },
        )
        const words = countedWords(counted.map(([word, count]) => [` ${word}`, count] as const))
        const options = { merges, maxPieceLength: 5, classOf, pause: () => {} }
        expect((await learnMerges(words, characters, options)).pieces).toEqual(wanted)
      }),
      { numRuns: 150 },
    )
  })

  test('cuts the texts as the encoder then does', async () => {
    for (const characterCoverage of [0.9, 1]) {
      // Control and byte pieces spelled out in a text are letters to the encoder, but not to training.
      const documents = testDocuments(400, 3).map((text) => text.replaceAll(/<(bos|unk|0x41)>/g, ''))
      const options = { vocabSize: 700, requiredCharacters: '', characterCoverage }
      const { files, statistics } = await trainTokenizer(documents, options)
      const tokenizer = createTokenizer(files)
      const tokens = documents.reduce((sum, text) => sum + tokenizer.encode(text).length, 0)
      expect(statistics.bytesPerToken).toBeCloseTo(statistics.bytes / tokens, 10)
    }
  })

  test('does not depend on how documents come, only on what they are', async () => {
    const documents = testDocuments(200, 5)
    const options = { vocabSize: 700 }
    const one = await trainTokenizer(documents, options)
    const stream = async function* (): AsyncGenerator<string> {
      for (const text of documents.toReversed()) yield text
    }
    const other = await trainTokenizer(stream(), options)
    expect(other).toEqual(one)
  })

  test('a document longer than a part is cut where it makes no difference', async () => {
    const text = testDocuments(400, 9).join(' ').repeat(24)
    expect(text.length).toBeGreaterThan(1 << 20)
    const options = { vocabSize: 700, characterCoverage: 1 }
    const whole = await trainTokenizer([text], options)
    const parts = await trainTokenizer(text.split(/(?=\n\n)/), options)
    expect(learned(whole.vocabulary)).toEqual(learned(parts.vocabulary))
    expect(whole.statistics.bytes).toBe(parts.statistics.bytes)
    expect(whole.statistics.bytesPerToken).toBeCloseTo(parts.statistics.bytesPerToken, 10)
  })

  test('pieces keep the rules: spaces in front, one script, digits alone, at most 16 characters', async () => {
    const { vocabulary } = await trainTokenizer(testDocuments(1000, 1), {
      vocabSize: 900,
      characterCoverage: 1,
    })
    const merged = learned(vocabulary).filter((piece) => [...piece].length > 1)
    expect(merged.length).toBeGreaterThan(200)
    for (const piece of merged) {
      expect([...piece].length, piece).toBeLessThanOrEqual(16)
      expect(piece.slice(1), piece).not.toContain(SPACE_MARK)
      expect(piece, piece).not.toMatch(/[0-9０-９\t\n\0]/u)
      const scripts = [/\p{Script=Latin}/u, /\p{Script=Cyrillic}/u, /\p{Script=Arabic}/u, /[\p{L}]/u]
      if (scripts.slice(0, 3).some((script) => script.test(piece))) {
        expect(piece, piece).not.toMatch(/[.,;()[\]{}/<>’']/)
      }
    }
  })

  test.skipIf(!existsSync(real))('all of Gemma’s own pieces keep the rules too (needs ../shared)', () => {
    const classOf = createClassOfCharacter()
    const broken = learned(parseSentencePieceModel(readFileSync(real))).filter((piece) => {
      const points = [...piece].map((character) => character.codePointAt(0)!)
      const symbols = createSymbols(points, classOf, 0, 16)
      return points.some((_, i) => i > 0 && !mayMerge(symbols, i - 1, i))
    })
    // The Armenian full stop belonged to no script when Gemma’s pieces were learned.
    expect(broken.filter((piece) => !piece.includes('\u0589'))).toEqual([])
  })
})

describe('special pieces', () => {
  const vocabularyOf = async (options: TrainTokenizerOptions): Promise<Vocabulary> =>
    (await trainTokenizer(testDocuments(3000, 2), options)).vocabulary

  test('1 024 pieces have the layout of Gemma’s small relatives', async () => {
    const vocabulary = await vocabularyOf({ vocabSize: 1024 })
    const golden = parseSentencePieceModel(goldenModel)
    expect(vocabulary.pieces.length).toBe(1024)
    for (const [from, to] of [
      [0, 473],
      [1021, 1024],
    ]) {
      expect(vocabulary.pieces.slice(from, to)).toEqual(golden.pieces.slice(from, to))
      expect(vocabulary.types.slice(from, to)).toEqual(golden.types.slice(from, to))
    }
    expect([...vocabulary.scores]).toEqual([...golden.scores])
    expect(vocabulary.types).toEqual(golden.types)
  })

  test.skipIf(!existsSync(real))('larger ones have Gemma’s own at both ends (needs ../shared)', () => {
    const { pieces, types } = parseSentencePieceModel(readFileSync(real))
    const golden = pieces.map((piece, id) => ({ piece, type: types[id] }))
    const { front, back } = specialPieces('gemma', 4096)
    expect(front).toEqual(golden.slice(0, 473))
    expect(back).toEqual(golden.slice(-32))
  })

  test('the compact layout keeps Gemma’s ids up to the line feed', async () => {
    const vocabulary = await vocabularyOf({ vocabSize: 600 })
    const golden = parseSentencePieceModel(goldenModel)
    expect(vocabulary.pieces.slice(0, 109)).toEqual(golden.pieces.slice(0, 109))
    expect(vocabulary.types.filter((type) => type === PIECE_TYPE.byte).length).toBe(256)
    expect(vocabulary.types.indexOf(PIECE_TYPE.normal)).toBe(372)
  })

  test('characters: required ones first, then by frequency up to the coverage', async () => {
    const documents = ['ééé zz q', ...Array<string>(100).fill('aaaaaaaa bbb')]
    const options = { vocabSize: 372 + 6, layout: 'compact', characterCoverage: 0.99 } as const
    const { vocabulary, statistics } = await trainTokenizer(documents, {
      ...options,
      requiredCharacters: 'b?\n\t\0',
    })
    // Of 1 208 characters 1 196 must have pieces: b 300, a 800, spaces 102. Merges fill what is left.
    expect(learned(vocabulary)).toEqual(['aa', `aaaa`, 'a', 'b', SPACE_MARK, '?'])
    expect(statistics).toMatchObject({ alphabet: 4, merges: 2, lastMergeCount: 300 })
    expect(statistics.coverage).toBeCloseTo(1202 / 1208, 10)
  })
})

describe('bounds', () => {
  test('too small a vocabulary, too large a one, and options out of range are refused', async () => {
    const documents = ['hello world']
    const cases: [TrainTokenizerOptions, RegExp][] = [
      [{ vocabSize: 460 }, /A vocabulary of 460 is too small: 372 special pieces and 95/],
      [{ vocabSize: 540, layout: 'gemma' }, /compact/],
      [{ vocabSize: 32_000 }, /too large for 11 bytes of text, which give 60\d pieces.*at most 60\d/],
      [{ vocabSize: 12.5 }, /vocabSize: expected a whole number/],
      [{ vocabSize: Number.NaN }, /vocabSize/],
      [
        { vocabSize: 1000, characterCoverage: 1.5 },
        /characterCoverage: expected a number from 0 to 1, got 1.5/,
      ],
      [{ vocabSize: 1000, maxPieceLength: 0 }, /maxPieceLength/],
      [{ vocabSize: 1000, maxWords: 10 }, /maxWords/],
      [{ vocabSize: 1000, requiredCharacters: '\ud800' }, /surrogate/],
      [{ vocabSize: 1000, layout: 'other' as 'gemma' }, /'gemma' or 'compact', not 'other'/],
    ]
    for (const [options, message] of cases) {
      const error = await errorOf(options, documents)
      expect(error.code).toBe('usage')
      expect(error.message).toMatch(message)
    }
    expect((await errorOf({ vocabSize: 1000 }, [12 as unknown as string])).message).toMatch(/type number/)
  })

  test('the size that the refusal names is the largest that works', async () => {
    const documents = testDocuments(5, 4)
    const { message } = await errorOf({ vocabSize: 100_000, layout: 'compact' }, documents)
    const most = Number(/at most (\d+)/.exec(message)?.[1])
    const { vocabulary } = await trainTokenizer(documents, { vocabSize: most, layout: 'compact' })
    expect(vocabulary.pieces.length).toBe(most)
    expect((await errorOf({ vocabSize: most + 1, layout: 'compact' }, documents)).message).toContain(
      `at most ${most},`,
    )
  })

  test('no text at all still gives a tokenizer of characters and bytes', async () => {
    const { files, statistics } = await trainTokenizer([], { vocabSize: 467 })
    expect(statistics).toMatchObject({
      documents: 0,
      bytes: 0,
      words: 0,
      merges: 0,
      bytesPerToken: 0,
      coverage: 1,
    })
    const tokenizer = createTokenizer(files)
    expect(tokenizer.decode(tokenizer.encode('Hé 😀\n\n'))).toBe('Hé 😀\n\n')
  })

  test('a signal stops it, while reading and while merging', async () => {
    for (const phase of ['reading', 'merging'] as const) {
      const controller = new AbortController()
      const endless = function* (): Generator<string> {
        let i = 0
        while (phase === 'reading' || i < 1000) yield `${(i++).toString(36)} abc`
      }
      const error = await errorOf(
        {
          vocabSize: 900,
          signal: controller.signal,
          onProgress: (progress) => void (progress.phase === phase && controller.abort()),
        },
        endless(),
      )
      expect(error.code).toBe('aborted')
    }
  })

  test('words beyond the table are forgotten, and it says so', async () => {
    const common = testDocuments(300, 6)
    const rare = Array.from({ length: 10_000 }, (_, i) => {
      const letters = i.toString(26).replaceAll(/\d/g, (digit) => String.fromCharCode(112 + Number(digit)))
      return ` ${letters}${letters}`
    })
    const documents = common.flatMap((text, i) => [text, ...rare.slice(30 * i, 30 * i + 30)])
    const kept = await trainTokenizer(documents, { vocabSize: 1100 })
    const bounded = await trainTokenizer(documents, { vocabSize: 1100, maxWords: 2000 })
    expect(kept.statistics.shortBy).toBe(0)
    expect(bounded.statistics.shortBy).toBeGreaterThan(0)
    expect(bounded.statistics.words).toBeLessThanOrEqual(2000)
    expect(bounded.statistics.coverage).toBeCloseTo(kept.statistics.coverage, 12)
    const again = await trainTokenizer(documents, { vocabSize: 1100, maxWords: 2000 })
    expect(again).toEqual(bounded)
    for (const { vocabulary } of [kept, bounded]) {
      expect(vocabulary.pieces).toEqual(expect.arrayContaining(['▁the', '▁walk', '▁of', '▁to']))
    }
  })

  test('progress grows and ends with everything done', async () => {
    const seen: TrainTokenizerProgress[] = []
    const documents = testDocuments(300, 8)
    const { statistics } = await trainTokenizer(documents, {
      vocabSize: 700,
      onProgress: (progress) => void seen.push(progress),
    })
    const merging = seen.findIndex(({ phase }) => phase === 'merging')
    expect(seen[merging - 1]).toEqual({
      ...{ phase: 'reading', documents: 300, bytes: statistics.bytes, words: statistics.words },
      ...{ merges: 0, totalMerges: 0 },
    })
    expect(seen.at(-1)).toMatchObject({
      phase: 'merging',
      merges: statistics.merges,
      totalMerges: statistics.merges,
    })
    for (let i = 1; i < seen.length; i++) {
      expect(seen[i].bytes).toBeGreaterThanOrEqual(seen[i - 1].bytes)
      expect(seen[i].merges).toBeGreaterThanOrEqual(seen[i - 1].merges)
    }
  })
})
