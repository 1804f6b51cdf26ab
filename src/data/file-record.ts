// What readers of all formats give: the records of one file in order, each with its place, broken ones with the
// reason. Types and limits; knows no format.

import type { JsonRecord } from './record-columns.ts'
import type { Refusal } from './refusal.ts'

/** Where reading a file goes on. */
export interface FileCursor {
  /** Bytes of (decompressed) text, or rows of Parquet. */
  readonly offset: number
  /** Lines or rows before it. */
  readonly line: number
}

export type FileContent =
  | { readonly value: JsonRecord; readonly fault?: undefined }
  | { readonly value?: undefined; readonly fault: Refusal }

export interface FileRecord {
  /** What was read, or why it could not be. */
  readonly content: FileContent
  /** Line or row, from 1. */
  readonly line: number
  /** The place after it. */
  readonly next: FileCursor
}

/** Records as they come, some at a time. */
export type FileRecords = AsyncGenerator<readonly FileRecord[], void>

export interface ReadOptions {
  readonly from: FileCursor
  readonly signal?: AbortSignal
  /** Longest line or text in bytes; longer ones are refused. Default LONGEST_RECORD. */
  readonly longest?: number
}

/** 32 MiB: some million words, more than any context holds, and little enough to be read at once. */
export const LONGEST_RECORD: number = 1 << 25
