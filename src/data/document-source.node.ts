// One source as an endless (or limited) sequence of documents: its files are read block by block, each block is
// shuffled by a generator of its own, and the place of any document is a few numbers from which reading can go on.
// Node only.

import { GemmaError, throwIfAborted } from '../error.ts'
import { type DataFile, readRecords } from './data-files.node.ts'
import { type Document, fitDocument } from './document.ts'
import type { FileRecord, FileRecords } from './file-record.ts'
import { type BadLimits, countBad, countDocument, describeReasons, printable } from './read-counts.ts'
import type { ColumnNames } from './record-columns.ts'
import type { RecordToDocument } from './record-document.ts'
import { isRefusal } from './refusal.ts'
import { createGenerator, shuffle } from './shuffle.ts'
import type { ReadCounts, RecordKind, SourceState, TooLong, TrainingDataOptions } from './training-data.ts'

export interface DocumentSourceOptions {
  readonly name: string
  readonly files: readonly DataFile[]
  readonly kind: RecordKind
  readonly columns: ColumnNames
  readonly toDocument: RecordToDocument
  /** Passes over the files, Infinity for no end. */
  readonly epochs: number
  /** Most tokens of a document. */
  readonly longest: number
  readonly tooLong: TooLong
  readonly limits: BadLimits
  readonly shuffled: boolean
  /** Records of a block. */
  readonly window: number
  readonly seed: number
  readonly onLeftOut?: TrainingDataOptions['onLeftOut']
  readonly signal?: AbortSignal
}

/** A document, and where the source stood before it. */
export interface SourceItem {
  readonly document: Document
  readonly before: SourceState
}

export interface DocumentSource {
  /** Undefined when the passes are over. Throws GemmaError 'data', 'file', 'aborted'; restore() is then needed. */
  next(): Promise<SourceItem | undefined>
  /** Gives back the items that came last, in the order in which they came. */
  putBack(items: readonly SourceItem[]): void
  /** Where the next document stands. */
  state(): SourceState
  restore(state: SourceState): Promise<void>
  /** As far as records were read. */
  counts(): ReadCounts
  close(): Promise<void>
}

/** A block ends after so many tokens, however few records it has: 16 MiB of ids. */
const BLOCK_TOKENS = 1 << 22

/** Where a block begins. */
type BlockStart = Omit<SourceState, 'taken'>

interface Block {
  readonly start: BlockStart
  readonly documents: readonly Document[]
}

export function createDocumentSource(options: DocumentSourceOptions, from: SourceState): DocumentSource {
  const reader = createBlockReader(options)
  let next: BlockStart = from // of the block to be read
  let block: Block | undefined
  let taken = 0
  let toSkip = from.taken // documents of the next block that were taken before
  let pending: SourceItem[] = [] // put back, last one first

  return {
    async next() {
      if (pending.length > 0) return pending.pop()
      while (block === undefined || taken === block.documents.length) {
        if (next.epoch >= options.epochs) return undefined
        const read = await reader.read(next)
        block = { start: next, documents: read.documents }
        next = read.next
        taken = toSkip
        toSkip = 0
        if (taken > block.documents.length) throw changed(options.name)
      }
      const before = { ...block.start, taken }
      return { document: block.documents[taken++]!, before }
    },
    putBack(items) {
      pending.push(...items.toReversed())
    },
    state() {
      if (pending.length > 0) return pending.at(-1)!.before
      // At the end of a block: the beginning of the next, so that the finished one need not be read again.
      if (block === undefined || taken === block.documents.length) return { ...next, taken: toSkip }
      return { ...block.start, taken }
    },
    async restore(state) {
      await reader.close()
      next = state
      block = undefined
      taken = 0
      toSkip = state.taken
      pending = []
    },
    counts: () => next.counts,
    close: () => reader.close(),
  }
}

function changed(name: string): GemmaError {
  return new GemmaError(
    'data',
    `Source "${name}" no longer holds the documents that the position was taken in.`,
    'Go on with the files that training began with, or begin anew.',
  )
}

interface BlockReader {
  read(start: BlockStart): Promise<{ readonly documents: Document[]; readonly next: BlockStart }>
  close(): Promise<void>
}

/** Reads blocks one after the other; the file stays open in between. */
function createBlockReader(options: DocumentSourceOptions): BlockReader {
  const { name, files, shuffled, window, seed, signal } = options
  let open: OpenFile | undefined
  let order: { readonly epoch: number; readonly files: readonly DataFile[] } | undefined

  const filesOf = (epoch: number): readonly DataFile[] => {
    if (order?.epoch !== epoch) {
      const all = [...files]
      if (shuffled) shuffle(all, createGenerator(seed, name, 'files', epoch))
      order = { epoch, files: all }
    }
    return order.files
  }
  const close = async (): Promise<void> => {
    const records = open?.records
    open = undefined
    await records?.return()
  }
  return {
    close,
    async read(start) {
      throwIfAborted(signal)
      const all = filesOf(start.epoch)
      let { file, offset, line, counts } = start
      const documents: Document[] = []
      let tokens = 0
      for (let read = 0; read < window && tokens < BLOCK_TOKENS && file < all.length; ) {
        if (open?.file !== all[file] || open.line !== line) {
          await close()
          const from = { offset, line }
          open = openAt(all[file]!, readRecords(all[file]!, options.columns, options.kind, { from, signal }))
          open.line = line
        }
        const record = await nextRecord(open)
        if (record === undefined) {
          await close()
          file++
          offset = line = 0
          continue
        }
        read++
        ;({ offset, line } = record.next)
        open.line = line
        const made = makeDocuments(options, open.file.path, record, start.epoch === 0 ? counts : undefined)
        counts = made.counts ?? counts
        for (const document of made.documents) {
          documents.push(document)
          tokens += document.tokens.length
        }
      }
      const next: BlockStart =
        file < all.length
          ? { epoch: start.epoch, block: start.block + 1, file, offset, line, counts }
          : { epoch: start.epoch + 1, block: 0, file: 0, offset: 0, line: 0, counts }
      if (next.epoch > 0 && counts.documentsRead === 0) throw nothingFound(options, counts)
      if (shuffled) shuffle(documents, createGenerator(seed, name, 'block', start.epoch, start.block))
      return { documents, next }
    },
  }
}

interface OpenFile {
  readonly file: DataFile
  readonly records: FileRecords
  batch: readonly FileRecord[]
  /** Of the batch, those that were given. */
  given: number
  /** The line after which the next record stands. */
  line: number
}

function openAt(file: DataFile, records: FileRecords): OpenFile {
  return { file, records, batch: [], given: 0, line: 0 }
}

async function nextRecord(open: OpenFile): Promise<FileRecord | undefined> {
  while (open.given === open.batch.length) {
    const { done, value } = await open.records.next()
    if (done) return undefined
    open.batch = value
    open.given = 0
  }
  return open.batch[open.given++]
}

/** The documents of a record; the counts with it, where it is counted. */
function makeDocuments(
  { name, toDocument, longest, tooLong, limits, onLeftOut }: DocumentSourceOptions,
  path: string,
  { content, line }: FileRecord,
  counts: ReadCounts | undefined,
): { readonly documents: readonly Document[]; readonly counts?: ReadCounts } {
  const place = `${path}:${line}`
  const made = content.fault ?? toDocument(content.value, place)
  if (isRefusal(made)) {
    if (counts) onLeftOut?.({ source: name, place, reason: made.reason, detail: printable(made.detail) })
    return { documents: [], counts: counts && countBad(counts, made, place, name, limits) }
  }
  if (tooLong === 'error' && made.tokens.length > longest) {
    throw new GemmaError(
      'data',
      `${place}: the document has ${made.tokens.length} tokens; a run takes ${longest}.`,
      'Choose a longer context, or say with tooLong what shall happen: split, truncate or drop.',
    )
  }
  const fitted = fitDocument(made, longest, tooLong === 'error' ? 'drop' : tooLong)
  if (counts && fitted.done === 'dropped') {
    const detail = `${made.tokens.length} tokens; a run takes ${longest}`
    onLeftOut?.({ source: name, place, reason: 'longer than the context', detail })
  }
  return { documents: fitted.documents, counts: counts && countDocument(counts, fitted) }
}

function nothingFound({ name, longest }: DocumentSourceOptions, counts: ReadCounts): GemmaError {
  const { records, badRecords, dropped } = counts
  const why = [
    ...(badRecords > 0 ? [`${badRecords} cannot be used (${describeReasons(counts)})`] : []),
    ...(dropped > 0 ? [`${dropped} are longer than ${longest} tokens`] : []),
    ...counts.firstBad.slice(0, 1),
  ]
  return new GemmaError(
    'data',
    `Source "${name}" holds nothing to learn from: ${records} records${why.map((one) => `; ${one}`).join('')}.`,
    'Name other files, or another kind, columns or tooLong.',
  )
}
