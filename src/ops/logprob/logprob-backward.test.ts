import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createReferenceBackend } from '../../backends/reference.ts'
import { persistentTensor, type RunInputs, type Tape, type Tensor } from '../../graph/tape.ts'
import { createRowState } from '../../model/blocks.ts'
import type { ModelConfig } from '../../model/config.ts'
import { createParameters } from '../../model/parameters.ts'
import { type LearningModel, recordTraining } from '../../train/training-plans.ts'
import { expectSlopes, type Numbers, positionsOf } from '../testing/differences.ts'
import { expectSame, INLINE, input, type OpCase, runOf } from '../testing/harness.ts'
import { normals, seeded } from '../testing/stored.ts'
import { logprob } from './logprob.ts'
import { logprobGradient } from './logprob-backward.ts'

/** Slices of a vocabulary, their running softmax, and the gradients of all. */
function gradientCase(widths: readonly number[], rows: number, deviation: number): OpCase {
  const slices = widths.map((width, i) => input(width, normals(rows * width, width + i, deviation)))
  const vocabulary = widths.reduce((a, b) => a + b, 0)
  const random = seeded(vocabulary + rows)
  const targets = Array.from({ length: rows }, (_, t) =>
    t % 5 === 4 ? -1 : Math.floor(random() * vocabulary),
  )
  const run: RunInputs = { ...runOf(rows, { targets }), weights: Float32Array.from(targets, (_, t) => t / 3) }
  return {
    name: `${rows} × ${widths.join(' + ')}, deviation ${deviation}`,
    capacity: rows + 1,
    training: true,
    weights: slices.map(({ entry }) => entry),
    build: (tape) => void recordSlices(tape, slices, widths),
    runs: [run],
    // Each logit near 1000 carries an error of 3e-5 into its exponential.
    tolerance: { relative: 2e-6, absolute: 2e-6 + 1e-7 * deviation },
  }
}

function recordSlices(
  tape: Tape,
  slices: readonly ReturnType<typeof input>[],
  widths: readonly number[],
): void {
  const logits = slices.map((slice) => slice.on(tape))
  let state: Tensor | undefined
  let from = 0
  for (const [i, slice] of logits.entries()) {
    state = logprob(tape, slice, from, state)
    from += widths[i]!
  }
  for (const [i, slice] of logits.entries().toArray().reverse()) {
    from -= widths[i]!
    logprobGradient(tape, slice, state!, from)
  }
}

/** A model whose vocabulary is taken in two slices, the second of eight tokens. */
function largeVocabulary(softcap: number): { model: LearningModel; weights: Numbers } {
  const config: ModelConfig = {
    ...{ generation: 2, vocabSize: 8200, hiddenSize: 4, intermediateSize: 4, numHiddenLayers: 1 },
    ...{ numAttentionHeads: 1, numKeyValueHeads: 1, headDim: 4, maxPositionEmbeddings: 8 },
    ...{ rmsNormEps: 1e-6, queryPreAttnScalar: 4, slidingWindow: 8, attnLogitSoftcapping: 0 },
    ...{ finalLogitSoftcapping: softcap, layerTypes: ['full'] },
    ...{
      ropeTheta: 1000,
      ropeFactor: 1,
      ropeLocalTheta: 1000,
      bosTokenId: 2,
      padTokenId: 0,
      eosTokenIds: [1],
    },
  }
  const parameters = createParameters(config, () => 'f32')
  const layers = parameters.layers.flatMap((layer) => Object.values(layer) as Tensor[])
  const weights = [parameters.embedding, ...layers, parameters.finalNorm].map((tensor, i) => {
    const count = tensor.shape.reduce((a, b) => a * b)
    return [tensor, normals(count, i, tensor.shape.length === 1 ? 0.2 : 0.7)] as const
  })
  return { model: { config, parameters, state: createRowState(config, 8) }, weights }
}

describe('the gradient of the log-probability', () => {
  test('vocabularies in one slice and in several, rows with and without a target, weighted', () =>
    expectSame([
      gradientCase([1], 1, 1),
      gradientCase([7], 6, 1),
      gradientCase([1000], 3, 4),
      gradientCase([512, 1, 2, 3, 64], 33, 10),
      gradientCase([100, 100], 7, 1e3),
    ]))

  test('any slices', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: -2, max: 2 }),
        (widths, rows, power) => expectSame([gradientCase(widths, rows, 10 ** power)], INLINE),
      ),
      { numRuns: 20 },
    ))

  test.each([0, 5])(
    'a loss in slices whose logits are made again, against differences; cap %s',
    async (cap) => {
      const { model, weights } = largeVocabulary(cap)
      const accumulators = new Map(
        weights.map(([tensor]) => [tensor, persistentTensor('state', 'gradient', tensor.shape, 'f32')]),
      )
      const constants = new Map(model.state.constants)
      const tensors = [...accumulators].flat()
      const backend = createReferenceBackend({ tensors, constants, precision: 'f64' })
      for (const [tensor, values] of weights) backend.held(tensor).set(values)
      const documents = [3, 2]
      const [tokens, targets] = [
        [5, 8195, 17, 3000, 8191],
        [8195, 17, -1, 8191, 8199],
      ]
      const weighting = Float32Array.of(1, 0.25, 9, 2, 0.5)
      const run: RunInputs = {
        ...runOf(5, { tokens, targets, positions: positionsOf(documents) }),
        weights: weighting,
      }
      const training = recordTraining(model, { rows: 5, adapters: new Map(), accumulators })
      await backend.run(backend.compile(training.tape), run)
      const gradients = new Map([...accumulators].map(([tensor, at]) => [tensor, backend.held(at)]))
      const { tape, scores } = recordTraining(model, { rows: 5, adapters: new Map() })
      const plan = backend.compile(tape)
      const loss = async (): Promise<number> => {
        await backend.run(plan, run)
        const states = backend.valueOf(plan, scores)
        let sum = 0
        targets!.forEach((target, t) => {
          const [largest, total, logit] = states.subarray(4 * t, 4 * t + 3)
          if (target >= 0) sum += weighting[t]! * (largest! + Math.log(total!) - logit!)
        })
        return sum
      }
      expect(await loss()).toBeGreaterThan(10)
      await expectSlopes(weights, gradients, backend, loss, { most: 6 })
    },
  )
})
