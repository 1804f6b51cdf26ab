// Seeds that follow from the recipe's one seed and from what they are for, so that nothing random needs a state that a
// checkpoint would have to keep: step 700 draws the same numbers whether or not the run was interrupted before it.

/** A whole number of 32 bits from a seed and any words and numbers: FNV-1a over their text, then mixed (murmur3's end). */
export function derivedSeed(seed: number, ...purpose: readonly (string | number)[]): number {
  let hash = 0x811c9dc5
  for (const letter of [seed, ...purpose].join('/')) {
    hash = Math.imul(hash ^ letter.codePointAt(0)!, 0x01000193)
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
