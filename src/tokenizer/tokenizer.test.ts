// The tokenizer against ids and texts of the sentencepiece library.

import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { createTokenizer, type Tokenizer } from './index.ts'

interface Golden {
  cases: { name: string; text: string; ids: number[]; decoded: string; ids_by_tokenizer_json?: number[] }[]
  decode_cases: { ids: number[]; text: string }[]
}

const data = new URL('../../test/data/', import.meta.url)
const shared = new URL('../../../shared/', import.meta.url)
const small: Golden = JSON.parse(readFileSync(new URL('goldens/tokenizer/small.json', data), 'utf8'))
const smallModel: Uint8Array = readFileSync(new URL('models/gemma1-mqa/tokenizer.model', data))

function expectGolden(tokenizer: Tokenizer, golden: Golden): void {
  expect(golden.cases.length).toBeGreaterThan(200)
  for (const { name, text, ids, decoded } of golden.cases) {
    expect(tokenizer.encode(text), name).toEqual(ids)
    expect(tokenizer.encode(text), `${name} again, from the cache`).toEqual(ids)
    expect(tokenizer.decode(ids), name).toBe(decoded)
  }
  for (const { ids, text } of golden.decode_cases) expect(tokenizer.decode(ids), `${ids}`).toBe(text)
}

describe('tokenizer.model', () => {
  test('the small model gives every golden id and text', () => {
    expectGolden(createTokenizer({ sentencePiece: smallModel }), small)
  })

  test('control pieces in a text are read only when asked', () => {
    const tokenizer = createTokenizer({ sentencePiece: smallModel })
    for (const { name, text, ids, ids_by_tokenizer_json } of small.cases) {
      expect(tokenizer.encode(text, { parseControl: true }), name).toEqual(ids_by_tokenizer_json ?? ids)
    }
  })

  test('<bos> is put in front only when asked', () => {
    const tokenizer = createTokenizer({ sentencePiece: smallModel })
    expect(tokenizer.encode('Hello')).toEqual([891, 717, 856])
    expect(tokenizer.encode('Hello', { bos: true })).toEqual([2, 891, 717, 856])
    expect(tokenizer.encode('')).toEqual([])
  })

  const real = new URL('tokenizer/tokenizer.model', shared)
  test.skipIf(!existsSync(real))('Gemma’s own model gives every golden id (needs ../shared)', () => {
    const golden: Golden = JSON.parse(readFileSync(new URL('goldens/tokenizer/gemma.json', shared), 'utf8'))
    expectGolden(createTokenizer({ sentencePiece: readFileSync(real) }), golden)
  })
})
