import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createTape, keep, type SamplingInputs } from '../../graph/tape.ts'
import {
  expectSame,
  INLINE,
  input,
  type OpCase,
  runOf,
  VARIANTS,
  type Variant,
  wasmFor,
} from '../testing/harness.ts'
import { normals, seeded } from '../testing/stored.ts'
import { choose, sample, samplingDistribution } from './sample.ts'

interface GoldenCase {
  readonly vector: string
  readonly temperature: number
  readonly top_k: number
  readonly top_p: number
  readonly final_logit_softcapping?: number
  readonly kept: number
  readonly probs: readonly (readonly [number, number])[]
}

const goldens = JSON.parse(
  readFileSync(new URL('../../../test/data/goldens/samplers.json', import.meta.url), 'utf8'),
) as {
  vectors: Record<string, number[]>
  greedy: Record<string, number>
  cases: GoldenCase[]
}

type Sampling = Pick<SamplingInputs, 'temperature' | 'topK' | 'topP'>

function samplingOf({ temperature, top_k: topK, top_p: topP }: GoldenCase): Sampling {
  return { temperature, topK, topP }
}

/** The golden logits, capped in float64 where the case says so. */
function logitsOf({ vector, final_logit_softcapping: cap }: GoldenCase): Float32Array {
  return Float32Array.from(goldens.vectors[vector]!, (x) => (cap ? cap * Math.tanh(x / cap) : x))
}

describe('samplingDistribution', () => {
  test('the reference draw takes the token in whose stretch the uniform number lies', () => {
    const logits = Float32Array.of(0, Math.log(2), Math.log(5))
    const token = (uniform: number, sampling: Sampling): number =>
      choose(logits, { ...sampling, uniform: Float64Array.of(uniform) }, 0).token
    const all = { temperature: 1, topK: 3, topP: 1 }
    expect([0, 0.12, 0.13, 0.37, 0.38, 0.99].map((u) => token(u, all))).toEqual([0, 0, 1, 1, 2, 2])
    // With something dropped, the likeliest come first: 5/7, 2/7.
    const two = { temperature: 1, topK: 2, topP: 1 }
    expect([0, 0.71, 0.72, 0.99].map((u) => token(u, two))).toEqual([2, 2, 1, 1])
  })

  test('every golden case: which tokens are kept, and with what probability', () => {
    expect(goldens.cases.length).toBeGreaterThan(200)
    for (const one of goldens.cases) {
      const kept = samplingDistribution(logitsOf(one), samplingOf(one))
      const where = JSON.stringify({ ...one, probs: undefined })
      expect(kept.length, where).toBe(one.kept)
      for (const [i, [token, probability]] of one.probs.entries()) {
        expect(kept[i]!.token, where).toBe(token)
        // Capped logits are rounded to float32 here, in the golden data after the cap.
        const allowed = one.final_logit_softcapping ? 1e-6 : 1e-12
        expect(Math.abs(kept[i]!.probability - probability), where).toBeLessThan(allowed)
      }
    }
  })

  test('probabilities sum to one and fall', () =>
    fc.assert(
      fc.property(
        fc.array(fc.float({ noNaN: true, min: -100, max: 100 }), { minLength: 1, maxLength: 60 }),
        fc.double({ min: 0.05, max: 5, noNaN: true }),
        fc.integer({ min: 1, max: 70 }),
        fc.double({ min: 0.01, max: 1, noNaN: true }),
        (list, temperature, topK, topP) => {
          const kept = samplingDistribution(Float32Array.from(list), { temperature, topK, topP })
          expect(kept.length).toBeLessThanOrEqual(topK)
          expect(kept.reduce((sum, { probability }) => sum + probability, 0)).toBeCloseTo(1, 12)
          for (let i = 1; i < kept.length; i++) {
            expect(kept[i]!.probability).toBeLessThanOrEqual(kept[i - 1]!.probability)
          }
        },
      ),
    ))
})

/** Draws with each uniform number on one row at a time; token and log-probability pairs. */
async function draws(
  logits: Float32Array,
  sampling: Sampling,
  uniforms: readonly number[],
  variant: Variant,
): Promise<{ token: number; logprob: number }[]> {
  const table = input(logits.length, logits)
  const backend = await wasmFor(variant, [table.entry[0]], new Map())
  await backend.load(...table.entry)
  const tape = createTape(uniforms.length)
  const out = keep(tape, sample(tape, table.on(tape)))
  const plan = backend.compile(tape)
  const uniform = Float64Array.from(uniforms)
  const tokens = uniforms.map(() => 0)
  await backend.run(plan, runOf(uniforms.length, { tokens, sampling: { ...sampling, uniform } }))
  const pairs = backend.read(plan, out, uniforms.length)
  await backend.dispose()
  return uniforms.map((_, i) => ({ token: pairs[2 * i]!, logprob: pairs[2 * i + 1]! }))
}

/** Uniform numbers from 0 to just under 1, off the fractions at which tokens of ties change. */
const GRID = [0, ...Array.from({ length: 62 }, (_, i) => (i + 0.31) / 62.7), 0.999999, 1 - 2 ** -53]

/**
 * Expects each draw of the kernel to be the token in whose stretch of [0, 1) the uniform number lies, by the
 * reference's distribution; to within 1e-6, since the kernel sums exponentials in float32.
 */
async function expectDraws(
  logits: Float32Array,
  sampling: Sampling,
  variants: readonly Variant[],
): Promise<void> {
  const kept = samplingDistribution(logits, sampling)
  const everything = sampling.topK >= logits.length && sampling.topP >= 1
  if (everything) kept.sort((a, b) => a.token - b.token)
  const stretches = new Map<number, readonly [number, number]>()
  let sum = 0
  for (const { token, probability } of kept) {
    stretches.set(token, [sum, (sum += probability)])
  }
  const largest = logits.reduce((a, b) => Math.max(a, b))
  const logTotal = Math.log(logits.reduce((all, logit) => all + Math.exp(logit - largest), 0))
  for (const variant of variants) {
    const drawn = await draws(logits, sampling, GRID, variant)
    for (const [i, { token, logprob }] of drawn.entries()) {
      const uniform = GRID[i]!
      const where = `${variant.name}, ${JSON.stringify(sampling)}, uniform ${uniform}, token ${token}`
      const [from, to] = stretches.get(token) ?? expect.fail(`${where} was dropped by the rule`)
      expect(from - 1e-6, where).toBeLessThanOrEqual(uniform)
      expect(to + 1e-6, where).toBeGreaterThanOrEqual(uniform)
      // Where ids are walked as they come, the last ids must not come up for want of a better one.
      if (everything && uniform > 0.5) expect(to - from, where).toBeGreaterThan(1e-10)
      const wanted = logits[token]! - largest - logTotal
      expect(Math.abs(logprob - wanted), where).toBeLessThan(2e-6 * Math.max(1, Math.abs(wanted)))
    }
  }
}

const EVERYTHING = { topK: 0x7fffffff, topP: 1 }

describe('sample', () => {
  test('every golden case draws what the reference draws, on a grid of uniform numbers', async () => {
    for (const one of goldens.cases) await expectDraws(logitsOf(one), samplingOf(one), INLINE.slice(0, 1))
  })

  test('the same on every form of the backend, one case of each vector', async () => {
    const seen = new Set<string>()
    for (const one of goldens.cases.filter(({ top_p: topP }) => topP === 0.9)) {
      if (seen.has(one.vector)) continue
      seen.add(one.vector)
      await expectDraws(logitsOf(one), samplingOf(one), VARIANTS)
    }
    expect(seen.size).toBe(Object.keys(goldens.vectors).length)
  })

  test('temperature 0 takes the largest logit, the first of equals', async () => {
    for (const [name, token] of Object.entries(goldens.greedy)) {
      const logits = Float32Array.from(goldens.vectors[name]!)
      const greedy = { temperature: 0, topK: 1, topP: 1 }
      expect((await draws(logits, greedy, [0.7], INLINE[0]!))[0]!.token).toBe(token)
      expect(choose(logits, { ...greedy, uniform: new Float64Array(1) }, 0).token).toBe(token)
    }
    const tied = Float32Array.of(1, 7, 3, 7, 7)
    for (const variant of VARIANTS) {
      expect((await draws(tied, { temperature: 0, topK: 1, topP: 1 }, [0.99], variant))[0]!.token).toBe(1)
    }
  })

  test('ties keep the order of ids, in every setting', async () => {
    const flat = new Float32Array(37).fill(2.5)
    const steps = Float32Array.from({ length: 64 }, (_, i) => Math.floor(i / 8) % 3)
    for (const logits of [flat, steps, new Float32Array(1), new Float32Array(1025).fill(-3)]) {
      for (const sampling of [
        { temperature: 1, ...EVERYTHING },
        { temperature: 1, topK: 5, topP: 1 },
        { temperature: 0.5, topK: 64, topP: 0.6 },
        { temperature: 2, topK: 0x7fffffff, topP: 0.3 },
      ]) {
        await expectDraws(logits, sampling, INLINE.slice(0, 1))
      }
    }
  })

  test('vocabularies of one chunk, several, and a ragged last one', async () => {
    for (const vocabulary of [1000, 1024, 1025, 2049, 5000]) {
      const logits = normals(vocabulary, vocabulary, 4)
      for (const sampling of [
        { temperature: 1, ...EVERYTHING },
        { temperature: 0.8, topK: 40, topP: 0.95 },
        { temperature: 3, topK: 0x7fffffff, topP: 0.9 },
        { temperature: 1, topK: vocabulary - 1, topP: 1 },
        { temperature: 1, topK: vocabulary, topP: 0.9999 },
      ]) {
        await expectDraws(logits, sampling, INLINE.slice(0, 2))
      }
    }
  })

  test('large and far apart logits, and temperatures from tiny to huge', async () => {
    for (const deviation of [1e-4, 300, 1e5]) {
      const logits = normals(300, 9, deviation)
      for (const temperature of [1e-30, 1e-5, 0.01, 1, 100, 1e6]) {
        await expectDraws(logits, { temperature, topK: 50, topP: 0.95 }, INLINE.slice(0, 1))
        await expectDraws(logits, { temperature, ...EVERYTHING }, INLINE.slice(0, 1))
      }
    }
  })

  test('temperatures past the range of float32 draw the most likely token, or any', async () => {
    const logits = normals(50, 3, 2)
    const [best] = await draws(logits, { temperature: 0, topK: 1, topP: 1 }, [0.5], INLINE[0]!)
    for (const temperature of [1e-31, 1e-39, 1e-45, 1e-300, Number.MIN_VALUE]) {
      for (const kept of [EVERYTHING, { topK: 5, topP: 0.9 }]) {
        for (const { token } of await draws(logits, { temperature, ...kept }, [0, 0.5, 0.99], INLINE[0]!)) {
          expect(token).toBe(best!.token)
        }
      }
    }
    const hot = await draws(logits, { temperature: 1e300, ...EVERYTHING }, [0, 0.5, 0.99], INLINE[0]!)
    expect(hot.map(({ token }) => token)).toEqual([0, 25, 49])
  })

  test('rows of one run draw with their own numbers, and the log-probability ignores the settings', () => {
    const rows = 7
    const logits = input(1500, normals(rows * 1500, 4, 3))
    const random = seeded(8)
    const cases = [1, 0.7].map((temperature): OpCase => {
      const sampling = {
        temperature,
        topK: 200,
        topP: 0.97,
        uniform: Float64Array.from({ length: rows }, random),
      }
      return {
        name: `sample at ${temperature}`,
        capacity: 8,
        weights: [logits.entry],
        build: (tape) => void sample(tape, logits.on(tape)),
        runs: [runOf(rows, { sampling }), runOf(2, { sampling, tokens: [5, 3] })],
        // Tokens are up to 1 499: any other one would show.
        tolerance: { relative: 2e-6, absolute: 1e-6 },
      }
    })
    return expectSame(cases)
  })

  test('any logits and settings', () =>
    fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 300 }),
        fc.integer(),
        fc.constantFrom(0.1, 1, 10),
        fc.constantFrom(0.3, 1, 1.7),
        fc.integer({ min: 1, max: 310 }),
        fc.constantFrom(0.1, 0.5, 0.9, 0.99, 1),
        (vocabulary, seed, deviation, temperature, topK, topP) =>
          expectDraws(normals(vocabulary, seed, deviation), { temperature, topK, topP }, INLINE.slice(0, 1)),
      ),
      { numRuns: 60 },
    ))
})
