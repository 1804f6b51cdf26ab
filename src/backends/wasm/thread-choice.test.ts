import { expect, test } from 'vitest'
import { createThreadChoice } from './thread-choice.ts'

/** Runs the choice against a cost per worker count and returns the counts it took. */
function simulate(threads: number, bytes: number, runs: number, cost: (workers: number) => number): number[] {
  const choice = createThreadChoice(threads, bytes)
  return Array.from({ length: runs }, () => {
    const workers = choice.next()
    choice.took(workers, cost(workers))
    return workers
  })
}

test('a small plan settles on the quickest count, whichever it is', () => {
  expect(simulate(2, 1e6, 50, (n) => n).slice(-30)).toEqual(new Array(30).fill(1))
  expect(simulate(2, 1e6, 50, (n) => 1 / n).slice(-30)).toEqual(new Array(30).fill(2))
  expect(simulate(6, 1e6, 50, (n) => Math.abs(n - 4)).slice(-30)).toEqual(new Array(30).fill(4))
})

test('every count is tried, and tried again later', () => {
  expect(new Set(simulate(6, 1e6, 16, () => 1))).toEqual(new Set([1, 2, 4, 6]))
  let now = 0
  const changing = simulate(2, 1e6, 1100, (n) => (now++ < 500 ? n : 1 / n))
  expect(changing[400]).toBe(1)
  expect(changing.at(-1)).toBe(2)
})

test('large plans and single threads need no trial', () => {
  expect(new Set(simulate(4, 1e9, 40, () => 1))).toEqual(new Set([4]))
  expect(new Set(simulate(1, 1e6, 40, () => 1))).toEqual(new Set([1]))
})
