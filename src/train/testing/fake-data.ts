// Endless (or so many) runs made from a seed, whose position is a number, for tests of what takes data.

import type { TrainingRows } from '../../data/training-rows.ts'
import { createRandom } from '../../generate/random.ts'
import { derivedSeed } from '../seeds.ts'

export interface FakeData {
  next(progress: number): Promise<TrainingRows | undefined>
  position(): unknown
  /** What `next` was told. */
  readonly heard: number[]
}

export function fakeData(
  seed = 1,
  { from = 0, runs = Number.POSITIVE_INFINITY }: { readonly from?: number; readonly runs?: number } = {},
): FakeData {
  let taken = from
  const heard: number[] = []
  return {
    heard,
    async next(progress) {
      heard.push(progress)
      return taken < runs ? fakeRows(derivedSeed(seed, taken++)) : undefined
    },
    position: () => ({ taken }),
  }
}

/** One to three documents with 10 to 40 rows in all. */
export function fakeRows(seed: number): TrainingRows {
  const random = createRandom(seed)
  const lengths = Array.from({ length: 1 + Math.floor(3 * random()) }, () => 10 + Math.floor(4 * random()))
  const sequences = lengths.flatMap((length, i) => new Array<number>(length).fill(i))
  const positions = lengths.flatMap((length) => Array.from({ length }, (_, i) => i))
  const tokens = positions.map((position) => (position === 0 ? 2 : 3 + Math.floor(60 * random())))
  const targets = tokens.map((_, i) => (positions[i + 1] === positions[i]! + 1 ? tokens[i + 1]! : -1))
  return {
    tokens: Int32Array.from(tokens),
    positions: Int32Array.from(positions),
    sequences: Int32Array.from(sequences),
    targets: Int32Array.from(targets),
  }
}
