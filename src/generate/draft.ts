// Guesses how a text goes on by looking up where its last tokens stood before (prompt look-up decoding, Saxena
// 2023; the guesses are checked by the model, Leviathan et al. 2022, arXiv 2211.17192). Knows only token ids.

export interface Draft {
  readonly tokens: readonly number[]
  /** How many of the last tokens stood together before: the longer, the better the guess. 0: no guess. */
  readonly matched: number
}

/** Longer agreement is not looked for: it says nothing more. */
export const LONGEST_MATCH = 4

const NONE: Draft = { tokens: [], matched: 0 }

/** At most `most` tokens that followed the latest of the longest earlier occurrences of the last tokens. */
export function lookUpDraft(tokens: readonly number[], most: number): Draft {
  if (most <= 0) return NONE
  const last = tokens.length - 1
  let matched = 0
  let found = -1
  for (let end = last - 1; end >= 0 && matched < LONGEST_MATCH; end--) {
    if (tokens[end] !== tokens[last]) continue
    let length = 1
    while (length < LONGEST_MATCH && length <= end && tokens[end - length] === tokens[last - length]) length++
    if (length > matched) {
      matched = length
      found = end
    }
  }
  if (matched === 0) return NONE
  const draft: number[] = []
  // What followed may run into the end of the text: then the text repeats itself, and so does the guess.
  for (let at = found + 1; draft.length < most; at++) draft.push(tokens[at] ?? draft[at - tokens.length]!)
  return { tokens: draft, matched }
}
