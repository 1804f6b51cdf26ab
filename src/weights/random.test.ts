import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { parseConfig } from '../model/config.ts'
import { parameterSpecs } from '../model/parameters.ts'
import { createTokenizer } from '../tokenizer/tokenizer.ts'
import { decodeValues, encodedBytes, readFloats } from './encodings.ts'
import { openCheckpoint } from './open.node.ts'
import { type RandomModel, writeRandomGguf, writeRandomHuggingFace } from './random.node.ts'
import { type RandomEncoding, randomBlocks } from './random-blocks.ts'
import { randomVocabulary, sentencePieceBytes } from './random-tokenizer.ts'

const directory = mkdtempSync(join(tmpdir(), 'gemma-random-'))
afterAll(() => rmSync(directory, { recursive: true }))

describe('random blocks', () => {
  test.each(['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0', 'Q6_K'] as const)(
    '%s: mean 0, deviation 0.02',
    (encoding: RandomEncoding) => {
      const count = 256 * 2000
      const bytes = new Uint8Array(encodedBytes(encoding, count))
      randomBlocks(encoding, 'seed', 0.02)(bytes)
      const values = new Float32Array(count)
      decodeValues(encoding, bytes, count, values)
      const mean = values.reduce((sum, value) => sum + value, 0) / count
      const square = values.reduce((sum, value) => sum + value * value, 0) / count
      expect(Math.abs(mean)).toBeLessThan(0.0004)
      expect(Math.abs(Math.sqrt(square) - 0.02)).toBeLessThan(0.0002)
      if (encoding === 'Q8_0') expect(bytes.every((byte, i) => i % 34 < 2 || byte !== 0x80)).toBe(true)
      const again = new Uint8Array(bytes.length)
      randomBlocks(encoding, 'seed', 0.02)(again)
      expect(Buffer.compare(again, bytes)).toBe(0)
      randomBlocks(encoding, 'another', 0.02)(again)
      expect(Buffer.compare(again, bytes)).not.toBe(0)
    },
  )
})

describe('random files', () => {
  // Enough pieces that the header passes the writer's first buffer.
  const config = {
    model_type: 'gemma',
    hidden_size: 256,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 1,
    head_dim: 64,
    intermediate_size: 512,
    vocab_size: 6000,
    max_position_embeddings: 1024,
  }
  const model: RandomModel = { config, weights: parameterSpecs(parseConfig(config)) }

  test('in every type are opened as what they are', async () => {
    for (const encoding of ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0'] as const) {
      const path = join(directory, `${encoding}.gguf`)
      await writeRandomGguf(path, model, encoding, { embedding: encoding === 'Q4_0' ? 'Q6_K' : undefined })
      const checkpoint = await openCheckpoint(path)
      expect([...checkpoint.tensors.keys()].sort()).toEqual(model.weights.map(({ name }) => name).sort())
      expect(checkpoint.config).toMatchObject({ model_type: 'gemma', num_hidden_layers: 2, vocab_size: 6000 })
      expect(checkpoint.tensors.get('model.layers.1.mlp.up_proj.weight')?.encoding).toBe(encoding)
      const norm = await readFloats(checkpoint.tensors.get('model.norm.weight')!)
      expect(Math.max(...norm.map(Math.abs))).toBeLessThan(0.12)
      await checkpoint.close()
    }
    expect(statSync(join(directory, 'Q4_0.gguf')).size).toBeLessThan(
      statSync(join(directory, 'Q8_0.gguf')).size,
    )
  })

  test('are the same for the same seed', async () => {
    const paths = ['a.gguf', 'b.gguf', 'c.gguf'].map((name) => join(directory, name))
    for (const [i, path] of paths.entries())
      await writeRandomGguf(path, model, 'Q4_0', { seed: i === 2 ? 2 : 1 })
    const [a, b, c] = paths.map((path) => readFileSync(path))
    expect(a.equals(b)).toBe(true)
    expect(a.equals(c)).toBe(false)
  })

  test('as a directory too, with a tokenizer that encodes and decodes', async () => {
    const path = join(directory, 'folder')
    await writeRandomHuggingFace(path, model, 'BF16', { shardBytes: 2_000_000 })
    const checkpoint = await openCheckpoint(path)
    expect(checkpoint.tensors.size).toBe(model.weights.length)
    const tokenizer = createTokenizer(checkpoint.tokenizer)
    expect(tokenizer.vocabSize).toBe(6000)
    expect(tokenizer.endOfTurnId).toBe(107)
    const text = 'Hello, wörld!\n  Two  spaces.'
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text)
    await checkpoint.close()
  })

  test('have a vocabulary without repetition, of Gemma’s layout', () => {
    const vocabulary = randomVocabulary(256_000)
    expect(new Set(vocabulary.pieces).size).toBe(256_000)
    expect([106, 107, 108, 139, 217, 472].map((id) => vocabulary.pieces[id])).toEqual([
      '<start_of_turn>',
      '<end_of_turn>',
      '\n',
      '▁▁',
      '<0x00>',
      '<0xFF>',
    ])
    expect(sentencePieceBytes(vocabulary).length).toBeGreaterThan(256_000 * 8)
  })
})
