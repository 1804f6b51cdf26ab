// Remembers the ids of segments, so that most words of a text are looked up instead of merged. Of fixed
// size: it never grows, and a wrong answer is impossible because the bytes are compared. Knows nothing
// about where segments come from.

import type { PieceTable } from './piece-table.ts'

export interface SegmentCache {
  /**
   * Lines of 16 integers, one cache line of most machines: hash, length | ids << 8, 24 bytes, 8 ids. Two
   * neighbouring lines are a set: a segment may be in either, the newer one first.
   */
  readonly lines: Int32Array
  /** The same memory as bytes. */
  readonly lineBytes: Uint8Array
  /** The set of a hash: its first line × 16 is (hash × SPREAD >>> shift) << 5. */
  readonly shift: number
}

export const CACHED_BYTES: number = 24
export const LINE_BYTES_AT: number = 8 // in bytes
export const LINE_IDS_AT: number = 8 // in integers
export const SPREAD: number = 0x9e3779b1 // 2^32 / golden ratio: Knuth's multiplicative hashing
const CACHED_IDS = 8

/** 65 536 lines (4 MiB); 4096 for a small vocabulary, so that a tokenizer weighs no more than its file warrants. */
export function createSegmentCache(table: PieceTable): SegmentCache {
  const setBits = Math.min(15, Math.max(11, Math.ceil(Math.log2(table.ranks.length)) - 2))
  const lines = new Int32Array(32 << setBits)
  return { lines, lineBytes: new Uint8Array(lines.buffer), shift: 32 - setBits }
}

/**
 * Finds the segment bytes[from, from + length); returns where its ids begin in `lines`, or −1. How many
 * there are stands at lines[result − 7] >>> 8.
 */
export function recall(
  cache: SegmentCache,
  bytes: Uint8Array,
  from: number,
  length: number,
  hash: number,
): number {
  const { lines, lineBytes } = cache
  const set = (Math.imul(hash, SPREAD) >>> cache.shift) << 5
  for (let line = set; line <= set + 16; line += 16) {
    if (lines[line] !== hash || (lines[line + 1] & 255) !== length) continue
    const keys = (line << 2) + LINE_BYTES_AT
    let k = 0
    while (k < length && lineBytes[keys + k] === bytes[from + k]) k++
    if (k === length) return line + LINE_IDS_AT
  }
  return -1
}

/** Stores ids[idsFrom…] for the segment, when they fit a line; the older segment of the set gives way. */
export function remember(
  cache: SegmentCache,
  bytes: Uint8Array,
  from: number,
  length: number,
  hash: number,
  ids: readonly number[],
  idsFrom: number,
): void {
  const count = ids.length - idsFrom
  if (length > CACHED_BYTES || count > CACHED_IDS) return
  const { lines, lineBytes } = cache
  const line = (Math.imul(hash, SPREAD) >>> cache.shift) << 5
  lines.copyWithin(line + 16, line, line + 16)
  lines[line] = hash
  lines[line + 1] = length | (count << 8)
  const keys = (line << 2) + LINE_BYTES_AT
  for (let k = 0; k < length; k++) lineBytes[keys + k] = bytes[from + k]
  for (let k = 0; k < count; k++) lines[line + LINE_IDS_AT + k] = ids[idsFrom + k]
}
