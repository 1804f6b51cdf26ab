// How many workers a plan should run on. A large model gains from all of them; a small one can lose more at the
// barriers than it gains from sharing, and how much depends on the machine and what else it does. So a plan of
// little work tries each count for a few runs and keeps the quickest, and looks again now and then. Results do
// not depend on the choice. Knows nothing about plans but their size.

export interface ThreadChoice {
  /** Workers for the next run. */
  next(): number
  /** How long a run on so many workers took. */
  took(workers: number, milliseconds: number): void
}

/** Runs per count in a trial; the quickest counts, since others can only make a run slower. */
const RUNS = 4
/** Runs between two trials. */
const UNTIL_NEXT_TRIAL = 1000
/** A plan of more work than this always takes all workers: its barriers cost nothing beside it. */
const LARGE = 400e6

/** `work`: the bytes of weights of one run, times its rows. */
export function createThreadChoice(threads: number, work: number): ThreadChoice {
  if (threads <= 1 || work > LARGE) return { next: () => threads, took: () => {} }
  const counts: number[] = []
  for (let count = 1; count < threads; count *= 2) counts.push(count)
  counts.push(threads)
  const quickest = new Map<number, number>()
  let runs = 0
  let chosen = 1
  return {
    next: () => (runs < counts.length * RUNS ? counts[runs % counts.length]! : chosen),
    took(workers, milliseconds) {
      quickest.set(workers, Math.min(milliseconds, quickest.get(workers) ?? Number.POSITIVE_INFINITY))
      runs++
      if (runs === counts.length * RUNS) {
        chosen = counts.reduce((a, b) => (quickest.get(b)! < quickest.get(a)! ? b : a))
      }
      if (runs < UNTIL_NEXT_TRIAL) return
      runs = 0
      quickest.clear()
    },
  }
}
