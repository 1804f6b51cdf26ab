import { readdirSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { GemmaError } from '../error.ts'
import { parseConfig } from './config.ts'
import { modelSizes } from './configs.ts'

type Json = Record<string, unknown>

const sizeOf = (name: string): Json => modelSizes.find((size) => size.name === name)!.config as Json

describe('published configuration files', () => {
  test('Gemma 1 as first published: "gelu" and null mean the tanh form; unknown keys are passed over', () => {
    const config = parseConfig({
      architectures: ['GemmaForCausalLM'],
      attention_bias: false,
      attention_dropout: 0.0,
      bos_token_id: 2,
      eos_token_id: 1,
      head_dim: 256,
      hidden_act: 'gelu',
      hidden_activation: null,
      hidden_size: 2048,
      initializer_range: 0.02,
      intermediate_size: 16384,
      max_position_embeddings: 8192,
      model_type: 'gemma',
      num_attention_heads: 8,
      num_hidden_layers: 18,
      num_key_value_heads: 1,
      pad_token_id: 0,
      rms_norm_eps: 1e-6,
      rope_scaling: null,
      rope_theta: 10000.0,
      torch_dtype: 'bfloat16',
      transformers_version: '4.38.0.dev0',
      use_cache: true,
      vocab_size: 256000,
    })
    expect(config).toMatchObject({
      generation: 1,
      vocabSize: 256000,
      hiddenSize: 2048,
      intermediateSize: 16384,
      numKeyValueHeads: 1,
      queryPreAttnScalar: 256,
      attnLogitSoftcapping: 0,
      finalLogitSoftcapping: 0,
      slidingWindow: 0,
      ropeTheta: 10000,
      ropeLocalTheta: 10000,
      ropeFactor: 1,
      bosTokenId: 2,
      padTokenId: 0,
      eosTokenIds: [1],
    })
    expect(config.layerTypes).toEqual(new Array(18).fill('full'))
    expect(config).toEqual(parseConfig(sizeOf('2b')))
  })

  test('Gemma 2: layers alternate, the first one sliding; caps, window and scalar', () => {
    const config = parseConfig({ ...sizeOf('2-27b'), cache_implementation: 'hybrid' })
    expect(config.layerTypes.slice(0, 4)).toEqual(['sliding', 'full', 'sliding', 'full'])
    expect(config).toMatchObject({
      generation: 2,
      attnLogitSoftcapping: 50,
      finalLogitSoftcapping: 30,
      slidingWindow: 4096,
      queryPreAttnScalar: 144,
      headDim: 128,
      ropeLocalTheta: 10000,
    })
  })

  test('Gemma 2 with its caps switched off by null, as transformers reads it', () => {
    const off = { attn_logit_softcapping: null, final_logit_softcapping: null }
    const config = parseConfig({ ...sizeOf('2-2b'), ...off })
    expect(config).toMatchObject({ attnLogitSoftcapping: 0, finalLogitSoftcapping: 0 })
    const { attn_logit_softcapping: _, final_logit_softcapping: __, ...silent } = sizeOf('2-2b')
    expect(parseConfig(silent)).toMatchObject({ attnLogitSoftcapping: 50, finalLogitSoftcapping: 30 })
  })

  test('Gemma 3 1B: a pattern of six, two bases', () => {
    const config = parseConfig({ ...sizeOf('3-1b'), eos_token_id: [1, 106], cache_implementation: 'hybrid' })
    expect(config.layerTypes.map((type, i) => (type === 'full' ? i : -1)).filter((i) => i >= 0)).toEqual([
      5, 11, 17, 23,
    ])
    expect(config).toMatchObject({
      generation: 3,
      slidingWindow: 512,
      ropeTheta: 1_000_000,
      ropeLocalTheta: 10000,
      ropeFactor: 1,
      finalLogitSoftcapping: 0,
      attnLogitSoftcapping: 0,
      eosTokenIds: [1, 106],
    })
  })

  test.each([
    ['3-4b', { hidden_size: 2560, intermediate_size: 10240, num_hidden_layers: 34 }],
    [
      '3-12b',
      {
        hidden_size: 3840,
        intermediate_size: 15360,
        num_hidden_layers: 48,
        num_attention_heads: 16,
        num_key_value_heads: 8,
      },
    ],
    [
      '3-27b',
      {
        hidden_size: 5376,
        intermediate_size: 21504,
        num_hidden_layers: 62,
        num_attention_heads: 32,
        num_key_value_heads: 16,
        head_dim: 128,
        query_pre_attn_scalar: 168,
      },
    ],
  ])('Gemma 3 with pictures, %s: the text part is nested and silent about much', (name, text) => {
    const config = parseConfig({
      architectures: ['Gemma3ForConditionalGeneration'],
      boi_token_index: 255999,
      eoi_token_index: 256000,
      eos_token_id: [1, 106],
      image_token_index: 262144,
      initializer_range: 0.02,
      mm_tokens_per_image: 256,
      model_type: 'gemma3',
      text_config: {
        ...text,
        model_type: 'gemma3_text',
        rope_scaling: { factor: 8.0, rope_type: 'linear' },
        sliding_window: 1024,
      },
      torch_dtype: 'bfloat16',
      transformers_version: '4.50.0.dev0',
      vision_config: { hidden_size: 1152, image_size: 896, num_hidden_layers: 27 },
    })
    expect(config).toEqual({ ...parseConfig(sizeOf(name)), eosTokenIds: [1, 106] })
    expect(config).toMatchObject({ vocabSize: 262208, ropeFactor: 8, maxPositionEmbeddings: 131072 })
  })

  test('transformers 5: rope_parameters, by kind of layer or one for all', () => {
    const { rope_theta: _, rope_local_base_freq: __, rope_scaling: ___, ...plain } = sizeOf('3-4b')
    const three = parseConfig({
      ...plain,
      rope_parameters: {
        full_attention: { rope_type: 'linear', factor: 8.0, rope_theta: 1_000_000 },
        sliding_attention: { rope_type: 'default', rope_theta: 10000 },
      },
    })
    expect(three).toEqual(parseConfig(sizeOf('3-4b')))
    const { rope_theta: ____, ...one } = sizeOf('2b')
    const flat = parseConfig({ ...one, rope_parameters: { rope_type: 'default', rope_theta: 10000.0 } })
    expect(flat).toEqual(parseConfig(sizeOf('2b')))
  })

  test('layer_types rule over the pattern', () => {
    const types = ['full_attention', 'sliding_attention', 'full_attention']
    const config = parseConfig({ ...sizeOf('3-1b'), num_hidden_layers: 3, layer_types: types })
    expect(config.layerTypes).toEqual(['full', 'sliding', 'full'])
  })

  test('end tokens of both files, each once', () => {
    const ends = (raw: unknown, generation: unknown): readonly number[] =>
      parseConfig({ ...sizeOf('2b'), eos_token_id: raw }, { eos_token_id: generation }).eosTokenIds
    expect(ends(1, [1, 107])).toEqual([1, 107])
    expect(ends(undefined, undefined)).toEqual([1])
    expect(ends([1, 106], 1)).toEqual([1, 106])
    expect(ends('x', [null, -1, 2.5, 107])).toEqual([107])
  })

  test('every golden model’s', () => {
    const models = new URL('../../test/data/models/', import.meta.url)
    for (const name of readdirSync(models)) {
      const raw = JSON.parse(readFileSync(new URL(`${name}/config.json`, models), 'utf8')) as Json
      const config = parseConfig(raw)
      expect(config.layerTypes.length).toBe(raw.num_hidden_layers)
      expect(config.vocabSize).toBe(1024)
      expect(config.queryPreAttnScalar).toBe(raw.query_pre_attn_scalar ?? raw.head_dim)
    }
    const scaled = JSON.parse(readFileSync(new URL('gemma3-scaled/config.json', models), 'utf8')) as Json
    expect(parseConfig(scaled)).toMatchObject({ ropeFactor: 8, slidingWindow: 12, finalLogitSoftcapping: 0 })
  })
})

describe('what is refused', () => {
  test.each([
    ['another family', { model_type: 'llama' }, 'unsupported', /model_type is "llama"/],
    ['no family', { model_type: undefined }, 'unsupported', /model_type is undefined/],
    [
      'exact GELU is another model',
      { hidden_activation: 'silu' },
      'unsupported',
      /hidden_activation is "silu"/,
    ],
    [
      'heads that do not divide',
      { num_key_value_heads: 3 },
      'config',
      /multiple of num_key_value_heads \(3\)/,
    ],
    ['a head size off the vectors', { head_dim: 6 }, 'unsupported', /head_dim is 6/],
    ['no layers', { num_hidden_layers: 0 }, 'config', /num_hidden_layers is 0/],
    ['absurdly many layers', { num_hidden_layers: 1e9 }, 'config', /num_hidden_layers is 1000000000/],
    ['an absurd vocabulary', { vocab_size: 2 ** 40 }, 'config', /vocab_size/],
    ['text for a number', { hidden_size: '2048' }, 'config', /hidden_size is "2048"/],
    ['a fraction', { hidden_size: 2048.5 }, 'config', /hidden_size is 2048.5/],
    ['negative epsilon', { rms_norm_eps: -1 }, 'config', /rms_norm_eps is -1/],
    [
      'scaling of another kind',
      { rope_scaling: { type: 'yarn', factor: 2 } },
      'unsupported',
      /rope scaling of type "yarn"/,
    ],
    ['linear scaling by nothing', { rope_scaling: { type: 'linear' } }, 'config', /factor/],
    ['too few layer types', { layer_types: ['full_attention'] }, 'config', /layer_types must name/],
    ['unknown layer types', { layer_types: new Array(18).fill('mamba') }, 'config', /layer_types must name/],
    ['a token that is none', { bos_token_id: -2 }, 'config', /bos_token_id is -2/],
  ] as const)('%s', (_, change, code, message) => {
    const parse = (): unknown => parseConfig({ ...sizeOf('2b'), ...change })
    expect(parse).toThrow(message)
    expect(parse).toThrow(expect.objectContaining({ name: 'GemmaError', code }))
  })

  /** Parses; anything thrown but a GemmaError with a message and no stack of ours in it is a fault. */
  function parseOrRefuse(raw: unknown, generationConfig: unknown): void {
    try {
      const config = parseConfig(raw as Json, generationConfig as Json)
      for (const value of Object.values(config).flat()) {
        if (typeof value === 'number') expect(Number.isFinite(value)).toBe(true)
      }
      expect(config.layerTypes.length).toBe(config.numHiddenLayers)
    } catch (error) {
      if (!(error instanceof GemmaError)) throw error
      expect(['config', 'unsupported']).toContain(error.code)
      expect(error.message.length).toBeLessThan(1000)
    }
  }

  test('any JSON is a configuration or a GemmaError', () =>
    fc.assert(fc.property(fc.jsonValue(), fc.jsonValue(), parseOrRefuse), { numRuns: 2000 }))

  test('any JSON in any place of a good configuration is one too', () => {
    const keys = [
      ...new Set(modelSizes.flatMap((size) => Object.keys(size.config))),
      ...[
        'text_config',
        'layer_types',
        'rope_parameters',
        'rope_scaling',
        'hidden_act',
        'sliding_window_pattern',
      ],
      ...['bos_token_id', 'eos_token_id', '__proto__', 'constructor'],
    ]
    const value = fc.oneof(
      fc.jsonValue(),
      fc.double(),
      fc.integer(),
      fc.record({
        rope_type: fc.constantFrom('linear', 'default', 'x', 3),
        factor: fc.jsonValue(),
        rope_theta: fc.jsonValue(),
      }),
      fc.record({ full_attention: fc.jsonValue(), sliding_attention: fc.jsonValue() }),
      fc.array(fc.constantFrom('sliding_attention', 'full_attention', 'x'), { maxLength: 40 }),
      fc.constantFrom('x'.repeat(3000), 'constructor', '__proto__', 'toString'),
    )
    const changes = fc.array(fc.tuple(fc.constantFrom(...keys), value), { minLength: 1, maxLength: 4 })
    fc.assert(
      fc.property(fc.constantFrom(...modelSizes), changes, fc.jsonValue(), (size, list, generation) => {
        parseOrRefuse({ ...size.config, ...Object.fromEntries(list) }, generation)
      }),
      { numRuns: 3000 },
    )
  })
})
