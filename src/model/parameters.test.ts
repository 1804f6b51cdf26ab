import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { memoryNeeded } from '../generate/load-model.ts'
import { elementCount } from '../graph/tape.ts'
import { openCheckpoint } from '../weights/open.node.ts'
import { type ModelConfig, parseConfig } from './config.ts'
import { modelSizes } from './configs.ts'
import { createParameters, parameterCounts, parameterSpecs } from './parameters.ts'

const configOf = (name: string): ModelConfig =>
  parseConfig(modelSizes.find((size) => size.name === name)!.config)

/** Rows of the embedding in Google's JAX files, which the reports count. */
const PADDED = 256_128

describe('parameterCounts', () => {
  // Gemma report (arXiv 2403.08295), table 2; Gemma 2 report (arXiv 2408.00118), table 2: exact counts.
  test.each([
    ['2b', 524_288_000, 524_550_144, 1_981_884_416],
    ['7b', 786_432_000, 786_825_216, 7_751_248_896],
    ['2-2b', 589_824_000, 590_118_912, 2_024_517_888],
    ['2-9b', 917_504_000, 917_962_752, 8_324_201_984],
    ['2-27b', 1_179_648_000, 1_180_237_824, 26_047_480_320],
  ])('%s as in its report', (name, embedding, padded, nonEmbedding) => {
    const config = configOf(name)
    expect(parameterCounts(config)).toEqual({ total: embedding + nonEmbedding, embedding, nonEmbedding })
    expect(parameterCounts({ ...config, vocabSize: PADDED })).toMatchObject({
      embedding: padded,
      nonEmbedding,
    })
  })

  // Sizes of the published safetensors files, shown on their Hugging Face pages.
  test.each([
    ['3-270m', 268_098_176],
    ['3-1b', 999_885_952],
  ])('%s as in its file', (name, total) => {
    expect(parameterCounts(configOf(name)).total).toBe(total)
  })

  // Gemma 3 report (arXiv 2503.19786), table 1, in millions; its embeddings count the projection of pictures.
  test.each([
    ['3-1b', 302, 698],
    ['3-4b', 675, 3209],
    ['3-12b', 1012, 10759],
    ['3-27b', 1416, 25600],
  ])('%s as in its report', (name, embedding, nonEmbedding) => {
    const counts = parameterCounts(configOf(name))
    expect(Math.abs(counts.nonEmbedding / 1e6 - nonEmbedding)).toBeLessThan(1)
    expect(counts.embedding / 1e6).toBeLessThanOrEqual(embedding)
    expect(counts.embedding / 1e6).toBeGreaterThan(embedding * 0.99)
  })

  test('Gemma 1 by the formula over layers', () => {
    for (const name of ['2b', '7b']) {
      const c = configOf(name)
      const [d, ff, hd] = [c.hiddenSize, c.intermediateSize, c.headDim]
      const layer = 2 * d * c.numAttentionHeads * hd + 2 * d * c.numKeyValueHeads * hd + 3 * d * ff + 2 * d
      expect(parameterCounts(c).nonEmbedding).toBe(c.numHiddenLayers * layer + d)
    }
  })
})

describe('parameterSpecs', () => {
  test('every golden checkpoint holds exactly these tensors in these shapes', async () => {
    const models = fileURLToPath(new URL('../../test/data/models/', import.meta.url))
    for (const name of readdirSync(models)) {
      const checkpoint = await openCheckpoint(`${models}${name}`)
      const specs = parameterSpecs(parseConfig(checkpoint.config))
      expect(new Set(specs.map((spec) => spec.name))).toEqual(new Set(checkpoint.tensors.keys()))
      for (const spec of specs) expect(checkpoint.tensors.get(spec.name)!.shape).toEqual(spec.shape)
      await checkpoint.close()
    }
  })

  test('the tree has the same tensors, in the same order, as the list', () => {
    for (const { config: raw } of modelSizes) {
      const config = parseConfig(raw)
      const { embedding, layers, finalNorm } = createParameters(config, ({ shape }) =>
        shape.length === 1 ? 'f32' : 'bf16',
      )
      const tensors = [embedding, ...layers.flatMap((layer) => Object.values(layer)), finalNorm]
      expect(tensors.map(({ name, shape }) => ({ name, shape }))).toEqual(parameterSpecs(config))
      expect(tensors.every(({ dtype, shape }) => dtype === (shape.length === 1 ? 'f32' : 'bf16'))).toBe(true)
      expect(new Set(tensors.map(({ id }) => id)).size).toBe(tensors.length)
    }
  })
})

describe('memoryNeeded', () => {
  test('weights by dtype, and keys and values of full and sliding layers', () => {
    for (const { config: raw } of modelSizes) {
      const config = parseConfig(raw)
      const matrices = parameterSpecs(config).filter(({ shape }) => shape.length === 2)
      const vectors = parameterSpecs(config).filter(({ shape }) => shape.length === 1)
      const count = (specs: typeof matrices): number =>
        specs.reduce((sum, { shape }) => sum + elementCount(shape), 0)
      const needs = memoryNeeded(config, ({ shape }) => (shape.length === 1 ? 'f32' : 'bf16'), 1000)
      expect(needs.weights).toBe(2 * count(matrices) + 4 * count(vectors))
      const values = 2 * config.numKeyValueHeads * config.headDim * config.numHiddenLayers
      // In float32 while that takes less than 1 GB, else in f16.
      const size = values * 4 * 1000 > 1e9 ? 2 : 4
      expect(needs.kvPerToken / values).toBe(size)
      expect(needs.kv).toBeLessThanOrEqual(1000 * needs.kvPerToken)
      const int4 = memoryNeeded(config, ({ shape }) => (shape.length === 1 ? 'f32' : 'int4'), 1000)
      // Four bits and a sixteen-bit scale for 32 values: 4.5 bits.
      expect((int4.weights - 4 * count(vectors)) / count(matrices)).toBeCloseTo(4.5 / 8, 3)
    }
  })
})
