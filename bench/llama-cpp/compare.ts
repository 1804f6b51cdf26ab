// How far two engines' next-token distributions are apart. Knows only rows of logits.

const TOP = 10

export interface Distance {
  positions: number
  /** Largest difference of log-probability over the ten likeliest tokens of a position. */
  top: number
  /** KL divergence from the expected distribution in nats: the mean, and that of the worst position. */
  mean: number
  worst: number
  /** Positions with the same likeliest token. */
  agree: number
}

/** Distance between rows of logits; a not-a-number anywhere makes it one. */
export function distance(expected: readonly Float32Array[], actual: readonly Float32Array[]): Distance {
  const result = { positions: expected.length, top: 0, mean: 0, worst: 0, agree: 0 }
  expected.forEach((row, i) => {
    const p = logSoftmax(row)
    const q = logSoftmax(actual[i]!)
    const ranks = Array.from(p.keys()).sort((a, b) => p[b]! - p[a]!)
    for (const token of ranks.slice(0, TOP))
      result.top = Math.max(result.top, Math.abs(p[token]! - q[token]!))
    const divergence = p.reduce((sum, l, token) => sum + Math.exp(l) * (l - q[token]!), 0)
    result.mean += divergence / expected.length
    result.worst = Math.max(result.worst, divergence)
    if (q.indexOf(Math.max(...q)) === ranks[0]) result.agree++
  })
  return result
}

/** Rows of a matrix, as views. */
export function rowsOf(values: Float32Array, columns: number): Float32Array[] {
  return Array.from({ length: values.length / columns }, (_, i) =>
    values.subarray(i * columns, (i + 1) * columns),
  )
}

function logSoftmax(logits: Float32Array): Float64Array {
  const largest = Math.max(...logits)
  const total = Math.log(logits.reduce((sum, l) => sum + Math.exp(l - largest), 0))
  return Float64Array.from(logits, (l) => l - largest - total)
}
