// The texts in data files, one by one, for commands that look at text only. A plain text file may be of any size: it is
// read line by line. Knows no command.

import { createReadStream } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { type DataFile, findDataFiles, readRecords } from '../data/data-files.node.ts'
import { columnNames, columnOf } from '../data/record-columns.ts'
import { GemmaError } from '../error.ts'
import { fileError } from '../weights/source.node.ts'
import { readLines } from './lines.ts'
import { printable } from './output.ts'

export interface Texts {
  /** Once. Throws GemmaError 'file' for files that cannot be read, 'data' for too many broken records, 'aborted'. */
  read(): AsyncGenerator<string, void>
  /** Of all files together, decompressed; a guess for some. */
  readonly totalBytes: number
  bytesRead(): number
  /** Records that were left out. */
  badRecords(): number
}

/** Broken records are left out up to so many, and, among the first hundred and more, up to this share. */
const MOST_BAD = 100
const MOST_BAD_SHARE = 0.1

/**
 * The texts in files, directories and patterns: the lines of .txt files, and `column` of records.
 * Throws GemmaError 'file' for what is missing or unreadable, 'usage' for names that say no format.
 */
export async function findTexts(
  paths: readonly string[],
  column: string,
  signal: AbortSignal,
): Promise<Texts> {
  const files = await findDataFiles('input', paths)
  const sizes: number[] = []
  for (const file of files) sizes.push(await textBytes(file))
  const tally: Tally = { records: 0, bad: 0, fault: 'they are empty', bytesInFile: 0 }
  let before = 0 // bytes of the files that are done
  return {
    async *read() {
      for (const [i, file] of files.entries()) {
        yield* file.format === 'text'
          ? linesOf(file.path, tally, signal)
          : columnOfRecords(file, column, tally, signal)
        before += sizes[i]
        tally.bytesInFile = 0
      }
      if (tally.records > tally.bad) return
      throw new GemmaError(
        'data',
        `The files hold no text: ${tally.fault}.`,
        'Name other files, or the column with --column.',
      )
    },
    totalBytes: sizes.reduce((sum, size) => sum + size, 0),
    bytesRead: () => before + tally.bytesInFile,
    badRecords: () => tally.bad,
  }
}

interface Tally {
  records: number
  bad: number
  /** What was wrong with the last bad record. */
  fault: string
  bytesInFile: number
}

async function* linesOf(path: string, tally: Tally, signal: AbortSignal): AsyncGenerator<string, void> {
  const stream = createReadStream(path)
  try {
    for await (const { text } of readLines(stream, path, signal)) {
      tally.bytesInFile = stream.bytesRead
      tally.records++
      yield `${text}\n`
    }
  } catch (cause) {
    throw fileError(path, cause)
  }
}

async function* columnOfRecords(
  file: DataFile,
  column: string,
  tally: Tally,
  signal: AbortSignal,
): AsyncGenerator<string, void> {
  const options = { from: { offset: 0, line: 0 }, signal }
  for await (const batch of readRecords(file, columnNames({ text: column }), 'text', options)) {
    for (const { content, line, next } of batch) {
      tally.records++
      if (file.format !== 'parquet') tally.bytesInFile = next.offset
      const { value, fault } = content
      const text = value === undefined ? undefined : columnOf(value, column)
      if (typeof text === 'string') yield text
      else {
        const missing = `column "${column}" is ${text === undefined ? 'missing' : 'no text'}`
        countBad(tally, `${file.path}:${line}: ${fault ? `${fault.reason}: ${fault.detail}` : missing}`)
      }
    }
  }
}

function countBad(tally: Tally, fault: string): void {
  tally.bad++
  tally.fault = printable(fault)
  const { bad, records } = tally
  if (bad <= MOST_BAD && (records < 100 || bad <= MOST_BAD_SHARE * records)) return
  throw new GemmaError(
    'data',
    `${bad} of the first ${records} records cannot be used; the last one: ${tally.fault}.`,
    'Repair or filter the data; --column names the column that has the text.',
  )
}

/**
 * What progress counts: the size of the file; for gzip that of its text, which stands modulo 2^32 in the last four bytes
 * (RFC 1952, 2.3.1), as far as that can be.
 */
async function textBytes({ path, format }: DataFile): Promise<number> {
  try {
    const { size } = await stat(path)
    if (format !== 'gzipped lines' || size < 18) return size
    const handle = await open(path, 'r')
    try {
      const { buffer } = await handle.read(new Uint8Array(4), 0, 4, size - 4)
      return Math.max(size, new DataView(buffer.buffer).getUint32(0, true))
    } finally {
      await handle.close()
    }
  } catch (cause) {
    throw fileError(path, cause)
  }
}
