// Lets one process at a time train in a run directory: two would mix their checkpoints and curves. The lock is a file
// with the process's number; that of a process that is gone counts for nothing. Knows nothing about training. Node only.

import { mkdir, open, readFile, rename, rm, stat, utimes } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { GemmaError } from '../error.ts'
import { fileError } from '../weights/source.node.ts'

const FILE = 'train.lock'
/** The holder touches the file so often … */
const HEARTBEAT_MS = 20_000
/** … and a lock from another machine, where its process cannot be seen, is dead after so long. */
const SILENCE_MS = 120_000
/** A lock without a holder is one that is being made; longer than this it is one whose maker was killed. */
const MAKING_MS = 200

/** What this process holds: in a container every process may have the number of the one before it. */
const own = new Set<string>()

/** Takes the lock and returns what gives it back. Throws GemmaError 'training' while another process holds it. */
export async function lockRun(run: string): Promise<() => Promise<void>> {
  const path = resolve(run, FILE)
  const owner = `${process.pid} ${hostname()}`
  try {
    await mkdir(run, { recursive: true })
    for (let attempt = 0; !(await create(path, owner)); attempt++) {
      const holder = await holderOf(path)
      if (attempt > 2 || (await isAlive(path, holder))) throw held(run, holder)
      // Moved before it is removed: of two processes that find a dead lock only one moves it away.
      const aside = `${path}.${process.pid}.stale`
      await rename(path, aside).catch(() => {})
      await rm(aside, { force: true })
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') {
      throw new GemmaError('file', `${run} is a file, not a directory.`, 'Choose another output.')
    }
    throw cause instanceof GemmaError ? cause : fileError(path, cause)
  }
  const heartbeat = setInterval(() => {
    const now = new Date()
    utimes(path, now, now).catch(() => {}) // a lock that is no longer there is told of by nobody
  }, HEARTBEAT_MS)
  heartbeat.unref()
  return async () => {
    clearInterval(heartbeat)
    own.delete(path)
    await rm(path, { force: true })
  }
}

/** Who holds the lock; '' where it was given back or its maker was killed before it said. */
async function holderOf(path: string): Promise<string> {
  const read = (): Promise<string> => readFile(path, 'utf8').catch(() => '')
  const holder = await read()
  if (holder !== '') return holder
  await pause(MAKING_MS)
  return read()
}

async function create(path: string, owner: string): Promise<boolean> {
  try {
    const file = await open(path, 'wx')
    // Before it says whose it is: another run of this process that reads it must find it held.
    own.add(path)
    await file.writeFile(owner)
    await file.close()
    return true
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw cause
  }
}

async function isAlive(path: string, holder: string): Promise<boolean> {
  const match = /^(\d+) (.*)$/.exec(holder)
  if (match === null) return false
  if (match[2] === hostname()) {
    const pid = Number(match[1])
    return pid === process.pid ? own.has(path) : isRunning(pid)
  }
  const touched = await stat(path).catch(() => undefined)
  return touched !== undefined && Date.now() - touched.mtimeMs < SILENCE_MS
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === 'EPERM' // it runs, as another user
  }
}

function held(run: string, holder: string): GemmaError {
  const [pid, host] = holder.split(' ')
  const where = host === hostname() ? '' : ` on ${host}`
  return new GemmaError(
    'training',
    `Process ${pid}${where} trains in ${run} already.`,
    `Wait for it, choose another output, or remove ${join(run, FILE)} if no such training runs.`,
  )
}
