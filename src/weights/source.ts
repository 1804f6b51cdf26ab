// Random access to the bytes of one file, wherever it lies: a path in Node, a Blob in the browser, bytes
// in memory. Readers of formats take a Source and know nothing about where it came from.

import { GemmaError } from '../error.ts'

export interface Source {
  /** A name for messages: the path or file name. */
  readonly name: string
  /** Size in bytes. */
  readonly size: number
  /**
   * Reads exactly `into.byteLength` bytes at `offset` into `into` (which may lie in shared memory).
   * Throws GemmaError 'file' when the range is outside the file or the file is shorter than it was.
   */
  read(offset: number, into: Uint8Array): Promise<void>
  close(): Promise<void>
}

/** Reads `length` bytes at `offset` into a new array. `length` is checked against the size first. */
export async function readBytes(
  source: Source,
  offset: number,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  assertRange(source, offset, length)
  const bytes = new Uint8Array(length)
  await source.read(offset, bytes)
  return bytes
}

/** Throws unless [offset, offset + length) lies inside the file. */
export function assertRange(source: Source, offset: number, length: number): void {
  const fits = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0
  if (!fits || offset + length > source.size) {
    throw new GemmaError(
      'file',
      `${source.name}: expected ${length} bytes at offset ${offset}, but the file has ${source.size}.`,
      'The file is truncated or damaged; fetch it again.',
    )
  }
}
