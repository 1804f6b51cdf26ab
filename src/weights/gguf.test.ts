import { describe, expect, test } from 'vitest'
import { GemmaError } from '../error.ts'
import { bytesSource } from './bytes-source.ts'
import { ggufContents } from './containers.ts'
import { type GgufHeader, readGguf } from './gguf.ts'
import { configFromGguf, ggufFromConfig } from './gguf-config.ts'

// ---- a GGUF file made by hand --------------------------------------------------------------------------

const u32 = (value: number): number[] => [
  value & 255,
  (value >> 8) & 255,
  (value >> 16) & 255,
  (value >>> 24) & 255,
]
const u64 = (value: number | bigint): number[] =>
  Array.from({ length: 8 }, (_, i) => Number((BigInt.asUintN(64, BigInt(value)) >> BigInt(8 * i)) & 255n))
const bytesOf = (value: string): number[] => [...new TextEncoder().encode(value)]
const text = (value: string): number[] => [...u64(bytesOf(value).length), ...bytesOf(value)]
const entry = (key: string, type: number, value: number[]): number[] => [...text(key), ...u32(type), ...value]
const f32 = (value: number): number[] => [...new Uint8Array(new Float32Array([value]).buffer)]

interface Info {
  name: string
  sides: Array<number | bigint>
  type?: number
  at?: number | bigint
}

const info = ({ name, sides, type = 0, at = 0 }: Info): number[] => [
  ...text(name),
  ...u32(sides.length),
  ...sides.flatMap(u64),
  ...u32(type),
  ...u64(at),
]

interface Parts {
  version?: number
  entries?: number[][]
  tensors?: Info[]
  dataBytes?: number
  counts?: [number | bigint, number | bigint]
}

function file({ version = 3, entries = [], tensors = [], dataBytes = 0, counts }: Parts): Uint8Array {
  const [tensorCount, entryCount] = counts ?? [tensors.length, entries.length]
  const head = [
    ...bytesOf('GGUF'),
    ...u32(version),
    ...u64(tensorCount),
    ...u64(entryCount),
    ...entries.flat(),
    ...tensors.flatMap(info),
  ]
  while (head.length % 32 !== 0) head.push(0)
  const bytes = new Uint8Array(head.length + dataBytes)
  bytes.set(head)
  return bytes
}

const read = (bytes: Uint8Array): Promise<GgufHeader> => readGguf(bytesSource('x.gguf', bytes))

// ---- tests ----------------------------------------------------------------------------------------------

describe('a sound file', () => {
  test('gives every type of value', async () => {
    const entries = [
      entry('u8', 0, [200]),
      entry('i8', 1, [200]),
      entry('u16', 2, [1, 2]),
      entry('i16', 3, [255, 255]),
      entry('u32', 4, u32(4_000_000_000)),
      entry('i32', 5, u32(-7)),
      entry('f32', 6, f32(0.5)),
      entry('bool', 7, [1]),
      entry('string', 8, text('é')),
      entry('u64', 10, u64(2n ** 53n - 1n)),
      entry('big', 10, u64(2n ** 64n - 1n)),
      entry('i64', 11, u64(-3)),
      entry('f64', 12, [...new Uint8Array(new Float64Array([Math.PI]).buffer)]),
      entry('strings', 9, [...u32(8), ...u64(2), ...text('a'), ...text('')]),
      entry('floats', 9, [...u32(6), ...u64(2), ...f32(1), ...f32(-2)]),
      entry('longs', 9, [...u32(11), ...u64(1), ...u64(-1)]),
      entry('bools', 9, [...u32(7), ...u64(2), 0, 1]),
      entry('empty', 9, [...u32(5), ...u64(0)]),
    ]
    expect(Object.fromEntries((await read(file({ entries }))).metadata)).toEqual({
      u8: 200,
      i8: -56,
      u16: 513,
      i16: -1,
      u32: 4_000_000_000,
      i32: -7,
      f32: 0.5,
      bool: true,
      string: 'é',
      u64: 2 ** 53 - 1,
      big: 2n ** 64n - 1n,
      i64: -3,
      f64: Math.PI,
      strings: ['a', ''],
      floats: new Float32Array([1, -2]),
      longs: new BigInt64Array([-1n]),
      bools: new Uint8Array([0, 1]),
      empty: new Int32Array(0),
    })
  })

  test('of version 2, with another alignment, gives shapes row-major', async () => {
    const entries = [entry('general.alignment', 4, u32(64))]
    const tensors = [
      { name: 'a', sides: [32, 3], type: 2 },
      { name: 'b', sides: [2], at: 64 },
    ]
    const bytes = file({ version: 2, entries, tensors, dataBytes: 200 })
    const header = await read(bytes)
    expect(header.version).toBe(2)
    expect(header.tensors[0]).toMatchObject({ name: 'a', shape: [3, 32], encoding: 'Q4_0' })
    expect(header.tensors[0].offset % 64).toBe(0)
    expect(header.tensors[1].offset - header.tensors[0].offset).toBe(64)
  })

  test('a type that is not read is named, and refused only when it is a weight', async () => {
    const { tensors } = await read(file({ tensors: [{ name: 'a', sides: [256], type: 23 }], dataBytes: 136 }))
    expect(tensors[0]).toMatchObject({ encoding: undefined, type: 'IQ4_XS' })
    const entries = [entry('general.architecture', 8, text('gemma'))]
    const bytes = file({
      entries,
      tensors: [{ name: 'token_embd.weight', sides: [256, 1], type: 23 }],
      dataBytes: 136,
    })
    await expect(ggufContents([bytesSource('x', bytes)])).rejects.toThrow(
      /token_embd\.weight is stored as IQ4_XS/,
    )
  })
})

describe('is refused', () => {
  const tensor = { name: 'a', sides: [8] }
  const array = (type: number, count: number | bigint): number[] => [...u32(type), ...u64(count)]
  const cases: ReadonlyArray<readonly [string, Uint8Array, RegExp]> = [
    ['another file', new Uint8Array(100), /does not begin with the letters GGUF/],
    ['a file of 8 bytes', file({}).slice(0, 8), /ends at byte 8/],
    ['version 1', file({ version: 1 }), /GGUF version 1; versions 2 and 3/],
    ['version 4', file({ version: 4 }), /GGUF version 4/],
    ['big-endian', file({ version: 0x03000000 }), /big-endian/],
    ['2^63 tensors', file({ counts: [2n ** 63n, 0] }), /claims 9223372036854775808 tensors/],
    ['2^64 − 1 values', file({ counts: [0, 2n ** 64n - 1n] }), /claims 18446744073709551615 metadata values/],
    ['a text of 2^62 bytes', file({ entries: [u64(2n ** 62n)], dataBytes: 64 }), /bytes of text, more than/],
    [
      'an array of 2^61 floats',
      file({ entries: [entry('k', 9, array(6, 2n ** 61n))], dataBytes: 64 }),
      /values of k, more than/,
    ],
    [
      'an array of 2^61 texts',
      file({ entries: [entry('k', 9, array(8, 2n ** 61n))], dataBytes: 64 }),
      /values of k, more than/,
    ],
    [
      'an array of arrays',
      file({ entries: [entry('k', 9, array(9, 1))], dataBytes: 64 }),
      /k holds an array of arrays/,
    ],
    [
      'an unknown type of value',
      file({ entries: [entry('k', 13, u64(0))], dataBytes: 64 }),
      /k has the unknown type 13/,
    ],
    [
      'a key that comes twice',
      file({ entries: [entry('k', 0, [1]), entry('k', 0, [1])] }),
      /key k is there twice/,
    ],
    ['alignment 0', file({ entries: [entry('general.alignment', 4, u32(0))] }), /general\.alignment is 0/],
    ['alignment 24', file({ entries: [entry('general.alignment', 4, u32(24))] }), /general\.alignment is 24/],
    [
      'alignment as text',
      file({ entries: [entry('general.alignment', 8, text('32'))] }),
      /general\.alignment is 32/,
    ],
    ['no sides', file({ tensors: [{ name: 'a', sides: [] }] }), /a has 0 sides/],
    ['five sides', file({ tensors: [{ name: 'a', sides: [1, 1, 1, 1, 1] }] }), /a has 5 sides/],
    ['a side of 0', file({ tensors: [{ name: 'a', sides: [0] }] }), /a has a side of 0/],
    [
      'sides past 2^53',
      file({ tensors: [{ name: 'a', sides: [2n ** 40n, 2n ** 40n] }] }),
      /passes what a file can hold/,
    ],
    ['a side of 2^64 − 1', file({ tensors: [{ name: 'a', sides: [2n ** 64n - 1n] }] }), /a has a side of/],
    [
      'rows of half a block',
      file({ tensors: [{ name: 'a', sides: [48, 2], type: 8 }], dataBytes: 200 }),
      /48 values, not whole Q8_0 blocks/,
    ],
    [
      'a tensor past the end',
      file({ tensors: [tensor], dataBytes: 31 }),
      /a ends at byte \d+, but the file has/,
    ],
    [
      'a tensor far past the end',
      file({ tensors: [{ ...tensor, at: 2n ** 62n }] }),
      /passes what a file can hold/,
    ],
    [
      'an offset between the multiples',
      file({ tensors: [{ ...tensor, at: 4 }], dataBytes: 64 }),
      /not at a multiple of 32/,
    ],
    [
      'overlapping tensors',
      file({ tensors: [tensor, { name: 'b', sides: [4] }], dataBytes: 64 }),
      /(a overlaps b|b overlaps a)/,
    ],
    [
      'a name that comes twice',
      file({ tensors: [tensor, { ...tensor, at: 32 }], dataBytes: 64 }),
      /a is there twice/,
    ],
    [
      'a name of 300 letters',
      file({ tensors: [{ name: 'n'.repeat(300), sides: [8] }], dataBytes: 64 }),
      /a name of 300/,
    ],
  ]

  test.each(cases)('%s', async (_what, bytes, message) => {
    await expect(read(bytes)).rejects.toThrow(message)
    await expect(read(bytes)).rejects.toThrow(GemmaError)
  })

  test('a model of another architecture, or of none', async () => {
    for (const entries of [
      [],
      [entry('general.architecture', 8, text('llama'))],
      [entry('general.architecture', 4, u32(1))],
    ]) {
      await expect(ggufContents([bytesSource('x', file({ entries }))])).rejects.toThrow(
        /expected gemma, gemma2, gemma3/,
      )
    }
  })
})

describe('the configuration', () => {
  const gemma2 = new Map<string, number | string>([
    ['general.architecture', 'gemma2'],
    ['gemma2.embedding_length', 4608],
    ['gemma2.block_count', 46],
    ['gemma2.feed_forward_length', 36864],
    ['gemma2.attention.head_count', 32],
    ['gemma2.attention.head_count_kv', 16],
    ['gemma2.attention.key_length', 128],
    ['gemma2.context_length', 8192],
    ['gemma2.attention.layer_norm_rms_epsilon', Math.fround(1e-6)],
  ])

  test('of Gemma 2 27B: what the file leaves out is as llama.cpp assumes', () => {
    expect(configFromGguf(gemma2, 256_000, 'x')).toMatchObject({
      model_type: 'gemma2',
      head_dim: 128,
      query_pre_attn_scalar: 144,
      sliding_window: 4096,
      attn_logit_softcapping: 50,
      final_logit_softcapping: 30,
      rope_theta: 10_000,
      rms_norm_eps: 1e-6,
      vocab_size: 256_000,
    })
    const small = new Map(gemma2).set('gemma2.block_count', 26)
    expect(configFromGguf(small, 1, 'x').query_pre_attn_scalar).toBe(128)
  })

  test('of Gemma 3: two rope bases, scaling, the pattern of windows', () => {
    const gemma3 = new Map<string, number | string>()
    for (const [key, value] of gemma2) gemma3.set(key.replace('gemma2', 'gemma3'), value)
    gemma3.set('general.architecture', 'gemma3').set('gemma3.attention.sliding_window', 1024)
    gemma3.set('gemma3.rope.scaling.type', 'linear').set('gemma3.rope.scaling.factor', 8)
    expect(configFromGguf(gemma3, 262_144, 'x')).toMatchObject({
      model_type: 'gemma3_text',
      query_pre_attn_scalar: 128,
      sliding_window: 1024,
      sliding_window_pattern: 6,
      rope_theta: 1e6,
      rope_local_base_freq: 1e4,
      rope_scaling: { rope_type: 'linear', factor: 8 },
    })
  })

  test('takes one number per layer when they are equal, and names what is missing', () => {
    const layers = new Map<string, number | string | Int32Array>(gemma2)
    layers.set('gemma2.attention.head_count_kv', new Int32Array([4, 4]))
    expect(configFromGguf(layers, 1, 'x').num_key_value_heads).toBe(4)
    layers.set('gemma2.attention.head_count_kv', new Int32Array([4, 8]))
    expect(() => configFromGguf(layers, 1, 'x')).toThrow(
      /a number for gemma2\.attention\.head_count_kv, but it is 4,8/,
    )
    layers.delete('gemma2.block_count')
    expect(() => configFromGguf(layers, 1, 'x')).toThrow(GemmaError)
  })

  test('of a model that GGUF has no place for is refused when written', () => {
    expect(() => ggufFromConfig({ model_type: 'llama' }, 'x')).toThrow(/of llama cannot be written/)
    const config = { ...configFromGguf(gemma2, 1, 'x'), model_type: 'gemma3_text' }
    const layer_types = ['full_attention', 'sliding_attention', 'sliding_attention', 'full_attention']
    expect(() => ggufFromConfig({ ...config, layer_types }, 'x')).toThrow(/no place for this order/)
    const rope_scaling = { rope_type: 'yarn', factor: 2 }
    expect(() => ggufFromConfig({ ...config, rope_scaling }, 'x')).toThrow(/type yarn cannot be written/)
    expect(() => ggufFromConfig({ ...config, hidden_size: undefined }, 'x')).toThrow(
      /no number for hidden_size/,
    )
  })
})

test('a split file must be whole and in order', async () => {
  const part = (no: number, count: number, tensors: Info[], more: number[][] = []): Uint8Array =>
    file({
      entries: [
        entry('general.architecture', 8, text('gemma')),
        entry('split.no', 2, [no, 0]),
        entry('split.count', 2, [count, 0]),
        entry('split.tensors.count', 5, u32(2)),
        ...more,
      ],
      tensors,
      dataBytes: 64,
    })
  const numbers = {
    embedding_length: 8,
    block_count: 1,
    feed_forward_length: 8,
    'attention.head_count': 1,
    context_length: 8,
  }
  const keys = Object.entries(numbers).map(([key, value]) => entry(`gemma.${key}`, 4, u32(value)))
  keys.push(entry('gemma.attention.layer_norm_rms_epsilon', 6, f32(1e-6)))
  const first = part(0, 2, [{ name: 'token_embd.weight', sides: [8, 2] }], keys)
  const second = part(1, 2, [{ name: 'output_norm.weight', sides: [8] }])
  const open = (...parts: Uint8Array[]): ReturnType<typeof ggufContents> =>
    ggufContents(parts.map((bytes, i) => bytesSource(`part ${i}`, bytes)))
  const { tensors, config } = await open(first, second)
  expect([...tensors.keys()]).toEqual(['model.embed_tokens.weight', 'model.norm.weight'])
  expect(tensors.get('model.norm.weight')?.subtract).toBe(1)
  expect(config).toMatchObject({ hidden_size: 8, num_key_value_heads: 1, head_dim: 8, vocab_size: 2 })
  await expect(open(first)).rejects.toThrow(/one of 2 parts, but 1 were given/)
  await expect(open(first, first)).rejects.toThrow(/part 2 of the split file says it is 0/)
  await expect(open(first, part(1, 2, []))).rejects.toThrow(
    /2 tensors were expected in all parts, but there are 1/,
  )
})
