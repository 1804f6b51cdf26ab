// A Source over a file on disk. Node only.

import { type FileHandle, open } from 'node:fs/promises'
import { GemmaError } from '../error.ts'
import { assertRange, type Source } from './source.ts'

// One read call is limited to 2 GiB by the system; smaller calls also let other work in between.
const maximumRead = 256 * 1024 * 1024

/** Opens a regular file. Throws GemmaError 'file' when it is missing, unreadable or not a file. */
export async function openFile(path: string): Promise<Source> {
  let handle: FileHandle
  try {
    handle = await open(path, 'r')
  } catch (cause) {
    throw fileError(path, cause)
  }
  try {
    const stat = await handle.stat()
    if (!stat.isFile()) throw new GemmaError('file', `${path} is not a regular file.`)
    return handleSource(path, handle, stat.size)
  } catch (cause) {
    await handle.close()
    throw cause
  }
}

function handleSource(path: string, handle: FileHandle, size: number): Source {
  const source: Source = {
    name: path,
    size,
    async read(offset: number, into: Uint8Array): Promise<void> {
      assertRange(source, offset, into.byteLength)
      for (let done = 0; done < into.byteLength; ) {
        const length = Math.min(into.byteLength - done, maximumRead)
        const { bytesRead } = await handle.read(into, done, length, offset + done).catch((cause) => {
          throw fileError(path, cause)
        })
        if (bytesRead === 0) {
          throw new GemmaError(
            'file',
            `${path} had ${size} bytes when it was opened and now ends before ${offset + into.byteLength}.`,
            'Something shortened the file while it was being read; fetch it again.',
          )
        }
        done += bytesRead
      }
    },
    async close(): Promise<void> {
      await handle.close()
    },
  }
  return source
}

/** Turns an error of the file system into one sentence. */
export function fileError(path: string, cause: unknown): GemmaError {
  if (cause instanceof GemmaError) return cause
  const code = (cause as NodeJS.ErrnoException | undefined)?.code
  const message =
    code === 'ENOENT' || code === 'ENOTDIR'
      ? `${path} does not exist.`
      : code === 'EACCES' || code === 'EPERM'
        ? `${path} may not be read or written by this user.`
        : code === 'EISDIR'
          ? `${path} is a directory, not a file.`
          : code === 'ENOSPC' || code === 'EDQUOT'
            ? `The disk is full: ${path} could not be written.`
            : code === 'EMFILE' || code === 'ENFILE'
              ? `${path} could not be opened: too many files are open.`
              : `${path}: ${cause instanceof Error ? cause.message : String(cause)}`
  const remedy = code === 'ENOSPC' || code === 'EDQUOT' ? 'Free some space or choose another place.' : ''
  return new GemmaError('file', message, remedy, { cause })
}
