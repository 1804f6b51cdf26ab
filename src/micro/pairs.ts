// Questions with answers to learn from, and others to test with: wordings, and with them whatever a task keeps, are either
// in the one or in the other. From a seed, always the same.

import { fill, leadIns, pick, type Random, type Task, wordingsOf } from './task.ts'
import { tasks } from './tasks.ts'

export interface Pair {
  readonly task: string
  readonly question: string
  /** A right answer; of stories one of many. */
  readonly answer: string
}

/** How often each task is drawn in training, as a share of the sum. */
export type TaskWeights = Readonly<Record<string, number>>

/** People leave out capitals and marks: so do some questions. */
function careless(random: Random, wording: string): string {
  const uncapped =
    random() < 0.12 ? wording.replace(/^[A-Z](?=[a-z]* )/, (letter) => letter.toLowerCase()) : wording
  return random() < 0.12 ? uncapped.replace(/[.?!]$/, '') : uncapped
}

/** A pair as the wording has it, which knows nothing of what stands in its gaps. */
function rawPair(task: Task, random: Random, heldOut: boolean): Pair {
  const wording = careless(random, pick(random, wordingsOf(task, heldOut)))
  const values = task.draw(random, heldOut)
  return { task: task.name, question: fill(wording, values), answer: task.answer(values, random)! }
}

/** 'a angry fox' is 'an angry fox'. */
function withArticles(pair: Pair): Pair {
  return { ...pair, question: pair.question.replace(/\b([Aa]) (?=angry\b)/g, '$1n ') }
}

export function makePair(task: Task, random: Random, heldOut: boolean): Pair {
  return withArticles(rawPair(task, random, heldOut))
}

function rawPairs(count: number, random: Random, weights: TaskWeights): Pair[] {
  const chosen = tasks.filter(({ name }) => (weights[name] ?? 0) > 0)
  const sum = chosen.reduce((total, { name }) => total + weights[name]!, 0)
  return Array.from({ length: count }, () => {
    let left = random() * sum
    const task = chosen.find(({ name }) => (left -= weights[name]!) < 0) ?? chosen.at(-1)!
    return rawPair(task, random, false)
  })
}

/** Questions and answers to learn a vocabulary from: raw ones, since no token begins in one word and ends in the next. */
export function vocabularyTexts(count: number, random: Random, weights: TaskWeights): string[] {
  return rawPairs(count, random, weights).flatMap(({ question, answer }) => [question, answer])
}

export function trainingPairs(count: number, random: Random, weights: TaskWeights): Pair[] {
  return rawPairs(count, random, weights).map(withArticles)
}

/** The same, a quarter of them with words in front, so that a question need not begin where it always does. */
export function varyingPairs(count: number, random: Random, weights: TaskWeights): Pair[] {
  return trainingPairs(count, random, weights).map((pair) =>
    random() < 0.25 ? { ...pair, question: `${pick(random, leadIns)} ${pair.question}` } : pair,
  )
}

/** Questions of each task in wordings that training never has, each question once; fewer where there are not so many. */
export function heldOutPairs(count: number, random: Random, names: readonly string[]): Pair[] {
  return tasks
    .filter(({ name }) => names.includes(name))
    .flatMap((task) => {
      const pairs = new Map<string, Pair>()
      for (let tries = 0; pairs.size < count && tries < 20 * count; tries++) {
        const pair = makePair(task, random, true)
        pairs.set(pair.question, pair)
      }
      return [...pairs.values()]
    })
}

/** Conversations of one to three questions that have nothing to do with each other, all pairs in their order. */
export function conversationsOf(pairs: readonly Pair[], random: Random): Pair[][] {
  const conversations: Pair[][] = []
  for (let at = 0; at < pairs.length; at += conversations.at(-1)!.length) {
    conversations.push(pairs.slice(at, at + pick(random, [1, 1, 1, 2, 3])))
  }
  return conversations
}

/** As a line of training data. */
export function asMessages(pairs: readonly Pair[]): { messages: { role: string; content: string }[] } {
  return {
    messages: pairs.flatMap(({ question, answer }) => [
      { role: 'user', content: question },
      { role: 'assistant', content: answer },
    ]),
  }
}
