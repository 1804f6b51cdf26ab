import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { GemmaError } from '../error.ts'
import { bytesSource } from './bytes-source.ts'
import type { FileTensor } from './collect.ts'
import { torchContents } from './containers.ts'
import { readFloats } from './encodings.ts'
import { readPickle } from './pickle.ts'
import {
  dict,
  type Entry,
  global,
  integer,
  orderedDict,
  pickle,
  reduce,
  storage,
  tensor,
  text,
  unicode,
  zip,
} from './testing/torch-file.ts'
import { readTorch } from './torch.ts'
import { readZip } from './zip.ts'

const models = new URL('../../test/data/models/gemma1-mqa/', import.meta.url).pathname

const file = (root: number[], ...more: Entry[]): Uint8Array =>
  zip([{ name: 'a/data.pkl', bytes: pickle(root) }, storage, ...more])
const read = (bytes: Uint8Array): Promise<FileTensor[]> => readTorch(bytesSource('x.ckpt', bytes))

describe('a sound file', () => {
  test('gives the tensors of a bare or a wrapped state dict', async () => {
    for (const root of [dict(['w', tensor()]), dict(['model_state_dict', dict(['w', tensor()])])]) {
      const [found] = await read(file(root))
      expect(found).toMatchObject({ name: 'w', shape: [4], encoding: 'F32', type: 'float32' })
    }
  })

  test('gives parameters, views into a storage, and sides of 1 with any stride', async () => {
    const parameter = reduce(global('torch._utils', '_rebuild_parameter'), tensor(), [0x88], orderedDict)
    const view = tensor({ first: 2, shape: [1, 2], strides: [77, 1] })
    const bytes = file(dict(['p', parameter], ['v', view]))
    const [p, v] = await read(bytes)
    expect(p.shape).toEqual([4])
    expect(v.shape).toEqual([1, 2])
    expect(v.offset - p.offset).toBe(8)
  })

  test('steps over values that are no tensors, and OrderedDict state', async () => {
    const withState = [...orderedDict, ...dict(['_metadata', orderedDict]), 0x62]
    const found = await read(
      file(dict(['step', integer(3)], ['none', [0x4e]], ['meta', withState], ['w', tensor()])),
    )
    expect(found.map(({ name }) => name)).toEqual(['w'])
  })

  test('may be a zip of the 64-bit form', async () => {
    const bytes = zip([{ name: 'a/data.pkl', bytes: pickle(dict(['w', tensor()])) }, storage], true)
    expect((await read(bytes))[0].name).toBe('w')
  })

  test('of gemma_pytorch gives the configuration from shapes and the rotary table', async () => {
    const source = bytesSource('model.ckpt', new Uint8Array(readFileSync(`${models}official/model.ckpt`)))
    const { config, tensors, unknown } = await torchContents([{ source }], undefined, 'model.ckpt')
    const expected = JSON.parse(readFileSync(`${models}config.json`, 'utf8')) as Record<string, unknown>
    for (const key of [
      'model_type',
      'vocab_size',
      'hidden_size',
      'intermediate_size',
      'num_hidden_layers',
      'num_attention_heads',
      'num_key_value_heads',
      'head_dim',
      'max_position_embeddings',
      'rms_norm_eps',
      'rope_theta',
    ]) {
      expect([key, config[key]]).toEqual([key, expected[key]])
    }
    expect(unknown).toEqual([])
    expect(tensors.get('model.layers.0.self_attn.k_proj.weight')?.shape).toEqual([32, 96])
  })
})

describe('a pickle that wants to run code', () => {
  const attacks: ReadonlyArray<readonly [string, number[], RegExp]> = [
    [
      'calls os.system',
      reduce(global('os', 'system'), unicode('touch /tmp/pwned-by-pickle')),
      /names os\.system/,
    ],
    ['calls eval', reduce(global('builtins', 'eval'), unicode('1')), /names builtins\.eval/],
    ['calls by STACK_GLOBAL', [...unicode('posix'), ...unicode('system'), 0x93], /names posix\.system/],
    ['makes an instance', [0x28, 0x69, ...text('os\nsystem\n')], /names os\.system/],
    ['makes an instance of an allowed name', [0x28, 0x69, ...text('collections\nOrderedDict\n')], /INST/],
    ['makes an object', [0x28, ...global('collections', 'OrderedDict'), 0x6f], /OBJ/],
    ['makes a new object', [...global('collections', 'OrderedDict'), 0x29, 0x81], /NEWOBJ/],
    ['uses the extension registry', [0x82, 1], /EXT1/],
    [
      'reaches through an attribute',
      [...unicode('torch'), ...unicode('Size.__class__'), 0x93],
      /names torch\.Size\.__class__/,
    ],
    ['sets state on a list', [0x5d, 0x7d, 0x62], /sets state/],
    ['calls a text', [...unicode('os.system'), 0x29, 0x52], /not a name/],
    ['calls a storage type', reduce(global('torch', 'FloatStorage')), /calls torch\.FloatStorage/],
    [
      'makes an OrderedDict from arguments',
      reduce(global('collections', 'OrderedDict'), integer(1)),
      /from arguments/,
    ],
  ]

  test.each(attacks)('%s: refused by name, and nothing runs', async (_what, root, message) => {
    await expect(read(file(root))).rejects.toThrow(message)
    await expect(read(file(dict(['w', root])))).rejects.toThrow(GemmaError)
    expect(existsSync('/tmp/pwned-by-pickle')).toBe(false)
  })
})

describe('a broken pickle', () => {
  const rules = {
    name: 'p',
    allowed: new Set<string>(),
    reduce: (): never => {
      throw new Error('nothing may be called')
    },
    load: (): never => {
      throw new Error('nothing may be loaded')
    },
  }
  const cases: ReadonlyArray<readonly [string, number[], RegExp]> = [
    ['ends early', [0x80, 2, 0x58, 255, 255, 255, 127], /ends too early/],
    ['has a text of 2^64 − 1 bytes', [0x8d, 255, 255, 255, 255, 255, 255, 255, 255], /ends too early/],
    ['has an unknown opcode', [0x80, 2, 0xff], /opcode 0xff/],
    ['is of protocol 0', [0x80, 0], /protocol 0/],
    ['takes from an empty stack', [0x52], /not there/],
    ['takes below a mark', [0x4e, 0x28, 0x30], /not there/],
    ['takes a mark that is not there', [0x74], /mark that is not there/],
    ['recalls what was not stored', [0x68, 9], /recalls 9/],
    ['stores with nothing there', [0x71, 0], /not there/],
    ['appends to a dict', [0x7d, 0x4e, 0x61], /no list/],
    ['sets an item of a list', [0x5d, 0x4e, 0x4e, 0x73], /no dict/],
    ['has a dict as a key', [0x7d, 0x7d, 0x4e, 0x73], /key is not a plain value/],
    ['has an odd number of items', [0x7d, 0x28, 0x4e, 0x75], /no dict/],
    ['has an integer of 200 bytes', [0x8a, 200], /200 bytes/],
    ['has an integer past 2^53', [0x8a, 8, 255, 255, 255, 255, 255, 255, 255, 127], /too large/],
    ['leaves values over', [0x4e, 0x4e, 0x2e], /left over/],
    ['never ends a line', [0x63, 0x61], /a line does not end/],
  ]

  test.each(cases)('%s', (_what, bytes, message) => {
    expect(() => readPickle(new Uint8Array(bytes), rules)).toThrow(message)
    expect(() => readPickle(new Uint8Array(bytes), rules)).toThrow(GemmaError)
  })

  test('nested 300,000 deep costs neither stack nor time', () => {
    const bytes = new Uint8Array(300_002).fill(0x5d)
    bytes.fill(0x85, 1, 300_001) // each wraps what came before in a tuple
    bytes[300_001] = 0x2e
    expect(Array.isArray(readPickle(bytes, rules))).toBe(true)
  })

  test('plain values come out as they are', () => {
    const body = [
      [0x28],
      integer(-5),
      [0x4b, 200],
      [0x4d, 1, 2],
      [0x8a, 1, 0xfe],
      [0x47, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0],
      unicode('é'),
      [0x4e, 0x88, 0x89, 0x6c],
    ]
    expect(readPickle(pickle(...body), rules)).toEqual([-5, 200, 513, -2, 1.5, 'é', null, true, false])
  })
})

describe('is refused', () => {
  const good = dict(['w', tensor()])
  const cases: ReadonlyArray<readonly [string, Uint8Array, RegExp]> = [
    [
      'a compressed entry (a zip bomb needs one)',
      zip([{ name: 'a/data.pkl', bytes: pickle(good), method: 8 }, storage]),
      /compressed \(method 8\)/,
    ],
    ['no data.pkl', zip([storage]), /0 entries named data\.pkl/],
    [
      'two of them',
      zip([
        { name: 'a/data.pkl', bytes: pickle(good) },
        { name: 'b/data.pkl', bytes: pickle(good) },
      ]),
      /2 entries/,
    ],
    ['an entry that comes twice', file(good, storage), /a\/data\/0 is there twice/],
    ['a missing storage', file(dict(['w', tensor({ key: '1' })])), /storage 1 is missing/],
    [
      'a storage of another size',
      file(dict(['w', tensor({ count: 5 })])),
      /has 16 bytes; 5 values of float32/,
    ],
    [
      'a tensor past its storage',
      file(dict(['w', tensor({ shape: [5] })])),
      /passes its storage of 4 values/,
    ],
    ['a tensor that begins past it', file(dict(['w', tensor({ first: 1 })])), /passes its storage/],
    ['a negative beginning', file(dict(['w', tensor({ first: -1 })])), /cannot be/],
    [
      'sizes past 2^53',
      file(dict(['w', tensor({ shape: [2 ** 30, 2 ** 30], strides: [2 ** 30, 1] })])),
      /passes its storage/,
    ],
    ['another rank of strides', file(dict(['w', tensor({ strides: [1, 1] })])), /cannot be/],
    [
      'a transposed tensor',
      file(dict(['w', tensor({ shape: [2, 2], strides: [1, 2] })])),
      /not contiguous .*\.contiguous\(\)/,
    ],
    ['an expanded tensor', file(dict(['w', tensor({ shape: [4, 4], strides: [0, 1] })])), /not contiguous/],
    [
      'big-endian values',
      file(good, { name: 'a/byteorder', bytes: new Uint8Array(text('big')) }),
      /byte order big/,
    ],
    ['a list', file([0x5d]), /holds no state dict/],
    [
      'the format before torch 1.6',
      new Uint8Array([0x80, 2, 0x8a, 10, ...new Array(100).fill(0)]),
      /before version 1\.6/,
    ],
    ['text', new Uint8Array(100).fill(65), /does not begin as a ZIP/],
    ['four bytes', new Uint8Array([0x50, 0x4b, 3, 4]), /4 bytes/],
  ]

  test.each(cases)('%s', async (_what, bytes, message) => {
    await expect(read(bytes)).rejects.toThrow(message)
    await expect(read(bytes)).rejects.toThrow(GemmaError)
  })

  test('overlapping entries', async () => {
    const bytes = file(good)
    const view = new DataView(bytes.buffer)
    const directory = view.getUint32(bytes.length - 6, true)
    const second = directory + 46 + 'a/data.pkl'.length
    view.setUint32(second + 42, 0, true) // the storage begins where the pickle does
    await expect(readZip(bytesSource('x', bytes))).rejects.toThrow(/overlaps/)
  })
})

describe('gemma_pytorch names', () => {
  const zeros = (key: string, shape: number[], type = 'FloatStorage'): number[] =>
    tensor({
      type,
      key,
      count: shape.reduce((a, b) => a * b, 1),
      shape,
      strides: shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1)),
    })
  const store = (key: string, bytes: number): Entry => ({
    name: `a/data/${key}`,
    bytes: new Uint8Array(bytes),
  })
  const shapes: Record<string, number[]> = {
    'embedder.weight': [8, 6],
    'model.norm.weight': [6],
    'model.layers.0.self_attn.qkv_proj.weight': [16, 6],
    'model.layers.0.self_attn.o_proj.weight': [6, 8],
    'model.layers.0.mlp.gate_proj.weight': [4, 6],
  }
  const contents = (
    extra: Array<[string, number[]]>,
    config?: Record<string, unknown>,
    replaced: Record<string, number[]> = {},
  ): ReturnType<typeof torchContents> => {
    const entries = Object.entries({ ...shapes, ...replaced })
    const root = dict(
      ...entries.map(([name, shape], i): [string, number[]] => [name, zeros(String(i), shape)]),
      ...extra,
    )
    const stores = entries.map(([, shape], i) => store(String(i), 4 * shape.reduce((a, b) => a * b, 1)))
    const bytes = zip([
      { name: 'a/data.pkl', bytes: pickle(root) },
      ...stores,
      store('n', 24),
      store('q', 96),
      store('s', 64),
    ])
    return torchContents([{ source: bytesSource('x.ckpt', bytes) }], config, 'x.ckpt')
  }

  test('shapes that are nobody’s need head_dim from a config.json', async () => {
    await expect(contents([])).rejects.toThrow(/head_dim is unknown\. Put a config\.json/)
    const { config, tensors } = await contents([], { head_dim: 4 })
    expect(config).toMatchObject({
      model_type: 'gemma',
      num_attention_heads: 2,
      num_key_value_heads: 1,
      head_dim: 4,
      hidden_size: 6,
    })
    expect(tensors.get('model.layers.0.self_attn.v_proj.weight')?.shape).toEqual([4, 6])
    await expect(contents([], { head_dim: 3 })).rejects.toThrow(/not whole heads of 3/)
  })

  test('Gemma 2 and 3 are told by their norms and need what shapes do not tell', async () => {
    const norms: Array<[string, number[]]> = [
      ['model.layers.0.pre_feedforward_layernorm.weight', zeros('n', [6])],
    ]
    await expect(contents(norms, { head_dim: 4 })).rejects.toThrow(/do not tell query_pre_attn_scalar/)
    const gemma2 = await contents(norms, { head_dim: 4, query_pre_attn_scalar: 4 })
    expect(gemma2.config).toMatchObject({
      model_type: 'gemma2',
      sliding_window: 4096,
      final_logit_softcapping: 30,
    })
    const query: Array<[string, number[]]> = [
      ...norms,
      ['model.layers.0.self_attn.query_norm.weight', zeros('n', [6])],
    ]
    await expect(contents(query, { head_dim: 4 })).rejects.toThrow(/query_pre_attn_scalar and sliding_window/)
    const given = { head_dim: 4, query_pre_attn_scalar: 4, sliding_window_size: 7 } // gemma_pytorch's own key
    const gemma3 = await contents(query, given)
    expect(gemma3.config).toMatchObject({ model_type: 'gemma3_text', sliding_window: 7, rope_theta: 1e6 })
    expect(gemma3.tensors.has('model.layers.0.self_attn.q_norm.weight')).toBe(true)
  })

  test('int8 without scales, scales without a weight, and scales of another length', async () => {
    const name = 'model.layers.0.mlp.up_proj.weight'
    const int8 = zeros('q', [16, 6], 'CharStorage')
    await expect(contents([[name, int8]], { head_dim: 4 })).rejects.toThrow(/is int8 but has no scales/)
    const { unknown } = await contents([[`${name}_scaler`, zeros('s', [16])]], { head_dim: 4 })
    expect(unknown).toEqual([`${name}_scaler`])
    const long = zeros('n', [6])
    await expect(
      contents(
        [
          [name, int8],
          [`${name}_scaler`, long],
        ],
        { head_dim: 4 },
      ),
    ).rejects.toThrow(/6 row scales/)
    const { tensors } = await contents(
      [
        [name, int8],
        [`${name}_scaler`, zeros('s', [16])],
      ],
      { head_dim: 4 },
    )
    expect(await readFloats(tensors.get(name)!)).toEqual(new Float32Array(96))
  })

  test('what is unknown is told, buffers are not', async () => {
    const { unknown } = await contents([
      ['freqs_cis', zeros('n', [3, 2])],
      ['extra.weight', zeros('n', [6])],
    ])
    expect(unknown).toEqual(['extra.weight'])
  })
})
