// Which source gives the next document: the one that has given the fewest tokens for its weight (as in weighted fair
// queueing), so that shares hold by tokens at every moment and nothing is left to chance. Knows no documents.

import { GemmaError } from '../error.ts'
import type { DataSource, DataStage } from './training-data.ts'

/** The stages, or the one that the sources' weights make. Throws GemmaError 'usage' where they contradict themselves. */
export function stagesOf(
  sources: readonly DataSource[],
  stages: readonly DataStage[] | undefined,
): DataStage[] {
  const names = sources.map(({ name }) => name)
  for (const { weight = 1, name } of sources) checkWeight(`The weight of source "${name}"`, weight)
  if (stages === undefined) {
    const weights = Object.fromEntries(sources.map(({ name, weight = 1 }) => [name, weight]))
    checkSomeWeight('The sources', weights)
    return [{ until: 1, weights }]
  }
  stages.forEach(({ until, weights }, i) => {
    const what = `Stage ${i + 1}`
    if (!(until > (stages[i - 1]?.until ?? 0) && until <= 1)) {
      throw usage(`${what}: expected "until" to rise from stage to stage, up to 1; it is ${until}.`)
    }
    for (const [name, weight] of Object.entries(weights)) {
      if (!names.includes(name)) {
        throw usage(`${what} weighs a source "${name}"; there are: ${names.join(', ')}.`)
      }
      checkWeight(`${what}: the weight of "${name}"`, weight)
    }
    checkSomeWeight(what, weights)
  })
  if (stages.at(-1)?.until !== 1) throw usage('Expected the last stage to say "until: 1".')
  return stages.map(({ until, weights }) => ({ until, weights: { ...weights } }))
}

function checkWeight(what: string, weight: number): void {
  if (!(weight >= 0 && weight < Number.POSITIVE_INFINITY)) {
    throw usage(`${what} should be a number from 0 up; it is ${weight}.`)
  }
}

function checkSomeWeight(what: string, weights: Readonly<Record<string, number>>): void {
  if (Object.values(weights).every((weight) => weight === 0)) {
    throw usage(`${what}: at least one weight must be more than 0.`)
  }
}

function usage(message: string): GemmaError {
  return new GemmaError('usage', message, 'Correct the sources or stages.')
}

/** The place of the stage that holds at `progress`, 0 to 1. */
export function stageAt(stages: readonly DataStage[], progress: number): number {
  const stage = stages.findIndex(({ until }) => progress < until)
  return stage < 0 ? stages.length - 1 : stage
}

/** Weights in the order of the sources. */
export function weightsOf(stage: DataStage, sources: readonly DataSource[]): number[] {
  return sources.map(({ name }) => (Object.hasOwn(stage.weights, name) ? stage.weights[name]! : 0))
}

/** The open source with a weight that has given the least for it, or −1. */
export function chooseSource(
  virtual: readonly number[],
  weights: readonly number[],
  open: readonly boolean[],
): number {
  let chosen = -1
  for (let i = 0; i < weights.length; i++) {
    if (weights[i]! > 0 && open[i] && (chosen < 0 || virtual[i]! < virtual[chosen]!)) chosen = i
  }
  return chosen
}
