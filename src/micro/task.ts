// What the small model that ships with the package is asked: tasks, each with the wordings of its question and a rule
// that gives the answer. Wordings are patterns that work both ways: they write a question, and they recognise one, so
// that an answer can be checked from question and answer alone. Knows no model and no files.

export type FamilyName =
  | 'sums'
  | 'units'
  | 'dates'
  | 'numbers'
  | 'names'
  | 'typescript'
  | 'commands'
  | 'stories'
  | 'greetings'
  | 'declining'

/** What stands in the gaps of a wording, by the names of the gaps. */
export type Values = Readonly<Record<string, string>>

/** Uniform numbers in [0, 1). */
export type Random = () => number

export interface Task {
  readonly name: string
  readonly family: FamilyName
  /** Texts with gaps: 'What is {a} + {b}?'. Every fifth is kept from training, see isHeldOutWording. */
  readonly wordings: readonly string[]
  /** What may stand in each gap, as the source of a regular expression. */
  readonly gaps: Readonly<Record<string, string>>
  /** One question of this task. `heldOut`: of the kind kept from training, where the task keeps more than wordings. */
  readonly draw: (random: Random, heldOut: boolean) => Values
  /** A right answer; undefined when the values, though of the right form, are no question of this task. */
  readonly answer: (values: Values, random: Random) => string | undefined
  /** What is wrong with an answer. Without it only the one text that `answer` gives is right. */
  readonly fault?: (values: Values, answer: string) => string | undefined
  /** The form that every answer of this task has, right or wrong. */
  readonly format: RegExp
}

export function pick<Item>(random: Random, list: readonly Item[]): Item {
  return list[Math.floor(random() * list.length)]!
}

/** A whole number from `least` to `most`, each as likely. */
export function between(random: Random, least: number, most: number): number {
  return least + Math.floor(random() * (most - least + 1))
}

/** Whether a wording, by its place in the list, is kept for testing: every fifth one. */
export function isHeldOutWording(index: number): boolean {
  return index % 5 === 4
}

/** What may stand before any question. */
export const leadIns: readonly string[] = [
  ...['Now:', 'Next:', 'Question:', 'OK,', 'Good.', 'And now:', 'Another one:', 'Well,', 'Please:', 'Right.'],
]

/** A question without what stands before it. */
export function withoutLeadIn(question: string): string {
  const found = leadIns.find((words) => question.startsWith(`${words} `))
  return found === undefined ? question : question.slice(found.length + 1)
}

/** The wordings that training may use, or those kept from it. */
export function wordingsOf(task: Task, heldOut: boolean): readonly string[] {
  return task.wordings.filter((_, index) => isHeldOutWording(index) === heldOut)
}

/** A wording with its gaps filled. */
export function fill(wording: string, values: Values): string {
  return wording.replace(/\{(\w+)\}/g, (_, name: string) => values[name]!)
}

const special = /[.*+?^${}()|[\]\\]/g

/** The pattern that recognises a wording: its first letter in either case, with or without a mark at its end. */
function patternOf(task: Task, wording: string): RegExp {
  const parts = wording.replace(/[.?!]$/, '').split(/\{(\w+)\}/)
  const source = parts.map((part, i) =>
    i % 2 === 1
      ? `(?<${part}>${task.gaps[part]})`
      : part.replace(special, '\\$&').replace(/\b([Aa]) $/, '$1n? '),
  )
  const [first = ''] = source
  if (/^[A-Za-z]/.test(first)) {
    source[0] = `[${first[0]!.toUpperCase()}${first[0]!.toLowerCase()}]${first.slice(1)}`
  }
  return new RegExp(`^${source.join('')}[.?!]?$`)
}

const patterns = new WeakMap<Task, readonly RegExp[]>()

/** What stands in the gaps of a question, if it is one of this task. */
export function recognise(task: Task, question: string): Values | undefined {
  let own = patterns.get(task)
  if (own === undefined) {
    own = task.wordings.map((wording) => patternOf(task, wording))
    patterns.set(task, own)
  }
  for (const pattern of own) {
    const match = pattern.exec(question)
    if (match === null) continue
    const values: Values = { ...match.groups }
    if (task.answer(values, () => 0) !== undefined) return values
  }
  return undefined
}
