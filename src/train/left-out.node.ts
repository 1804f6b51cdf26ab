// Names every record that nothing is learned from in RUN/left-out.jsonl, once, however often a run is stopped and reads
// it again. Node only.

import { appendFileSync } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { LeftOutRecord } from '../data/training-data.ts'
import { fileError } from '../weights/source.node.ts'

const FILE = 'left-out.jsonl'

export interface LeftOutFile {
  readonly path: string
  /** Throws GemmaError 'file', on a full disk say. */
  readonly add: (record: LeftOutRecord) => void
}

/** `fresh`: what an earlier run has named counts for nothing. */
export async function openLeftOut(output: string, fresh: boolean): Promise<LeftOutFile> {
  const path = join(output, FILE)
  if (fresh) await rm(path, { force: true })
  const text = await readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return ''
    throw fileError(path, cause)
  })
  const named = new Set(text.split('\n'))
  // A kill may have torn the last line; what follows it must not be torn as well.
  let start = text === '' || text.endsWith('\n') ? '' : '\n'
  return {
    path,
    add(record) {
      const line = JSON.stringify(record)
      if (named.has(line)) return
      try {
        appendFileSync(path, `${start}${line}\n`)
      } catch (cause) {
        throw fileError(path, cause)
      }
      start = ''
      named.add(line)
    },
  }
}
