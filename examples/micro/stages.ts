// Keeps account of the stages of a route in its directory, so that a route that was stopped goes on where it was, and one
// whose recipe or corpus has changed begins anew from there. Knows nothing of what stages do.

import { createHash } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeAtomically } from '../../src/weights/atomic.node.ts'

interface StageRecord {
  /** Of all that the stage is made from. */
  readonly fingerprint: string
  readonly done: boolean
  readonly result?: unknown
}

export interface Stages {
  /**
   * Does a stage, unless it was done with the same inputs; either way its result, which must fit into JSON. `restart` says
   * that what lies there comes from other inputs.
   */
  run<Result>(name: string, inputs: unknown, work: (restart: boolean) => Promise<Result>): Promise<Result>
}

export async function openStages(
  directory: string,
  onStage: (name: string, skipped: boolean) => void,
): Promise<Stages> {
  const path = join(directory, 'stages.json')
  await mkdir(directory, { recursive: true })
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '{}'
    throw error
  })
  const records = JSON.parse(text) as Record<string, StageRecord>
  let previous = ''
  const keep = async (name: string, record: StageRecord): Promise<void> => {
    records[name] = record
    const bytes = new TextEncoder().encode(`${JSON.stringify(records, undefined, 2)}\n`)
    await writeAtomically(path, (out) => out.write(bytes))
  }
  return {
    async run<Result>(name: string, inputs: unknown, work: (restart: boolean) => Promise<Result>) {
      // Each stage builds on the one before.
      const fingerprint = createHash('sha256')
        .update(previous)
        .update(JSON.stringify(inputs))
        .digest('hex')
        .slice(0, 16)
      previous = fingerprint
      const known = records[name]
      const same = known?.fingerprint === fingerprint
      onStage(name, same && known.done)
      if (same && known.done) return known.result as Result
      await keep(name, { fingerprint, done: false })
      const result = await work(known !== undefined && !same)
      await keep(name, { fingerprint, done: true, result })
      return result
    },
  }
}
