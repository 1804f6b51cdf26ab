// What the tests of data share: the small tokenizer, a directory that goes away, and small helpers.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished } from 'vitest'
import { GemmaError } from '../../error.ts'
import { createTokenizer, type Tokenizer } from '../../tokenizer/index.ts'
import type { FileRecord, FileRecords, ReadOptions } from '../file-record.ts'
import { openTrainingData } from '../open.node.ts'
import type { TrainingData, TrainingDataOptions } from '../training-data.ts'
import type { TrainingRows } from '../training-rows.ts'

const model = new URL('../../../test/data/models/gemma1-mqa/tokenizer.model', import.meta.url)
export const tokenizer: Tokenizer = createTokenizer({ sentencePiece: readFileSync(model) })

/** A function that writes files into a directory of the test's own and gives their paths. */
export function testDirectory(): (name: string, content: string | Uint8Array) => string {
  const directory = mkdtempSync(join(tmpdir(), 'gemma-data-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  return (name, content) => {
    const path = join(directory, name)
    writeFileSync(path, content)
    return path
  }
}

export function jsonLines(records: readonly unknown[]): string {
  return records.map((record) => `${JSON.stringify(record)}\n`).join('')
}

export async function recordsOf(records: FileRecords): Promise<FileRecord[]> {
  const all: FileRecord[] = []
  for await (const batch of records) all.push(...batch)
  return all
}

export const START: ReadOptions = { from: { offset: 0, line: 0 } }
export const records: { text: string; messages: { role: string; content: string }[]; tokens: number[] }[] =
  Array.from({ length: 300 }, (_, i) => ({
    text: `Text ${i}: ${'wörter 語 😀 '.repeat(i % 40)}`,
    messages: [
      { role: 'user', content: `q${i}` },
      { role: 'assistant', content: `a${i}` },
    ],
    tokens: [2, i, i + 1],
  }))

/** The records, without what readers add. */
export function valuesOf(read: readonly FileRecord[]): unknown[] {
  return read.map(({ content }) => content.value)
}
/** 'line reason' of what could not be read. */
export function faultsOf(read: readonly FileRecord[]): string[] {
  return read.flatMap(({ content, line }) => (content.fault ? [`${line} ${content.fault.reason}`] : []))
}

export type Options = Partial<TrainingDataOptions> & Pick<TrainingDataOptions, 'sources'>

export function open(options: Options): Promise<TrainingData> {
  return openTrainingData({ tokenizer, rows: 64, contextLength: 64, ...options })
}

/** All rows, or at most so many runs; closes the data. */
export async function drain(
  data: TrainingData,
  most: number = Number.POSITIVE_INFINITY,
  progress: (run: number) => number = () => 0,
): Promise<TrainingRows[]> {
  const runs: TrainingRows[] = []
  while (runs.length < most) {
    const rows = await data.next(progress(runs.length))
    if (rows === undefined) break
    runs.push(rows)
  }
  await data.close()
  return runs
}

/** The tokens of each document of the runs. */
export function documentsOf(runs: readonly TrainingRows[]): number[][] {
  const documents: number[][] = []
  for (const { tokens, sequences } of runs) {
    for (let i = 0; i < tokens.length; i++) {
      if (i === 0 || sequences[i] !== sequences[i - 1]) documents.push([])
      documents.at(-1)!.push(tokens[i]!)
    }
  }
  return documents
}

export async function errorOf(run: () => Promise<unknown> | unknown): Promise<GemmaError> {
  try {
    await run()
  } catch (error) {
    expect(error).toBeInstanceOf(GemmaError)
    return error as GemmaError
  }
  throw new Error('expected an error')
}

/** Documents of given lengths that differ from each other: [<bos>, number in two digits, zeros]. */
export function tokenRecords(lengths: readonly number[], first = 0): { tokens: number[] }[] {
  return lengths.map((length, i) => {
    const tokens = new Array<number>(length).fill(9)
    ;[tokens[0], tokens[1], tokens[2]] = [2, 10 + Math.floor((first + i) / 900), 10 + ((first + i) % 900)]
    return { tokens }
  })
}

/** Lengths that look like a corpus's: many short ones, some long. */
export function someLengths(count: number, longest: number): number[] {
  return Array.from(
    { length: count },
    (_, i) => 3 + Math.floor((((i * 7919) % 1000) ** 2 / 1e6) * (longest - 2)),
  )
}
