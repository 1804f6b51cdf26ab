// Windows become single runs of rows, with what was given counted and the place in the data at hand after each of
// them. Knows sources only by what they give.

import { GemmaError } from '../error.ts'
import { rowsOf } from './pack.ts'
import { addCounts, NOTHING_READ } from './read-counts.ts'
import type {
  DataCounts,
  DataPosition,
  DataSettings,
  GivenCounts,
  ReadCounts,
  SourceState,
  TrainingData,
  WindowStart,
} from './training-data.ts'
import type { TrainingRows } from './training-rows.ts'
import { type Giver, makeWindow, type Window, type WindowOptions } from './window.ts'

/** A source that can be set to a place and counts what it reads. */
export interface RestorableGiver extends Giver {
  restore(state: SourceState): Promise<void>
  counts(): ReadCounts
  close(): Promise<void>
}

export interface Standing {
  readonly start: WindowStart
  readonly runs: number
  readonly given: readonly GivenCounts[]
}

/** `into`: the progress with which the present window was made and the runs of it that were given before. */
export async function giveRuns(
  form: WindowOptions,
  settings: DataSettings,
  sources: readonly RestorableGiver[],
  standing: Standing,
  into?: Pick<DataPosition, 'progress' | 'taken'>,
): Promise<TrainingData> {
  let { start, runs } = standing
  const given = standing.given.map((one) => ({ ...one }))
  let window: Window | undefined
  let progressThen: number | undefined
  let taken = 0
  let closed = false
  let last: Promise<unknown> = Promise.resolve()

  const make = async (from: WindowStart, progress: number): Promise<Window> => {
    try {
      return await makeWindow(form, sources, from, progress)
    } catch (error) {
      // Whatever was read on the way is read again next time.
      await Promise.all(sources.map((source, i) => source.restore(from.sources[i]!)))
      throw error
    }
  }
  const next = async (progress: number): Promise<TrainingRows | undefined> => {
    if (closed) throw new GemmaError('disposed', 'The training data were closed.')
    if (!(progress >= 0 && progress <= 1)) {
      throw new GemmaError('usage', `Expected progress from 0 to 1, got ${progress}.`)
    }
    if (window === undefined || taken === window.runs.length) {
      const from = window?.next ?? start
      const made = await make(from, progress)
      if (made.runs.length === 0) return undefined
      start = from
      window = made
      progressThen = progress
      taken = 0
    }
    const run = window.runs[taken++]!
    const rows = rowsOf(run.map(({ document }) => document))
    runs++
    for (const { document, source } of run) {
      const counts = given[source]!
      counts.documents++
      counts.tokens += document.tokens.length
      for (const learned of document.learned) counts.targets += learned
    }
    return rows
  }
  if (into?.progress !== undefined) {
    window = await make(start, into.progress)
    progressThen = into.progress
    taken = into.taken
    if (taken > window.runs.length) {
      throw new GemmaError('data', 'The position in the data is past the end of its window.', 'Begin anew.')
    }
  }
  return {
    next(progress) {
      const result = last.then(() => next(progress))
      last = result.catch(() => {}) // told to whoever asked
      return result
    },
    position: () => ({
      version: 1,
      settings,
      window: start,
      ...(progressThen === undefined ? {} : { progress: progressThen }),
      taken,
      runs,
      given: given.map((one) => ({ ...one })),
    }),
    counts: () => countsOf(settings, sources, given, runs),
    async close() {
      closed = true
      await last
      await Promise.all(sources.map((source) => source.close()))
    },
  }
}

function countsOf(
  { sources: named, rows }: DataSettings,
  sources: readonly RestorableGiver[],
  given: readonly GivenCounts[],
  runs: number,
): DataCounts {
  const read = sources.map((source) => source.counts()).reduce(addCounts, NOTHING_READ)
  const sum = (key: keyof GivenCounts): number => given.reduce((total, one) => total + one[key], 0)
  const tokens = sum('tokens')
  return {
    ...read,
    documents: sum('documents'),
    tokens,
    targets: sum('targets'),
    runs,
    fill: runs === 0 ? 0 : tokens / (runs * rows),
    sources: Object.fromEntries(
      named.map(({ name }, i) => [
        name,
        { ...sources[i]!.counts(), ...given[i]!, epoch: sources[i]!.state().epoch },
      ]),
    ),
  }
}
