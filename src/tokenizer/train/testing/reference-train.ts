// Byte-pair encoding learned straight from its definition, as slow as that is: every step counts all pairs anew. The
// oracle of the tests; shares no code with the trainer.

/** Words as lists of characters, each with its count; pieces in the order of learning. */
export function referenceMerges(
  words: readonly (readonly [string, number])[],
  {
    merges,
    alphabet,
    allowed,
  }: {
    readonly merges: number
    readonly alphabet: ReadonlySet<string>
    readonly allowed: (piece: string) => boolean
  },
): string[] {
  const sequences = words.map(([word, count]) => ({ symbols: [...word], count }))
  const pieces: string[] = []
  while (pieces.length < merges) {
    const counts = new Map<string, number>()
    for (const { symbols, count } of sequences) {
      for (let i = 0; i + 1 < symbols.length; i++) {
        const piece = symbols[i] + symbols[i + 1]
        if (![...piece].every((character) => alphabet.has(character)) || !allowed(piece)) continue
        counts.set(piece, (counts.get(piece) ?? 0) + count)
      }
    }
    const best = [...counts].sort(
      ([a, n], [b, m]) => m - n || [...a].length - [...b].length || byPoints(a, b),
    )[0]
    if (best === undefined) return pieces
    pieces.push(best[0])
    for (const { symbols } of sequences) {
      for (let i = 0; i + 1 < symbols.length; i++) {
        if (symbols[i] + symbols[i + 1] === best[0]) symbols.splice(i, 2, best[0])
      }
    }
  }
  return pieces
}

function byPoints(a: string, b: string): number {
  const [left, right] = [[...a], [...b]]
  const at = left.findIndex((character, i) => character !== right[i])
  return left[at].codePointAt(0)! - right[at].codePointAt(0)!
}
