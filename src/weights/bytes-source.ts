// Sources over bytes that are already at hand: an array in memory, or a Blob (a File chosen in a browser,
// a file in the origin-private file system). Runs everywhere.

import { GemmaError } from '../error.ts'
import { assertRange, type Source } from './source.ts'

/** A source over bytes in memory. The bytes are not copied. */
export function bytesSource(name: string, bytes: Uint8Array): Source {
  const source: Source = {
    name,
    size: bytes.byteLength,
    async read(offset: number, into: Uint8Array): Promise<void> {
      assertRange(source, offset, into.byteLength)
      into.set(bytes.subarray(offset, offset + into.byteLength))
    },
    async close(): Promise<void> {},
  }
  return source
}

/** A source over a Blob or File; only the slices asked for are read. Reading throws GemmaError 'file' when the file is gone. */
export function blobSource(name: string, blob: Blob): Source {
  const source: Source = {
    name,
    size: blob.size,
    async read(offset: number, into: Uint8Array): Promise<void> {
      assertRange(source, offset, into.byteLength)
      const slice = await readSlice(name, blob.slice(offset, offset + into.byteLength))
      assertRange({ ...source, size: offset + slice.byteLength }, offset, into.byteLength)
      into.set(new Uint8Array(slice))
    },
    async close(): Promise<void> {},
  }
  return source
}

/** All bytes of a part of a file. Throws GemmaError 'file' when the file was moved, changed or deleted. */
export async function readSlice(name: string, slice: Blob): Promise<ArrayBuffer> {
  try {
    return await slice.arrayBuffer()
  } catch (cause) {
    const message = `${name} can no longer be read.`
    throw new GemmaError('file', message, 'Was it moved or changed? Pick it again.', { cause })
  }
}
