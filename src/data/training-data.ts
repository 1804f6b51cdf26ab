// What a caller says about its data, and what it gets: the interface between files of documents and a trainer.
// Types only; knows no file format and no model.

import type { Tokenizer } from '../tokenizer/index.ts'
import type { TrainingRows } from './training-rows.ts'

/**
 * What the records of a source are:
 * 'text': `{ text }`; all of it is learned.
 * 'messages': `{ messages: [{ role, content }] }`; the model's turns are learned.
 * 'prompt-completion': `{ prompt, completion }`, both strings or both lists of messages; the completion is learned.
 * 'tokens': `{ tokens, mask? }`, ids that begin with <bos>; mask says which of them are learned (default: all but <bos>).
 */
export type RecordKind = 'text' | 'messages' | 'prompt-completion' | 'tokens'

/** Names of columns where they are not the ones above. */
export interface RecordColumns {
  readonly text?: string
  readonly messages?: string
  readonly prompt?: string
  readonly completion?: string
  readonly tokens?: string
  readonly mask?: string
  /** Within a message. */
  readonly role?: string
  /** Within a message. */
  readonly content?: string
}

/**
 * What happens to a document that is longer than the context. 'split': into pieces that each begin with <bos>.
 * 'truncate': its end goes. 'drop': it goes. 'error': GemmaError 'data'. The first three are counted.
 */
export type TooLong = 'split' | 'truncate' | 'drop' | 'error'

export interface DataSource {
  readonly name: string
  /**
   * Files, directories (all .jsonl, .ndjson, .jsonl.gz, .parquet and .txt below them) or patterns with * and **; each
   * gives its files in the order of their names. A .txt file is one document; .json is read as .jsonl is.
   */
  readonly files: readonly string[]
  /** Default: found from the first record. A source has one kind from beginning to end. */
  readonly kind?: RecordKind
  readonly columns?: RecordColumns
  /** Share of the tokens beside the weights of the other sources, where there are no stages. Default 1. */
  readonly weight?: number
  /** Passes over the source; each but the first in another order. Default: without end. */
  readonly epochs?: number
  /** Default: the options' tooLong. */
  readonly tooLong?: TooLong
}

/** From the stage before it (or the beginning) until this share of training, sources weigh so much. */
export interface DataStage {
  /** The stage holds while progress is less; the last one must say 1. */
  readonly until: number
  /** By name of a source; the others rest. */
  readonly weights: Readonly<Record<string, number>>
}

export interface TrainingDataOptions {
  readonly sources: readonly DataSource[]
  /** Default: one stage with the sources' weights. */
  readonly stages?: readonly DataStage[]
  readonly tokenizer: Tokenizer
  /** Most tokens of one run. */
  readonly rows: number
  /** Most tokens of one document; a document never has more than `rows` either. */
  readonly contextLength: number
  /** Several documents in one run, each of which sees only itself. Default true. */
  readonly packing?: boolean
  /** Default 'split' for text and tokens, 'drop' for conversations: none is cut unless asked. */
  readonly tooLong?: TooLong
  /** Default 0. The same seed gives the same rows. */
  readonly seed?: number
  /** Records of each source that are shuffled among each other; with 1 records and files keep their order. Default 10000. */
  readonly shuffleWindow?: number
  /** 'sequential': files, documents and runs in their own order, nothing shuffled. Default 'shuffled'. */
  readonly order?: 'shuffled' | 'sequential'
  /** Texts and completions of plain prompts end with <eos>, which teaches where they end. Default true. */
  readonly endOfText?: boolean
  /** Records of each source that may be left out because they are broken. Default 100. */
  readonly maxBadRecords?: number
  /** The same as a share of the records, looked at from the hundredth record on. Default 0.1. */
  readonly maxBadShare?: number
  /** Hears of every record that is left out, in the first pass. After a resume some may be told again. */
  readonly onLeftOut?: (record: LeftOutRecord) => void
  /** What position() gave: goes on with exactly the rows that would have come. */
  readonly position?: DataPosition
  readonly signal?: AbortSignal
}

export interface TrainingData {
  /**
   * The next run's rows. `progress` (0 to 1) chooses the stage of the mixture, by whole windows of runs. Undefined when
   * the sources of that stage have ended. Throws GemmaError 'data' (records), 'file', 'aborted', 'disposed'.
   */
  next(progress: number): Promise<TrainingRows | undefined>
  /** Where reading stands after the last run that next() gave; small, survives JSON. */
  position(): DataPosition
  counts(): DataCounts
  close(): Promise<void>
}

/** Why a record was left out. */
export type BadReason =
  | 'empty'
  | 'not UTF-8'
  | 'not JSON'
  | 'too large'
  | 'columns'
  | 'turn order'
  | 'turn markers'
  | 'template'
  | 'nothing to learn'

/** A record that nothing is learned from. */
export interface LeftOutRecord {
  readonly source: string
  /** `file:line` */
  readonly place: string
  readonly reason: BadReason | 'longer than the context'
  /** What was wrong, for people; nothing in it moves a terminal's cursor. */
  readonly detail: string
}

/** About the records of a source (or of all), as far as they were read. Only the first pass counts. */
export interface ReadCounts {
  readonly records: number
  /** Documents that the records became, pieces of split ones counted one by one. */
  readonly documentsRead: number
  readonly badRecords: number
  readonly badByReason: Readonly<Partial<Record<BadReason, number>>>
  /** The first bad records: `file:line: reason`. */
  readonly firstBad: readonly string[]
  /** Records longer than the context, by what happened to them. */
  readonly split: number
  readonly truncated: number
  readonly dropped: number
  /** Pieces of split records without anything to learn, left out. */
  readonly piecesLeftOut: number
}

/** About what next() gave, from the beginning of training, also through resumes. */
export interface GivenCounts {
  readonly documents: number
  readonly tokens: number
  readonly targets: number
}

export interface DataCounts extends ReadCounts, GivenCounts {
  readonly runs: number
  /** tokens / (runs · rows), 0 to 1. */
  readonly fill: number
  readonly sources: Readonly<Record<string, ReadCounts & GivenCounts & { readonly epoch: number }>>
}

/** Plain data: what training must remember to go on with the same rows. */
export interface DataPosition {
  readonly version: 1
  /** What shapes the rows; it must be the same when training goes on. */
  readonly settings: DataSettings
  readonly window: WindowStart
  /** Progress when the present window was made; none has been made where it is missing. */
  readonly progress?: number
  /** Runs of the present window that were given. */
  readonly taken: number
  readonly runs: number
  /** By source. */
  readonly given: readonly GivenCounts[]
}

export interface DataSettings {
  readonly tokenizer: string
  readonly rows: number
  readonly contextLength: number
  readonly packing: boolean
  readonly seed: number
  readonly shuffleWindow: number
  readonly order: 'shuffled' | 'sequential'
  readonly endOfText: boolean
  readonly stages: readonly DataStage[]
  readonly sources: readonly SourceSettings[]
}

export interface SourceSettings {
  readonly name: string
  readonly kind: RecordKind
  readonly columns: RecordColumns
  readonly epochs: number | null
  readonly tooLong: TooLong
  /** Eight hexadecimal digits for each file, from its name, size and first bytes. */
  readonly files: string
}

/** The state of everything at the beginning of a window, a number of runs that are made together. */
export interface WindowStart {
  /** Windows before it. */
  readonly index: number
  /** Stage of the window before it. */
  readonly stage: number
  /** Tokens taken from each source since the stage began, divided by its weight. */
  readonly virtual: readonly number[]
  /** The window before it: progress at its beginning, and its runs. */
  readonly before?: { readonly progress: number; readonly runs: number }
  readonly sources: readonly SourceState[]
}

/** Where a source stands: the block of records it is in, and how many of the block's documents were taken. */
export interface SourceState {
  readonly epoch: number
  /** Blocks before it in this epoch. */
  readonly block: number
  /** Place of the file in this epoch's order. */
  readonly file: number
  /** Where in the file the block begins: bytes of its (decompressed) text, or rows. */
  readonly offset: number
  /** Lines (or rows) before it. */
  readonly line: number
  readonly taken: number
  /** At the beginning of the block. */
  readonly counts: ReadCounts
}
