// Questions with answers to learn from, and others to test with: wordings, and with them whatever a task keeps, are either
// in the one or in the other. From a seed, always the same.

import { fill, pick, type Random, type Task, wordingsOf } from './task.ts'
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

export function makePair(task: Task, random: Random, heldOut: boolean): Pair {
  const wording = careless(random, pick(random, wordingsOf(task, heldOut)))
  const values = task.draw(random, heldOut)
  return { task: task.name, question: fill(wording, values), answer: task.answer(values, random)! }
}

export function trainingPairs(count: number, random: Random, weights: TaskWeights): Pair[] {
  const chosen = tasks.filter(({ name }) => (weights[name] ?? 0) > 0)
  const sum = chosen.reduce((total, { name }) => total + weights[name]!, 0)
  return Array.from({ length: count }, () => {
    let left = random() * sum
    const task = chosen.find(({ name }) => (left -= weights[name]!) < 0) ?? chosen.at(-1)!
    return makePair(task, random, false)
  })
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
