// Addition and subtraction of numbers of up to three digits, worked column by column as on paper: the last digit comes
// first, which is what lets a small model learn it (Lee et al. 2023, arXiv 2307.03381).

import { between, pick, type Random, type Task, type Values } from './task.ts'

const LARGEST = 999

/** Digits from the last to the first, `length` of them. */
function columns(number: number, length: number): number[] {
  return Array.from({ length }, (_, column) => Math.floor(number / 10 ** column) % 10)
}

/** '7+5=12', '8+1+1=10', … and the sum in the last line. */
export function workedSum(a: number, b: number): string {
  const length = String(Math.max(a, b)).length
  const [high, low] = [columns(a, length), columns(b, length)]
  let carry = 0
  const lines = high.map((digit, column) => {
    const total = digit + low[column]! + carry
    const line = `${digit}+${low[column]}${carry > 0 ? '+1' : ''}=${total}`
    carry = total > 9 ? 1 : 0
    return line
  })
  return [...lines, `${a}+${b}=${a + b}`].join('\n')
}

/** '14-7=7' where a ten was borrowed, '8-2-1=5' after it, … and the difference in the last line; a ≥ b. */
export function workedDifference(a: number, b: number): string {
  const length = String(a).length
  const [high, low] = [columns(a, length), columns(b, length)]
  let borrowed = 0
  const lines = high.map((digit, column) => {
    const short = digit - low[column]! - borrowed < 0
    const from = digit + (short ? 10 : 0)
    const line = `${from}-${low[column]}${borrowed > 0 ? '-1' : ''}=${from - low[column]! - borrowed}`
    borrowed = short ? 1 : 0
    return line
  })
  return [...lines, `${a}-${b}=${a - b}`].join('\n')
}

/** Numbers of three digits in half of all cases, of two in a third, of one in a sixth. */
function someNumber(random: Random): number {
  const digits = pick(random, [1, 2, 2, 3, 3, 3])
  return between(random, digits === 1 ? 0 : 10 ** (digits - 1), 10 ** digits - 1)
}

const inRange = ({ a, b }: Values): boolean => Number(a) <= LARGEST && Number(b) <= LARGEST
const gaps = { a: '0|[1-9]\\d{0,2}', b: '0|[1-9]\\d{0,2}' }

export const addition: Task = {
  name: 'addition',
  family: 'sums',
  wordings: [
    ...[
      'What is {a} + {b}?',
      '{a} + {b}',
      'Add {a} and {b}.',
      'How much is {a} + {b}?',
      'Compute {a} plus {b}.',
    ],
    ...['{a}+{b}=?', 'What is {a} plus {b}?', 'Work out {a} + {b}.', 'What is the sum of {a} and {b}?'],
    ...['Give me the sum of {a} and {b}.', 'Calculate {a} + {b}.', '{a} plus {b}', 'I need {a} + {b}.'],
    ...['Find the sum of {a} and {b}.', 'Tell me what {a} + {b} is.', '{a}+{b}', 'How much is {a} plus {b}?'],
    ...['Can you add {a} and {b}?', 'Please add {a} and {b}.', 'Please work out {a} + {b}.'],
  ],
  gaps,
  draw: (random) => ({ a: String(someNumber(random)), b: String(someNumber(random)) }),
  answer: (values) => (inRange(values) ? workedSum(Number(values.a), Number(values.b)) : undefined),
  format: /^(\d\+\d(\+1)?=\d+\n){1,3}\d+\+\d+=\d+$/,
}

export const subtraction: Task = {
  name: 'subtraction',
  family: 'sums',
  wordings: [
    ...[
      'What is {a} - {b}?',
      '{a} - {b}',
      'Subtract {b} from {a}.',
      'How much is {a} - {b}?',
      'Work out {a} minus {b}.',
    ],
    ...[
      '{a}-{b}=?',
      'What is {a} minus {b}?',
      'Compute {a} - {b}.',
      'Take {b} from {a}.',
      'Find {a} minus {b}.',
    ],
    ...[
      'Calculate {a} - {b}.',
      '{a} minus {b}',
      'I need {a} - {b}.',
      'What is the difference of {a} and {b}?',
    ],
    ...[
      'Tell me what {a} - {b} is.',
      '{a}-{b}',
      'How much is {a} minus {b}?',
      'Can you subtract {b} from {a}?',
    ],
    ...['Please subtract {b} from {a}.', 'Please work out {a} - {b}.'],
  ],
  gaps,
  draw(random) {
    const [one, other] = [someNumber(random), someNumber(random)]
    return { a: String(Math.max(one, other)), b: String(Math.min(one, other)) }
  },
  answer(values) {
    const [a, b] = [Number(values.a), Number(values.b)]
    return inRange(values) && a >= b ? workedDifference(a, b) : undefined
  },
  format: /^(\d+-\d(-1)?=\d\n){1,3}\d+-\d+=\d+$/,
}
