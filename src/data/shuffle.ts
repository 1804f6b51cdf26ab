// Order by chance that is the same everywhere: a generator made from any words, so that each window, block and epoch
// has one of its own and nothing of it needs to be remembered. Knows nothing about data.

/** Uniform 32-bit numbers, the same for the same words: splitmix32 from a hash (FNV-1a) of them. */
export function createGenerator(...words: readonly (string | number)[]): () => number {
  let state = 0x811c9dc5
  for (const letter of JSON.stringify(words)) state = Math.imul(state ^ letter.codePointAt(0)!, 0x01000193)
  return () => {
    state = (state + 0x9e3779b9) | 0
    let z = state ^ (state >>> 16)
    z = Math.imul(z, 0x21f0aaad)
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
    return (z ^ (z >>> 15)) >>> 0
  }
}

/** Puts the items into another order, in place: each order is as likely (Fisher and Yates). */
export function shuffle<T>(items: T[], random: () => number): void {
  for (let i = items.length - 1; i > 0; i--) {
    const other = Math.floor((random() / 2 ** 32) * (i + 1))
    const item = items[i]!
    items[i] = items[other]!
    items[other] = item
  }
}
