// Lines of JSON, plain or gzip-compressed, as records: cut at line feeds among bytes, so that a damaged character
// spoils its own line and no other. Never more than one line and one chunk are in memory. Node only.

import { createReadStream } from 'node:fs'
import type { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { abortedError, GemmaError, throwIfAborted } from '../error.ts'
import { fileError } from '../weights/source.node.ts'
import {
  type FileContent,
  type FileRecord,
  type FileRecords,
  LONGEST_RECORD,
  type ReadOptions,
} from './file-record.ts'
import type { JsonRecord } from './record-columns.ts'
import { refuse } from './refusal.ts'
import type { BadReason } from './training-data.ts'

const CHUNK = 1 << 18
/** A "line" of more bytes than this is no line: reading on would only take time. */
const ENDLESS = 1 << 30
/** Brackets in a line; each list or object that JSON.parse makes takes far more memory than its brackets. */
const MOST_BRACKETS = 1 << 20

/** Throws GemmaError 'file' where the file cannot be read, is damaged gzip or has no lines; 'aborted'. */
export async function* readLines(
  path: string,
  compressed: boolean,
  { from, signal, longest = LONGEST_RECORD }: ReadOptions,
): FileRecords {
  const splitter = createSplitter(path, from, longest)
  const chunks = compressed ? gunzipped(path, from.offset) : plain(path, from.offset)
  try {
    for await (const chunk of chunks) {
      throwIfAborted(signal)
      const records = splitter.push(chunk)
      if (records.length > 0) yield records
    }
  } catch (cause) {
    throw signal?.aborted ? abortedError(signal) : readError(path, splitter.line(), cause)
  }
  const rest = splitter.end()
  if (rest !== undefined) yield [rest]
}

async function* plain(path: string, from: number): AsyncGenerator<Buffer, void> {
  yield* createReadStream(path, { start: from, highWaterMark: CHUNK }) as AsyncIterable<Buffer>
}

/** All members of the file one after the other, without the first `skip` bytes of their text. */
async function* gunzipped(path: string, skip: number): AsyncGenerator<Buffer, void> {
  const file = createReadStream(path, { highWaterMark: CHUNK })
  const gunzip = createGunzip({ chunkSize: CHUNK })
  file.on('error', (error) => gunzip.destroy(error))
  try {
    let left = skip
    for await (const chunk of file.pipe(gunzip) as Readable as AsyncIterable<Buffer>) {
      if (chunk.length > left) yield chunk.subarray(left)
      left = Math.max(0, left - chunk.length)
    }
    await checkEnd(path, gunzip.bytesWritten)
  } finally {
    file.destroy()
    gunzip.destroy()
  }
}

/** Decompression stops at a zero byte after a member; only padding may follow it. */
async function checkEnd(path: string, from: number): Promise<void> {
  for await (const chunk of plain(path, from)) {
    if (chunk.some((byte) => byte !== 0)) {
      throw new GemmaError(
        'file',
        `${path}: something that is not gzip begins after byte ${from}.`,
        'The file is damaged; fetch or make it again.',
      )
    }
  }
}

function readError(path: string, line: number, cause: unknown): GemmaError {
  if (cause instanceof GemmaError) return cause
  const code = (cause as NodeJS.ErrnoException | undefined)?.code ?? ''
  if (!code.startsWith('Z_')) return fileError(path, cause)
  const what =
    code === 'Z_BUF_ERROR' ? 'the gzip data end too early' : `damaged gzip data (${(cause as Error).message})`
  return new GemmaError(
    'file',
    `${path}: ${what}, after line ${line}.`,
    'The file is truncated or damaged; fetch or make it again.',
    { cause },
  )
}

interface Splitter {
  /** The lines that end in the chunk. */
  push(chunk: Buffer): FileRecord[]
  /** The last line, where no line feed ends it. */
  end(): FileRecord | undefined
  /** Lines so far. */
  line(): number
}

function createSplitter(path: string, from: ReadOptions['from'], longest: number): Splitter {
  let { offset, line } = from
  let parts: Buffer[] = []
  let length = 0 // of the line so far, kept or not
  const add = (part: Buffer): void => {
    length += part.length
    // A chunk may be used again by the stream.
    if (length <= longest) parts.push(Buffer.from(part))
    else parts = []
    if (length > ENDLESS) {
      throw new GemmaError(
        'file',
        `${path}: line ${line + 1} does not end within ${ENDLESS} bytes.`,
        'Expected one JSON object per line.',
      )
    }
  }
  const take = (ended: number): FileRecord => {
    const content =
      length > longest
        ? fault('too large', `the line has ${length} bytes; at most ${longest} are read`)
        : parseLine(parts.length === 1 ? parts[0]! : Buffer.concat(parts), offset === 0)
    offset += length + ended
    parts = []
    length = 0
    line++
    return { content, line, next: { offset, line } }
  }
  return {
    push(chunk) {
      const records: FileRecord[] = []
      let start = 0
      for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
        if (length === 0 && end - start <= longest) {
          parts = [chunk.subarray(start, end)]
          length = end - start
        } else add(chunk.subarray(start, end))
        records.push(take(1))
        start = end + 1
      }
      if (start < chunk.length) add(chunk.subarray(start))
      return records
    },
    end: () => (length > 0 ? take(0) : undefined),
    line: () => line,
  }
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** `first`: whether a byte order mark may stand in front. */
function parseLine(bytes: Buffer, first: boolean): FileContent {
  let text: string
  try {
    text = decoder.decode(bytes)
  } catch {
    return fault('not UTF-8', 'bytes that are no UTF-8')
  }
  if (first && text.startsWith('\ufeff')) text = text.slice(1)
  if (/^[ \t\r]*$/.test(text)) return fault('empty', 'an empty line')
  if (bytes.length > MOST_BRACKETS && countBrackets(bytes) > MOST_BRACKETS) {
    return fault('too large', `more than ${MOST_BRACKETS} brackets in one line`)
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    return fault('not JSON', (error as Error).message.replaceAll(/\s+/g, ' ').slice(0, 200))
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return fault('not JSON', 'a JSON value that is no object')
  }
  return { value: value as JsonRecord }
}

function fault(reason: BadReason, detail: string): FileContent {
  return { fault: refuse(reason, detail) }
}

function countBrackets(bytes: Buffer): number {
  let count = 0
  for (const byte of bytes) if (byte === 0x5b || byte === 0x7b) count++
  return count
}
