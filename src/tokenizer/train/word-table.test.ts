// Counting words: exact while there is room, with a known bound when there is not.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { generator } from './testing/documents.ts'
import { createWordTable, type WordTable } from './word-table.ts'

const encoder = new TextEncoder()
const decoder = new TextDecoder()

function countsIn(table: WordTable): Map<string, number> {
  const { count, bytes, starts, counts } = table.words()
  return new Map(
    Array.from({ length: count }, (_, i) => [
      decoder.decode(bytes.slice(starts[i], starts[i + 1])),
      counts[i],
    ]),
  )
}

function add(table: WordTable, word: string): void {
  const bytes = encoder.encode(`«${word}»`)
  table.add(bytes, 2, bytes.length - 2)
}

test('counts what comes, in the order in which words first came', () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'é'), minLength: 1, maxLength: 4 })),
      (words) => {
        const table = createWordTable(1000, () => expect.unreachable())
        const wanted = new Map<string, number>()
        for (const word of words) {
          add(table, word)
          wanted.set(word, (wanted.get(word) ?? 0) + 1)
        }
        expect([...countsIn(table)]).toEqual([...wanted])
        expect(table.shortBy()).toBe(0)
      },
    ),
  )
})

test('grows to a hundred thousand words', () => {
  const table = createWordTable(1 << 20, () => expect.unreachable())
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < 100_000; i++) add(table, `word${i}`)
  }
  const counts = countsIn(table)
  expect(counts.size).toBe(100_000)
  expect([...counts.values()].every((count) => count === 2)).toBe(true)
})

test('a full table forgets rare words; what it keeps is short by no more than it says', () => {
  const random = generator(1)
  const forgotten = new Map<string, number>()
  const table = createWordTable(300, (bytes, from, to, count) => {
    const word = decoder.decode(bytes.slice(from, to))
    forgotten.set(word, (forgotten.get(word) ?? 0) + count)
  })
  const wanted = new Map<string, number>()
  let most = 0
  for (let i = 0; i < 100_000; i++) {
    const word = `w${Math.floor(1 / (random() + 1e-5))}` // frequency falls with the square of the number
    add(table, word)
    wanted.set(word, (wanted.get(word) ?? 0) + 1)
    most = Math.max(most, table.size())
  }
  expect(most).toBe(300)
  const kept = countsIn(table)
  expect(table.shortBy()).toBeGreaterThan(0)
  for (const [word, count] of wanted) {
    expect((kept.get(word) ?? 0) + (forgotten.get(word) ?? 0), word).toBe(count)
    if (count > table.shortBy()) expect(kept.has(word), word).toBe(true)
    if (kept.has(word)) expect(count - kept.get(word)!, word).toBeLessThanOrEqual(table.shortBy())
  }
})

test('long words fill it by their bytes', () => {
  const table = createWordTable(1000, () => {})
  for (let i = 0; i < 2000; i++) add(table, `${i}`.padEnd(240, 'x'))
  expect(table.size()).toBeLessThan(70)
  expect(table.words().bytes.length).toBeLessThanOrEqual(16_000)
})
