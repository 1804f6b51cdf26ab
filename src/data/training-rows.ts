// What one run of a model learns from: the last stop of data on its way to training. Knows no file and no text.

/** Documents one after the other; the valid rows of one run. All arrays have one entry per row. */
export interface TrainingRows {
  readonly tokens: Int32Array
  /** Position within the row's own document: from 0 and up by one, without gaps. Attention relies on it. */
  readonly positions: Int32Array
  /** The document each row belongs to, counted from 0. */
  readonly sequences: Int32Array
  /** The token that each row shall predict; −1 where nothing is to be learned. */
  readonly targets: Int32Array
  /** What −log p(target) of each row counts in the loss; without it every row with a target counts 1. */
  readonly weights?: Float32Array
}

/** Rows that have something to learn: what losses are divided by. */
export function countTargets({ targets }: TrainingRows): number {
  let count = 0
  for (const target of targets) if (target >= 0) count++
  return count
}
