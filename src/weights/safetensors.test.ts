import { describe, expect, test } from 'vitest'
import { GemmaError } from '../error.ts'
import { bytesSource } from './bytes-source.ts'
import { safetensorsContents } from './containers.ts'
import { readSafetensors } from './safetensors.ts'

/** A file with this header text (or object) and this much data. */
function file(header: string | object, dataBytes: number, claimed?: bigint): Uint8Array {
  const json = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header))
  const bytes = new Uint8Array(8 + json.length + dataBytes)
  new DataView(bytes.buffer).setBigUint64(0, claimed ?? BigInt(json.length), true)
  bytes.set(json, 8)
  return bytes
}

const read = (bytes: Uint8Array): Promise<unknown> => readSafetensors(bytesSource('x.safetensors', bytes))
const norm = { dtype: 'F32', shape: [2], data_offsets: [0, 8] }

describe('a sound file', () => {
  test('gives entries with absolute offsets, and the metadata', async () => {
    const header = {
      __metadata__: { format: 'pt' },
      b: norm,
      a: { dtype: 'I64', shape: [], data_offsets: [8, 16] },
    }
    const bytes = file(`${JSON.stringify(header)}   `, 16)
    const { entries, metadata } = await readSafetensors(bytesSource('x', bytes))
    expect(metadata).toEqual({ format: 'pt' })
    expect(entries.get('b')).toEqual({
      name: 'b',
      dtype: 'F32',
      shape: [2],
      offset: bytes.length - 16,
      bytes: 8,
    })
    expect(entries.get('a')).toMatchObject({ dtype: 'I64', shape: [], offset: bytes.length - 8, bytes: 8 })
  })

  test('may hold no tensor, or one without values', async () => {
    expect(await readSafetensors(bytesSource('x', file({}, 0)))).toEqual({ entries: new Map(), metadata: {} })
    const empty = { a: { dtype: 'F32', shape: [0, 4], data_offsets: [8, 8] }, b: norm }
    expect((await readSafetensors(bytesSource('x', file(empty, 8)))).entries.get('a')?.bytes).toBe(0)
  })

  test('may use names that are properties of every object', async () => {
    const { entries } = await readSafetensors(
      bytesSource(
        'x',
        file(
          `{"__proto__":${JSON.stringify(norm)},"constructor":${JSON.stringify({ ...norm, data_offsets: [8, 16] })}}`,
          16,
        ),
      ),
    )
    expect([...entries.keys()]).toEqual(['__proto__', 'constructor'])
  })
})

describe('is refused', () => {
  const cases: ReadonlyArray<readonly [string, Uint8Array, RegExp]> = [
    ['an empty file', new Uint8Array(0), /expected at least 10 bytes, but it has 0/],
    [
      'a header longer than the file',
      file({ a: norm }, 8, 1_000_000n),
      /claims 1000000 bytes, but the file has/,
    ],
    ['a header of 2^64 − 1 bytes', file({ a: norm }, 8, 2n ** 64n - 1n), /claims 18446744073709552000 bytes/],
    ['a header that is not JSON', file('{"a":', 0), /not valid JSON/],
    ['a header that is not UTF-8', Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0xff, 0x7d), /not valid JSON/],
    ['a header that is a list', file('[]', 0), /does not begin with \{/],
    ['a header nested deeply', file(`{"a":${'['.repeat(50_000)}${']'.repeat(50_000)}}`, 0), /unknown dtype/],
    ['metadata that is not text', file({ __metadata__: { a: 1 } }, 0), /other than strings/],
    ['an unknown dtype', file({ a: { ...norm, dtype: 'F128' } }, 8), /unknown dtype "F128"/],
    ['a dtype of every object', file({ a: { ...norm, dtype: 'toString' } }, 8), /unknown dtype "toString"/],
    ['an entry that is null', file({ a: null }, 0), /unknown dtype undefined/],
    ['a negative side', file({ a: { ...norm, shape: [-2] } }, 8), /no proper shape/],
    ['a side that is a fraction', file({ a: { ...norm, shape: [2.5] } }, 8), /no proper shape/],
    ['a rank past reason', file({ a: { ...norm, shape: Array(2000).fill(1) } }, 8), /no proper shape/],
    ['no offsets', file({ a: { dtype: 'F32', shape: [2] } }, 8), /no proper data_offsets/],
    [
      'offsets the wrong way round',
      file({ a: { ...norm, data_offsets: [8, 0] } }, 8),
      /8 bytes, but has the range 8 to 0/,
    ],
    [
      'a range of another size',
      file({ a: { ...norm, shape: [3] } }, 8),
      /F32 \[3\], 12 bytes, but has the range 0 to 8/,
    ],
    [
      'a size past 2^53',
      file({ a: { ...norm, shape: [2 ** 30, 2 ** 30], data_offsets: [0, 2 ** 53 - 1] } }, 8),
      /a is F32 \[1073741824, 1073741824\]/,
    ],
    [
      'a range past the end',
      file({ a: { ...norm, data_offsets: [8, 16] } }, 12),
      /ends at byte \d+, but the file has/,
    ],
    ['overlapping tensors', file({ a: norm, b: { ...norm, data_offsets: [4, 12] } }, 12), /b overlaps a/],
    ['two tensors in one place', file({ a: norm, b: norm }, 8), /b overlaps a/],
    [
      'bytes of no tensor',
      file({ a: norm, b: { ...norm, data_offsets: [9, 17] } }, 17),
      /between a and b are bytes/,
    ],
    ['bytes after the last tensor', file({ a: norm }, 9), /after a are 1 bytes/],
    [
      'a name that comes twice',
      file(`{"a":${JSON.stringify(norm)},"\\u0061" :${JSON.stringify(norm)}}`, 8),
      /names a twice/,
    ],
  ]

  test.each(cases)('%s', async (_what, bytes, message) => {
    await expect(read(bytes)).rejects.toThrow(message)
    await expect(read(bytes)).rejects.toThrow(GemmaError)
  })
})

describe('as a checkpoint', () => {
  const contents = (
    entries: object,
    dataBytes: number,
    config: object = {},
  ): ReturnType<typeof safetensorsContents> =>
    safetensorsContents(
      [{ source: bytesSource('x', file(entries, dataBytes)) }],
      config as Record<string, unknown>,
    )
  const matrix = { dtype: 'F32', shape: [1, 2], data_offsets: [0, 8] }

  test('a tied head, buffers and the vision tower are left out; what is unknown is told', async () => {
    const place = (i: number, entry: object): object => ({ ...entry, data_offsets: [8 * i, 8 * i + 8] })
    const { tensors, unknown } = await contents(
      {
        'model.embed_tokens.weight': place(0, matrix),
        'lm_head.weight': place(1, matrix),
        'model.layers.0.self_attn.rotary_emb.inv_freq': place(2, norm),
        'vision_tower.patch.weight': place(3, matrix),
        'model.layers.0.surprise.weight': place(4, matrix),
      },
      40,
    )
    expect([...tensors.keys()]).toEqual(['model.embed_tokens.weight'])
    expect(unknown).toEqual(['model.layers.0.surprise.weight'])
  })

  test('a head of its own stays', async () => {
    const { tensors } = await contents({ 'lm_head.weight': matrix }, 8, { tie_word_embeddings: false })
    expect([...tensors.keys()]).toEqual(['lm_head.weight'])
  })

  test("multimodal Gemma 3's text model gets the names and the flat configuration of a text model", async () => {
    for (const prefix of ['language_model.model.', 'model.language_model.']) {
      const text_config = {
        model_type: 'gemma3_text',
        hidden_size: 2560,
        rope_scaling: { factor: 8, rope_type: 'linear' },
      }
      const { tensors, config } = await contents({ [`${prefix}norm.weight`]: norm }, 8, {
        model_type: 'gemma3',
        text_config,
      })
      expect([...tensors.keys()]).toEqual(['model.norm.weight'])
      expect(config).toMatchObject({
        model_type: 'gemma3_text',
        hidden_size: 2560,
        num_attention_heads: 8,
        head_dim: 256,
      })
    }
  })

  test("transformers 5's rope_parameters become the flat keys", async () => {
    const rope_parameters = {
      full_attention: { rope_type: 'linear', factor: 8, rope_theta: 1e6 },
      sliding_attention: { rope_type: 'default', rope_theta: 1e4 },
    }
    const { config } = await contents({}, 0, { model_type: 'gemma3_text', rope_parameters })
    expect(config).toEqual({
      model_type: 'gemma3_text',
      rope_theta: 1e6,
      rope_local_base_freq: 1e4,
      rope_scaling: { rope_type: 'linear', factor: 8 },
    })
    const gemma2 = await contents({}, 0, { rope_parameters: { rope_type: 'default', rope_theta: 1e4 } })
    expect(gemma2.config).toEqual({ rope_theta: 1e4, rope_scaling: null })
  })

  test('a weight in a type no weight has, of the wrong rank or without values is refused', async () => {
    const integers = { 'model.norm.weight': { ...norm, dtype: 'I32' } }
    await expect(contents(integers, 8)).rejects.toThrow(/model\.norm\.weight is stored as I32/)
    await expect(contents({ 'model.norm.weight': matrix }, 8)).rejects.toThrow(
      /shape \[1, 2\]; expected a vector/,
    )
    await expect(contents({ 'model.embed_tokens.weight': norm }, 8)).rejects.toThrow(
      /shape \[2\]; expected a matrix/,
    )
    const empty = { 'model.norm.weight': { dtype: 'F32', shape: [0], data_offsets: [0, 0] } }
    await expect(contents(empty, 0)).rejects.toThrow(/shape \[0\]/)
  })
})
