// The generator behind sampling: xoshiro128** (Blackman & Vigna 2018, prng.di.unimi.it) seeded by splitmix32,
// so that a seed gives the same text on every machine and any number of threads.

/** Uniform numbers in [0, 1) with 53 random bits. */
export function createRandom(seed: number): () => number {
  let state = Number(BigInt.asUintN(32, BigInt(seed) ^ (BigInt(seed) >> 32n)))
  const word = (): number => {
    state = (state + 0x9e3779b9) | 0
    let z = state ^ (state >>> 16)
    z = Math.imul(z, 0x21f0aaad)
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
    return (z ^ (z >>> 15)) >>> 0
  }
  let [a, b, c, d] = [word(), word(), word(), word()]
  const rotate = (x: number, k: number): number => (x << k) | (x >>> (32 - k))
  const next = (): number => {
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0
    const t = b << 9
    c ^= a
    d ^= b
    b ^= c
    a ^= d
    c ^= t
    d = rotate(d, 11)
    return result
  }
  return () => ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / 2 ** 53
}

/** The uniform numbers of an answer: the i-th belongs to its i-th token, however many are drawn in one go. */
export interface Uniforms {
  /** The numbers of the next `count` tokens. */
  peek(count: number): Float64Array
  /** Says that so many tokens were drawn. */
  drop(count: number): void
}

export function createUniforms(seed: number): Uniforms {
  const random = createRandom(seed)
  const ahead: number[] = []
  return {
    peek(count) {
      while (ahead.length < count) ahead.push(random())
      return Float64Array.from(ahead.slice(0, count))
    },
    drop: (count) => void ahead.splice(0, count),
  }
}
