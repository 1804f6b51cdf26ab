// What is counted while records are read, and when broken ones are too many. Knows no file.

import { GemmaError } from '../error.ts'
import type { Fitted } from './document.ts'
import type { Refusal } from './refusal.ts'
import type { BadReason, ReadCounts } from './training-data.ts'

/** Bad records that are told one by one. */
const MOST_TOLD = 10
/** Too few records say nothing about a share. */
const SHARE_FROM = 100

export interface BadLimits {
  readonly maxBadRecords: number
  readonly maxBadShare: number
}

export const NOTHING_READ: ReadCounts = {
  records: 0,
  documentsRead: 0,
  badRecords: 0,
  badByReason: {},
  firstBad: [],
  split: 0,
  truncated: 0,
  dropped: 0,
  piecesLeftOut: 0,
}

export function countDocument(counts: ReadCounts, { documents, done, leftOut }: Fitted): ReadCounts {
  return {
    ...counts,
    records: counts.records + 1,
    documentsRead: counts.documentsRead + documents.length,
    split: counts.split + (done === 'split' ? 1 : 0),
    truncated: counts.truncated + (done === 'truncated' ? 1 : 0),
    dropped: counts.dropped + (done === 'dropped' ? 1 : 0),
    piecesLeftOut: counts.piecesLeftOut + leftOut,
  }
}

/** `place`: file and line. Throws GemmaError 'data' when the limits are passed. */
export function countBad(
  counts: ReadCounts,
  { reason, detail }: Refusal,
  place: string,
  source: string,
  limits: BadLimits,
): ReadCounts {
  const told = `${place}: ${reason}: ${printable(detail)}`
  const after: ReadCounts = {
    ...counts,
    records: counts.records + 1,
    badRecords: counts.badRecords + 1,
    badByReason: { ...counts.badByReason, [reason]: (counts.badByReason[reason] ?? 0) + 1 },
    firstBad: counts.firstBad.length < MOST_TOLD ? [...counts.firstBad, told] : counts.firstBad,
  }
  const { badRecords: bad, records } = after
  const share = records >= SHARE_FROM && bad > limits.maxBadShare * records
  if (bad <= limits.maxBadRecords && !share) return after
  throw new GemmaError(
    'data',
    `Source "${source}": ${bad} of the first ${records} records cannot be used (${describeReasons(after)}); allowed are ${
      share ? `${limits.maxBadShare * 100} %` : limits.maxBadRecords
    }. ${after.firstBad.slice(0, 3).join('. ')}.`,
    'Repair or filter the data, or allow more with maxBadRecords and maxBadShare.',
  )
}

/** 'not JSON: 3, empty: 1'. */
export function describeReasons({ badByReason }: ReadCounts): string {
  return Object.entries(badByReason)
    .map(([reason, count]) => `${reason}: ${count}`)
    .join(', ')
}

export function addCounts(a: ReadCounts, b: ReadCounts): ReadCounts {
  const badByReason = { ...a.badByReason }
  for (const [reason, count] of Object.entries(b.badByReason) as [BadReason, number][]) {
    badByReason[reason] = (badByReason[reason] ?? 0) + count
  }
  return {
    records: a.records + b.records,
    documentsRead: a.documentsRead + b.documentsRead,
    badRecords: a.badRecords + b.badRecords,
    badByReason,
    firstBad: [...a.firstBad, ...b.firstBad].slice(0, MOST_TOLD),
    split: a.split + b.split,
    truncated: a.truncated + b.truncated,
    dropped: a.dropped + b.dropped,
    piecesLeftOut: a.piecesLeftOut + b.piecesLeftOut,
  }
}

/** Data may hold what moves a terminal's cursor. */
export function printable(text: string): string {
  return text.replaceAll(/\p{Cc}+/gu, ' ').slice(0, 300)
}
