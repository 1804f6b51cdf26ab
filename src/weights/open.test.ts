import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { GemmaError } from '../error.ts'
import { blobSource, bytesSource } from './bytes-source.ts'
import { readFloats } from './encodings.ts'
import { openCheckpoint } from './open.node.ts'
import { openFile } from './source.node.ts'
import { readBytes } from './source.ts'

const models = new URL('../../test/data/models/', import.meta.url).pathname
const mqa = join(models, 'gemma1-mqa')
const root = mkdtempSync(join(tmpdir(), 'gemma-open-'))
let directory = ''
let number = 0
beforeEach(() => {
  directory = join(root, String(number++))
  mkdirSync(directory)
})
afterAll(() => rmSync(root, { recursive: true }))

const put = (from: string, to: string): void => copyFileSync(join(mqa, from), join(directory, to))

/** Opens, checks that all tensors of the golden model are there, closes. */
async function opens(path: string): Promise<string> {
  const checkpoint = await openCheckpoint(path)
  try {
    expect(checkpoint.tensors.size).toBe(20)
    expect((await readFloats(checkpoint.tensors.get('model.norm.weight')!)).length).toBe(96)
    expect(checkpoint.config).toMatchObject({ model_type: 'gemma', hidden_size: 96, head_dim: 32 })
    return checkpoint.container
  } finally {
    await checkpoint.close()
  }
}

describe('golden models', () => {
  test.each(['gemma1-mqa', 'gemma1-mha', 'gemma2', 'gemma3', 'gemma3-scaled'])(
    '%s as a directory',
    async (name) => {
      const checkpoint = await openCheckpoint(join(models, name))
      const config = JSON.parse(readFileSync(join(models, name, 'config.json'), 'utf8')) as object
      expect(checkpoint).toMatchObject({ container: 'safetensors', config, unknown: [] })
      expect(checkpoint.generationConfig).toHaveProperty('eos_token_id')
      expect(Object.keys(checkpoint.tokenizer)).toEqual([
        'sentencePiece',
        'tokenizerJson',
        'tokenizerConfigJson',
      ])
      await checkpoint.close()
    },
  )

  test('GGUF brings its tokenizer and its end-of-turn token', async () => {
    const checkpoint = await openCheckpoint(join(mqa, 'gguf/model-q8_0.gguf'))
    expect(checkpoint.generationConfig).toEqual({ bos_token_id: 2, eos_token_id: [1, 107], pad_token_id: 0 })
    expect(checkpoint.tokenizer.gguf?.get('tokenizer.ggml.tokens')).toHaveLength(1024)
    await checkpoint.close()
  })
})

describe('what lies in a directory', () => {
  test('one file of shards leads to the others', async () => {
    expect(await opens(join(mqa, 'sharded/model-00002-of-00002.safetensors'))).toBe('safetensors')
  })

  test('a Kaggle directory: .ckpt, tokenizer.model, a config.json that need not be complete', async () => {
    put('official/model.ckpt', 'gemma-2b.ckpt')
    put('tokenizer.model', 'tokenizer.model')
    expect(await opens(directory)).toBe('torch')
    writeFileSync(join(directory, 'config.json'), '{"head_dim": 32}')
    expect(await opens(directory)).toBe('torch')
    writeFileSync(join(directory, 'config.json'), '{"head_dim": 16, "max_position_embeddings": 64}')
    const checkpoint = await openCheckpoint(directory) // the rotary table in the file is right about head_dim
    expect(checkpoint.config.head_dim).toBe(32)
    expect(checkpoint.tokenizer.sentencePiece?.length).toBeGreaterThan(1000)
    await checkpoint.close()
  })

  test('.bin shards with an index', async () => {
    put('official/model.ckpt', 'pytorch_model-00001-of-00001.bin')
    const names = ['embedder.weight', 'model.norm.weight', 'freqs_cis']
    for (let layer = 0; layer < 2; layer++) {
      const parts = [
        'self_attn.qkv_proj',
        'self_attn.o_proj',
        'mlp.gate_proj',
        'mlp.up_proj',
        'mlp.down_proj',
        'input_layernorm',
        'post_attention_layernorm',
      ]
      names.push(...parts.map((part) => `model.layers.${layer}.${part}.weight`))
    }
    const index = join(directory, 'pytorch_model.bin.index.json')
    const weight_map = Object.fromEntries(names.map((name) => [name, 'pytorch_model-00001-of-00001.bin']))
    writeFileSync(index, JSON.stringify({ weight_map }))
    expect(await opens(directory)).toBe('torch')
    expect(await opens(join(directory, 'pytorch_model-00001-of-00001.bin'))).toBe('torch')
    writeFileSync(
      index,
      JSON.stringify({ weight_map: { ...weight_map, more: 'pytorch_model-00001-of-00001.bin' } }),
    )
    await expect(openCheckpoint(directory)).rejects.toThrow(/lacks more, which the index says/)
  })

  test('safetensors before torch before GGUF', async () => {
    put('gguf/model-q4_0.gguf', 'model.gguf')
    expect(await opens(directory)).toBe('gguf')
    put('official/model.ckpt', 'model.ckpt')
    expect(await opens(directory)).toBe('torch')
    put('model.safetensors', 'model.safetensors')
    put('config.json', 'config.json')
    expect(await opens(directory)).toBe('safetensors')
  })

  test('weights of any name, recognised by content', async () => {
    put('gguf/model-q4_0.gguf', 'weights.bin')
    expect(await opens(join(directory, 'weights.bin'))).toBe('gguf')
    put('config.json', 'config.json')
    put('model.safetensors', 'renamed.safetensors')
    expect(await opens(join(directory, 'renamed.safetensors'))).toBe('safetensors')
    expect(await opens(directory)).toBe('safetensors')
  })
})

describe('what is missing or wrong is told', () => {
  const refused = async (path: string, message: RegExp): Promise<void> => {
    await expect(openCheckpoint(path)).rejects.toThrow(message)
    await expect(openCheckpoint(path)).rejects.toThrow(GemmaError)
  }

  test('no such path, an empty directory, an adapter', async () => {
    await refused(join(directory, 'nowhere'), /nowhere does not exist/)
    await refused(directory, /holds no weights: no model\.safetensors/)
    writeFileSync(join(directory, 'adapter_model.safetensors'), 'x')
    await refused(directory, /holds a LoRA adapter, not a model/)
  })

  test('no config.json, a broken one', async () => {
    put('model.safetensors', 'model.safetensors')
    await refused(directory, /has no config\.json/)
    for (const broken of ['{', '[]', 'null', '']) {
      writeFileSync(join(directory, 'config.json'), broken)
      await refused(directory, /config\.json (is not valid JSON|does not hold a JSON object)/)
    }
  })

  test('missing shards are listed', async () => {
    cpSync(join(mqa, 'sharded'), directory, { recursive: true })
    rmSync(join(directory, 'model-00002-of-00002.safetensors'))
    await refused(directory, /lacks model-00002-of-00002\.safetensors/)
  })

  test('an index that lies', async () => {
    cpSync(join(mqa, 'sharded'), directory, { recursive: true })
    const path = join(directory, 'model.safetensors.index.json')
    const index = JSON.parse(readFileSync(path, 'utf8')) as { weight_map: Record<string, unknown> }
    const write = (change: Record<string, unknown>): void =>
      writeFileSync(path, JSON.stringify({ weight_map: { ...index.weight_map, ...change } }))
    write({ 'model.norm.weight': '../../../etc/passwd' })
    await refused(
      directory,
      /names "\.\.\/\.\.\/\.\.\/etc\/passwd" for model\.norm\.weight; expected a plain file name/,
    )
    write({ 'model.norm.weight': 7 })
    await refused(directory, /names 7/)
    write({ 'no.such.tensor': 'model-00001-of-00002.safetensors' })
    await refused(directory, /lacks no\.such\.tensor, which the index says/)
    writeFileSync(path, '{}')
    await refused(directory, /has no weight_map/)
    writeFileSync(path, '{"weight_map":{}}')
    await refused(directory, /lacks all weights/)
  })

  test('several weight files with nothing that joins them', async () => {
    put('gguf/model-q4_0.gguf', 'a.gguf')
    put('gguf/model-q8_0.gguf', 'b.gguf')
    await refused(directory, /several weight files \(a\.gguf, b\.gguf\)/)
    expect(await opens(join(directory, 'b.gguf'))).toBe('gguf')
  })

  test('parts of a split GGUF that are not there', async () => {
    put('gguf/model-q4_0.gguf', 'm-00001-of-00003.gguf')
    await refused(join(directory, 'm-00001-of-00003.gguf'), /lacks 2 of 3 parts: m-00002-of-00003\.gguf/)
    await refused(directory, /lacks 2 of 3 parts/)
  })

  test('files that are none of these', async () => {
    writeFileSync(join(directory, 'notes.txt'), 'not weights at all')
    await refused(join(directory, 'notes.txt'), /no file of weights that is known here/)
    writeFileSync(join(directory, 'empty.gguf'), '')
    await refused(join(directory, 'empty.gguf'), /0 bytes, too few/)
    writeFileSync(
      join(directory, 'model.safetensors'),
      'version https://git-lfs.github.com/spec/v1\noid sha256:0\n',
    )
    writeFileSync(join(directory, 'config.json'), '{}')
    await refused(directory, /is a Git LFS pointer, not the weights themselves\. Run git lfs pull/)
    writeFileSync(join(directory, 'model.safetensors'), '<!DOCTYPE html><html><title>Sign in</title></html>')
    await refused(directory, /is a web page/)
    writeFileSync(join(directory, 'model.safetensors'), 'neither this nor that')
    await refused(directory, /not a sound safetensors file/)
  })

  test.skipIf(process.getuid?.() === 0)(
    'a file that may not be read (not as root, who may read all)',
    async () => {
      put('gguf/model-q4_0.gguf', 'a.gguf')
      chmodSync(join(directory, 'a.gguf'), 0)
      await refused(join(directory, 'a.gguf'), /may not be read/)
    },
  )

  test.skipIf(!existsSync('/proc/self/fd'))(
    'after a refusal no file stays open (counted in /proc)',
    async () => {
      put('model.safetensors', 'model.safetensors')
      truncateSync(join(directory, 'model.safetensors'), 300_000)
      put('config.json', 'config.json')
      const open = (): number => readdirSync('/proc/self/fd').length
      await refused(directory, /ends at byte/)
      const before = open()
      for (let i = 0; i < 20; i++) await refused(directory, /ends at byte/)
      expect(open()).toBeLessThan(before + 10)
    },
  )
})

describe('sources', () => {
  test('of files, bytes and blobs read the same, and only inside', async () => {
    const path = join(mqa, 'config.json')
    const bytes = new Uint8Array(readFileSync(path))
    const sources = [await openFile(path), bytesSource('bytes', bytes), blobSource('blob', new Blob([bytes]))]
    for (const source of sources) {
      expect(source.size).toBe(bytes.length)
      expect(await readBytes(source, 3, 10)).toEqual(bytes.slice(3, 13))
      const shared = new Uint8Array(new SharedArrayBuffer(16), 4, 8)
      await source.read(1, shared)
      expect(shared.slice()).toEqual(bytes.slice(1, 9))
      for (const [offset, length] of [
        [-1, 1],
        [0, bytes.length + 1],
        [bytes.length, 1],
        [0.5, 1],
        [2 ** 53, 1],
      ]) {
        await expect(readBytes(source, offset, length)).rejects.toThrow(GemmaError)
      }
      await source.close()
    }
  })

  test('a file that shrinks while it is open is told', async () => {
    const path = join(directory, 'shrinking')
    writeFileSync(path, new Uint8Array(100))
    const source = await openFile(path)
    truncateSync(path, 50)
    await expect(readBytes(source, 0, 100)).rejects.toThrow(
      /had 100 bytes when it was opened and now ends before 100/,
    )
    await source.close()
    await expect(openFile(directory)).rejects.toThrow(/is not a regular file/)
  })
})
