// Decides how many guessed tokens are worth checking. A run over several rows costs more than a run over one,
// and gains the tokens that turn out right: with a chance p for each, 1 + p + … + pᵏ tokens for k guesses
// (Leviathan et al. 2022, arXiv 2211.17192, eq. 1). Both the chance and the costs are measured as it goes.

import { type Draft, LONGEST_MATCH, lookUpDraft } from './draft.ts'

/** Milliseconds of a decoding run by its rows, for one engine: generations share what was learned. */
export interface StepCosts {
  record(rows: number, milliseconds: number): void
  /** Expected milliseconds; undefined while even one row is unknown. */
  of(rows: number): number | undefined
}

export interface Speculation {
  /** A draft for the tokens after `tokens`, at most `most` long; often empty. */
  draft(tokens: readonly number[], most: number): readonly number[]
  /** Says what was drawn for the last draft, and how long the run took (undefined: not representative). */
  learn(drawn: readonly number[], milliseconds: number | undefined): void
}

/** With the last token that makes eight rows, to which attention and few-row kernels are cut. */
export const LONGEST_DRAFT = 7

/** A draft must promise so much more speed than none. */
const MARGIN = 1.05
/** After so many chances that were let pass the costs are measured again; doubles each time in vain. */
const FIRST_PATIENCE = 16
const LAST_PATIENCE = 1024
/** Old guesses count ever less. */
const MEMORY = 0.93

export function createStepCosts(): StepCosts {
  const known = new Map<number, number>()
  // The first run of one row, and the first of several, compile their plans: they are left out.
  const compiled = new Set<boolean>()
  return {
    record(rows, milliseconds) {
      if (!compiled.has(rows > 1)) {
        compiled.add(rows > 1)
        return
      }
      const old = known.get(rows)
      // Disturbances only ever make a run slower, so that a faster one says more.
      const weight = old === undefined ? 1 : milliseconds < old ? 0.5 : 0.1
      known.set(rows, (old ?? 0) * (1 - weight) + milliseconds * weight)
    },
    of(rows) {
      if (known.has(rows) || !known.has(1)) return known.get(rows)
      const sizes = [...known.keys()].sort((a, b) => a - b)
      const below = sizes.filter((size) => size < rows).pop()!
      const above = sizes.find((size) => size > rows)
      const low = known.get(below)!
      // What is not known is hoped to be cheap: then it is tried, and known.
      if (above === undefined) return low * (1 + 0.05 * (rows - below))
      return low + ((known.get(above)! - low) * (rows - below)) / (above - below)
    },
  }
}

/** 'auto' drafts while it pays, true always, false never. */
export function createSpeculation(mode: boolean | 'auto', costs: StepCosts): Speculation {
  if (mode === false) return { draft: () => [], learn() {} }
  const chances = Array.from({ length: LONGEST_MATCH + 1 }, (_, matched) => createChance(0.2 * matched))
  let offered: Draft = { tokens: [], matched: 0 }
  let used = 0
  let skipped = 0
  let patience = FIRST_PATIENCE
  return {
    draft(tokens, most) {
      offered = lookUpDraft(tokens, Math.min(most, LONGEST_DRAFT))
      used = offered.tokens.length
      if (mode === 'auto' && used > 0) {
        const chance = chances[offered.matched]!.value()
        used = bestLength(chance, used, costs, skipped >= patience ? 0 : MARGIN)
        if (skipped >= patience && used > 0) {
          skipped = 0
          patience = Math.min(LAST_PATIENCE, patience * 2)
        } else if (used > 0) patience = FIRST_PATIENCE
        else if (chance > 0.5) skipped++
      }
      return offered.tokens.slice(0, used)
    },
    learn(drawn, milliseconds) {
      if (milliseconds !== undefined) costs.record(1 + used, milliseconds)
      const chance = chances[offered.matched]!
      // Also a guess that was not used tells how good guesses are.
      const tried = Math.max(used, Math.min(1, offered.tokens.length))
      for (let i = 0; i < Math.min(tried, drawn.length); i++) chance.add(drawn[i] === offered.tokens[i])
    },
  }
}

/** The number of guesses that promises most tokens per millisecond; 0 when none is `margin` times better. */
function bestLength(chance: number, most: number, costs: StepCosts, margin: number): number {
  const single = costs.of(1)
  if (single === undefined) return 0
  let best = 0
  let bestRate = margin / single
  let expected = 1
  for (let length = 1; length <= most; length++) {
    expected += chance ** length
    const rate = expected / costs.of(1 + length)!
    if (rate > bestRate) {
      bestRate = rate
      best = length
    }
  }
  return best
}

/** How often guesses of a kind are right, lately. */
function createChance(guess: number): { value(): number; add(right: boolean): void } {
  let tries = 4
  let rights = tries * guess
  return {
    value: () => rights / tries,
    add(right) {
      tries = tries * MEMORY + 1
      rights = rights * MEMORY + (right ? 1 : 0)
    },
  }
}
