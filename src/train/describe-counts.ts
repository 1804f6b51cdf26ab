// What became of the data, in a line for people: what was learned from, and everything that was left out, with the reason.

import type { DataCounts } from '../data/training-data.ts'

/** '5,120 documents, 1,048,000 tokens (97 % of the rows filled); 3 records left out: 2 empty, 1 not JSON (first a.jsonl:7: …)'. */
export function describeCounts(counts: DataCounts): string {
  const { documents, tokens, fill, badRecords, badByReason, firstBad, split, truncated, dropped } = counts
  const number = (value: number): string => value.toLocaleString('en-US')
  const parts = [
    `${number(documents)} documents, ${number(tokens)} tokens (${Math.round(100 * fill)} % of the rows filled)`,
  ]
  if (badRecords > 0) {
    const reasons = Object.entries(badByReason).map(([reason, count]) => `${number(count)} ${reason}`)
    parts.push(`${number(badRecords)} records left out: ${reasons.join(', ')} (first ${firstBad[0] ?? ''})`)
  }
  if (dropped > 0) parts.push(`${number(dropped)} longer than the context and left out`)
  if (truncated > 0) parts.push(`${number(truncated)} longer than the context and cut`)
  if (split > 0) parts.push(`${number(split)} longer than the context and split`)
  return parts.join('; ')
}
