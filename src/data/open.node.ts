// From files to training rows: opens the sources, makes windows of runs from them and gives the runs one by one.
// What it gives depends on the options, the files and the progress that next() is told, and on nothing else. Node only.

import { createHash } from 'node:crypto'
import { GemmaError } from '../error.ts'
import type { Tokenizer } from '../tokenizer/index.ts'
import { type DataFile, findDataFiles, readRecords } from './data-files.node.ts'
import { createDocumentSource, type DocumentSource } from './document-source.node.ts'
import { stagesOf } from './mixture.ts'
import { checkPosition } from './position.ts'
import { NOTHING_READ } from './read-counts.ts'
import { type ColumnNames, columnNames, findKind, RECORD_KINDS } from './record-columns.ts'
import { createRecordToDocument } from './record-document.ts'
import { giveRuns } from './run-giver.ts'
import type {
  DataSettings,
  DataSource,
  GivenCounts,
  RecordKind,
  SourceState,
  TooLong,
  TrainingData,
  TrainingDataOptions,
} from './training-data.ts'
import type { TrainingRows } from './training-rows.ts'
import type { WindowOptions } from './window.ts'

const TOO_LONG: readonly TooLong[] = ['split', 'truncate', 'drop', 'error']
/** Records at the beginning of a source among which one must tell its kind. */
const MOST_PROBED = 1000
/** Records that are read at once where nothing is shuffled. */
const SEQUENTIAL_WINDOW = 256

/**
 * Opens all sources and, with `position`, goes to where it was taken.
 * Throws GemmaError 'usage' (options), 'file' (missing or unreadable files), 'data' (records without a kind; a position
 * of other data), 'unsupported' (a tokenizer without turn markers, for conversations), 'aborted'.
 */
export async function openTrainingData(options: TrainingDataOptions): Promise<TrainingData> {
  checkOptions(options)
  const stages = stagesOf(options.sources, options.stages)
  const opened: OpenedSource[] = []
  for (const source of options.sources) opened.push(await openSource(source, options))
  const settings = settingsOf(options, stages, opened)
  const position = options.position
  if (position !== undefined) {
    checkPosition(
      position,
      settings,
      opened.map(({ files }) => files.map(({ path }) => path)),
    )
  }
  const start = position?.window ?? {
    index: 0,
    stage: 0,
    virtual: opened.map(() => 0),
    sources: opened.map(() => SOURCE_START),
  }
  const sources = opened.map((one, i) => documentSource(one, settings, options, start.sources[i]!))
  const form: WindowOptions = { ...settings, sources: options.sources, stages }
  const given = position?.given ?? opened.map((): GivenCounts => ({ documents: 0, tokens: 0, targets: 0 }))
  return giveRuns(form, settings, sources, { start, runs: position?.runs ?? 0, given }, position)
}

/** The rows of one source from beginning to end, once and in order: for measuring the loss on what is held out. */
export async function* readAll(
  options: Omit<TrainingDataOptions, 'sources' | 'stages' | 'order' | 'position'> & {
    readonly source: DataSource
  },
): AsyncGenerator<TrainingRows, void> {
  const { source, ...others } = options
  const sources = [{ ...source, weight: 1, epochs: 1 }]
  const data = await openTrainingData({ ...others, sources, order: 'sequential' })
  try {
    for (let rows = await data.next(0); rows !== undefined; rows = await data.next(0)) yield rows
  } finally {
    await data.close()
  }
}

const SOURCE_START: SourceState = {
  epoch: 0,
  block: 0,
  file: 0,
  offset: 0,
  line: 0,
  taken: 0,
  counts: NOTHING_READ,
}

function checkOptions(options: TrainingDataOptions): void {
  const { sources, rows, contextLength, tooLong, maxBadRecords = 0, maxBadShare = 0 } = options
  const usage = (message: string): GemmaError => new GemmaError('usage', message)
  const whole = (name: string, value: number, least: number): void => {
    if (!(Number.isSafeInteger(value) && value >= least)) {
      throw usage(`Expected ${name} to be a whole number from ${least} up, got ${value}.`)
    }
  }
  if (sources.length === 0) throw usage('Expected at least one source of data.')
  const names = new Set(sources.map(({ name }) => name))
  if (names.size < sources.length) throw usage('Two sources have the same name.')
  whole('rows', rows, 2)
  whole('contextLength', contextLength, 2)
  whole('seed', options.seed ?? 0, 0)
  whole('shuffleWindow', options.shuffleWindow ?? 1, 1)
  if (!(maxBadRecords >= 0)) throw usage(`Expected maxBadRecords from 0 up, got ${maxBadRecords}.`)
  if (!(maxBadShare >= 0 && maxBadShare <= 1))
    throw usage(`Expected maxBadShare from 0 to 1, got ${maxBadShare}.`)
  for (const source of sources) {
    const where = `of source "${source.name}"`
    if (source.epochs !== undefined && source.epochs !== Number.POSITIVE_INFINITY) {
      whole(`epochs ${where}`, source.epochs, 1)
    }
    if (source.kind !== undefined && !RECORD_KINDS.includes(source.kind)) {
      throw usage(`Expected the kind ${where} to be one of ${RECORD_KINDS.join(', ')}; got ${source.kind}.`)
    }
    const long = source.tooLong ?? tooLong ?? 'split'
    if (!TOO_LONG.includes(long))
      throw usage(`Expected tooLong to be one of ${TOO_LONG.join(', ')}; got ${long}.`)
  }
}

interface OpenedSource {
  readonly source: DataSource
  readonly files: readonly DataFile[]
  readonly kind: RecordKind
  readonly columns: ColumnNames
  readonly tooLong: TooLong
}

async function openSource(source: DataSource, options: TrainingDataOptions): Promise<OpenedSource> {
  const columns = columnNames(source.columns)
  const files = await findDataFiles(source.name, source.files)
  const kind = source.kind ?? (await probeKind(source.name, files, columns, options.signal))
  const text = files.find(({ format }) => format === 'text')
  if (kind !== 'text' && text !== undefined) {
    throw new GemmaError(
      'usage',
      `Source "${source.name}" has records of kind ${kind}, but ${text.path} is plain text.`,
      'Put texts into a source of their own.',
    )
  }
  const usual = kind === 'text' || kind === 'tokens' ? 'split' : 'drop'
  return { source, files, kind, columns, tooLong: source.tooLong ?? options.tooLong ?? usual }
}

/** The kind of the first record that can be read. Broken ones before it are counted later, when all are read. */
async function probeKind(
  name: string,
  files: readonly DataFile[],
  columns: ColumnNames,
  signal: AbortSignal | undefined,
): Promise<RecordKind> {
  let seen = 0
  for (const file of files) {
    const from = { offset: 0, line: 0 }
    for await (const batch of readRecords(file, columns, undefined, { from, signal })) {
      for (const { content, line } of batch) {
        if (content.value !== undefined) return findKind(content.value, columns, `${file.path}:${line}`)
        if (++seen === MOST_PROBED) {
          throw new GemmaError(
            'data',
            `Source "${name}": none of its first ${seen} records can be read. ${file.path}:${line}: ${content.fault.reason}: ${content.fault.detail}.`,
            'Name other files, or say what they hold with "kind".',
          )
        }
      }
    }
  }
  throw new GemmaError('data', `Source "${name}" holds no record that can be read.`, 'Name other files.')
}

function settingsOf(
  options: TrainingDataOptions,
  stages: DataSettings['stages'],
  opened: readonly OpenedSource[],
): DataSettings {
  return {
    tokenizer: digestTokenizer(options.tokenizer),
    rows: options.rows,
    contextLength: options.contextLength,
    packing: options.packing ?? true,
    seed: options.seed ?? 0,
    shuffleWindow: options.shuffleWindow ?? 10_000,
    order: options.order ?? 'shuffled',
    endOfText: options.endOfText ?? true,
    stages,
    sources: opened.map(({ source, files, kind, columns, tooLong }) => ({
      name: source.name,
      kind,
      columns,
      epochs: Number.isFinite(source.epochs) ? source.epochs! : null,
      tooLong,
      files: files.map(({ fingerprint }) => fingerprint).join(''),
    })),
  }
}

/** Other pieces or another chat template would make other tokens of the same text. */
function digestTokenizer(tokenizer: Tokenizer): string {
  const { pieces, scores, types } = tokenizer.vocabulary
  const hash = createHash('sha256').update(pieces.join('\0')).update(scores).update(types)
  return hash.update(renderedSample(tokenizer)).digest('hex').slice(0, 16)
}

function renderedSample(tokenizer: Tokenizer): string {
  const messages = ['user', 'assistant', 'user'].map((role, i) => ({ role, content: ` ${i} ` }))
  try {
    return tokenizer.applyChatTemplate(messages)
  } catch (error) {
    if (error instanceof GemmaError) return error.message // a template that only refuses is one, too
    throw error
  }
}

function documentSource(
  { source, files, kind, columns, tooLong }: OpenedSource,
  { endOfText, seed, shuffleWindow, order, rows, contextLength }: DataSettings,
  { tokenizer, maxBadRecords = 100, maxBadShare = 0.1, onLeftOut, signal }: TrainingDataOptions,
  from: SourceState,
): DocumentSource {
  const sequential = order === 'sequential'
  return createDocumentSource(
    {
      name: source.name,
      files,
      kind,
      columns,
      toDocument: createRecordToDocument(tokenizer, { kind, columns, endOfText }),
      epochs: source.epochs ?? Number.POSITIVE_INFINITY,
      longest: Math.min(rows, contextLength),
      tooLong,
      limits: { maxBadRecords, maxBadShare },
      shuffled: !sequential && shuffleWindow > 1,
      window: sequential ? SEQUENTIAL_WINDOW : shuffleWindow,
      seed,
      onLeftOut,
      signal,
    },
    from,
  )
}
