import { describe, expect, test } from 'vitest'
import { GemmaError } from '../error.ts'
import { elementCount } from '../graph/tape.ts'
import { type ModelConfig, parseConfig } from './config.ts'
import { modelSizes } from './configs.ts'
import {
  adapterBytes,
  checkAdapter,
  createAdapters,
  LORA_TARGETS,
  type LoraShapes,
  type LoraSpec,
  loraScale,
  loraSpecs,
} from './lora.ts'
import { createParameters } from './parameters.ts'

const configOf = (name: string): ModelConfig =>
  parseConfig(modelSizes.find((size) => size.name === name)!.config)

const shapesOf = (specs: readonly LoraSpec[]): Map<string, LoraShapes> =>
  new Map(specs.map(({ weight, down, up }) => [weight, { down, up }]))

function codeOf(work: () => unknown): string {
  try {
    work()
  } catch (error) {
    if (error instanceof GemmaError) return `${error.code}: ${error.message}`
    throw error
  }
  return 'nothing was thrown'
}

describe('the matrices of an adapter', () => {
  test('have the names and shapes that PEFT gives them', () => {
    const specs = loraSpecs(configOf('2b'), ['v_proj', 'q_proj'], 8)
    expect(specs).toHaveLength(36)
    expect(specs[0]).toEqual({
      weight: 'model.layers.0.self_attn.q_proj.weight',
      down: { name: 'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight', shape: [8, 2048] },
      up: { name: 'base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight', shape: [2048, 8] },
    })
    expect(specs[35]).toEqual({
      weight: 'model.layers.17.self_attn.v_proj.weight',
      down: { name: 'base_model.model.model.layers.17.self_attn.v_proj.lora_A.weight', shape: [8, 2048] },
      up: { name: 'base_model.model.model.layers.17.self_attn.v_proj.lora_B.weight', shape: [256, 8] },
    })
  })

  test.each([
    // What PEFT prints for these as "trainable params": r · Σ (rows + columns).
    ['2b', ['q_proj', 'v_proj'], 8, 921_600],
    ['2b', LORA_TARGETS, 16, 19_611_648],
    ['7b', LORA_TARGETS, 16, 50_003_968],
  ])('%s with %s at rank %i has as many values as PEFT counts', (name, targets, rank, count) => {
    const specs = loraSpecs(configOf(name), targets, rank)
    const values = specs.reduce(
      (sum, { down, up }) => sum + elementCount(down.shape) + elementCount(up.shape),
      0,
    )
    expect(values).toBe(count)
    expect(adapterBytes(shapesOf(specs))).toBe(4 * count)
  })

  test('what there is not is refused', () => {
    const config = configOf('2b')
    expect(codeOf(() => loraSpecs(config, ['q_proj', 'lm_head'], 8))).toMatch(
      /^usage: "lm_head" is no linear/,
    )
    expect(codeOf(() => loraSpecs(config, [], 8))).toMatch(/^usage: The adapter has no target/)
    for (const rank of [0, 1.5, Number.NaN, -1]) {
      expect(codeOf(() => loraSpecs(config, ['q_proj'], rank))).toMatch(/^usage: The adapter's rank is/)
    }
  })

  test('scale: alpha over the rank or its root', () => {
    expect(loraScale(16, 32, false)).toBe(2)
    expect(loraScale(16, 32, true)).toBe(8)
  })
})

test('tensors are made beside the weights they add to, one rank for each', () => {
  const config = configOf('3-1b')
  const parameters = createParameters(config, () => 'bf16')
  const adapters = createAdapters(
    parameters,
    new Map([
      ['model.layers.3.mlp.down_proj.weight', { rank: 4, scale: 2 }],
      ['model.layers.0.self_attn.k_proj.weight', { rank: 16, scale: 0.5, dropout: 0.1 }],
    ]),
  )
  const { layers } = parameters
  expect([...adapters.keys()]).toEqual([layers[0]!.key, layers[3]!.down])
  expect(adapters.get(layers[0]!.key)).toMatchObject({
    down: { role: 'weight', shape: [16, 1152], dtype: 'f32' },
    up: { shape: [256, 16] },
    scale: 0.5,
    dropout: 0.1,
  })
  expect(adapters.get(layers[3]!.down)).toMatchObject({
    down: { shape: [4, 6912], name: 'base_model.model.model.layers.3.mlp.down_proj.lora_A.weight' },
    up: { shape: [1152, 4] },
    dropout: 0,
  })
})

describe('an adapter of another model is refused', () => {
  const config = configOf('2b')
  const own = shapesOf(loraSpecs(config, ['q_proj', 'down_proj'], 4))

  test('its own is not', () => {
    expect(() => checkAdapter(config, 'a', own, ['q_proj', 'down_proj'])).not.toThrow()
  })

  test.each(['7b', '2-2b', '3-1b', '3-270m'])('one for %s', (name) => {
    const others = shapesOf(loraSpecs(configOf(name), ['q_proj', 'down_proj'], 4))
    expect(codeOf(() => checkAdapter(config, 'a', others))).toMatch(
      /^config: a adds .* trained on another model/,
    )
  })

  test('one with more layers, with fewer, with halves of two ranks', () => {
    const longer = shapesOf(loraSpecs({ ...config, numHiddenLayers: 20 }, ['q_proj'], 4))
    expect(codeOf(() => checkAdapter(config, 'a', longer))).toMatch(/layers\.18.*does not have/)
    const shorter = shapesOf(loraSpecs({ ...config, numHiddenLayers: 9 }, ['q_proj'], 4))
    expect(codeOf(() => checkAdapter(config, 'a', shorter, ['q_proj']))).toMatch(
      /^config: a has q_proj in every layer .* nothing for model\.layers\.9\./,
    )
    // Without the claim it may be meant.
    expect(() => checkAdapter(config, 'a', shorter)).not.toThrow()
    const odd = new Map(own)
    odd.set('model.layers.0.self_attn.q_proj.weight', {
      down: { shape: [4, 2048] },
      up: { shape: [2048, 8] },
    })
    expect(codeOf(() => checkAdapter(config, 'a', odd))).toMatch(/^config:/)
  })
})
