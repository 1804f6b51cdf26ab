// The documents that the small model reads before it learns to answer: prose, code and mathematics, all from grammars whose
// probability is known. They hold the skills that are asked for later, and no question. Each writer is unambiguous: a
// text has one derivation.

import { commandCards } from '../../src/micro/command-cards.ts'
import { daysInMonth, inIso, inWords, months, workedDaysAfter, years } from '../../src/micro/dates.ts'
import { slugOf, styles } from '../../src/micro/names.ts'
import { currencies, moneyInDigits, moneyInWords, numberInWords } from '../../src/micro/numbers.ts'
import { anyStory } from '../../src/micro/stories.ts'
import { workedDifference, workedSum } from '../../src/micro/sums.ts'
import { idiomCards } from '../../src/micro/typescript-cards.ts'
import { amounts, celsius, conversions, fahrenheit } from '../../src/micro/units.ts'
import { capitalized, heroes, looks, nameWords, objects, places } from '../../src/micro/words.ts'
import { type Writing, way, word } from '../recipes/corpus/grammar.ts'

const range = (least: number, most: number): readonly number[] =>
  Array.from({ length: most - least + 1 }, (_, i) => least + i)

const byDigits = [range(0, 9), range(10, 99), range(100, 999)] as const

function* someNumber(): Writing<number> {
  return yield* word(byDigits[yield* way(1, 2, 3)]!)
}

// Mathematics.

function* sum(): Writing {
  const a = yield* someNumber()
  yield `${a}+`
  const b = yield* someNumber()
  yield `${b}=?\n${workedSum(a, b)}\n`
}

function* difference(): Writing {
  const a = yield* word(byDigits[yield* way(1, 2, 6)]!)
  yield `${a}-`
  yield* subtrahend(a)
}

function* subtrahend(a: number): Writing {
  const b = yield* word(range(0, a))
  yield `${b}=?\n${workedDifference(a, b)}\n`
}

function* columnLine(): Writing {
  const a = yield* word(range(0, 9))
  yield `${a}+`
  const b = yield* word(range(0, 9))
  const carry = yield* way(1, 1)
  yield `${b}${carry > 0 ? '+1' : ''}=${a + b + carry}\n`
}

function* conversion(): Writing {
  const which = yield* word(range(0, conversions.length))
  const forth = (yield* way(1, 1)) === 0
  if (which === conversions.length) {
    const degrees = yield* word(celsius)
    const [one, other] = [`${degrees} °C`, `${fahrenheit(degrees)} °F`]
    yield forth ? `${one} = ${other}\n` : `${other} = ${one}\n`
    return
  }
  const chosen = conversions[which]!
  const amount = yield* word(amounts(chosen))
  const [one, other] = [`${amount} ${chosen.from}`, `${Math.round(amount * chosen.factor)} ${chosen.to}`]
  yield forth ? `${one} = ${other}\n` : `${other} = ${one}\n`
}

function* numberName(): Writing {
  const number = yield* word(byDigits[yield* way(1, 2, 6)]!)
  yield (yield* way(1, 1)) === 0
    ? `${number} = ${numberInWords(number)}\n`
    : `${numberInWords(number)} = ${number}\n`
}

function* moneyName(): Writing {
  const currency = yield* word(currencies)
  const whole = yield* word(range(1, 99))
  const rest = (yield* way(1, 4)) === 0 ? 0 : yield* word(range(1, 99))
  const [digits, words] = [
    moneyInDigits(currency, 100 * whole + rest),
    moneyInWords(currency, 100 * whole + rest),
  ]
  yield (yield* way(1, 1)) === 0 ? `${digits} = ${words}\n` : `${words} = ${digits}\n`
}

function* daysOn(): Writing {
  const year = yield* word(years)
  const month = yield* word(range(1, 12))
  const day = yield* word(range(1, daysInMonth(month, year)))
  const date = { day, month, year }
  yield `${inWords(date)} + `
  const days = yield* word(range(2, 9))
  yield `${days} days\n${workedDaysAfter(date, days)}\n`
}

function* dateForms(): Writing {
  const year = yield* word(years)
  const month = yield* word(range(1, 12))
  const date = { day: yield* word(range(1, daysInMonth(month, year))), month, year }
  yield (yield* way(1, 1)) === 0
    ? `${inWords(date)} = ${inIso(date)}\n`
    : `${inIso(date)} = ${inWords(date)}\n`
}

function* lengthOfMonth(): Writing {
  const month = (yield* way(1, 1)) === 0 ? 2 : yield* word([1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
  const year = yield* word(years)
  yield `${months[month - 1]} ${year} has ${daysInMonth(month, year)} days.\n`
}

// Code.

function* idiom(): Writing {
  const { asks, code } = yield* word(idiomCards)
  yield `// ${yield* word(asks)}\n${code}\n`
}

function* command(): Writing {
  const { asks, command } = yield* word(commandCards)
  yield `# ${yield* word(asks)}\n${command}\n`
}

function* nameForms(): Writing {
  const first = yield* word(nameWords)
  yield first
  const second = yield* word(nameWords.filter((other) => other !== first))
  yield ` ${second}`
  const words = [first, second]
  if ((yield* way(1, 1)) === 0) {
    const third = yield* word(nameWords.filter((other) => !words.includes(other)))
    yield ` ${third}`
    words.push(third)
  }
  // One form from another, each pair as likely; plain words are a form too.
  const forms = Object.entries(styles)
  const [style, { join }] = yield* word(forms)
  yield `\n${style}: ${join(words)}\n`
  const [otherStyle, other] = yield* word(forms.filter(([name]) => name !== style))
  yield `${otherStyle}: ${other.join(words)}\n`
}

/** Titles, and which of the words they have. */
const titles: readonly {
  readonly title: (look: string, hero: string, object: string) => string
  readonly without?: 'look' | 'hero'
}[] = [
  { title: (look, _, object) => `The ${look} ${object}`, without: 'hero' },
  { title: (_, hero, object) => `The ${hero} and the ${object}`, without: 'look' },
  { title: (look, hero, object) => `A ${look} ${object} for the ${hero}` },
  { title: (look, hero, object) => `${look} ${object}, ${look} ${hero}` },
  { title: (_, hero, object) => `${hero} and ${object}`, without: 'look' },
  { title: (_, hero, object) => `How the ${hero} Lost a ${object}`, without: 'look' },
  { title: (look, hero, object) => `The ${hero}'s ${look} ${object}` },
]

function* titleSlug(): Writing {
  const { title: write, without } = titles[yield* way(...titles.map(() => 1))]!
  // What a title does not have is no choice.
  const look = yield* word(without === 'look' ? [''] : looks)
  const hero = yield* word(without === 'hero' ? [''] : heroes)
  const object = yield* word(objects)
  const title = write(capitalized(look), capitalized(hero), capitalized(object))
  const whole = title + (yield* word(['', '!', '?', '.']))
  yield `"${whole}" ${slugOf(whole)}\n`
}

// Prose.

function* story(): Writing {
  yield* anyStory()
  yield '\n'
}

function* shopLine(): Writing {
  const look = yield* word(looks)
  yield `The ${look} `
  const object = yield* word(objects)
  yield `${object} costs `
  const currency = yield* word(currencies)
  const hundredths = 100 * (yield* word(range(1, 99))) + (yield* word(range(1, 99)))
  yield `${moneyInDigits(currency, hundredths)}, that is ${moneyInWords(currency, hundredths)}.`
  const size = yield* word(range(2, 99))
  yield ` It is ${size} cm wide, which is ${10 * size} mm.\n`
}

function* diaryLine(): Writing {
  const year = yield* word(years)
  const month = yield* word(range(1, 12))
  const date = { day: yield* word(range(1, daysInMonth(month, year))), month, year }
  yield `${inIso(date)}. On ${inWords(date)} the `
  yield `${yield* word(heroes)} was ${yield* word(places)} with a ${yield* word(looks)} ${yield* word(objects)}.\n`
}

function repeated(line: () => Writing, times: number): () => Writing {
  return function* () {
    for (let i = 0; i < times; i++) yield* line()
  }
}

/** One of several kinds of documents, by weight. */
function oneOf(...kinds: readonly (readonly [weight: number, write: () => Writing])[]): () => Writing {
  const weights = kinds.map(([weight]) => weight)
  return function* () {
    yield* kinds[yield* way(...weights)]![1]()
  }
}

/** The titles tell a reader, and the model, what comes. */
function titled(title: string, write: () => Writing): () => Writing {
  return function* () {
    yield `${title}\n`
    yield* write()
  }
}

const maths = oneOf(
  [4, titled('Adding', repeated(sum, 3))],
  [4, titled('Subtracting', repeated(difference, 3))],
  [0.5, titled('Columns', repeated(columnLine, 10))],
  [2, titled('Units', repeated(conversion, 10))],
  [2, titled('Numbers in words', repeated(numberName, 7))],
  [2, titled('Money in words', repeated(moneyName, 6))],
  [2, titled('Days later', repeated(daysOn, 4))],
  [1.5, titled('Dates', repeated(dateForms, 6))],
  [0.7, titled('Months', repeated(lengthOfMonth, 8))],
)

const code = oneOf(
  [6, titled('TypeScript', repeated(idiom, 4))],
  [1.5, titled('The program gemma', repeated(command, 4))],
  [3, titled('Names', repeated(nameForms, 4))],
  [1.5, titled('Slugs', repeated(titleSlug, 5))],
)

const prose = oneOf(
  [4, titled('A story', story)],
  [1, titled('In the shop', repeated(shopLine, 3))],
  [1, titled('A diary', repeated(diaryLine, 4))],
)

/** A bit of everything in one document: what is best for a model that shall answer anything. */
const lessons = titled(
  'Lessons',
  repeated(
    oneOf(
      [2, sum],
      [2, difference],
      [1, conversion],
      [1, numberName],
      [1, moneyName],
      [1, daysOn],
      [1, dateForms],
      [0.5, lengthOfMonth],
      [2, idiom],
      [1, command],
      [1, nameForms],
      [1, titleSlug],
    ),
    5,
  ),
)

export type DocumentKind = 'prose' | 'code' | 'maths' | 'lessons'

export const documentKinds: Readonly<Record<DocumentKind, () => Writing>> = { prose, code, maths, lessons }

/** What documents are made of, each ending its line: whatever holds of these holds of their documents. */
export const lineWriters: Readonly<Record<string, () => Writing>> = {
  ...{ sum, difference, columnLine, conversion, numberName, moneyName, daysOn, dateForms, lengthOfMonth },
  ...{ idiom, command, nameForms, titleSlug, story, shopLine, diaryLine },
}
