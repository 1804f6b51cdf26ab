// What training writes: the same tokenizer to every reader, for any text, and on disk whole or not at all.

import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  createTokenizer,
  parseSentencePieceModel,
  parseTokenizerJson,
  type Tokenizer,
  trainTokenizer,
} from '../index.ts'
import { createReferenceEncode } from '../testing/reference-encode.ts'
import { arbitraryText } from '../testing/texts.ts'
import type { AddedToken } from '../to-tokenizer-json.ts'
import { testDocuments } from './testing/documents.ts'
import type { TrainedTokenizer, TrainedTokenizerFiles } from './train-tokenizer.ts'
import { checkTokenizerTarget, writeTokenizer } from './write-tokenizer.node.ts'

let scratch: string
/** One of each layout. */
let trained: TrainedTokenizer[]

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'train-tokenizer-'))
  const documents = testDocuments(2000, 11)
  trained = [
    await trainTokenizer(documents, { vocabSize: 700 }),
    await trainTokenizer(documents, { vocabSize: 1300, characterCoverage: 0.99 }),
  ]
})

afterAll(() => rm(scratch, { recursive: true, force: true }))

const huggingFace = (files: TrainedTokenizerFiles): HuggingFaceTokenizer =>
  new HuggingFaceTokenizer(JSON.parse(files.tokenizerJson), JSON.parse(files.tokenizerConfigJson))

describe('files', () => {
  test('both give the vocabulary back', () => {
    for (const { vocabulary, files } of trained) {
      expect(parseSentencePieceModel(files.sentencePiece)).toEqual(vocabulary)
      const { scores: _, ...fromJson } = parseTokenizerJson(files.tokenizerJson)
      expect(vocabulary).toMatchObject(fromJson)
    }
  })

  test('any text gets the ids of the definition from both, and comes back', () => {
    for (const { vocabulary, files } of trained) {
      const reference = createReferenceEncode(vocabulary)
      const one = createTokenizer({ sentencePiece: files.sentencePiece })
      const other = createTokenizer({ tokenizerJson: files.tokenizerJson })
      fc.assert(
        fc.property(arbitraryText(vocabulary), fc.boolean(), (text, parseControl) => {
          const ids = one.encode(text, { parseControl })
          expect(ids).toEqual(reference(text, parseControl))
          expect(other.encode(text, { parseControl })).toEqual(ids)
          if (!parseControl) expectBack(one, text)
        }),
        { numRuns: 400 },
      )
    }
  })

  test('every byte, every ASCII character, long runs and lone surrogates come back', () => {
    for (const { files } of trained) {
      const tokenizer = createTokenizer(files)
      const everyPoint = Array.from({ length: 0x3000 }, (_, i) => String.fromCodePoint(i)).join('')
      const runs = ['\n', '\t', ' ', '\0', '\r', 'a', '😀', '1', '<'].map((one) => one.repeat(100)).join('x')
      for (const text of [everyPoint, runs, 'a\ud800b\udfff', '\ufeff\ufffd\u2581', '👩‍👩‍👧‍👦🏳️‍🌈', '']) {
        expectBack(tokenizer, text)
      }
      for (let byte = 0; byte < 256; byte++) {
        const id = tokenizer.idOf(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`)!
        expect(tokenizer.decode([id])).toBe(byte < 128 ? String.fromCharCode(byte) : '\ufffd')
      }
    }
  })

  test('@huggingface/tokenizers reads the same tokenizer', () => {
    for (const { vocabulary, files } of trained) {
      const ours = createTokenizer(files)
      const theirs = huggingFace(files)
      fc.assert(
        fc.property(arbitraryText(vocabulary), (text) => {
          // Theirs does not take lone surrogates for U+FFFD, and loses byte order marks in decoding.
          const plain = text.toWellFormed().replaceAll('\ufeff', '')
          const ids = ours.encode(plain, { bos: true, parseControl: true })
          expect(theirs.encode(plain).ids).toEqual(ids)
          const letters = ours.encode(plain) // control pieces are letters here
          if (letters.length === 0) return // which theirs refuses
          expect(theirs.decode(letters, { clean_up_tokenization_spaces: false })).toBe(ours.decode(letters))
        }),
        { numRuns: 300 },
      )
    }
  })

  test('the configuration repeats what is matched whole, which is all that transformers 5 takes for it', () => {
    for (const { files } of trained) {
      const { added_tokens: added } = JSON.parse(files.tokenizerJson) as { added_tokens: AddedToken[] }
      const { added_tokens_decoder: told } = JSON.parse(files.tokenizerConfigJson)
      const turns = ['<start_of_turn>', '<end_of_turn>']
      const expected = added.map(({ id, ...token }) => [
        String(id),
        turns.includes(token.content) ? { ...token, special: true } : token,
      ])
      expect(told).toEqual(Object.fromEntries(expected))
      expect(added.map(({ content }) => content)).toEqual(expect.arrayContaining(turns))
    }
    const { added_tokens: all } = JSON.parse(trained[1]!.files.tokenizerJson) as {
      added_tokens: AddedToken[]
    }
    const contents = all.map(({ content }) => content)
    expect(contents).toEqual(expect.arrayContaining(['\u2581\u2581', '\n\n']))
  })

  test('chat works as with Gemma’s own', () => {
    const tokenizer = createTokenizer(trained[1].files)
    const ids = tokenizer.encodeChat([{ role: 'user', content: 'the water' }], { addGenerationPrompt: true })
    expect([ids[0], ids[1], ids.at(-1)]).toEqual([2, 106, 108])
    expect(ids.filter((id) => id === 107).length).toBe(1)
  })
})

function expectBack(tokenizer: Tokenizer, text: string): void {
  expect(tokenizer.decode(tokenizer.encode(text))).toBe(text.toWellFormed().replaceAll('\u2581', ' '))
}

describe('on disk', () => {
  const names = ['tokenizer.json', 'tokenizer.model', 'tokenizer_config.json']

  test('a new directory, an empty one, and one with other files', async () => {
    const { files } = trained[0]
    for (const name of ['new/inner', 'empty', 'used']) {
      const directory = join(scratch, name)
      if (name !== 'new/inner') await mkdir(directory)
      if (name === 'used') await writeFile(join(directory, 'config.json'), '{}')
      await writeTokenizer(directory, files)
      const wanted = name === 'used' ? ['config.json', ...names] : names
      expect((await readdir(directory)).sort()).toEqual(wanted)
      expect(new Uint8Array(await readFile(join(directory, 'tokenizer.model')))).toEqual(files.sentencePiece)
      expect(await readFile(join(directory, 'tokenizer.json'), 'utf8')).toBe(files.tokenizerJson)
      expect(await readFile(join(directory, 'tokenizer_config.json'), 'utf8')).toBe(files.tokenizerConfigJson)
    }
    expect((await readdir(scratch)).filter((name) => name.startsWith('.'))).toEqual([])
  })

  test('what is there is replaced only by force', async () => {
    const directory = join(scratch, 'taken')
    await writeTokenizer(directory, trained[0].files)
    await expect(writeTokenizer(directory, trained[1].files)).rejects.toThrow(
      /tokenizer\.model exists\. Choose/,
    )
    await expect(checkTokenizerTarget(directory)).rejects.toThrow(/exists/)
    await writeTokenizer(directory, trained[1].files, { force: true })
    expect(await readFile(join(directory, 'tokenizer.json'), 'utf8')).toBe(trained[1].files.tokenizerJson)
    expect((await readdir(directory)).sort()).toEqual(names)
  })

  test('a file in the way is told at once and left alone', async () => {
    const path = join(scratch, 'file')
    await writeFile(path, 'mine')
    await expect(checkTokenizerTarget(path)).rejects.toThrow(/file is a file, not a directory/)
    await expect(checkTokenizerTarget(join(path, 'inner'))).rejects.toThrow(/file/)
    await expect(writeTokenizer(path, trained[0].files)).rejects.toThrow(/not a directory/)
    expect(await readFile(path, 'utf8')).toBe('mine')
  })
})
