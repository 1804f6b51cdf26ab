// Reads text files line by line however long they or their lines are. Knows nothing about what the lines say.
// Node only.

import { type FileHandle, open } from 'node:fs/promises'
import { GemmaError } from '../error.ts'
import { fileError } from '../weights/source.node.ts'

const PIECE = 1024 * 1024
const LINE_FEED = 0x0a

/** The file's lines in their order; undefined for one of more than `mostBytes` bytes. Throws GemmaError 'file'. */
export async function* readLines(path: string, mostBytes: number): AsyncGenerator<string | undefined> {
  let handle: FileHandle
  try {
    handle = await open(path, 'r')
  } catch (cause) {
    throw fileError(path, cause)
  }
  try {
    if (!(await handle.stat()).isFile()) throw new GemmaError('file', `${path} is not a regular file.`)
    yield* linesOf(handle, mostBytes)
  } catch (cause) {
    throw cause instanceof Error && 'syscall' in cause ? fileError(path, cause) : cause
  } finally {
    await handle.close()
  }
}

async function* linesOf(handle: FileHandle, mostBytes: number): AsyncGenerator<string | undefined> {
  const buffer = Buffer.allocUnsafe(PIECE)
  let begun: Buffer[] = []
  let length = 0
  const line = (last: Buffer): string | undefined => {
    const whole = length + last.byteLength
    const text = whole > mostBytes ? undefined : Buffer.concat([...begun, last]).toString('utf8')
    begun = []
    length = 0
    return text
  }
  for (;;) {
    const { bytesRead } = await handle.read(buffer, 0, PIECE, null)
    if (bytesRead === 0) break
    const piece = buffer.subarray(0, bytesRead)
    let start = 0
    for (let end = piece.indexOf(LINE_FEED); end >= 0; end = piece.indexOf(LINE_FEED, start)) {
      yield line(piece.subarray(start, end))
      start = end + 1
    }
    length += bytesRead - start
    // What is too long already need not be kept.
    if (length <= mostBytes) begun.push(Buffer.from(piece.subarray(start)))
  }
  if (length > 0) yield line(Buffer.alloc(0))
}
