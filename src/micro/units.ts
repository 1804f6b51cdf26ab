// Units that the small model converts: a closed table, whole numbers or one decimal.

import { between, pick, type Random, type Task } from './task.ts'

/** One `from` is `factor` of `to`. Powers of ten are converted up to 99, others up to 20. */
interface Conversion {
  readonly from: string
  readonly to: string
  readonly factor: number
}

const table: readonly (readonly [string, number, string])[] = [
  ['km', 1000, 'm'],
  ['m', 100, 'cm'],
  ['cm', 10, 'mm'],
  ['kg', 1000, 'g'],
  ['t', 1000, 'kg'],
  ['l', 1000, 'ml'],
  ['hours', 60, 'minutes'],
  ['minutes', 60, 'seconds'],
  ['days', 24, 'hours'],
  ['weeks', 7, 'days'],
  ['years', 12, 'months'],
  ['feet', 12, 'inches'],
  ['yards', 3, 'feet'],
]

export const conversions: readonly Conversion[] = table.map(([from, factor, to]) => ({ from, to, factor }))

/** Temperatures: multiples of 5 °C from 0 to 100, which are whole in °F. */
export const celsius: readonly number[] = Array.from({ length: 21 }, (_, i) => 5 * i)
export const fahrenheit = (degrees: number): number => (degrees * 9) / 5 + 32

/** How many of its larger unit a conversion knows: with powers of ten also tenths. */
export function amounts({ factor }: Conversion): readonly number[] {
  if (!/^10+$/.test(String(factor))) return Array.from({ length: 19 }, (_, i) => i + 2)
  const whole = Array.from({ length: 99 }, (_, i) => i + 1)
  const tenths = Array.from({ length: 99 }, (_, i) => (i + 1) / 10).filter((amount) => amount % 1 !== 0)
  return factor >= 100 ? [...whole, ...tenths] : whole
}

/** Everything that can be asked: '5 km', in 'm', is '5000 m'. */
export const facts: ReadonlyMap<string, string> = new Map([
  ...conversions.flatMap((conversion): [string, string][] =>
    amounts(conversion).flatMap((amount) => {
      const large = `${amount} ${conversion.from}`
      const small = `${Math.round(amount * conversion.factor)} ${conversion.to}`
      return [
        [`${large} in ${conversion.to}`, small],
        [`${small} in ${conversion.from}`, large],
      ]
    }),
  ),
  ...celsius.flatMap((degrees): [string, string][] => [
    [`${degrees} °C in °F`, `${fahrenheit(degrees)} °F`],
    [`${fahrenheit(degrees)} °F in °C`, `${degrees} °C`],
  ]),
])

const units = [...new Set(['°C', '°F', ...conversions.flatMap(({ from, to }) => [from, to])])]
const unit = units.join('|')

function someQuestion(random: Random): { n: string; from: string; to: string } {
  const which = between(random, 0, conversions.length)
  const forth = random() < 0.5
  if (which === conversions.length) {
    const degrees = pick(random, celsius)
    if (forth) return { n: String(degrees), from: '°C', to: '°F' }
    return { n: String(fahrenheit(degrees)), from: '°F', to: '°C' }
  }
  const conversion = conversions[which]!
  const amount = pick(random, amounts(conversion))
  const { from, to, factor } = conversion
  if (forth) return { n: String(amount), from, to }
  return { n: String(Math.round(amount * factor)), from: to, to: from }
}

export const unitConversion: Task = {
  name: 'unit conversion',
  family: 'units',
  wordings: [
    ...['Convert {n} {from} to {to}.', 'How many {to} are {n} {from}?', '{n} {from} in {to}'],
    ...['What is {n} {from} in {to}?', 'Change {n} {from} into {to}.', '{n} {from} to {to}'],
    ...['How many {to} are there in {n} {from}?', 'Express {n} {from} in {to}.', 'Give {n} {from} in {to}.'],
    ...[
      'Please convert {n} {from} into {to}.',
      'How much is {n} {from} in {to}?',
      'Turn {n} {from} into {to}.',
    ],
    ...[
      'I have {n} {from}. How many {to} is that?',
      'Can you convert {n} {from} to {to}?',
      'Tell me {n} {from} in {to}.',
    ],
  ],
  gaps: { n: '\\d+(?:\\.\\d)?', from: unit, to: unit },
  draw: someQuestion,
  answer({ n, from, to }) {
    const result = facts.get(`${n} ${from} in ${to}`)
    return result === undefined ? undefined : `${n} ${from} = ${result}`
  },
  format: new RegExp(`^\\d+(\\.\\d)? (${unit}) = \\d+(\\.\\d)? (${unit})$`),
}
