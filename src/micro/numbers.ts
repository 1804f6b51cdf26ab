// Numbers up to 999 and sums of money below 100, in words and in digits.

import { between, pick, type Random, type Task } from './task.ts'

const small: readonly string[] = [
  ...[
    'zero',
    'one',
    'two',
    'three',
    'four',
    'five',
    'six',
    'seven',
    'eight',
    'nine',
    'ten',
    'eleven',
    'twelve',
  ],
  ...['thirteen', 'fourteen', 'fifteen', 'sixteen', 'seventeen', 'eighteen', 'nineteen'],
]
const tens: readonly string[] = [
  ...['', '', 'twenty', 'thirty', 'forty', 'fifty', 'sixty', 'seventy', 'eighty', 'ninety'],
]

/** 0 to 999: 'three hundred and forty-two'. */
export function numberInWords(number: number): string {
  if (number < 20) return small[number]!
  if (number < 100) {
    const ones = number % 10
    return `${tens[Math.floor(number / 10)]}${ones > 0 ? `-${small[ones]}` : ''}`
  }
  const rest = number % 100
  return `${small[Math.floor(number / 100)]} hundred${rest > 0 ? ` and ${numberInWords(rest)}` : ''}`
}

const numbersByWords: ReadonlyMap<string, number> = new Map(
  Array.from({ length: 1000 }, (_, number) => [numberInWords(number), number]),
)

interface Currency {
  readonly sign: string
  readonly one: string
  readonly many: string
  readonly oneHundredth: string
  readonly hundredths: string
}

export const currencies: readonly Currency[] = [
  { sign: '$', one: 'dollar', many: 'dollars', oneHundredth: 'cent', hundredths: 'cents' },
  { sign: '€', one: 'euro', many: 'euros', oneHundredth: 'cent', hundredths: 'cents' },
  { sign: '£', one: 'pound', many: 'pounds', oneHundredth: 'penny', hundredths: 'pence' },
]

/** `hundredths` below 10 000: '$12.50'. */
export function moneyInDigits({ sign }: Currency, hundredths: number): string {
  return `${sign}${Math.floor(hundredths / 100)}.${String(hundredths % 100).padStart(2, '0')}`
}

/** 'twelve dollars and fifty cents'; whole amounts without cents. */
export function moneyInWords(currency: Currency, hundredths: number): string {
  const [whole, rest] = [Math.floor(hundredths / 100), hundredths % 100]
  const first = `${numberInWords(whole)} ${whole === 1 ? currency.one : currency.many}`
  if (rest === 0) return first
  return `${first} and ${numberInWords(rest)} ${rest === 1 ? currency.oneHundredth : currency.hundredths}`
}

const moneyByWords: ReadonlyMap<string, string> = new Map(
  currencies.flatMap((currency) =>
    Array.from({ length: 9900 }, (_, i): [string, string] => [
      moneyInWords(currency, i + 100),
      moneyInDigits(currency, i + 100),
    ]),
  ),
)
const wordsByMoney: ReadonlyMap<string, string> = new Map(
  [...moneyByWords].map(([words, digits]) => [digits, words]),
)

/** Half of all numbers have three digits. */
function someNumber(random: Random): number {
  return random() < 0.5 ? between(random, 100, 999) : between(random, 0, 99)
}

/** One to below a hundred; one in five without cents. */
function someMoney(random: Random): [Currency, number] {
  const whole = between(random, 1, 99)
  return [pick(random, currencies), 100 * whole + (random() < 0.2 ? 0 : between(random, 1, 99))]
}

const wordsFormat = /^[a-z]+(-[a-z]+)?( [a-z]+(-[a-z]+)?)*$/
const words = '[a-z]+(?:[- ][a-z]+)*'

export const numberToWords: Task = {
  name: 'number in words',
  family: 'numbers',
  wordings: [
    ...['Write {n} in words.', '{n} in words', 'Spell {n}.', 'How do I say {n}?', 'Say {n} in words.'],
    ...['What is {n} in words?', 'Spell out the number {n}.', 'Write the number {n} in words.'],
    ...['Read the number {n}.', 'Express {n} in words.'],
  ],
  gaps: { n: '\\d{1,3}' },
  draw: (random) => ({ n: String(someNumber(random)) }),
  answer: ({ n }) => (String(Number(n)) === n ? numberInWords(Number(n)) : undefined),
  format: wordsFormat,
}

export const wordsToNumber: Task = {
  name: 'number in digits',
  family: 'numbers',
  wordings: [
    ...[
      'Write {words} in digits.',
      '{words} in digits',
      'What number is {words}?',
      'Which number is {words}?',
    ],
    ...['What is {words} in digits?', 'Write {words} as a number.', '{words} as a number'],
    ...['Turn {words} into digits.', 'Give {words} as a number.', 'Express {words} in digits.'],
  ],
  gaps: { words },
  draw: (random) => ({ words: numberInWords(someNumber(random)) }),
  answer: ({ words }) => numbersByWords.get(words!)?.toString(),
  format: /^\d{1,3}$/,
}

export const moneyToWords: Task = {
  name: 'money in words',
  family: 'numbers',
  wordings: [
    ...['Write {money} in words.', '{money} in words', 'Spell out {money}.', 'How do I say {money}?'],
    ...['Say {money} in words.', 'What is {money} in words?', 'Write the price {money} in words.'],
    ...['Spell {money}.', 'Read the price {money}.', 'Express {money} in words.'],
  ],
  gaps: { money: '[$€£]\\d{1,2}\\.\\d\\d' },
  draw: (random) => ({ money: moneyInDigits(...someMoney(random)) }),
  answer: ({ money }) => wordsByMoney.get(money!),
  format: wordsFormat,
}

export const wordsToMoney: Task = {
  name: 'money in digits',
  family: 'numbers',
  wordings: [
    ...[
      'Write {words} in digits.',
      '{words} in digits',
      'What price is {words}?',
      'Write {words} as a price.',
    ],
    ...[
      'Express {words} in digits.',
      '{words} as a price',
      'Turn {words} into digits.',
      'Give {words} in digits.',
    ],
    ...['What is {words} as a price?', 'What is {words} in digits?'],
  ],
  gaps: { words },
  draw: (random) => ({ words: moneyInWords(...someMoney(random)) }),
  answer: ({ words }) => moneyByWords.get(words!),
  format: /^[$€£]\d{1,2}\.\d\d$/,
}
