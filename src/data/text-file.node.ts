// A plain text file as one record. Node only.

import { readFile, stat } from 'node:fs/promises'
import { throwIfAborted } from '../error.ts'
import { fileError } from '../weights/source.node.ts'
import { type FileContent, type FileRecords, LONGEST_RECORD, type ReadOptions } from './file-record.ts'
import { refuse } from './refusal.ts'

/** The file as a record with its text in `column`. Throws GemmaError 'file' or 'aborted'. */
export async function* readTextFile(
  path: string,
  column: string,
  { from, signal, longest = LONGEST_RECORD }: ReadOptions,
): FileRecords {
  if (from.line > 0) return
  throwIfAborted(signal)
  let content: FileContent
  try {
    const { size } = await stat(path)
    content =
      size > longest
        ? {
            fault: refuse('too large', `the file has ${size} bytes; at most ${longest} are read as one text`),
          }
        : contentOf(await readFile(path), column)
  } catch (cause) {
    throw fileError(path, cause)
  }
  yield [{ content, line: 1, next: { offset: 0, line: 1 } }]
}

function contentOf(bytes: Uint8Array, column: string): FileContent {
  // A zero byte is valid UTF-8, but no text has one: this is a file of another kind.
  if (bytes.includes(0)) return { fault: refuse('not UTF-8', 'zero bytes: this is no text') }
  try {
    // The decoder leaves a byte order mark out.
    return { value: { [column]: new TextDecoder('utf-8', { fatal: true }).decode(bytes) } }
  } catch {
    return { fault: refuse('not UTF-8', 'bytes that are no UTF-8') }
  }
}
