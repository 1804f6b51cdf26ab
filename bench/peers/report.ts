// From samples to what is printed: medians, ratios, and shares of what the machine can do at most.

import type { Ceilings } from '../ceilings.ts'

/** One repetition of one engine. */
export interface Sample {
  /** Tokens per second: of the prompt until the first token, and of those after it. */
  readonly prefill: number
  readonly decode: number
  readonly firstTokenMs: number
  readonly loadMs: number
  readonly peakBytes: number
  /** Cores that other work held meanwhile, where that can be told, and how often this was tried. */
  readonly foreign: number | undefined
  readonly attempts: number
}

/** Decoding at a length of context. */
export interface LongSample {
  readonly context: number
  readonly prefill: number
  readonly decode: number
  readonly foreign: number | undefined
}

export interface Cell {
  readonly engine: string
  readonly where: 'Node' | 'Chromium'
  readonly type: string
  readonly threads: number
  readonly samples: readonly Sample[]
  readonly long: readonly LongSample[]
  readonly error?: string
}

/** The work of a model: bytes read for every token, products for each token of a prompt, those of the head. */
export interface Work {
  readonly bytes: number
  readonly perToken: number
  readonly head: number
}

export interface Summary {
  readonly engine: string
  readonly where: string
  readonly type: string
  readonly threads: number
  readonly prefill: number
  readonly decode: number
  readonly firstTokenMs: number
  readonly loadMs: number
  readonly peakBytes: number
  readonly foreign: number | undefined
  /** Shares of the ceilings, 0 to 1 (more, where an engine uses wider vectors than WebAssembly has). */
  readonly prefillShare: number | undefined
  readonly decodeShare: number | undefined
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

export function summarise(
  cell: Cell,
  prompt: number,
  work: Work,
  ceilings: Ceilings | undefined,
): Summary | undefined {
  if (cell.samples.length === 0) return undefined
  const of = (pick: (sample: Sample) => number): number => median(cell.samples.map(pick))
  const prefill = of((sample) => sample.prefill)
  const decode = of((sample) => sample.decode)
  const known = cell.samples.flatMap(({ foreign }) => (foreign === undefined ? [] : [foreign]))
  const products = ((work.perToken * prompt + work.head) / prompt) * prefill
  const limit = cell.type === 'bf16' || cell.type.startsWith('f') ? ceilings?.f32 : ceilings?.int8
  return {
    ...{ engine: cell.engine, where: cell.where, type: cell.type, threads: cell.threads, prefill, decode },
    firstTokenMs: of((sample) => sample.firstTokenMs),
    loadMs: of((sample) => sample.loadMs),
    peakBytes: of((sample) => sample.peakBytes),
    foreign: known.length > 0 ? median(known) : undefined,
    prefillShare: limit === undefined ? undefined : products / 1e9 / limit,
    decodeShare: ceilings === undefined ? undefined : (decode * work.bytes) / 1e9 / ceilings.readGigabytes,
  }
}

const HEAD = [
  ...[
    'weights',
    'threads',
    'engine',
    'prompt tok/s',
    'of limit',
    'ratio',
    'answer tok/s',
    'of limit',
    'ratio',
  ],
  ...['first token s', 'load s', 'peak MB', 'others’ cores'],
]

/**
 * One line per engine; ratios are against the first engine of the same place, weights and threads. Rows during
 * which other work held more than `limit` cores are marked.
 */
export function describe(summaries: readonly Summary[], limit: number): string {
  const percent = (share: number | undefined): string =>
    share === undefined ? '' : `${(100 * share).toFixed(0)} %`
  const rows = summaries.map((row) => {
    const peers = summaries.filter(
      ({ where, type, threads }) => where === row.where && type === row.type && threads === row.threads,
    )
    const own = peers[0]!
    const ratio = (theirs: number, ours: number): string => (row === own ? '' : (ours / theirs).toFixed(2))
    return [
      ...[row.type, String(row.threads), `${row.engine}, ${row.where}`],
      ...[row.prefill.toFixed(1), percent(row.prefillShare), ratio(row.prefill, own.prefill)],
      ...[row.decode.toFixed(2), percent(row.decodeShare), ratio(row.decode, own.decode)],
      ...[(row.firstTokenMs / 1000).toFixed(2), (row.loadMs / 1000).toFixed(2)],
      ...[
        (row.peakBytes / 1e6).toFixed(0),
        row.foreign === undefined ? '?' : row.foreign.toFixed(2) + (row.foreign > limit ? ' !' : ''),
      ],
    ]
  })
  const disturbed = summaries.some(({ foreign }) => (foreign ?? 0) > limit)
  const warning = disturbed
    ? '\n!: disturbed by other work on this machine; such numbers compare nothing'
    : ''
  return `${table([HEAD, ...rows])}\nratio: gemma-ts against this engine${warning}`
}

export function describeLong(cells: readonly Cell[]): string {
  const rows = cells.flatMap(({ engine, type, threads, long }) =>
    long.map(({ context, prefill, decode, foreign }) => [
      ...[type, String(threads), engine, String(context)],
      ...[prefill.toFixed(1), decode.toFixed(2), foreign?.toFixed(2) ?? '?'],
    ]),
  )
  if (rows.length === 0) return ''
  const head = ['weights', 'threads', 'engine', 'context', 'filling tok/s', 'answer tok/s', 'others’ cores']
  return table([head, ...rows])
}

function table(rows: ReadonlyArray<readonly string[]>): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  // Words to the left, numbers to the right.
  const line = (row: readonly string[]): string =>
    row.map((cell, i) => (i < 3 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ')
  return rows.map((row) => line(row).trimEnd()).join('\n')
}
