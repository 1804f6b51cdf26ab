// A model that learns in microseconds, for tests of what goes on around one: it has the weights of a tiny Gemma, but its
// loss is a sum of squares, one for each target, over entries that tokens and positions choose. All the same every step
// depends on every one before it: its optimiser has momentum, and its gradients feel the seed of dropout.

import { setTimeout as pause } from 'node:timers/promises'
import type { TrainingRows } from '../../data/training-rows.ts'
import { throwIfAborted } from '../../error.ts'
import { elementCount } from '../../graph/tape.ts'
import { type ModelConfig, parseConfig } from '../../model/config.ts'
import { parameterSpecs } from '../../model/parameters.ts'
import { readFloats } from '../../weights/encodings.ts'
import { derivedSeed } from '../seeds.ts'
import type { RunLoss, TrainingModel, TrainingModelOptions } from '../training-model.ts'

/** config.json of the fake: as small as a Gemma can be. */
export const FAKE_CONFIG: Readonly<Record<string, unknown>> = {
  model_type: 'gemma',
  vocab_size: 64,
  hidden_size: 8,
  intermediate_size: 16,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 4,
  max_position_embeddings: 64,
}

export interface FakeOptions {
  /** Milliseconds that each run takes. */
  readonly delay?: number
  /** Run (counted from 1 over the life of the model) whose loss is not a number. */
  readonly breakAt?: number
}

export function fakeModel(
  config: ModelConfig = parseConfig(FAKE_CONFIG),
  { delay = 0, breakAt }: FakeOptions = {},
): TrainingModel {
  const trainable = parameterSpecs(config)
  const make = (): Map<string, Float32Array> =>
    new Map(trainable.map(({ name, shape }) => [name, new Float32Array(elementCount(shape))]))
  const [weights, gradients, momenta] = [make(), make(), make()]
  const optimizerState = trainable.map(({ name, shape }) => ({ name: `${name}.m`, shape }))
  let runs = 0

  const look = (rows: TrainingRows, learn?: { scale: number; seed: number }): RunLoss => {
    const result = { loss: 0, targets: 0, correct: 0 }
    for (let i = 0; i < rows.tokens.length; i++) {
      if (rows.targets[i]! < 0) continue
      const place = derivedSeed(rows.tokens[i]!, rows.positions[i]!)
      const { name } = trainable[place % trainable.length]!
      const index = place % weights.get(name)!.length
      const error = weights.get(name)![index]! - (rows.tokens[i]! % 7) / 7
      result.loss += (error * error) / 2
      result.targets++
      if (Math.abs(error) < 0.1) result.correct++
      if (learn === undefined) continue
      const noise = 1 + (derivedSeed(learn.seed, i) % 100) / 1000
      gradients.get(name)![index]! += learn.scale * error * noise
    }
    return result
  }

  return {
    ...{ config, rows: 64, contextLength: 64, lora: undefined, trainable, optimizerState },
    description: 'a fake',
    async accumulate(rows, { scale, seed = 0, signal }) {
      throwIfAborted(signal)
      if (delay > 0) await pause(delay)
      throwIfAborted(signal)
      const result = look(rows, { scale, seed })
      return ++runs === breakAt ? { ...result, loss: Number.NaN } : result
    },
    async evaluate(rows, { signal } = {}) {
      throwIfAborted(signal)
      return look(rows)
    },
    async gradientNorm() {
      let sum = 0
      for (const values of gradients.values()) for (const value of values) sum += value * value
      return Math.sqrt(sum)
    },
    async update({ learningRate, gradientScale }) {
      for (const { name } of trainable) {
        const [weight, gradient, momentum] = [weights, gradients, momenta].map((map) => map.get(name)!)
        for (let i = 0; i < weight!.length; i++) {
          momentum![i] = 0.9 * momentum![i]! + gradientScale * gradient![i]!
          weight![i]! -= learningRate * momentum![i]!
        }
        gradient!.fill(0)
      }
    },
    async resetGradients() {
      for (const values of gradients.values()) values.fill(0)
    },
    read: async (name) => weights.get(name)!.slice(),
    write: async (name, values) => weights.get(name)!.set(values),
    readGradient: async (name) => gradients.get(name)!.slice(),
    readState: async (name) => momenta.get(name.replace(/\.m$/, ''))!.slice(),
    writeState: async (name, values) => momenta.get(name.replace(/\.m$/, ''))!.set(values),
    memoryBytes: () => ({ weights: 0, gradients: 0, optimizer: 0, scratch: 0 }),
    dispose: async () => {},
  }
}

/** In the place of createTrainingModel. */
export async function createFakeModel(
  options: TrainingModelOptions,
  fake: FakeOptions = {},
): Promise<TrainingModel> {
  const model = fakeModel(options.config, fake)
  for (const { name } of model.trainable)
    await model.write(name, await readFloats(options.weights.get(name)!))
  return model
}

/** All values that training changes, by name. */
export async function valuesOf(model: TrainingModel): Promise<Map<string, Float32Array>> {
  const values = new Map<string, Float32Array>()
  for (const { name } of model.trainable) values.set(name, await model.read(name))
  for (const { name } of model.optimizerState) values.set(name, await model.readState(name))
  return values
}
