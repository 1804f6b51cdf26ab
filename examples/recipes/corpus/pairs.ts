// Questions and answers of three kinds, to teach a model of the nano corpus to converse: sums to work out, words
// to say again, and questions about what the stories tell of their heroes. Some are kept for testing: sums and
// lists that no training text has, and questions in words in which that hero is never asked about.

import { isUnseenSum, workedSum } from './additions.ts'
import { heroes, looks, objects } from './words.ts'

export type PairKind = 'sum' | 'repeat' | 'lookup'

export interface Pair {
  readonly kind: PairKind
  readonly question: string
  /** The only right answer. */
  readonly answer: string
}

/** Uniform numbers in [0, 1). */
type Random = () => number

function pick<Item>(random: Random, list: readonly Item[]): Item {
  return list[Math.floor(random() * list.length)]!
}

function sumPair(random: Random, heldOut: boolean): Pair {
  for (;;) {
    const a = 10 + Math.floor(random() * 90)
    const b = 10 + Math.floor(random() * 90)
    if (isUnseenSum(a, b) !== heldOut) continue
    const question = pick(random, [`What is ${a}+${b}?`, `Add ${a} and ${b}.`])
    return { kind: 'sum', question, answer: workedSum(a, b) }
  }
}

function repeatPair(random: Random, heldOut: boolean): Pair {
  for (;;) {
    const [look, otherLook] = [pick(random, looks), pick(random, looks)]
    const [object, otherObject] = [pick(random, objects), pick(random, objects)]
    const key = looks.indexOf(look) + 3 * objects.indexOf(object) + 7 * objects.indexOf(otherObject)
    if ((key % 10 === 0) !== heldOut) continue
    const answer = `a ${look} ${object} and a ${otherLook} ${otherObject}`
    return { kind: 'repeat', question: `${pick(random, ['Repeat', 'Say'])}: ${answer}`, answer }
  }
}

/** All questions about heroes; of the three wordings of each, one is kept, not always the same. */
function lookupPairs(heldOut: boolean): Pair[] {
  return heroes.flatMap(({ name, home, food }, hero) => {
    const aboutHome = [
      `Where does the ${name} live?`,
      `Tell me the home of the ${name}.`,
      `The ${name} lives in what place?`,
    ]
    const aboutFood = [
      `What does the ${name} eat?`,
      `Tell me the food of the ${name}.`,
      `The ${name} eats which food?`,
    ]
    const pairs = (questions: readonly string[], kept: number, answer: string): Pair[] =>
      questions
        .filter((_, wording) => (wording === kept % questions.length) === heldOut)
        .map((question) => ({ kind: 'lookup', question, answer }))
    return [
      ...pairs(aboutHome, hero, `The ${name} lived ${home}.`),
      ...pairs(aboutFood, hero + 1, `The ${name} ate ${food}.`),
    ]
  })
}

/** Pairs in random order, a third of each kind. */
export function trainingPairs(count: number, random: Random): Pair[] {
  const known = lookupPairs(false)
  return Array.from({ length: count }, () => {
    const kind = Math.floor(random() * 3)
    if (kind === 0) return sumPair(random, false)
    return kind === 1 ? repeatPair(random, false) : pick(random, known)
  })
}

/** Pairs that training pairs never have, each once: `count` sums, as many to repeat, and all kept questions. */
export function heldOutPairs(count: number, random: Random): Pair[] {
  const different = (make: () => Pair): Pair[] => {
    const pairs = new Map<string, Pair>()
    while (pairs.size < count) {
      const pair = make()
      pairs.set(pair.question, pair)
    }
    return [...pairs.values()]
  }
  return [
    ...different(() => sumPair(random, true)),
    ...different(() => repeatPair(random, true)),
    ...lookupPairs(true),
  ]
}

/** As a line of training data. */
export function asMessages({ question, answer }: Pair): { messages: { role: string; content: string }[] } {
  return {
    messages: [
      { role: 'user', content: question },
      { role: 'assistant', content: answer },
    ],
  }
}
