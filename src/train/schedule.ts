// The learning rate of every step. A function of the step alone, so that a resumed run meets the same rates. Knows
// nothing about models.

import { GemmaError } from '../error.ts'
import type { ResolvedRecipe } from './recipe.ts'

export type Schedule = ResolvedRecipe['schedule']

/** Steps of the warm-up: a share of all steps is rounded, at most up to all but one. */
export function warmupSteps({ warmup }: Schedule, steps: number): number {
  return warmup < 1 ? Math.min(Math.round(warmup * steps), steps - 1) : warmup
}

/** Refuses a warm-up that would last longer than the run. */
export function checkSchedule(schedule: Schedule, steps: number): void {
  const warm = warmupSteps(schedule, steps)
  if (warm < steps) return
  throw new GemmaError(
    'recipe',
    `schedule.warmup is ${warm} steps, but the run has ${steps}.`,
    'Shorten the warm-up, or give it as a share of the run (0.02).',
  )
}

/**
 * The rate of step `step` (1 … steps). The warm-up rises linearly and reaches `peak` at its last step; then the rate
 * falls so that the last step has `finalFraction` of it: by half a cosine (Loshchilov & Hutter 2016, arXiv 1608.03983),
 * along a line, or not at all.
 */
export function learningRateAt(step: number, steps: number, peak: number, schedule: Schedule): number {
  const warm = warmupSteps(schedule, steps)
  if (step <= warm) return (peak * step) / warm
  const progress = Math.min(1, (step - warm) / Math.max(1, steps - warm))
  const left = { cosine: (1 + Math.cos(Math.PI * progress)) / 2, linear: 1 - progress, constant: 1 }
  return peak * (schedule.finalFraction + (1 - schedule.finalFraction) * left[schedule.name])
}
