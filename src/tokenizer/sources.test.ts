// tokenizer.model, tokenizer.json and GGUF metadata give the same vocabulary and ids; broken files give one
// clear error and nothing else.

import { existsSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { GemmaError } from '../error.ts'
import { openCheckpoint } from '../weights/open.node.ts'
import {
  createTokenizer,
  PIECE_TYPE,
  parseGgufTokenizer,
  parseSentencePieceModel,
  parseTokenizerJson,
  toTokenizerJson,
  type Vocabulary,
} from './index.ts'
import { arbitraryText } from './testing/texts.ts'

const models = new URL('../../test/data/models/', import.meta.url)
const folder = new URL('gemma1-mqa/', models)
const modelBytes = Uint8Array.from(readFileSync(new URL('tokenizer.model', folder)))
const jsonText = readFileSync(new URL('tokenizer.json', folder), 'utf8')
const fromModel = parseSentencePieceModel(modelBytes)

type JsonTree = ReturnType<typeof JSON.parse> // the tests reach into any corner of it
const jsonTree = (): JsonTree => JSON.parse(jsonText)

const gguf = async (): Promise<ReadonlyMap<string, unknown>> => {
  const checkpoint = await openCheckpoint(new URL('gguf/model-f16.gguf', folder).pathname)
  await checkpoint.close()
  return checkpoint.tokenizer.gguf!
}

function expectSame(vocabulary: Vocabulary, wanted: Vocabulary): void {
  expect(vocabulary.pieces).toEqual(wanted.pieces)
  expect([...vocabulary.types]).toEqual([...wanted.types])
  const { bosId, eosId, padId, unkId } = vocabulary
  expect({ bosId, eosId, padId, unkId }).toEqual({ bosId: 2, eosId: 1, padId: 0, unkId: 3 })
}

describe('all sources', () => {
  test('the committed files hold one vocabulary', async () => {
    expectSame(parseTokenizerJson(jsonText), fromModel)
    expectSame(parseGgufTokenizer(await gguf()), fromModel)
    for (const name of ['gemma1-mha', 'gemma2', 'gemma3', 'gemma3-scaled']) {
      expectSame(
        parseTokenizerJson(readFileSync(new URL(`${name}/tokenizer.json`, models), 'utf8')),
        fromModel,
      )
    }
  })

  test('and encode any text to the same ids, control pieces read or not', async () => {
    const one = createTokenizer({ sentencePiece: modelBytes })
    const others = [createTokenizer({ tokenizerJson: jsonText }), createTokenizer({ gguf: await gguf() })]
    fc.assert(
      fc.property(arbitraryText(fromModel), fc.boolean(), (text, parseControl) => {
        const ids = one.encode(text, { parseControl })
        for (const other of others) {
          expect(other.encode(text, { parseControl })).toEqual(ids)
          expect(other.decode(ids)).toBe(one.decode(ids))
        }
      }),
      { numRuns: 500 },
    )
  })

  test('both ways of writing merges are read', () => {
    const tree = jsonTree()
    tree.model.merges = tree.model.merges.map((merge: string) => merge.split(' '))
    expectSame(parseTokenizerJson(JSON.stringify(tree)), fromModel)
  })

  test('what is written as tokenizer.json reads back', () => {
    expectSame(parseTokenizerJson(JSON.stringify(toTokenizerJson(fromModel))), fromModel)
  })

  test('runs of line feeds and spaces are matched whole even when no added token lists them', () => {
    const tree = jsonTree()
    tree.added_tokens = tree.added_tokens.filter(
      ({ content }: { content: string }) => !/^[\n\t▁]+$/.test(content),
    )
    const tokenizer = createTokenizer({ tokenizerJson: JSON.stringify(tree) })
    expect(tokenizer.encode('a  \n\n')).toEqual([857, 139, 109])
  })

  test('turn markers are matched although llama.cpp’s converter calls them control pieces', async () => {
    const metadata = new Map(await gguf())
    const types = Int32Array.from(metadata.get('tokenizer.ggml.token_type') as ArrayLike<number>)
    types.fill(PIECE_TYPE.control, 0, 108)
    metadata.set('tokenizer.ggml.token_type', types)
    expectSame(parseGgufTokenizer(metadata), fromModel)
  })

  test('tokenizer.model is preferred, then tokenizer.json', () => {
    expect(createTokenizer({ sentencePiece: modelBytes, tokenizerJson: 'broken' }).vocabSize).toBe(1024)
    expect(createTokenizer({ tokenizerJson: jsonText, gguf: new Map() }).vocabSize).toBe(1024)
    expect(() => createTokenizer({})).toThrow('no tokenizer')
  })

  const real = new URL('../../../shared/tokenizer/tokenizer.model', import.meta.url)
  test.skipIf(!existsSync(real))('Gemma’s own vocabulary survives tokenizer.json (needs ../shared)', () => {
    const vocabulary = parseSentencePieceModel(readFileSync(real))
    expectSame(parseTokenizerJson(JSON.stringify(toTokenizerJson(vocabulary))), vocabulary)
  })
})

describe('refusals', () => {
  const cases: [string, (tree: JsonTree) => void, string, RegExp][] = [
    ['another model', (tree) => (tree.model.type = 'Unigram'), 'unsupported', /BPE/],
    ['another normalizer', (tree) => (tree.normalizer = { type: 'NFKC' }), 'unsupported', /normalizer/],
    [
      'another pre-tokenizer',
      (tree) => (tree.pre_tokenizer = { type: 'ByteLevel' }),
      'unsupported',
      /splits text/,
    ],
    [
      'merges missing',
      (tree) => tree.model.merges.splice(3, 1),
      'unsupported',
      /not a vocabulary made by SentencePiece/,
    ],
    ['a merge of unknown pieces', (tree) => (tree.model.merges[0] = 'q q'), 'tokenizer', /merge 0/],
    ['a merge of one piece', (tree) => (tree.model.merges[0] = 'qq'), 'tokenizer', /merge 0/],
    ['two pieces with one id', (tree) => (tree.model.vocab['<bos>'] = 1), 'tokenizer', /both have id 1/],
    ['an id far away', (tree) => (tree.model.vocab['<bos>'] = 2 ** 31), 'tokenizer', /out of line/],
    ['an id that is no number', (tree) => (tree.model.vocab['<bos>'] = '2'), 'tokenizer', /id/],
    ['no merges', (tree) => delete tree.model.merges, 'tokenizer', /merges/],
    ['half a surrogate pair', (tree) => (tree.model.vocab['\ud800'] = 1024), 'tokenizer', /surrogate/],
  ]
  test.each(cases)('tokenizer.json with %s', (_name, change, code, message) => {
    const tree = jsonTree()
    change(tree)
    const error = errorOf(() => createTokenizer({ tokenizerJson: JSON.stringify(tree) }))
    expect(error.code).toBe(code)
    expect(error.message).toMatch(message)
  })

  test('a SentencePiece model of another kind', () => {
    // trainer_spec (field 2) with model_type (field 3) 1, appended: the last one wins.
    const unigram = Uint8Array.from([...modelBytes, 0x12, 2, 0x18, 1])
    expect(errorOf(() => parseSentencePieceModel(unigram)).code).toBe('unsupported')
    // normalizer_spec (field 3) with add_dummy_prefix (field 3) true
    const prefixed = Uint8Array.from([...modelBytes, 0x1a, 2, 0x18, 1])
    expect(errorOf(() => parseSentencePieceModel(prefixed)).message).toMatch(/in front of every text/)
  })

  test('a piece that comes twice', () => {
    const first = modelBytes.subarray(0, 2 + modelBytes[1]) // tag, length, piece 0
    const twice = Uint8Array.from([...modelBytes, ...first])
    expect(errorOf(() => createTokenizer({ sentencePiece: twice })).message).toMatch(/are both "<pad>"/)
  })

  test('GGUF metadata that is short of something', async () => {
    const metadata = await gguf()
    const without = (key: string): Map<string, unknown> =>
      new Map([...metadata].filter(([name]) => name !== key))
    for (const key of ['tokens', 'scores', 'token_type']) {
      expect(errorOf(() => parseGgufTokenizer(without(`tokenizer.ggml.${key}`))).message).toContain(key)
    }
    const other = new Map(metadata).set('tokenizer.ggml.model', 'gpt2')
    expect(errorOf(() => createTokenizer({ gguf: other })).code).toBe('unsupported')
    const short = new Map(metadata).set('tokenizer.ggml.scores', new Float32Array(3))
    expect(errorOf(() => createTokenizer({ gguf: short })).message).toMatch(/3 scores/)
  })
})

describe('broken files', () => {
  const edit = fc.record({
    at: fc.nat(),
    byte: fc.integer({ min: 0, max: 255 }),
    kind: fc.constantFrom('set', 'cut', 'insert', 'swap'),
  })
  const mutate = (
    bytes: Uint8Array,
    edits: readonly { at: number; byte: number; kind: string }[],
  ): Uint8Array => {
    let broken: number[] = [...bytes]
    for (const { at, byte, kind } of edits) {
      const place = at % Math.max(1, broken.length)
      if (kind === 'set') broken[place] = byte
      else if (kind === 'cut') broken = broken.slice(0, place)
      else if (kind === 'insert') broken.splice(place, 0, byte)
      else broken.splice(place, byte, ...broken.slice(place, place + byte).reverse())
    }
    return Uint8Array.from(broken)
  }

  test('3000 mutations of tokenizer.model: a tokenizer that works, or a GemmaError', () => {
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
        expectToolOrError(() => createTokenizer({ sentencePiece: mutate(modelBytes, edits) }))
      }),
      { numRuns: 3000 },
    )
  })

  test('2000 mutations of tokenizer.json’s text, and 1000 of its values', () => {
    const bytes = new TextEncoder().encode(jsonText)
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 3 }), (edits) => {
        const broken = new TextDecoder().decode(mutate(bytes, edits))
        expectToolOrError(() => createTokenizer({ tokenizerJson: broken }))
      }),
      { numRuns: 2000 },
    )
    const tree = jsonTree()
    fc.assert(
      fc.property(fc.array(fc.nat(), { minLength: 1, maxLength: 6 }), fc.jsonValue(), (path, value) => {
        const broken = structuredClone(tree)
        let holder: JsonTree = broken
        for (const [i, step] of path.entries()) {
          const keys = Object.keys(holder)
          if (keys.length === 0) break
          const key = keys[step % keys.length]
          if (i === path.length - 1 || typeof holder[key] !== 'object' || holder[key] === null) {
            holder[key] = value
            break
          }
          holder = holder[key]
        }
        expectToolOrError(() => createTokenizer({ tokenizerJson: JSON.stringify(broken) }))
      }),
      { numRuns: 1000 },
    )
  })
})

function expectToolOrError(create: () => ReturnType<typeof createTokenizer>): void {
  let tokenizer: ReturnType<typeof createTokenizer>
  try {
    tokenizer = create()
  } catch (error) {
    expect(error).toBeInstanceOf(GemmaError)
    return
  }
  const text = 'The cat é 語 😀 <bos>  \n\n12'
  const ids = tokenizer.encode(text, { bos: true })
  expect(ids.every((id) => id >= 0 && id < tokenizer.vocabSize)).toBe(true)
  expect(typeof tokenizer.decode(ids)).toBe('string')
}

function errorOf(run: () => unknown): GemmaError {
  try {
    run()
  } catch (error) {
    expect(error).toBeInstanceOf(GemmaError)
    return error as GemmaError
  }
  throw new Error('expected an error')
}
