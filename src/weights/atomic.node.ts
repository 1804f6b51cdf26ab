// Writes a file, or a directory of files, so that its name only ever stands for something whole: under a temporary
// name in the same directory, onto the disk, then renamed. On failure what was begun is removed. Node only.

import { type FileHandle, mkdir, open, readdir, rename, rm, rmdir, statfs, unlink } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { GemmaError } from '../error.ts'
import { fileError } from './source.node.ts'

export interface FileWriter {
  /** Appends the bytes; they may be reused once the promise is fulfilled. */
  write(bytes: Uint8Array): Promise<void>
  /** Bytes appended so far. */
  position(): number
}

/** Runs `fill` with a writer; only when it succeeds does `path` come to be (or is replaced). */
export async function writeAtomically(path: string, fill: (out: FileWriter) => Promise<void>): Promise<void> {
  const unique = `${process.pid}-${Math.random().toString(36).slice(2, 10)}`
  const temporary = join(dirname(path), `.${basename(path)}.${unique}.tmp`)
  let handle: FileHandle
  try {
    handle = await open(temporary, 'wx')
  } catch (cause) {
    throw fileError(path, cause)
  }
  try {
    await fillFile(handle, fill)
    await rename(temporary, path)
    await syncDirectory(dirname(path))
  } catch (cause) {
    await unlink(temporary).catch(() => {}) // the first error is the one to tell
    throw cause instanceof Error && 'syscall' in cause ? fileError(path, cause) : cause
  }
}

async function fillFile(handle: FileHandle, fill: (out: FileWriter) => Promise<void>): Promise<void> {
  let position = 0
  const out: FileWriter = {
    position: () => position,
    async write(bytes: Uint8Array): Promise<void> {
      for (let done = 0; done < bytes.byteLength; ) {
        const { bytesWritten } = await handle.write(bytes, done, bytes.byteLength - done, position)
        done += bytesWritten
        position += bytesWritten
      }
    },
  }
  try {
    await fill(out)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

// Makes the rename itself last through a power cut; not every system lets a directory be opened.
async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r').catch(() => undefined)
  await handle?.sync().catch(() => {})
  await handle?.close()
}

/**
 * Runs `fill` with the path of a new directory; only when it succeeds does `path` come to be. A directory that is
 * there already must be empty: nothing is ever replaced. Throws GemmaError 'file'.
 */
export async function writeDirectoryAtomically(
  path: string,
  fill: (directory: string) => Promise<void>,
): Promise<void> {
  const target = resolve(path)
  await assertVacant(target)
  const unique = `${process.pid}.${Date.now().toString(36)}`
  const temporary = join(dirname(target), `.${basename(target)}.${unique}.tmp`)
  try {
    await mkdir(temporary, { recursive: true })
    await fill(temporary)
    await rmdir(target).catch(() => {}) // an empty one may stand there
    await rename(temporary, target)
    await syncDirectory(dirname(target))
  } catch (cause) {
    await rm(temporary, { recursive: true, force: true }).catch(() => {}) // the first error is the one to tell
    throw cause instanceof Error && 'syscall' in cause ? fileError(path, cause) : cause
  }
}

async function assertVacant(target: string): Promise<void> {
  const names = await readdir(target).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return []
    throw cause.code === 'ENOTDIR'
      ? new GemmaError('file', `${target} is a file, not a directory.`)
      : fileError(target, cause)
  })
  if (names.length === 0) return
  throw new GemmaError('file', `${target} is not empty.`, 'Choose a new directory or remove what is in it.')
}

/** Throws at once when the disk of `directory` has fewer than `bytes` bytes free. */
export async function assertSpace(directory: string, bytes: number): Promise<void> {
  const found = await statfs(directory).catch(() => undefined) // not every system can tell
  if (found === undefined) return
  const free = found.bavail * found.bsize
  if (free >= bytes) return
  throw new GemmaError(
    'file',
    `${directory} has ${free} bytes free; ${bytes} are needed.`,
    'Free some space or choose another place.',
  )
}
