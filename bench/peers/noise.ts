// Was the machine ours while we measured? Compares the busy time of all cores (/proc/stat) with the processor time
// of this process and everything below it. Only Linux tells; elsewhere nothing is known and nothing repeated.

import { readdirSync, readFileSync } from 'node:fs'

/** Ticks of /proc per second; 100 on every Linux that runs V8. */
const TICKS = 100

export interface Snapshot {
  readonly at: number
  /** Seconds that all cores together were busy, or taken by the hypervisor. */
  readonly busy: number
  /** Seconds of this process, its children that live and those that ended. */
  readonly own: number
}

export function snapshot(): Snapshot | undefined {
  try {
    const line = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0]!
    // user nice system idle iowait irq softirq steal (proc_stat(5))
    const [user, nice, system, , , irq, softirq, steal] = line.trim().split(/\s+/).slice(1).map(Number)
    const busy = user! + nice! + system! + irq! + softirq! + (steal ?? 0)
    return { at: performance.now(), busy: busy / TICKS, own: ownTicks() / TICKS }
  } catch {
    return undefined
  }
}

/** Cores that other work held on average between two snapshots; undefined where nobody can tell. */
export function foreignCores(before: Snapshot | undefined, after: Snapshot | undefined): number | undefined {
  if (before === undefined || after === undefined) return undefined
  const seconds = (after.at - before.at) / 1000
  return Math.max(0, (after.busy - before.busy - (after.own - before.own)) / seconds)
}

interface ProcessRow {
  readonly parent: number
  readonly ticks: number
}

/** This process and everything below it. */
export function ownProcesses(): number[] {
  return [...family(processTable()).keys()]
}

function ownTicks(): number {
  let sum = 0
  for (const { ticks } of family(processTable()).values()) sum += ticks
  return sum
}

function processTable(): Map<number, ProcessRow> {
  const rows = new Map<number, ProcessRow>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      const text = readFileSync(`/proc/${name}/stat`, 'utf8')
      // The name in brackets may hold anything; after it: state, parent, …, utime, stime, and those of dead children.
      const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
      const ticks = [11, 12, 13, 14].reduce((sum, i) => sum + Number(fields[i]), 0)
      rows.set(Number(name), { parent: Number(fields[1]), ticks })
    } catch {
      // It ended meanwhile.
    }
  }
  return rows
}

function family(rows: ReadonlyMap<number, ProcessRow>): Map<number, ProcessRow> {
  const own = new Map<number, ProcessRow>()
  for (const [id, row] of rows) {
    let above: number | undefined = id
    while (above !== undefined && above !== 0 && above !== process.pid) above = rows.get(above)?.parent
    if (above === process.pid) own.set(id, row)
  }
  return own
}

/** Waits until other work held less than `limit` cores for a second, at most `patience` seconds. */
export async function untilQuiet(limit: number, patience: number): Promise<void> {
  let before = snapshot()
  for (let second = 0; second < patience; second++) {
    await new Promise((resolve) => setTimeout(resolve, 1000))
    const after = snapshot()
    const foreign = foreignCores(before, after)
    if (foreign === undefined || foreign < limit) return
    before = after
  }
}

export interface Repetition<T> {
  readonly value: T
  readonly foreign: number | undefined
  readonly attempts: number
}

/** Does a piece of work, again while other work disturbs it, and keeps the least disturbed attempt. */
export async function undisturbed<T>(
  work: () => Promise<T>,
  { limit, attempts, patience }: { limit: number; attempts: number; patience: number },
): Promise<Repetition<T>> {
  let best: { value: T; foreign: number | undefined } | undefined
  for (let attempt = 1; ; attempt++) {
    if (patience > 0) await untilQuiet(limit, patience)
    const before = snapshot()
    const value = await work()
    const foreign = foreignCores(before, snapshot())
    if (best === undefined || (foreign ?? 0) < (best.foreign ?? 0)) best = { value, foreign }
    if ((best.foreign ?? 0) <= limit || attempt >= attempts) return { ...best, attempts: attempt }
  }
}

/** Most memory that this process's children have held: the largest peak of one, and what all share out now. */
export function childrenMemory(): { readonly largestPeak: number; readonly all: number } {
  let largestPeak = 0
  let all = 0
  for (const id of ownProcesses()) {
    if (id === process.pid) continue
    try {
      const peak = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${id}/status`, 'utf8'))
      const shared = /^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${id}/smaps_rollup`, 'utf8'))
      largestPeak = Math.max(largestPeak, Number(peak?.[1] ?? 0) * 1024)
      all += Number(shared?.[1] ?? 0) * 1024
    } catch {
      // It ended meanwhile, or this is not Linux.
    }
  }
  return { largestPeak, all }
}
