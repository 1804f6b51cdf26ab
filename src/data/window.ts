// A window: some runs that are made together, so that documents of many lengths fill them well. Sources give
// documents in turn, best fit packs them, and the runs are shuffled. Made again from the same start it is the same
// window; that is what lets training go on in the middle of one. Knows sources only by what they give.

import type { Document } from './document.ts'
import { chooseSource, stageAt, weightsOf } from './mixture.ts'
import { packBestFit, packInOrder, packPrefix } from './pack.ts'
import { createGenerator, shuffle } from './shuffle.ts'
import type { DataSource, DataStage, SourceState, WindowStart } from './training-data.ts'

/** Runs of a window. More pack hardly better; fewer let a stage of the mixture begin nearer to its time. */
const WINDOW_RUNS = 64
/** Runs of the first window where there are stages: how fast training gets on is not known yet. */
const FIRST_RUNS = 8

export interface WindowOptions {
  readonly sources: readonly DataSource[]
  readonly stages: readonly DataStage[]
  readonly rows: number
  readonly packing: boolean
  readonly seed: number
  readonly order: 'shuffled' | 'sequential'
}

/** A document of a run, and the place of its source in the list. */
export interface RunDocument {
  readonly document: Document
  readonly source: number
}

export interface Window {
  readonly runs: readonly (readonly RunDocument[])[]
  /** Where the window after it begins. */
  readonly next: WindowStart
}

interface Item {
  readonly document: Document
}

/** What a window needs of a source; document-source.node.ts says more. */
export interface Giver {
  next(): Promise<Item | undefined>
  putBack(items: readonly Item[]): void
  state(): SourceState
}

/** No runs when all sources with a weight have ended. `givers` must stand at `start.sources`. */
export async function makeWindow(
  options: WindowOptions,
  givers: readonly Giver[],
  start: WindowStart,
  progress: number,
): Promise<Window> {
  const { rows, packing, stages, sources, seed, order } = options
  const stage = stageAt(stages, progress)
  const weights = weightsOf(stages[stage]!, sources)
  const virtual = stage === start.stage ? start.virtual : sources.map(() => 0)
  const runs = runsOfWindow(stages, stage, start, progress)
  const most = packing ? runs * rows : runs
  const pulled = await pull(givers, weights, virtual, most, packing ? tokensOf : () => 1)
  const lengths = pulled.map(tokensOf)
  const { taken, packed } = !packing
    ? { taken: Math.min(runs, pulled.length), packed: lengths.slice(0, runs).map((_, i) => [i]) }
    : packPrefix(lengths, rows, runs, order === 'sequential' ? packInOrder : packBestFit)
  giveBack(givers, pulled.slice(taken))
  if (order === 'shuffled') shuffle(packed, createGenerator(seed, 'runs', start.index))
  const used = [...virtual]
  for (const one of pulled.slice(0, taken)) used[one.source]! += tokensOf(one) / weights[one.source]!
  return {
    runs: packed.map((run) =>
      run.map((i) => ({ document: pulled[i]!.item.document, source: pulled[i]!.source })),
    ),
    next: {
      index: start.index + 1,
      stage,
      virtual: used,
      before: { progress, runs: packed.length },
      sources: givers.map((giver) => giver.state()),
    },
  }
}

interface Pulled {
  readonly item: Item
  readonly source: number
}

function tokensOf({ item }: Pulled): number {
  return item.document.tokens.length
}

/** Documents in the order of the mixture until there is more than `most` of what `measure` counts, or no more. */
async function pull(
  givers: readonly Giver[],
  weights: readonly number[],
  start: readonly number[],
  most: number,
  measure: (one: Pulled) => number,
): Promise<Pulled[]> {
  const virtual = [...start]
  const open = givers.map(() => true)
  const pulled: Pulled[] = []
  for (let sum = 0; sum <= most; ) {
    const source = chooseSource(virtual, weights, open)
    if (source < 0) break
    const item = await givers[source]!.next()
    if (item === undefined) {
      open[source] = false
      continue
    }
    const one = { item, source }
    pulled.push(one)
    virtual[source]! += tokensOf(one) / weights[source]!
    sum += measure(one)
  }
  return pulled
}

function giveBack(givers: readonly Giver[], pulled: readonly Pulled[]): void {
  givers.forEach((giver, i) => {
    giver.putBack(pulled.filter(({ source }) => source === i).map(({ item }) => item))
  })
}

/** So many that the window ends about where its stage does, going by the pace of the window before. */
function runsOfWindow(
  stages: readonly DataStage[],
  stage: number,
  { before }: WindowStart,
  progress: number,
): number {
  if (stage === stages.length - 1) return WINDOW_RUNS
  if (before === undefined) return FIRST_RUNS
  const pace = (progress - before.progress) / before.runs
  const left = stages[stage]!.until - progress
  return pace > 0 ? Math.max(1, Math.min(WINDOW_RUNS, Math.ceil(left / pace))) : FIRST_RUNS
}
