// Documents of many lengths become runs of rows that are nearly full. Knows lengths and documents, and nothing
// about where they come from.

import type { Document } from './document.ts'
import type { TrainingRows } from './training-rows.ts'

/**
 * Best fit, longest first: every document goes into the run with the least room that still takes it (Johnson 1974, "Fast
 * algorithms for bin packing"; for language models Ding et al. 2024, arXiv 2404.10830). Lengths are 1 to `rows`. Gives the
 * places of the documents in `lengths`, by run, in rising order within a run.
 */
export function packBestFit(lengths: readonly number[], rows: number): number[][] {
  const order = Array.from(lengths, (_, i) => i).sort((a, b) => lengths[b]! - lengths[a]! || a - b)
  const runs: number[][] = []
  const withRoom = createRoomIndex(rows)
  for (const document of order) {
    const length = lengths[document]!
    const room = withRoom.leastFrom(length)
    let run: number
    if (room < 0) run = runs.push([]) - 1
    else run = withRoom.take(room)
    runs[run]!.push(document)
    const left = (room < 0 ? rows : room) - length
    if (left > 0) withRoom.put(left, run)
  }
  for (const run of runs) run.sort((a, b) => a - b)
  return runs
}

/** One document after the other; a run ends where the next does not fit. */
export function packInOrder(lengths: readonly number[], rows: number): number[][] {
  const runs: number[][] = []
  let room = 0
  lengths.forEach((length, document) => {
    if (length > room) {
      runs.push([])
      room = rows
    }
    runs.at(-1)!.push(document)
    room -= length
  })
  return runs
}

interface RoomIndex {
  /** The least room of at least `length` that some run has, or −1. */
  leastFrom(length: number): number
  /** A run with exactly that room; it is no longer in the index. */
  take(room: number): number
  put(room: number, run: number): void
}

/** Runs by the room they have left; one bit per size of room says whether there are any. */
function createRoomIndex(rows: number): RoomIndex {
  const runs: number[][] = []
  const bits = new Uint32Array((rows >>> 5) + 1)
  return {
    leastFrom(length) {
      let word = length >>> 5
      let found = bits[word]! & (-1 << (length & 31))
      while (found === 0 && ++word < bits.length) found = bits[word]!
      return found === 0 ? -1 : word * 32 + 31 - Math.clz32(found & -found)
    },
    take(room) {
      const same = runs[room]!
      const run = same.pop()!
      if (same.length === 0) bits[room >>> 5]! &= ~(1 << (room & 31))
      return run
    },
    put(room, run) {
      ;(runs[room] ??= []).push(run)
      bits[room >>> 5]! |= 1 << (room & 31)
    },
  }
}

/** How many of the first documents go into at most `runs` runs, and these runs. At least one document does. */
export function packPrefix(
  lengths: readonly number[],
  rows: number,
  runs: number,
  pack: (lengths: readonly number[], rows: number) => number[][],
): { readonly taken: number; readonly packed: number[][] } {
  let packed = pack(lengths, rows)
  if (packed.length <= runs) return { taken: lengths.length, packed }
  let [fits, tooMany] = [0, lengths.length]
  packed = []
  while (tooMany - fits > 1) {
    const middle = (fits + tooMany) >> 1
    const tried = pack(lengths.slice(0, middle), rows)
    if (tried.length > runs) tooMany = middle
    else {
      fits = middle
      packed = tried
    }
  }
  return { taken: fits, packed }
}

/** The documents one after the other; each predicts its own learned tokens and nothing of the next document. */
export function rowsOf(documents: readonly Document[]): TrainingRows {
  const count = documents.reduce((sum, { tokens }) => sum + tokens.length, 0)
  const rows = {
    tokens: new Int32Array(count),
    positions: new Int32Array(count),
    sequences: new Int32Array(count),
    targets: new Int32Array(count).fill(-1),
  }
  let at = 0
  documents.forEach(({ tokens, learned }, sequence) => {
    rows.tokens.set(tokens, at)
    rows.sequences.fill(sequence, at, at + tokens.length)
    for (let i = 0; i < tokens.length; i++) {
      rows.positions[at + i] = i
      if (learned[i + 1] === 1) rows.targets[at + i] = tokens[i + 1]!
    }
    at += tokens.length
  })
  return rows
}
