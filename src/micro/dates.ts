// Dates of the years 2000 to 2049: in words, in ISO form, days in a month, and a few days on.

import { between, pick, type Random, type Task } from './task.ts'

export const months: readonly string[] = [
  ...['January', 'February', 'March', 'April', 'May', 'June', 'July'],
  ...['August', 'September', 'October', 'November', 'December'],
]
export const years: readonly number[] = Array.from({ length: 50 }, (_, i) => 2000 + i)

/** `month` counts from 1. */
export interface CalendarDate {
  readonly day: number
  readonly month: number
  readonly year: number
}

export function daysInMonth(month: number, year: number): number {
  return new Date(Date.UTC(year, month, 0)).getUTCDate()
}

export const inWords = ({ day, month, year }: CalendarDate): string => `${day} ${months[month - 1]} ${year}`

export function inIso({ day, month, year }: CalendarDate): string {
  return `${year}-${String(month).padStart(2, '0')}-${String(day).padStart(2, '0')}`
}

/** Worked, with the date in the last line: '28+5=33', 'March has 31 days', '33-31=2', '2 April 2024'. */
export function workedDaysAfter(date: CalendarDate, days: number): string {
  const { day, month, year } = date
  const counted = day + days
  const length = daysInMonth(month, year)
  const first = `${day}+${days}=${counted}`
  const name = `${months[month - 1]}${month === 2 ? ` ${year}` : ''}`
  if (counted <= length) return `${first}\n${inWords({ day: counted, month, year })}`
  const next = { day: counted - length, month: (month % 12) + 1, year: month === 12 ? year + 1 : year }
  return `${first}\n${name} has ${length} days\n${counted}-${length}=${next.day}\n${inWords(next)}`
}

export function someDate(random: Random): CalendarDate {
  const [month, year] = [between(random, 1, 12), pick(random, years)]
  return { day: between(random, 1, daysInMonth(month, year)), month, year }
}

const month = months.join('|')
const gaps = {
  date: `(?:[1-9]|[12]\\d|3[01]) (?:${month}) 20[0-4]\\d`,
  iso: '20[0-4]\\d-[01]\\d-[0-3]\\d',
  month,
  year: '20[0-4]\\d',
  n: '[2-9]',
}

function parts(day: string, month: number, year: string): CalendarDate | undefined {
  const date = { day: Number(day), month, year: Number(year) }
  const possible = month >= 1 && month <= 12 && date.day >= 1 && date.day <= daysInMonth(month, date.year)
  return possible ? date : undefined
}

function fromWords(text: string): CalendarDate | undefined {
  const [day, name, year] = text.split(' ')
  return parts(day!, months.indexOf(name!) + 1, year!)
}

function fromIso(text: string): CalendarDate | undefined {
  const [year, number, day] = text.split('-')
  return parts(day!, Number(number), year!)
}

export const dateToIso: Task = {
  name: 'date to ISO',
  family: 'dates',
  wordings: [
    ...['Write {date} as an ISO date.', 'What is {date} in ISO format?', '{date} in ISO format'],
    ...[
      'Convert {date} to ISO.',
      'Give {date} as an ISO date.',
      'Change {date} to an ISO date.',
      '{date} as ISO',
    ],
    ...[
      'Express {date} in ISO format.',
      'Turn {date} into an ISO date.',
      'How do I write {date} in ISO format?',
    ],
  ],
  gaps,
  draw: (random) => ({ date: inWords(someDate(random)) }),
  answer({ date }) {
    const found = fromWords(date!)
    return found && inIso(found)
  },
  format: /^\d{4}-\d\d-\d\d$/,
}

export const isoToDate: Task = {
  name: 'ISO to date',
  family: 'dates',
  wordings: [
    ...[
      'Write {iso} in words.',
      'What date is {iso}?',
      '{iso} in words',
      'Which day is {iso}?',
      'Express {iso} in words.',
    ],
    ...[
      'Say {iso} as a date.',
      'Write the date {iso} with the name of the month.',
      'Spell out {iso}.',
      'Read {iso}.',
    ],
    ...['What is {iso} in words?'],
  ],
  gaps,
  draw: (random) => ({ iso: inIso(someDate(random)) }),
  answer({ iso }) {
    const found = fromIso(iso!)
    return found && inWords(found)
  },
  format: new RegExp(`^\\d+ (${month}) \\d{4}$`),
}

export const monthLength: Task = {
  name: 'days in a month',
  family: 'dates',
  wordings: [
    ...[
      'How many days has {month} {year}?',
      'How many days are there in {month} {year}?',
      'Days in {month} {year}',
    ],
    ...[
      'How long is {month} {year}?',
      'Tell me how many days {month} {year} has.',
      'Tell me the days in {month} {year}.',
    ],
    ...[
      '{month} {year}: how many days?',
      'How many days does {month} {year} have?',
      'Count the days in {month} {year}.',
    ],
    ...['How many days are in {month} {year}?'],
  ],
  gaps,
  // February is what is worth asking.
  draw: (random) => ({
    month: random() < 0.3 ? 'February' : pick(random, months),
    year: String(pick(random, years)),
  }),
  answer: ({ month, year }) =>
    `${month} ${year} has ${daysInMonth(months.indexOf(month!) + 1, Number(year))} days.`,
  format: new RegExp(`^(${month}) \\d{4} has \\d\\d days\\.$`),
}

export const daysAfter: Task = {
  name: 'days after a date',
  family: 'dates',
  wordings: [
    ...[
      'What date is {n} days after {date}?',
      '{n} days after {date}',
      'Add {n} days to {date}.',
      '{date} plus {n} days',
    ],
    ...[
      'Which date is {n} days after {date}?',
      '{date} + {n} days',
      'What is the date {n} days after {date}?',
    ],
    ...[
      'Count {n} days from {date}.',
      'Which day comes {n} days after {date}?',
      'Tell me the date {n} days after {date}.',
    ],
  ],
  gaps,
  draw: (random) => ({ date: inWords(someDate(random)), n: String(between(random, 2, 9)) }),
  answer({ date, n }) {
    const found = fromWords(date!)
    return found && workedDaysAfter(found, Number(n))
  },
  format: new RegExp(
    `^\\d+\\+\\d=\\d+\\n((${month})( \\d{4})? has \\d\\d days\\n\\d+-\\d+=\\d+\\n)?\\d+ (${month}) \\d{4}$`,
  ),
}
