// Counts words within bounded memory: when the table is full, the rarest words are forgotten. Knows nothing about what
// words are.
//
// Forgetting raises a threshold t until at most half of the words have a larger count, and drops all others (as
// lossy counting does: Manku and Motwani, VLDB 2002). A count that is kept is short by at most the sum of the thresholds
// so far. What is forgotten depends on the order of the texts only, so counting is deterministic.

/** Fits a corpus of some gigabytes of prose; about 300 MB when full. */
export const DEFAULT_MAX_WORDS: number = 1 << 22

/** Words longer than this on average fill the table before their number does. */
const BYTES_PER_WORD = 16
const PRIME = 0x01000193 // FNV-1a's multiplier

export interface WordTable {
  /** Counts bytes[from, to) once. */
  add(bytes: Uint8Array, from: number, to: number): void
  /** Different words that are kept. */
  size(): number
  /** The sum of the thresholds: by so much a count may be short. 0: nothing was forgotten. */
  shortBy(): number
  /** All words in the order in which they came; `bytes` is a view, valid until the next `add`. */
  words(): CountedWords
}

export interface CountedWords {
  readonly count: number
  /** UTF-8 of all words, one after the other. */
  readonly bytes: Uint8Array
  /** [count + 1] */
  readonly starts: Int32Array
  /** [count] how often each word was met. */
  readonly counts: Float64Array
}

/** `forget` is told of every word that is dropped, with its count. */
export function createWordTable(
  maxWords: number,
  forget: (bytes: Uint8Array, from: number, to: number, count: number) => void,
): WordTable {
  const maxBytes = maxWords * BYTES_PER_WORD
  // Differs from table to table, so that no text can be made to fall onto one slot; no result depends on it.
  const seed = Math.floor(Math.random() * 2 ** 32) | 0
  let slots = new Int32Array(1 << 13) // a hash and the number of its word + 1 (0: empty), side by side
  let records = createRecords(1 << 11)
  let text = new Uint8Array(1 << 15)
  let count = 0
  let end = 0 // of the last word in `text`
  let short = 0

  const place = (hash: number, word: number): void => {
    let slot = slotOf(hash, slots)
    while (slots[slot + 1] !== 0) slot = nextSlot(slot, slots)
    slots[slot] = hash
    slots[slot + 1] = word + 1
  }
  const grow = (): void => {
    const before = slots
    records = createRecords(count * 2, records)
    slots = new Int32Array(before.length * 2)
    for (let slot = 0; slot < before.length; slot += 2) {
      if (before[slot + 1] !== 0) place(before[slot], before[slot + 1] - 1)
    }
  }
  const prune = (): void => {
    const threshold = medianCount(records.counts, count)
    short += threshold
    const old = {
      count,
      numbers: records.numbers,
      counts: records.counts,
      hashes: hashesByWord(slots, count),
    }
    slots.fill(0)
    count = 0
    end = 0
    for (let word = 0; word < old.count; word++) {
      const from = old.numbers[4 * word]
      const to = from + old.numbers[4 * word + 1]
      const times = old.counts[2 * word + 1]
      if (times <= threshold) forget(text, from, to, times)
      else {
        text.copyWithin(end, from, to)
        place(old.hashes[word], count)
        append(to - from, times)
      }
    }
  }
  const append = (length: number, times: number): void => {
    records.numbers[4 * count] = end
    records.numbers[4 * count + 1] = length
    records.counts[2 * count + 1] = times
    count++
    end += length
  }
  const add = (bytes: Uint8Array, from: number, to: number): void => {
    let hash = seed
    for (let i = from; i < to; i++) hash = Math.imul(hash ^ bytes[i], PRIME)
    hash ^= hash >>> 15
    const length = to - from
    const { numbers, counts } = records
    let slot = slotOf(hash, slots)
    for (let entry = slots[slot + 1]; entry !== 0; entry = slots[slot + 1]) {
      if (slots[slot] === hash && numbers[4 * entry - 3] === length) {
        const start = numbers[4 * entry - 4]
        let k = 0
        while (k < length && text[start + k] === bytes[from + k]) k++
        if (k === length) {
          counts[2 * entry - 1]++
          return
        }
      }
      slot = nextSlot(slot, slots)
    }
    while (count >= maxWords || end + length > maxBytes) prune()
    if (4 * count === slots.length) grow()
    while (end + length > text.length) text = widened(text)
    for (let k = 0; k < length; k++) text[end + k] = bytes[from + k]
    place(hash, count)
    append(length, 1)
  }

  return {
    add,
    size: () => count,
    shortBy: () => short,
    words() {
      const starts = new Int32Array(count + 1)
      const counts = new Float64Array(count)
      for (let word = 0; word < count; word++) {
        starts[word] = records.numbers[4 * word]
        counts[word] = records.counts[2 * word + 1]
      }
      starts[count] = end
      return { count, bytes: text.subarray(0, end), starts, counts }
    },
  }
}

/** What is known of a word in 16 bytes, so that a lookup touches one line of the cache: start, length (Int32), count (Float64). */
interface Records {
  readonly numbers: Int32Array
  readonly counts: Float64Array
}

function createRecords(capacity: number, before?: Records): Records {
  const numbers = new Int32Array(4 * capacity)
  if (before !== undefined) numbers.set(before.numbers)
  return { numbers, counts: new Float64Array(numbers.buffer) }
}

function slotOf(hash: number, slots: Int32Array): number {
  return (hash << 1) & (slots.length - 2)
}

function nextSlot(slot: number, slots: Int32Array): number {
  return (slot + 2) & (slots.length - 2)
}

function hashesByWord(slots: Int32Array, count: number): Int32Array {
  const hashes = new Int32Array(count)
  for (let slot = 0; slot < slots.length; slot += 2) {
    if (slots[slot + 1] !== 0) hashes[slots[slot + 1] - 1] = slots[slot]
  }
  return hashes
}

/** The smallest count that at least half of the words do not exceed. */
function medianCount(counts: Float64Array, count: number): number {
  const sorted = new Float64Array(count)
  for (let word = 0; word < count; word++) sorted[word] = counts[2 * word + 1]
  return sorted.sort()[count >> 1]
}

function widened(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const wider = new Uint8Array(bytes.length * 2)
  wider.set(bytes)
  return wider
}
