// A lock file, so that two processes do not fetch the same blob at the same time. Node has no flock, so a
// lock lives by its file: its holder touches it now and then, and one whose holder died or fell silent is
// taken over. Only saves work: the cache stays right without it, because downloads write the same bytes to
// the same places and are renamed when whole. Knows nothing about what it guards.

import { randomUUID } from 'node:crypto'
import { mkdir, open, readFile, rename, rm, stat, utimes } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname } from 'node:path'
import { throwIfAborted } from '../error.ts'
import { pauseFor } from './download-http.node.ts'
import type { DownloadTiming } from './download-options.ts'

export interface LockOptions {
  readonly timing: DownloadTiming
  readonly signal: AbortSignal | undefined
  /** Called once when another process holds the lock. */
  readonly onWait?: () => void
}

/** Runs `task` while holding the lock file at `path`. */
export async function withLock<T>(path: string, options: LockOptions, task: () => Promise<T>): Promise<T> {
  const owner = `${process.pid} ${hostname()} ${randomUUID()}`
  await acquire(path, owner, options)
  const heartbeat = setInterval(() => {
    const now = new Date()
    utimes(path, now, now).catch(() => undefined)
  }, options.timing.lockHeartbeat)
  heartbeat.unref()
  try {
    return await task()
  } finally {
    clearInterval(heartbeat)
    await release(path, owner)
  }
}

async function acquire(path: string, owner: string, options: LockOptions): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  for (let waited = false; ; ) {
    throwIfAborted(options.signal)
    if (await tryCreate(path, owner)) return
    const holder = await readFile(path, 'utf8').catch(unlessMissing)
    if (holder === undefined) continue // released between the two calls
    if (await isStale(path, holder, options.timing)) {
      await removeStale(path, holder)
      continue
    }
    if (!waited) options.onWait?.()
    waited = true
    await pauseFor(options.timing.lockPoll, options.signal)
  }
}

async function tryCreate(path: string, owner: string): Promise<boolean> {
  try {
    const file = await open(path, 'wx')
    await file.writeFile(owner)
    await file.close()
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/** A lock is free when its process is gone (same machine) or it has not been touched for long. */
async function isStale(path: string, holder: string, timing: DownloadTiming): Promise<boolean> {
  const [pid, host] = holder.split(' ')
  // flock users leave empty files behind: those have no holder to ask and go by age
  if (host === hostname() && /^\d+$/.test(pid) && !isAlive(Number(pid))) return true
  const touched = await stat(path).catch(() => undefined)
  return touched !== undefined && Date.now() - touched.mtimeMs > timing.lockStale
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Two waiters may judge the same lock stale; renaming it aside lets only one of them win. */
async function removeStale(path: string, holder: string): Promise<void> {
  const aside = `${path}.${randomUUID()}`
  try {
    await rename(path, aside)
  } catch (error) {
    return unlessMissing(error) // another waiter was faster
  }
  const taken = await readFile(aside, 'utf8').catch(() => holder)
  if (taken === holder) await rm(aside, { force: true })
  else await rename(aside, path).catch(() => undefined) // it had a new holder already: give it back
}

/** A file that vanished is undefined; any other fault is thrown, so that no loop spins on it. */
function unlessMissing(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
}

async function release(path: string, owner: string): Promise<void> {
  const holder = await readFile(path, 'utf8').catch(() => undefined)
  if (holder === owner || holder === '') await rm(path, { force: true }).catch(() => undefined)
}
