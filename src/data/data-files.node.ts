// The files of a source: what paths, directories and patterns stand for, what kind of file each is, and a
// fingerprint by which a changed file is noticed. Node only.

import { createHash } from 'node:crypto'
import { glob, open, readdir, stat } from 'node:fs/promises'
import { basename, join, relative } from 'node:path'
import { GemmaError } from '../error.ts'
import { fileError } from '../weights/source.node.ts'
import type { FileRecords, ReadOptions } from './file-record.ts'
import { readLines } from './lines.node.ts'
import { readParquet } from './parquet.node.ts'
import { type ColumnNames, columnsToRead } from './record-columns.ts'
import { readTextFile } from './text-file.node.ts'
import type { RecordKind } from './training-data.ts'

export type FileFormat = 'lines' | 'gzipped lines' | 'parquet' | 'text'

export interface DataFile {
  readonly path: string
  readonly format: FileFormat
  /** Eight hexadecimal digits of a hash of its name, size and first bytes. */
  readonly fingerprint: string
}

const HEAD_BYTES = 1 << 14
const MOST_FILES = 1 << 20
const KNOWN = '.jsonl, .ndjson, .json (each also with .gz), .parquet and .txt'

/** Found in directories; other names must be given one by one or by a pattern. */
const IN_DIRECTORIES = /\.(jsonl|ndjson)(\.gz)?$|\.parquet$|\.txt$/i

/**
 * The files of a source in the order of its list, those of a directory or pattern by name; none comes twice.
 * Throws GemmaError 'file' for what is missing or unreadable, 'usage' for names that say no format.
 */
export async function findDataFiles(source: string, files: readonly string[]): Promise<DataFile[]> {
  if (files.length === 0) throw new GemmaError('usage', `Source "${source}" names no files.`)
  const paths = new Set<string>()
  for (const one of files) {
    for (const path of await pathsOf(source, one)) paths.add(path)
    if (paths.size > MOST_FILES) {
      throw new GemmaError('usage', `Source "${source}" has more than ${MOST_FILES} files.`, 'Join some.')
    }
  }
  const found: DataFile[] = []
  for (const path of paths) found.push(await inspect(path))
  return found
}

async function pathsOf(source: string, path: string): Promise<string[]> {
  const found = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT' && /[*?[{]/.test(path)) return undefined
    throw fileError(path, cause)
  })
  if (found !== undefined && !found.isDirectory()) return [path]
  const paths = found === undefined ? await matching(path) : await inDirectory(path)
  if (paths.length > 0) return paths
  throw new GemmaError(
    'file',
    found === undefined
      ? `Source "${source}": no file matches ${path}.`
      : `Source "${source}": the directory ${path} holds no data files.`,
    `Files that are read end in ${KNOWN}.`,
  )
}

async function matching(pattern: string): Promise<string[]> {
  const paths: string[] = []
  for await (const entry of glob(pattern, { withFileTypes: true })) {
    if (entry.isDirectory()) continue
    paths.push(join(entry.parentPath, entry.name))
    if (paths.length > MOST_FILES) break // told by the caller
  }
  return paths.sort(byName)
}

async function inDirectory(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true }).catch((cause) => {
    throw fileError(directory, cause)
  })
  const paths = entries
    .filter((entry) => IN_DIRECTORIES.test(entry.name) && !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name))
  // Names that begin with a dot are caches and files being written.
  return paths.filter((path) => !/(^|[\\/])\.[^.]/.test(relative(directory, path))).sort(byName)
}

/** By code units: the same everywhere. */
function byName(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

async function inspect(path: string): Promise<DataFile> {
  const { size, head } = await readHead(path)
  const format = formatOf(path)
  const gzip = head[0] === 0x1f && head[1] === 0x8b
  if (gzip && format !== 'gzipped lines') {
    throw new GemmaError(
      'file',
      `${path} is gzip-compressed, but its name says otherwise.`,
      'Let it end in .jsonl.gz, or decompress it.',
    )
  }
  const name = `${basename(path)}\0${size}\0`
  const fingerprint = createHash('sha256').update(name).update(head).digest('hex').slice(0, 8)
  return { path, format, fingerprint }
}

async function readHead(path: string): Promise<{ readonly size: number; readonly head: Uint8Array }> {
  try {
    // Before it is opened: opening a pipe would wait for whoever writes into it.
    const found = await stat(path)
    if (!found.isFile()) throw new GemmaError('file', `${path} is not a regular file.`)
    const handle = await open(path, 'r')
    try {
      const head = new Uint8Array(HEAD_BYTES)
      let length = 0
      for (let read = 1; read > 0 && length < head.length; length += read) {
        read = (await handle.read(head, length, head.length - length, length)).bytesRead
      }
      return { size: found.size, head: head.subarray(0, length) }
    } finally {
      await handle.close()
    }
  } catch (cause) {
    throw fileError(path, cause)
  }
}

function formatOf(path: string): FileFormat {
  if (/\.(jsonl|ndjson|json)$/i.test(path)) return 'lines'
  if (/\.(jsonl|ndjson|json)\.gz$/i.test(path)) return 'gzipped lines'
  if (/\.parquet$/i.test(path)) return 'parquet'
  if (/\.txt$/i.test(path)) return 'text'
  throw new GemmaError('usage', `${path}: the name does not say what the file is.`, `Known are ${KNOWN}.`)
}

/** The records of a file from a place on. `kind` says which columns are needed; without it all known ones are read. */
export function readRecords(
  { path, format }: DataFile,
  columns: ColumnNames,
  kind: RecordKind | undefined,
  options: ReadOptions,
): FileRecords {
  if (format === 'parquet') return readParquet(path, columnsToRead(columns, kind), options)
  if (format === 'text') return readTextFile(path, columns.text, options)
  return readLines(path, format === 'gzipped lines', options)
}
