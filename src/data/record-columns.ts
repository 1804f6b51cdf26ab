// What kind of record a source has, by the names of its columns. Knows no tokens and no file.

import { GemmaError } from '../error.ts'
import type { RecordColumns, RecordKind } from './training-data.ts'

export type JsonRecord = Readonly<Record<string, unknown>>

/** Every column by name. */
export type ColumnNames = Required<RecordColumns>

const USUAL: ColumnNames = {
  text: 'text',
  messages: 'messages',
  prompt: 'prompt',
  completion: 'completion',
  tokens: 'tokens',
  mask: 'mask',
  role: 'role',
  content: 'content',
}

/** What a record of each kind must have. */
const NEEDED: Readonly<Record<RecordKind, readonly (keyof RecordColumns)[]>> = {
  text: ['text'],
  messages: ['messages'],
  'prompt-completion': ['prompt', 'completion'],
  tokens: ['tokens'],
}

export const RECORD_KINDS: readonly RecordKind[] = ['text', 'messages', 'prompt-completion', 'tokens']

/** Throws GemmaError 'usage' for a column that no kind has. */
export function columnNames(columns: RecordColumns = {}): ColumnNames {
  for (const [column, name] of Object.entries(columns)) {
    if (!Object.hasOwn(USUAL, column)) {
      throw new GemmaError(
        'usage',
        `There is no column "${column}".`,
        `Those that can be renamed are: ${Object.keys(USUAL).join(', ')}.`,
      )
    }
    if (typeof name !== 'string' || name === '') {
      throw new GemmaError('usage', `Expected the name of column "${column}", got ${JSON.stringify(name)}.`)
    }
  }
  return { ...USUAL, ...columns }
}

/** The columns that must be read from a file for records of this kind (or, without one, of any). */
export function columnsToRead(columns: ColumnNames, kind?: RecordKind): string[] {
  const kinds = kind === undefined ? RECORD_KINDS : [kind]
  const names = kinds.flatMap((one) => NEEDED[one].map((column) => columns[column]))
  return kinds.includes('tokens') ? [...names, columns.mask] : names
}

/** Columns that a record of this kind lacks. */
export function missingColumns(record: JsonRecord, kind: RecordKind, columns: ColumnNames): string[] {
  return NEEDED[kind].map((column) => columns[column]).filter((name) => columnOf(record, name) === undefined)
}

/** The kind of a source from its first record. Throws GemmaError 'data' when there is none or more than one. */
export function findKind(record: JsonRecord, columns: ColumnNames, place: string): RecordKind {
  const kinds = RECORD_KINDS.filter((kind) => missingColumns(record, kind, columns).length === 0)
  if (kinds.length === 1) return kinds[0]!
  const has = Object.keys(record).slice(0, 20).join(', ')
  if (kinds.length > 1) {
    throw new GemmaError(
      'data',
      `${place}: a record with the columns ${has} can be read as ${kinds.join(' or as ')}.`,
      'Say which with "kind".',
    )
  }
  const expected = RECORD_KINDS.map((kind) => NEEDED[kind].map((column) => columns[column]).join(' and '))
  throw new GemmaError(
    'data',
    `${place}: expected a record with ${expected.join(', or ')}; its columns are: ${has || 'none'}.`,
    'Name the columns with "columns", for instance { text: \'content\' }.',
  )
}

/** The value of a column; null counts as missing. */
export function columnOf(record: JsonRecord, name: string): unknown {
  return Object.hasOwn(record, name) ? (record[name] ?? undefined) : undefined
}
