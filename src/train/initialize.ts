// The first weights of a new model. They are made row by row as they are asked for, so that a model of any size needs no
// memory for them, and each row from a seed of its own, so that they do not depend on who asks in which pieces.
// Knows no file and no backend.

import { createRandom } from '../generate/random.ts'
import type { ModelConfig } from '../model/config.ts'
import { parameterSpecs } from '../model/parameters.ts'
import type { StoredTensor } from '../weights/checkpoint.ts'
import { derivedSeed } from './seeds.ts'

/**
 * All weights of a new model: matrices from the normal distribution, norms at zero, which Gemma's (1 + weight) makes one.
 * The standard deviation is `range`, or with 'fan-in' 1 / √columns of each matrix, so that what a layer gives varies as
 * much as what it takes (LeCun et al. 1998, Efficient BackProp); for the embedding, which is scaled by √width on the
 * way in, that is an input of variance 1, and as output head logits of variance 1. At Gemma 2B's width of 2048 it is
 * 0.022, which is transformers' 0.02; small models, whose 1 / √columns is larger, learn much faster with it.
 */
export function initialWeights(
  config: ModelConfig,
  { seed, range }: { readonly seed: number; readonly range: number | 'fan-in' },
): Map<string, StoredTensor> {
  const tensors = parameterSpecs(config).map(({ name, shape }): [string, StoredTensor] => {
    const columns = shape.at(-1)!
    const deviation = range === 'fan-in' ? 1 / Math.sqrt(columns) : range
    return [
      name,
      {
        ...{ name, shape, encoding: 'F32', subtract: 0, rowBytes: 4 * columns },
        async readRows(from, into) {
          const rows = into.byteLength / (4 * columns)
          const values = new Float32Array(rows * columns)
          if (shape.length > 1) {
            for (let row = 0; row < rows; row++) {
              const random = createRandom(derivedSeed(seed, 'weights', name, from + row))
              fillNormal(values.subarray(row * columns, (row + 1) * columns), random, deviation)
            }
          }
          into.set(new Uint8Array(values.buffer))
        },
      },
    ]
  })
  return new Map(tensors)
}

/** Box and Muller's method (1958): two normal numbers from two uniform ones. */
function fillNormal(into: Float32Array, random: () => number, deviation: number): void {
  for (let i = 0; i < into.length; i += 2) {
    const radius = deviation * Math.sqrt(-2 * Math.log(1 - random())) // 1 − u is never 0
    const angle = 2 * Math.PI * random()
    into[i] = radius * Math.cos(angle)
    if (i + 1 < into.length) into[i + 1] = radius * Math.sin(angle)
  }
}
