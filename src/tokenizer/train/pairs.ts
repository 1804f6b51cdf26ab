// Neighbouring symbols with how often they stand side by side and in which words. The most frequent pair is found by a
// heap whose entries are brought up to date when they come to the top: while merges are learned a pair's count only
// grows in the step that makes its newer symbol, and falls afterwards. Knows nothing about what a pair spells.

/** Two symbols; numbers are pairs' places in the table. */
export interface Pairs {
  /** Counts the two side by side `times` more in `word`. */
  add(left: number, right: number, word: number, times: number): void
  /** The same backwards; pairs that are not known are left alone. */
  subtract(left: number, right: number, times: number): void
  /** To be called at the end of a step: what `add` has made may now be taken. */
  settle(): void
  /** The pair with the largest count, the first by `compare` of equals; it is removed. undefined: none is left. */
  take(): TakenPair | undefined
}

export interface TakenPair {
  readonly left: number
  readonly right: number
  readonly count: number
  /** All words that have the pair; some have it no more, some come twice. */
  readonly words: readonly number[]
}

/** `compare(a, b)` of the symbols of two pairs, negative when the first comes first. */
export type ComparePairs = (left: number, right: number, otherLeft: number, otherRight: number) => number

export function createPairs(compare: ComparePairs): Pairs {
  const table = createTable()
  const comesFirst = (a: number, b: number): boolean => {
    const difference = table.queued[a] - table.queued[b]
    if (difference !== 0) return difference > 0
    return compare(table.lefts[a], table.rights[a], table.lefts[b], table.rights[b]) < 0
  }
  const heap = createHeap(comesFirst)
  let fresh: number[] = []
  const forget = (pair: number): readonly number[] => {
    const words = table.words[pair]
    table.remove(pair)
    return words
  }
  return {
    add(left, right, word, times) {
      let pair = table.find(left, right)
      if (pair < 0) {
        pair = table.insert(left, right)
        fresh.push(pair)
      }
      table.counts[pair] += times
      const words = table.words[pair]
      if (words[words.length - 1] !== word) words.push(word)
    },
    subtract(left, right, times) {
      const pair = table.find(left, right)
      if (pair >= 0) table.counts[pair] -= times
    },
    settle() {
      for (const pair of fresh) {
        table.queued[pair] = table.counts[pair]
        if (table.counts[pair] > 0) heap.push(pair)
        else forget(pair)
      }
      fresh = []
    },
    take() {
      for (;;) {
        const pair = heap.top()
        if (pair < 0) return undefined
        const count = table.counts[pair]
        if (count === table.queued[pair] && count > 0) {
          heap.pop()
          const [left, right] = [table.lefts[pair], table.rights[pair]]
          return { left, right, count, words: forget(pair) }
        }
        if (count > 0) {
          table.queued[pair] = count
          heap.sinkTop()
        } else {
          heap.pop()
          forget(pair)
        }
      }
    },
  }
}

// ---- pairs by their symbols: open addressing; places that are free again are used first ----

interface Table {
  lefts: Int32Array
  rights: Int32Array
  counts: Float64Array
  /** The count by which the heap has ordered the pair. */
  queued: Float64Array
  /** The words that have, or had, the pair. */
  readonly words: number[][]
  find(left: number, right: number): number
  insert(left: number, right: number): number
  remove(pair: number): void
}

function createTable(): Table {
  let slots = new Int32Array(1 << 13) // pair + 1; 0: empty
  let used = 0
  const free: number[] = []
  const slotOf = (left: number, right: number): number => {
    const mixed = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b)
    return (mixed ^ (mixed >>> 15)) & (slots.length - 1)
  }
  const findSlot = (left: number, right: number): number => {
    let slot = slotOf(left, right)
    for (let entry = slots[slot]; entry !== 0; entry = slots[slot]) {
      if (table.lefts[entry - 1] === left && table.rights[entry - 1] === right) return slot
      slot = (slot + 1) & (slots.length - 1)
    }
    return slot
  }
  const widen = (): void => {
    const grown = <Type extends Int32Array | Float64Array>(from: Type, into: Type): Type => {
      into.set(from)
      return into
    }
    const room = table.lefts.length * 2
    table.lefts = grown(table.lefts, new Int32Array(room))
    table.rights = grown(table.rights, new Int32Array(room))
    table.counts = grown(table.counts, new Float64Array(room))
    table.queued = grown(table.queued, new Float64Array(room))
    slots = new Int32Array(slots.length * 2)
    for (let pair = 0; pair < used; pair++) slots[findSlot(table.lefts[pair], table.rights[pair])] = pair + 1
  }
  const room = slots.length / 2
  const table: Table = {
    lefts: new Int32Array(room),
    rights: new Int32Array(room),
    counts: new Float64Array(room),
    queued: new Float64Array(room),
    words: [],
    find: (left, right) => slots[findSlot(left, right)] - 1,
    insert(left, right) {
      if (free.length === 0 && used === table.lefts.length) widen()
      const pair = free.pop() ?? used++
      table.lefts[pair] = left
      table.rights[pair] = right
      table.counts[pair] = 0
      table.words[pair] = []
      slots[findSlot(left, right)] = pair + 1
      return pair
    },
    remove(pair) {
      let hole = findSlot(table.lefts[pair], table.rights[pair])
      free.push(pair)
      table.words[pair] = []
      // Moves up what would no longer be found behind the hole (Knuth, vol. 3, 6.4, algorithm R).
      const mask = slots.length - 1
      for (let slot = (hole + 1) & mask; slots[slot] !== 0; slot = (slot + 1) & mask) {
        const other = slots[slot] - 1
        const home = slotOf(table.lefts[other], table.rights[other])
        if (((slot - home) & mask) < ((slot - hole) & mask)) continue
        slots[hole] = slots[slot]
        hole = slot
      }
      slots[hole] = 0
    },
  }
  return table
}

// ---- a binary heap of pairs ----

interface Heap {
  /** −1: empty. */
  top(): number
  push(pair: number): void
  pop(): void
  /** Restores the order after the pair on top was given a smaller count. */
  sinkTop(): void
}

function createHeap(comesFirst: (a: number, b: number) => boolean): Heap {
  const pairs: number[] = []
  const sink = (): void => {
    const pair = pairs[0]
    let at = 0
    for (let child = 1; child < pairs.length; child = 2 * at + 1) {
      if (child + 1 < pairs.length && comesFirst(pairs[child + 1], pairs[child])) child++
      if (!comesFirst(pairs[child], pair)) break
      pairs[at] = pairs[child]
      at = child
    }
    pairs[at] = pair
  }
  return {
    top: () => (pairs.length > 0 ? pairs[0] : -1),
    push(pair) {
      let at = pairs.length
      pairs.push(pair)
      for (; at > 0; ) {
        const parent = (at - 1) >> 1
        if (!comesFirst(pair, pairs[parent])) break
        pairs[at] = pairs[parent]
        at = parent
      }
      pairs[at] = pair
    },
    pop() {
      const last = pairs.pop()!
      if (pairs.length === 0) return
      pairs[0] = last
      sink()
    },
    sinkTop: sink,
  }
}
