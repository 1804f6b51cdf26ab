// Mathematics: sums of two numbers of two digits, worked from the last digit as on paper, and lines of the table
// that this needs. Writing the answer's last digit first is what lets a small model learn to add (Lee et al. 2023,
// arXiv 2307.03381).

import { type Writing, way, word } from './grammar.ts'
import { allowed, type Split } from './split.ts'

const digits: readonly number[] = Array.from({ length: 10 }, (_, digit) => digit)
const numbers: readonly number[] = Array.from({ length: 90 }, (_, i) => 10 + i)

const tens = (number: number): number => Math.floor(number / 10)
const ones = (number: number): number => number % 10

/** Whether a sum is kept from all training data: 9 of 90 second numbers, for every first one. */
export function isUnseenSum(a: number, b: number): boolean {
  return (tens(a) + 3 * ones(a) + 7 * tens(b) + 9 * ones(b)) % 10 === 0
}

/** The second numbers that a first one may have. */
export function secondNumbers(split: Split, a: number): readonly number[] {
  return allowed(split, numbers, (b) => isUnseenSum(a, b))
}

export { numbers as firstNumbers }

/** Column by column; two numbers of two digits. */
export function workedSum(a: number, b: number): string {
  const low = ones(a) + ones(b)
  const carry = low > 9 ? 1 : 0
  const high = tens(a) + tens(b) + carry
  const carried = carry > 0 ? '+1' : ''
  return `${ones(a)}+${ones(b)}=${low}\n${tens(a)}+${tens(b)}${carried}=${high}\n${a}+${b}=${a + b}`
}

function* tableLine(): Writing {
  const a = yield* word(digits)
  yield `${a}+`
  const b = yield* word(digits)
  const carry = yield* way(1, 1)
  yield `${b}${carry > 0 ? '+1' : ''}=${a + b + carry}\n`
}

export function* addition(split: Split): Writing {
  // The table has no numbers to keep apart.
  if (split !== 'unseen' && (yield* way(3, 1)) === 1) {
    for (let line = 0; line < 4; line++) yield* tableLine()
    return
  }
  const a = yield* word(numbers)
  yield `${a}+`
  const b = yield* word(secondNumbers(split, a))
  yield `${b}=?\n${workedSum(a, b)}\n`
}
