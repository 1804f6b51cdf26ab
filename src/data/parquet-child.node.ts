// The process that decodes one Parquet file. A damaged or hostile file can make any decoder loop for minutes or ask for
// more memory than there is, which ends the process that it runs in; so this is a process of its own, with little
// memory, and parquet.node.ts ends it when it does not answer. Node only; started by parquet.node.ts and by nothing else.

import { type FileHandle, open } from 'node:fs/promises'
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from 'node:zlib'
import {
  type AsyncBuffer,
  type Compressors,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
} from 'hyparquet'
import type { FileContent } from './file-record.ts'
import { refuse } from './refusal.ts'

export interface ParquetRequest {
  readonly path: string
  /** Columns that are read, where the file has them. */
  readonly columns: readonly string[]
  /** The first row to read, from 0. */
  readonly row: number
  /** Most bytes of one row. */
  readonly longest: number
}

export type ParquetAnswer =
  /** Rows from request.row on; none at the end of the file. */
  | { readonly rows: readonly FileContent[] }
  | { readonly failed: string }
  | { readonly unreadable: { readonly code: string; readonly message: string } }

/** Rows are decoded about so many bytes at a time, as far as pages allow. */
const STEP_BYTES = 1 << 25
/** Rows are answered about so many bytes at a time. */
const ANSWER_BYTES = 1 << 22
const MOST_ROWS_AT_ONCE = 1 << 16
/** Bytes of one read, one page or one column of a row group. */
const LARGEST_READ = 1 << 30

interface OpenFile {
  readonly path: string
  readonly handle: FileHandle
  readonly file: AsyncBuffer
  readonly metadata: FileMetaData
  /** First row of each row group, and the end. */
  readonly groupStarts: readonly number[]
  decoded: { readonly from: number; readonly rows: readonly Record<string, unknown>[] }
}

let opened: OpenFile | undefined

process.on('message', (request: ParquetRequest) => {
  answer(request).then(
    (message) => process.send?.(message),
    (error: unknown) => process.send?.({ failed: error instanceof Error ? error.message : String(error) }),
  )
})
process.on('disconnect', () => process.exit(0))

async function answer(request: ParquetRequest): Promise<ParquetAnswer> {
  if (opened?.path !== request.path) {
    await opened?.handle.close()
    opened = undefined
    let handle: FileHandle
    try {
      handle = await open(request.path, 'r')
    } catch (cause) {
      const { code = '', message } = cause as NodeJS.ErrnoException
      return { unreadable: { code, message } }
    }
    opened = await openParquet(request.path, handle)
  }
  return { rows: await rowsFrom(opened, request) }
}

async function openParquet(path: string, handle: FileHandle): Promise<OpenFile> {
  const { size } = await handle.stat()
  const file = bufferOf(handle, size)
  if (size < 12) throw new Error(`a file of ${size} bytes`)
  const metadata = await parquetMetadataAsync(file, { geoparquet: false })
  const groupStarts = [0]
  for (const group of metadata.row_groups) {
    const rows = Number(group.num_rows)
    if (!(rows >= 0 && Number.isSafeInteger(rows))) throw new Error(`a row group of ${group.num_rows} rows`)
    groupStarts.push(groupStarts.at(-1)! + rows)
  }
  return { path, handle, file, metadata, groupStarts, decoded: { from: 0, rows: [] } }
}

/** The bytes of the file; what was read last is kept, since pages of a column chunk are asked for again and again. */
function bufferOf(handle: FileHandle, size: number): AsyncBuffer {
  const kept = new Map<string, Promise<ArrayBuffer>>()
  return {
    byteLength: size,
    async slice(start, end = size) {
      if (!(start >= 0 && start <= end && end <= size)) {
        throw new Error(`bytes ${start} to ${end} of a file of ${size}`)
      }
      if (end - start > LARGEST_READ) throw new Error(`a part of ${end - start} bytes to be read at once`)
      const key = `${start} ${end}`
      let bytes = kept.get(key)
      if (bytes === undefined) {
        if (kept.size >= 16) kept.clear()
        bytes = readAll(handle, start, end - start)
        kept.set(key, bytes)
      }
      return bytes
    },
  }
}

async function readAll(handle: FileHandle, start: number, length: number): Promise<ArrayBuffer> {
  const bytes = new Uint8Array(length)
  for (let done = 0; done < length; ) {
    const { bytesRead } = await handle.read(bytes, done, length - done, start + done)
    if (bytesRead === 0) throw new Error('the file was shortened while it was read')
    done += bytesRead
  }
  return bytes.buffer
}

async function rowsFrom(source: OpenFile, { row, columns, longest }: ParquetRequest): Promise<FileContent[]> {
  const { decoded, groupStarts } = source
  if (row >= groupStarts.at(-1)!) return []
  if (row < decoded.from || row >= decoded.from + decoded.rows.length) {
    source.decoded = { from: row, rows: await decodeFrom(source, row, columns) }
  }
  const rows: FileContent[] = []
  let bytes = 0
  for (let i = row - source.decoded.from; i < source.decoded.rows.length && bytes < ANSWER_BYTES; i++) {
    const content = contentOf(source.decoded.rows[i]!, longest)
    bytes += content.bytes
    rows.push(content.content)
  }
  return rows
}

/** Some rows of the row group that holds `row`. */
async function decodeFrom(
  { file, metadata, groupStarts }: OpenFile,
  row: number,
  names: readonly string[],
): Promise<Record<string, unknown>[]> {
  const there = parquetSchema(metadata).children.map(({ element }) => element.name)
  const columns = names.filter((name) => there.includes(name))
  const group = groupStarts.findLastIndex((start) => start <= row)
  const [start, end] = [groupStarts[group]!, groupStarts[group + 1]!]
  // Without any of the columns a row is an object of the others' names, which tells what is wrong.
  if (columns.length === 0) {
    const empty = Object.fromEntries(there.slice(0, 20).map((name) => [name, '']))
    return Array.from({ length: Math.min(end - row, MOST_ROWS_AT_ONCE) }, () => empty)
  }
  let bytes = 0
  for (const { meta_data: chunk } of metadata.row_groups[group]!.columns) {
    if (chunk === undefined || !columns.includes(chunk.path_in_schema[0]!)) continue
    const size = Number(chunk.total_uncompressed_size)
    if (!(size >= 0)) throw new Error(`a column of ${size} bytes`)
    bytes += size
  }
  const share = Math.ceil(((end - start) * STEP_BYTES) / Math.max(1, bytes))
  const step = Math.max(1, Math.min(share, MOST_ROWS_AT_ONCE))
  const rowEnd = Math.min(end, row + step)
  const rows = await parquetReadObjects({
    file,
    metadata,
    columns,
    rowStart: row,
    rowEnd,
    compressors,
    useOffsetIndex: true,
    geoparquet: false,
    parsers: { stringFromBytes, jsonFromBytes },
  })
  if (rows.length !== rowEnd - row) throw new Error(`${rows.length} rows where ${rowEnd - row} should be`)
  return rows
}

const limited = { maxOutputLength: LARGEST_READ }
const compressors: Compressors = {
  GZIP: (bytes) => gunzipSync(bytes, limited),
  BROTLI: (bytes) => brotliDecompressSync(bytes, limited),
  ZSTD: (bytes) => zstdDecompressSync(bytes, limited),
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
/** What stands for a value that cannot be decoded: its row is refused, the others are not. */
const NOT_UTF8 = Symbol('not UTF-8')
const NOT_JSON = Symbol('not JSON')

function stringFromBytes(bytes: Uint8Array | undefined): string | symbol | undefined {
  try {
    return bytes && decoder.decode(bytes)
  } catch {
    return NOT_UTF8
  }
}

function jsonFromBytes(bytes: Uint8Array | undefined): unknown {
  const text = stringFromBytes(bytes)
  try {
    return typeof text === 'string' ? JSON.parse(text) : text
  } catch {
    return NOT_JSON
  }
}

/** A row as a record, and about how many bytes it takes. */
function contentOf(
  row: Record<string, unknown>,
  longest: number,
): { readonly content: FileContent; readonly bytes: number } {
  const bytes = sizeOf(row, longest)
  if (typeof bytes === 'number' && bytes <= longest) return { content: { value: row }, bytes }
  const fault =
    bytes === NOT_UTF8
      ? refuse('not UTF-8', 'bytes that are no UTF-8')
      : bytes === NOT_JSON
        ? refuse('not JSON', 'a value that is no JSON')
        : refuse('too large', `a row of more than ${longest} bytes`)
  return { content: { fault }, bytes: 100 }
}

/** About how many bytes a value takes, or the symbol in it. Stops counting past `most`. */
function sizeOf(value: unknown, most: number): number | symbol {
  if (typeof value === 'symbol') return value
  if (typeof value === 'string') return value.length
  if (typeof value !== 'object' || value === null) return 8
  if (ArrayBuffer.isView(value)) return value.byteLength
  let sum = 16
  for (const part of Array.isArray(value) ? value : Object.values(value)) {
    const size = sizeOf(part, most)
    if (typeof size === 'symbol') return size
    sum += size
    if (sum > most) break
  }
  return sum
}
