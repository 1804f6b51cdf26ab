// What an idiom of TypeScript is, and the little world that idioms are about.

export interface Idiom {
  /** Two wordings of what it does, as they follow 'How do I …?' */
  readonly asks: readonly [string, string]
  readonly code: string
  /** Declarations that the code needs. */
  readonly before: string
  /** An expression that shows what the code did, and its value as JSON. */
  readonly shows: string
  readonly gives: string
}

/** As lists of idioms are written. */
export type Row = readonly [
  ask: string,
  ask2: string,
  code: string,
  before: string,
  shows: string,
  gives: string,
]

export const items = 'const items = [3, 1, 2, 2]'
export const names = "const names = ['fox', 'bear', 'owl']"
export const text = "const text = ' red fox '"
export const word = "const word = 'fox'"
export const user = "const user = { name: 'fox', age: 3 }"
export const users = "const users = [{ name: 'fox', age: 3 }, { name: 'bear', age: 7 }]"
export const map = "const map = new Map([['a', 1], ['b', 2]])"
export const set = 'const set = new Set([1, 2])'
export const x = 'const x = 7.256'

export function idiomsOf(rows: readonly Row[]): Idiom[] {
  return rows.map(([ask, ask2, code, before, shows, gives]) => ({
    ...{ asks: [ask, ask2] as const, code, before, shows, gives },
  }))
}
