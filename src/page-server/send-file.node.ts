// One file as the answer to one request: its length and version, a part of it where one is asked for, nothing where
// the asker has it already. Knows nothing about where files lie or who may see them.

import { type FileHandle, open } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { byteRange } from './byte-range.ts'
import { mediaType } from './media-type.ts'

/** Few large reads: models have gigabytes. */
const READ_BYTES = 1 << 20

/** Answers GET and HEAD with a file. False, with nothing sent, when there is no such file. */
export async function sendFile(
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
  cacheControl: string,
): Promise<boolean> {
  let file: FileHandle
  try {
    file = await open(path)
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EISDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return false
    throw error
  }
  try {
    const status = await file.stat()
    if (!status.isFile()) return false
    await send(file, { path, size: status.size, changed: status.mtimeMs }, request, response, cacheControl)
    return true
  } finally {
    await file.close()
  }
}

interface Described {
  readonly path: string
  readonly size: number
  /** Milliseconds since 1970. */
  readonly changed: number
}

async function send(
  file: FileHandle,
  { path, size, changed }: Described,
  request: IncomingMessage,
  response: ServerResponse,
  cacheControl: string,
): Promise<void> {
  const { headers, method } = request
  // As nginx makes it: a file that keeps its length and its time is taken to be the same.
  const etag = `"${size.toString(16)}-${Math.round(changed * 1000).toString(16)}"`
  response.setHeader('ETag', etag)
  response.setHeader('Cache-Control', cacheControl)
  if (isKnown(headers['if-none-match'], etag)) return void response.writeHead(304).end()
  response.setHeader('Content-Type', mediaType(path))
  response.setHeader('Accept-Ranges', 'bytes')
  const same = headers['if-range'] === undefined || headers['if-range'] === etag
  // Only GET knows parts.
  const range = method === 'GET' && same ? byteRange(headers.range, size) : undefined
  if (range === 'unsatisfiable') {
    return void response.writeHead(416, { 'Content-Range': `bytes */${size}`, 'Content-Length': 0 }).end()
  }
  if (range !== undefined) {
    response.statusCode = 206
    response.setHeader('Content-Range', `bytes ${range.start}-${range.end}/${size}`)
  }
  const { start, end } = range ?? { start: 0, end: size - 1 }
  const length = end - start + 1
  response.setHeader('Content-Length', length)
  if (method === 'HEAD' || size === 0) return void response.end()
  const bytes = file.createReadStream({ start, end, highWaterMark: READ_BYTES, autoClose: false })
  await pipeline(bytes, response, { end: false })
  // Whoever waits for bytes that are no longer there must hear of it.
  if (bytes.bytesRead < length) throw new Error(`${path} became shorter while it was sent`)
  response.end()
}

/** Whether an If-None-Match names this version: weak and strong ones compare alike (RFC 9110, 13.1.2). */
function isKnown(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false
  return header.split(',').some((one) => one.trim() === '*' || one.trim().replace(/^W\//, '') === etag)
}
