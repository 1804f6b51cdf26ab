// A record that is left out, and why: an ordinary answer, since real corpora have some.

import type { BadReason } from './training-data.ts'

export interface Refusal {
  readonly reason: BadReason
  readonly detail: string
}

export function refuse(reason: BadReason, detail: string): Refusal {
  return { reason, detail }
}

export function isRefusal(value: object): value is Refusal {
  return 'reason' in value
}
