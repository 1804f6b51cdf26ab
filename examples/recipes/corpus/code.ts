// Code: a few lines of TypeScript about one list. Its names must agree, as those of a program must.

import { type Writing, way, word } from './grammar.ts'
import { allowed, type Split } from './split.ts'
import { capitalized, type Noun, nouns, totals } from './words.ts'

const digits: readonly number[] = Array.from({ length: 10 }, (_, digit) => digit)
const comparisons = ['>', '<', '>=', '<='] as const
const operators = ['+', '-', '*'] as const

/** Whether the list of a name never begins with this number in the training documents: a fifth of the pairs. */
export function isUnseenStart(noun: number, digit: number): boolean {
  return (noun + digit) % 5 === 0
}

function* declaration(noun: Noun, split: Split): Writing {
  yield `const ${noun.many} = [`
  yield `${yield* word(allowed(split, digits, (digit) => isUnseenStart(nouns.indexOf(noun), digit)))}`
  yield `, ${yield* word(digits)}, ${yield* word(digits)}]\n`
}

function* sum({ one, many }: Noun): Writing {
  const total = yield* word(totals)
  yield `let ${total} = 0\nfor (const ${one} of ${many}) {\n  ${total} += ${one}\n}\n`
  yield `console.log(${total})\n`
}

function* filter({ one, many }: Noun): Writing {
  yield `const some = ${many}.filter((${one}) => ${one} ${yield* word(comparisons)} ${yield* word(digits)})\n`
  yield 'console.log(some.length)\n'
}

function* map({ one, many }: Noun): Writing {
  yield `const next = ${many}.map((${one}) => ${one} ${yield* word(operators)} ${yield* word(digits)})\n`
  yield 'console.log(next)\n'
}

function* check({ many }: Noun): Writing {
  yield `if (${many}.length === ${yield* word(digits)}) {\n  throw new Error('no ${many}')\n}\n`
}

function* lookUp({ one, many }: Noun): Writing {
  yield `function get${capitalized(one)}(index: number): number {\n  return ${many}[index]\n}\n`
}

const parts = [sum, filter, map, check, lookUp] as const

export function* code(split: Split): Writing {
  const noun = yield* word(nouns)
  yield* declaration(noun, split)
  const first = yield* way(3, 2, 2, 2, 1)
  yield* parts[first]!(noun)
  // A second part, another one.
  if ((yield* way(1, 1)) === 0) return
  const others = parts.filter((_, part) => part !== first)
  yield* others[yield* way(...others.map(() => 1))]!(noun)
}
