// Counts the records that nothing is learned from and says it in a sentence. Knows no file.

import type { LeftOutRecord } from '../data/training-data.ts'

export interface LeftOutTally {
  readonly add: (record: LeftOutRecord) => void
  /** '3 records left out: 2 empty, 1 not JSON (first a.jsonl:2: empty: an empty line)'; undefined where none were. */
  describe(): string | undefined
}

export function createLeftOutTally(): LeftOutTally {
  const reasons = new Map<string, number>()
  let first: LeftOutRecord | undefined
  return {
    add(record) {
      first ??= record
      reasons.set(record.reason, (reasons.get(record.reason) ?? 0) + 1)
    },
    describe() {
      if (first === undefined) return undefined
      const number = (count: number): string => count.toLocaleString('en-US')
      const all = [...reasons.values()].reduce((sum, count) => sum + count, 0)
      const each = [...reasons].map(([reason, count]) => `${number(count)} ${reason}`).join(', ')
      const { place, reason, detail } = first
      const records = all === 1 ? 'record' : 'records'
      return `${number(all)} ${records} left out: ${each} (first ${place}: ${reason}: ${detail})`
    },
  }
}
