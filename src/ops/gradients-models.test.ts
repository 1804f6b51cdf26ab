// The way back through whole models of the three generations: against differences, and the kernels against the
// reference.

import { describe, expect, test } from 'vitest'
import type { Adapters, Tape, Tensor } from '../graph/tape.ts'
import { createRowState, type ModelState } from '../model/blocks.ts'
import type { ModelConfig } from '../model/config.ts'
import { createAdapters, loraSpecs } from '../model/lora.ts'
import { head, models } from '../model/model.ts'
import { createParameters, type Parameters } from '../model/parameters.ts'
import {
  expectDifferences,
  gradientsOf,
  type Learning,
  learningCase,
  type Numbers,
  positionsOf,
  recordLearning,
} from './testing/differences.ts'
import { expectSame, type OpCase, runOf } from './testing/harness.ts'
import { normals } from './testing/stored.ts'

interface Toy {
  readonly config: ModelConfig
  readonly parameters: Parameters
  readonly state: ModelState
  readonly weights: Numbers
  readonly constants: Numbers
}

const VOCABULARY = 11
const DOCUMENTS = [4, 1, 3]
const RUN = {
  ...runOf(8, { tokens: [3, 1, 4, 1, 5, 9, 2, 6], positions: positionsOf(DOCUMENTS) }),
  seed: 77,
}

function toy(generation: 1 | 2 | 3): Toy {
  const config: ModelConfig = {
    generation,
    ...{ vocabSize: VOCABULARY, hiddenSize: 8, intermediateSize: 12, numHiddenLayers: 2 },
    ...{ numAttentionHeads: 4, numKeyValueHeads: 2, headDim: 4, maxPositionEmbeddings: 16 },
    ...{ rmsNormEps: 1e-6, queryPreAttnScalar: 5, slidingWindow: 2 },
    attnLogitSoftcapping: generation === 2 ? 3 : 0,
    finalLogitSoftcapping: generation === 2 ? 4 : 0,
    layerTypes: generation === 1 ? ['full', 'full'] : ['sliding', 'full'],
    ...{
      ropeTheta: 1000,
      ropeFactor: generation === 3 ? 2 : 1,
      ropeLocalTheta: generation === 3 ? 100 : 1000,
    },
    ...{ bosTokenId: 2, padTokenId: 0, eosTokenIds: [1] },
  }
  const parameters = createParameters(config, () => 'f32')
  const state = createRowState(config, config.maxPositionEmbeddings)
  const tensors = [
    parameters.embedding,
    ...parameters.layers.flatMap((layer) => Object.values(layer) as Tensor[]),
    parameters.finalNorm,
  ]
  const weights = tensors.map((tensor, i) => [tensor, valuesFor(tensor, i)] as const)
  return { config, parameters, state, weights, constants: [...state.constants] }
}

function valuesFor({ shape }: Tensor, seed: number): Float32Array {
  const count = shape.reduce((a, b) => a * b)
  return normals(count, 100 + seed, shape.length === 1 ? 0.3 : 0.4)
}

/** Hidden states and logits of a whole model; the embedding is used on the way in and on the way out. */
function ofModel(generation: 1 | 2 | 3, adapted?: { dropout: number }): Learning {
  const { config, parameters, state, weights, constants } = toy(generation)
  const build = (tape: Tape): Tensor =>
    head(tape, config, parameters, models[generation](tape, config, parameters, state))
  if (!adapted) return { learned: weights, fixed: constants, build, run: RUN }
  const adapters = adaptersOf(config, parameters, adapted.dropout)
  const learned = [...adapters.values()].flatMap(({ down, up }, i) =>
    [down, up].map((tensor, half) => [tensor, valuesFor(tensor, 50 + 2 * i + half)] as const),
  )
  return { learned, fixed: [...weights, ...constants], build, run: RUN, adapters }
}

function adaptersOf(config: ModelConfig, parameters: Parameters, rate: number): Adapters {
  const targets = ['q_proj', 'v_proj', 'o_proj', 'gate_proj', 'down_proj']
  const layers = loraSpecs(config, targets, 2).map(
    ({ weight: name }) => [name, { rank: 2, scale: 0.7, dropout: rate }] as const,
  )
  return createAdapters(parameters, new Map(layers))
}

describe.each([1, 2, 3] as const)('the way back through a model of generation %s', (generation) => {
  test('every weight, against differences', () => expectDifferences(ofModel(generation), { most: 24 }))

  test('adapters with dropout on a frozen base', () =>
    expectDifferences(ofModel(generation, { dropout: 0.25 }), { most: 12 }))

  test('recomputed inner values give the same bits', async () => {
    for (const one of [ofModel(generation), ofModel(generation, { dropout: 0.25 })]) {
      expect(await gradientsOf(one, { checkpointing: true })).toEqual(await gradientsOf(one))
    }
  })

  test('the kernels do what the reference does', () => expectSame(modelCases(generation)))
})

/** A model and its way back as cases of the harness. */
function modelCases(generation: 1 | 2 | 3): OpCase[] {
  return [ofModel(generation), ofModel(generation, { dropout: 0.25 })].flatMap((one, i) =>
    [false, true].map((checkpointing): OpCase => learningCase(`model ${i}`, one, { checkpointing })),
  )
}

describe('what is frozen', () => {
  test('is not in the way back: no step adds to it, none stands before the first adapter', () => {
    const one = ofModel(2, { dropout: 0.25 })
    const { tape, accumulators } = recordLearning(one)
    const names = tape.steps.map(({ op }) => op.name)
    const count = (name: string): number => names.filter((other) => other === name).length
    const targets = one.learned.length
    expect(accumulators.size).toBe(targets)
    // One for each matrix of an adapter, none for weights, norms and the embedding.
    expect(count('linearWeightGradient')).toBe(targets)
    expect(count('rmsNormWeightGradient')).toBe(0)
    expect(count('embedTableGradient')).toBe(0)
    const changed = tape.steps
      .filter(({ outputs }) => outputs.length === 0)
      .map(({ inputs }) => inputs.at(-1)!)
    expect(new Set(changed)).toEqual(new Set(accumulators.values()))
    // The first layer's input depends on nothing that learns: its norm has no gradient.
    expect(count('rmsNorm') - count('rmsNormInputGradient')).toBe(1)
  })
})
