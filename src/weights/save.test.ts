import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { GemmaError } from '../error.ts'
import { createTokenizer } from '../tokenizer/tokenizer.ts'
import { assertSpace, writeAtomically } from './atomic.node.ts'
import type { Checkpoint, StoredTensor } from './checkpoint.ts'
import { encodeRows, readFloats } from './encodings.ts'
import { readGguf } from './gguf.ts'
import { openCheckpoint } from './open.node.ts'
import { writeSafetensors } from './safetensors-writer.node.ts'
import { convertCheckpoint, type SaveOptions } from './save.node.ts'
import { openFile } from './source.node.ts'
import type { WriteProgress } from './tensor-writer.node.ts'

const models = new URL('../../test/data/models/', import.meta.url).pathname
const names = ['gemma1-mqa', 'gemma1-mha', 'gemma2', 'gemma3', 'gemma3-scaled']
const root = mkdtempSync(join(tmpdir(), 'gemma-save-'))
let directory = ''
let number = 0
beforeEach(() => {
  directory = join(root, String(number++))
  mkdirSync(directory)
})
afterAll(() => rmSync(root, { recursive: true }))

/** Opens both, gives them to `use`, closes both. */
async function withBoth(
  a: string,
  b: string,
  use: (a: Checkpoint, b: Checkpoint) => Promise<void>,
): Promise<void> {
  const first = await openCheckpoint(a)
  const second = await openCheckpoint(b)
  try {
    await use(first, second)
  } finally {
    await first.close()
    await second.close()
  }
}

async function convert(from: string, to: string, options: SaveOptions): Promise<void> {
  const checkpoint = await openCheckpoint(from)
  try {
    await convertCheckpoint(checkpoint, to, options)
  } finally {
    await checkpoint.close()
  }
}

async function largestDifference(a: StoredTensor, b: StoredTensor): Promise<number> {
  const [x, y] = [await readFloats(a), await readFloats(b)]
  expect(y.length).toBe(x.length)
  return x.reduce((most, value, i) => Math.max(most, Math.abs(value - y[i])), 0)
}

// Keys of config.json that GGUF has no place for, or that say the same in another way.
const unstored = [
  'architectures',
  'attention_dropout',
  'initializer_range',
  'use_cache',
  'torch_dtype',
  'cache_implementation',
  'hidden_act',
  'hidden_activation',
  'layer_types',
  'sliding_window_pattern',
  'tie_word_embeddings',
  'rope_scaling',
]
const structure = (config: Readonly<Record<string, unknown>>): object =>
  Object.fromEntries(
    Object.entries(config)
      .filter(([key]) => !unstored.includes(key))
      .sort(),
  )

describe.each(names)('%s', (name) => {
  const source = join(models, name)

  test('as GGUF keeps weights, shape and tokenizer', async () => {
    for (const [dtype, bound] of [
      ['f32', 2 ** -23],
      ['int8', 0.006],
      ['int4', 0.15],
    ] as const) {
      const path = join(directory, `${dtype}.gguf`)
      await convert(source, path, { dtype })
      await withBoth(source, path, async (before, after) => {
        expect(structure(after.config)).toEqual(structure(before.config))
        expect([...after.tensors.keys()].sort()).toEqual([...before.tensors.keys()].sort())
        for (const [tensorName, tensor] of before.tensors) {
          const stored = after.tensors.get(tensorName)!
          const norm = tensor.shape.length === 1
          expect(stored.encoding).toBe(norm || dtype === 'f32' ? 'F32' : dtype === 'int8' ? 'Q8_0' : 'Q4_0')
          expect(await largestDifference(tensor, stored)).toBeLessThanOrEqual(norm ? 2 ** -23 : bound)
        }
        expect(after.tokenizer.gguf?.get('tokenizer.ggml.tokens')).toHaveLength(1024)
        expect(after.tokenizer.chatTemplate).toBe(
          (JSON.parse(before.tokenizer.tokenizerConfigJson!) as { chat_template?: string }).chat_template,
        )
      })
    }
    expect(readdirSync(directory).sort()).toEqual(['f32.gguf', 'int4.gguf', 'int8.gguf'])
  })

  test('as safetensors keeps every bit and every file', async () => {
    const path = join(directory, 'copy')
    const config = JSON.parse(readFileSync(join(source, 'config.json'), 'utf8')) as { torch_dtype: string }
    await convert(source, path, { dtype: config.torch_dtype === 'float32' ? 'f32' : 'bf16' })
    await withBoth(source, path, async (before, after) => {
      expect(after.config).toEqual(before.config)
      expect(after.generationConfig).toEqual(before.generationConfig)
      for (const [tensorName, tensor] of before.tensors) {
        expect(await largestDifference(tensor, after.tensors.get(tensorName)!)).toBe(0)
      }
      expect(after.tokenizer).toEqual(before.tokenizer)
    })
  })
})

describe('between containers', () => {
  const mqa = join(models, 'gemma1-mqa')

  test('the golden GGUF files come out byte for byte in data and in tokenizer', async () => {
    const path = join(directory, 'again.gguf')
    await convert(mqa, path, { dtype: 'int8' })
    await withBoth(join(mqa, 'gguf/model-q8_0.gguf'), path, async (golden, ours) => {
      for (const [name, tensor] of golden.tensors) {
        const rows = tensor.shape.length === 1 ? 1 : tensor.shape[0]
        const [a, b] = [new Uint8Array(rows * tensor.rowBytes), new Uint8Array(rows * tensor.rowBytes)]
        await tensor.readRows(0, a)
        await ours.tensors.get(name)!.readRows(0, b)
        expect(b).toEqual(a)
      }
      for (const [key, value] of golden.tokenizer.gguf!)
        expect([key, ours.tokenizer.gguf?.get(key)]).toEqual([key, value])
    })
  })

  test('torch int8 → safetensors bf16 → GGUF f16', async () => {
    const between = join(directory, 'between')
    const tokenizer = { sentencePiece: new Uint8Array(readFileSync(join(mqa, 'tokenizer.model'))) }
    await convert(join(mqa, 'official/model-quant.ckpt'), between, { dtype: 'bf16', tokenizer })
    await convert(between, join(directory, 'x.gguf'), { dtype: 'f16', format: 'gguf' })
    await withBoth(
      join(mqa, 'official/model-quant.ckpt'),
      join(directory, 'x.gguf'),
      async (before, after) => {
        expect(after.config).toMatchObject({
          model_type: 'gemma',
          head_dim: 32,
          max_position_embeddings: 256,
        })
        for (const [name, tensor] of before.tensors) {
          expect(await largestDifference(tensor, after.tensors.get(name)!)).toBeLessThan(2 ** -8)
        }
      },
    )
  })

  test('GGUF → safetensors: the vocabulary becomes a tokenizer.json that gives the same ids', async () => {
    const path = join(directory, 'folder')
    await convert(join(mqa, 'gguf/model-f16.gguf'), path, { dtype: 'f16' })
    await withBoth(mqa, path, async (before, after) => {
      expect(after.config).toMatchObject({
        architectures: ['GemmaForCausalLM'],
        torch_dtype: 'float16',
        head_dim: 32,
      })
      expect(Object.keys(after.tokenizer)).toEqual(['tokenizerJson', 'tokenizerConfigJson'])
      const [ours, original] = [createTokenizer(after.tokenizer), createTokenizer(before.tokenizer)]
      for (const text of ['Hello, how are you?', '  two  spaces\n\nand <start_of_turn>user', '日本語 ŵ 🙂']) {
        expect(ours.encode(text)).toEqual(original.encode(text))
      }
      for (const [name, tensor] of before.tensors) {
        expect(await largestDifference(tensor, after.tensors.get(name)!)).toBeLessThan(2 ** -10)
      }
    })
  })

  test('past the shard size there are several files and an index', async () => {
    const path = join(directory, 'shards')
    await convert(mqa, path, { dtype: 'f32', shardBytes: 300_000 })
    const files = readdirSync(path).filter((file) => file.endsWith('.safetensors'))
    expect(files.length).toBeGreaterThan(2)
    expect(files).toContain(`model-00001-of-0000${files.length}.safetensors`)
    const index = JSON.parse(readFileSync(join(path, 'model.safetensors.index.json'), 'utf8')) as {
      metadata: { total_size: number }
      weight_map: Record<string, string>
    }
    expect(Object.keys(index.weight_map)).toHaveLength(20)
    expect(index.metadata.total_size).toBe(2 * 517_056)
    await withBoth(mqa, path, async (before, after) => {
      for (const [name, tensor] of before.tensors) {
        expect(await largestDifference(tensor, after.tensors.get(name)!)).toBe(0)
      }
    })
  })

  test('a configuration that is silent on the epsilon of norms is written with the one that is meant', async () => {
    const checkpoint = await openCheckpoint(mqa)
    const { rms_norm_eps: _, ...config } = checkpoint.config
    const path = join(directory, 'epsilon')
    await convertCheckpoint({ ...checkpoint, config }, path, { dtype: 'f32' })
    await checkpoint.close()
    const written = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8')) as Record<string, unknown>
    expect(written.rms_norm_eps).toBe(1e-6)
  })

  test('a small vocabulary is filled up to the rows of the embedding', async () => {
    const checkpoint = await openCheckpoint(mqa)
    const embedding = checkpoint.tensors.get('model.embed_tokens.weight')!
    const longer: StoredTensor = {
      ...embedding,
      shape: [1030, 96],
      readRows: async (_from, into) => void into.fill(0),
    }
    const tensors = new Map(checkpoint.tensors).set(longer.name, longer)
    const path = join(directory, 'padded.gguf')
    await convertCheckpoint({ ...checkpoint, tensors }, path, { dtype: 'int4' })
    const shorter = new Map(checkpoint.tensors).set(longer.name, { ...longer, shape: [1000, 96] })
    await expect(
      convertCheckpoint({ ...checkpoint, tensors: shorter }, path, { dtype: 'int4' }),
    ).rejects.toThrow(/1024 pieces, but the embedding has 1000 rows/)
    await checkpoint.close()
    const source = await openFile(path)
    const { metadata } = await readGguf(source)
    await source.close()
    expect((metadata.get('tokenizer.ggml.tokens') as string[]).slice(1023)).toEqual(
      ['龜', '[PAD1024]', '[PAD1025]', '[PAD1026]', '[PAD1027]', '[PAD1028]', '[PAD1029]'].map((text, i) =>
        i === 0 ? expect.any(String) : text,
      ),
    )
    expect((metadata.get('tokenizer.ggml.token_type') as Int32Array).slice(1024)).toEqual(
      new Int32Array(6).fill(5),
    )
  })
})

describe('progress, stopping, failing', () => {
  const mqa = join(models, 'gemma1-mqa')

  test('progress rises to the total', async () => {
    const seen: WriteProgress[] = []
    await convert(mqa, join(directory, 'a'), {
      dtype: 'f32',
      shardBytes: 300_000,
      onProgress: (progress) => seen.push(progress),
    })
    expect(seen.length).toBe(20)
    expect(seen.every(({ bytes }, i) => i === 0 || bytes > seen[i - 1].bytes)).toBe(true)
    expect(seen.at(-1)).toMatchObject({ phase: 'write', bytes: 1_034_112, totalBytes: 1_034_112 })
  })

  test('an aborted conversion leaves nothing', async () => {
    for (const [to, dtype] of [
      ['a', 'f32'],
      ['a.gguf', 'int4'],
    ] as const) {
      const controller = new AbortController()
      const options = { dtype, signal: controller.signal, onProgress: () => controller.abort() }
      await expect(convert(mqa, join(directory, to), options)).rejects.toMatchObject({ code: 'aborted' })
      expect(readdirSync(directory)).toEqual([])
    }
  })

  test('a full disk is one clear error and leaves nothing, also not of an earlier file', async () => {
    const full = Object.assign(new Error('ENOSPC: no space left on device, write'), {
      code: 'ENOSPC',
      syscall: 'write',
    })
    const path = join(directory, 'model.safetensors')
    writeFileSync(path, 'earlier')
    const failing = writeAtomically(path, async (out) => {
      await out.write(new Uint8Array(1000))
      throw full
    })
    await expect(failing).rejects.toThrow(/The disk is full: .*model\.safetensors could not be written/)
    expect(readdirSync(directory)).toEqual(['model.safetensors'])
    expect(readFileSync(path, 'utf8')).toBe('earlier')
    await expect(assertSpace(directory, 2 ** 60)).rejects.toThrow(
      /bytes free; 1152921504606847000 are needed/,
    )
  })

  test('a source that fails half-way leaves nothing', async () => {
    const checkpoint = await openCheckpoint(mqa)
    const norm = checkpoint.tensors.get('model.norm.weight')!
    const broken = { ...norm, readRows: () => Promise.reject(new GemmaError('file', 'the cable was pulled')) }
    const tensors = new Map(checkpoint.tensors).set(norm.name, broken)
    for (const [to, dtype] of [
      ['a', 'bf16'],
      ['a.gguf', 'int8'],
    ] as const) {
      const saved = convertCheckpoint({ ...checkpoint, tensors }, join(directory, to), { dtype })
      await expect(saved).rejects.toThrow('the cable was pulled')
      expect(readdirSync(directory)).toEqual([])
    }
    await checkpoint.close()
  })

  test('weights beyond the range of f16 are named', async () => {
    const path = join(directory, 'large')
    mkdirSync(path)
    const values = new Float32Array([1, 1e6])
    await writeSafetensors(join(path, 'model.safetensors'), [
      {
        name: 'model.norm.weight',
        shape: [2],
        type: 'F32',
        rowBytes: 8,
        fill: (_from, into) => encodeRows('F32', values, 1, 2, into, 'w'),
      },
    ])
    writeFileSync(join(path, 'config.json'), '{"model_type":"gemma"}')
    await expect(convert(path, join(directory, 'f16'), { dtype: 'f16' })).rejects.toThrow(
      /model\.norm\.weight holds 1000000/,
    )
    expect(existsSync(join(directory, 'f16'))).toBe(false)
  })

  test('places and wishes that cannot be are refused before anything is written', async () => {
    await expect(convert(mqa, mqa, { dtype: 'bf16' })).rejects.toThrow(/is not empty/)
    writeFileSync(join(directory, 'file'), '')
    await expect(convert(mqa, join(directory, 'file'), { dtype: 'bf16' })).rejects.toThrow(
      /is a file, not a directory/,
    )
    await expect(convert(mqa, join(directory, 'no/such/x.gguf'), { dtype: 'f16' })).rejects.toThrow(
      /does not exist/,
    )
    await expect(convert(mqa, directory, { dtype: 'int4', format: 'safetensors' })).rejects.toThrow(
      /not int4.*gguf/s,
    )
    const bare = join(mqa, 'official/model.ckpt')
    await expect(convert(bare, join(directory, 'x.gguf'), { dtype: 'f16' })).rejects.toMatchObject({
      code: 'tokenizer',
    })
    expect(readdirSync(directory)).toEqual(['file'])
  })
})
