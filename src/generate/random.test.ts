import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createRandom, createUniforms } from './random.ts'

const MASK = 0xffffffffn

/** The published algorithms in plain big integers: splitmix32 fills the state, xoshiro128** makes the words. */
function words(seed: bigint): () => bigint {
  let state = (BigInt.asUintN(64, seed) ^ BigInt.asUintN(64, seed >> 32n)) & MASK
  const split = (): bigint => {
    state = (state + 0x9e3779b9n) & MASK
    let z = state ^ (state >> 16n)
    z = (z * 0x21f0aaadn) & MASK
    z = ((z ^ (z >> 15n)) * 0x735a2d97n) & MASK
    return z ^ (z >> 15n)
  }
  const s = [split(), split(), split(), split()] as [bigint, bigint, bigint, bigint]
  const rotate = (x: bigint, k: bigint): bigint => ((x << k) | (x >> (32n - k))) & MASK
  return () => {
    const result = (rotate((s[1] * 5n) & MASK, 7n) * 9n) & MASK
    const t = (s[1] << 9n) & MASK
    s[2] ^= s[0]
    s[3] ^= s[1]
    s[1] ^= s[2]
    s[0] ^= s[3]
    s[2] ^= t
    s[3] = rotate(s[3], 11n)
    return result
  }
}

test('is the published generator, 53 bits at a time', () => {
  fc.assert(
    fc.property(fc.maxSafeInteger(), (seed) => {
      const next = words(BigInt(seed))
      const random = createRandom(seed)
      for (let i = 0; i < 50; i++) {
        const [high, low] = [next() >> 5n, next() >> 6n]
        expect(random()).toBe(Number((high << 26n) | low) / 2 ** 53)
      }
    }),
  )
})

test('keeps its numbers from version to version', () => {
  const random = createRandom(42)
  expect([random(), random(), random()]).toEqual([
    0.15377165265745885, 0.018084542542176507, 0.5348906284683476,
  ])
})

test('is uniform: 1 000 000 numbers in 64 cells', () => {
  const random = createRandom(7)
  const cells = new Array<number>(64).fill(0)
  for (let i = 0; i < 1_000_000; i++) cells[Math.floor(random() * 64)]!++
  const expected = 1_000_000 / 64
  const chiSquare = cells.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)
  // 63 degrees of freedom: mean 63, deviation 11.
  expect(chiSquare).toBeGreaterThan(63 - 5 * 11)
  expect(chiSquare).toBeLessThan(63 + 5 * 11)
})

test('neighbouring seeds give unlike numbers', () => {
  const firsts = Array.from({ length: 1000 }, (_, seed) => createRandom(seed)())
  const mean = firsts.reduce((a, b) => a + b, 0) / firsts.length
  expect(new Set(firsts).size).toBe(1000)
  // Deviation of the mean of 1 000 uniform numbers: 0.0091.
  expect(Math.abs(mean - 0.5)).toBeLessThan(5 * 0.0091)
})

test('a token gets the same number however many are drawn in one go', () => {
  fc.assert(
    fc.property(fc.nat(), fc.array(fc.tuple(fc.nat({ max: 8 }), fc.nat({ max: 8 }))), (seed, steps) => {
      const uniforms = createUniforms(seed)
      const random = createRandom(seed)
      const all = Array.from({ length: 100 + 8 * steps.length }, () => random())
      let at = 0
      for (const [a, b] of steps) {
        const [peeked, used] = [Math.max(a, b), Math.min(a, b)]
        expect([...uniforms.peek(peeked)]).toEqual(all.slice(at, at + peeked))
        uniforms.drop(used)
        at += used
      }
    }),
  )
})
