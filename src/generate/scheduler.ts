// Gives the engine to one run at a time. Small runs of different sequences that wait at the same moment become
// one run: a run reads all weights, however few its rows are, so several sequences cost little more than one.
// Knows rows, not tokens' meaning: what a run is for is its caller's matter.

import { abortedError } from '../error.ts'
import type { SamplingInputs } from '../graph/tape.ts'
import { type Engine, MOST_CHOICES, type PlanKind, type Row, type RunOptions } from './engine.ts'

export interface RunRequest extends RunOptions {
  readonly kind: PlanKind
  readonly rows: readonly Row[]
}

export interface Scheduler {
  readonly engine: Engine
  /** Runs in turn, perhaps together with others; gives the output of these rows. GemmaError 'aborted'. */
  run(request: RunRequest): Promise<Float32Array>
  /** Does other work on the backend in turn: nothing runs meanwhile. */
  alone<T>(work: () => Promise<T>): Promise<T>
  /** Says that a generation has begun; call what it returns when it has ended. */
  enter(): () => void
  /** Generations under way. */
  active(): number
}

interface Waiting extends RunRequest {
  resolve(output: Float32Array): void
  reject(error: unknown): void
}

/** Token and log-probability of each row that was drawn for. */
export const CHOICE_COLUMNS = 2

export function createScheduler(engine: Engine): Scheduler {
  const queue: Waiting[] = []
  const active = new Set<object>()
  let busy = false
  const alone: (() => Promise<void>)[] = []

  const work = async (): Promise<void> => {
    if (busy) return
    busy = true
    while (queue.length > 0 || alone.length > 0) {
      await alone.shift()?.()
      if (queue.length === 0) continue
      const choosing = queue.filter(({ kind }) => kind === 'choices').length
      // Those that were served together come back within a moment: waiting for them pays.
      if (queue[0]!.kind === 'choices' && choosing < active.size) await aMoment()
      const group = takeGroup(queue)
      if (group.length > 0) await runTogether(engine, group)
    }
    busy = false
  }

  return {
    engine,
    run: (request) =>
      new Promise((resolve, reject) => {
        queue.push({ ...request, resolve, reject })
        void work()
      }),
    alone: <T>(other: () => Promise<T>) =>
      new Promise<T>((resolve, reject) => {
        alone.push(() => other().then(resolve, reject))
        void work()
      }),
    enter() {
      const generation = {}
      active.add(generation)
      return () => void active.delete(generation)
    },
    active: () => active.size,
  }
}

/** Until all that was resolved just now has had its turn. */
function aMoment(): Promise<void> {
  return new Promise((resolve) => {
    if (typeof setImmediate === 'function') setImmediate(resolve)
    else setTimeout(resolve, 0)
  })
}

/** Takes the first request, and the others that can share its run. */
function takeGroup(queue: Waiting[]): Waiting[] {
  const first = queue.shift()!
  if (first.signal?.aborted) {
    first.reject(abortedError(first.signal))
    return []
  }
  const group = [first]
  if (first.kind !== 'choices') return group
  let rows = first.rows.length
  for (let i = 0; i < queue.length; ) {
    const other = queue[i]!
    const fits = other.kind === 'choices' && rows + other.rows.length <= MOST_CHOICES
    // A run has one plan, and a plan one adapter.
    const same = other.adapter === first.adapter && sameSampling(first.sampling, other.sampling)
    if (!fits || other.signal?.aborted || !same) {
      i++
      continue
    }
    queue.splice(i, 1)
    group.push(other)
    rows += other.rows.length
  }
  return group
}

/** Temperature, top-k and top-p belong to a run, uniform numbers to its rows. */
function sameSampling(a: SamplingInputs | undefined, b: SamplingInputs | undefined): boolean {
  if (!a || !b) return a === b
  return a.temperature === b.temperature && a.topK === b.topK && a.topP === b.topP
}

async function runTogether(engine: Engine, group: readonly Waiting[]): Promise<void> {
  const [{ kind, rows, sampling, adapter, ahead, signal, resolve, reject }] = group as [Waiting]
  try {
    if (group.length === 1) {
      return resolve(await engine.run(kind, rows, { sampling, adapter, ahead, signal }))
    }
    const all = group.flatMap((request) => request.rows)
    const uniform = new Float64Array(all.length)
    let at = 0
    for (const request of group) {
      uniform.set(request.sampling!.uniform.subarray(0, request.rows.length), at)
      at += request.rows.length
    }
    // One caller's wish to stop must not end the others' run: it takes effect at that caller's next run.
    const output = await engine.run(kind, all, { sampling: { ...sampling!, uniform }, adapter })
    at = 0
    for (const request of group) {
      const end = at + request.rows.length * CHOICE_COLUMNS
      request.resolve(output.slice(at, end))
      at = end
    }
  } catch (error) {
    reject(error)
    for (const request of group.slice(1)) request.reject(error)
  }
}
