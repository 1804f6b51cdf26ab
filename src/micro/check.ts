// Says of an answer whether it is right, from question and answer alone. Knows what the small model was taught and nothing
// beyond: of other questions it says that it cannot tell.

import { DECLINE } from './declining.ts'
import { recognise, type Task, type Values, withoutLeadIn } from './task.ts'
import { tasks } from './tasks.ts'

export interface Recognised {
  readonly task: Task
  readonly values: Values
}

export type Verdict =
  /** No task has this question; `declined` says whether the answer was to decline. */
  | { readonly kind: 'unknown'; readonly declined: boolean }
  | { readonly kind: 'right'; readonly task: Task }
  /** `declined`: the model said that it cannot answer what it was taught to. */
  | { readonly kind: 'wrong'; readonly task: Task; readonly fault: string; readonly declined: boolean }

/** The task that a question belongs to, and what stands in its gaps. */
export function recogniseQuestion(question: string): Recognised | undefined {
  const text = withoutLeadIn(question.trim())
  for (const task of tasks) {
    const values = recognise(task, text)
    if (values !== undefined) return { task, values }
  }
  return undefined
}

/** What is wrong with an answer to a question of this task; undefined when it is right. */
export function faultOf({ task, values }: Recognised, answer: string): string | undefined {
  if (task.fault !== undefined) return task.fault(values, answer)
  const expected = task.answer(values, () => 0)
  return answer === expected ? undefined : `expected ${JSON.stringify(expected)}`
}

export function checkAnswer(question: string, answer: string): Verdict {
  const text = answer.trim()
  const declined = text === DECLINE
  const recognised = recogniseQuestion(question)
  if (recognised === undefined) return { kind: 'unknown', declined }
  const { task } = recognised
  const fault = faultOf(recognised, text)
  return fault === undefined ? { kind: 'right', task } : { kind: 'wrong', task, fault, declined }
}

/** A verdict as a line for people. */
export function describeVerdict(verdict: Verdict): string {
  if (verdict.kind === 'right') return `right (${verdict.task.name})`
  if (verdict.kind === 'wrong') return `wrong (${verdict.task.name}): ${verdict.fault}`
  return verdict.declined ? 'declined; no checker knows this question' : 'no checker knows this question'
}
