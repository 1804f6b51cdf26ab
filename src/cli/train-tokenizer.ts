// gemma train-tokenizer: texts to a tokenizer.model and tokenizer.json of their own.

import { type Command, Option } from 'commander'
import type { PieceLayout, TrainTokenizerProgress, TrainTokenizerStatistics } from '../tokenizer/index.ts'
import type { Interrupts } from './interrupt.ts'
import { addExamples } from './model-options.ts'
import { decimal, wholeNumber } from './option-values.ts'
import { note, printJson } from './output.ts'
import { createProgress, type Progress } from './progress.ts'
import { formatBytes, formatCount, formatSeconds } from './style.ts'
import type { Texts } from './text-files.ts'

interface Flags {
  readonly vocabSize: number
  readonly out: string
  readonly column: string
  readonly layout?: PieceLayout
  readonly coverage?: number
  readonly force?: boolean
  readonly json?: boolean
  readonly quiet?: boolean
}

export function addTrainTokenizer(program: Command, interrupts: Interrupts): void {
  const command = program
    .command('train-tokenizer')
    .summary('make a tokenizer from texts')
    .description(
      'Learns a vocabulary from texts as SentencePiece does, with Gemma’s settings and control pieces, and writes ' +
        'tokenizer.model, tokenizer.json and tokenizer_config.json. OUT changes only when all is learned.',
    )
    .argument(
      '<files...>',
      '.txt (each line a text), .jsonl, .jsonl.gz or .parquet files, directories of them, patterns',
    )
    .requiredOption('--vocab-size <n>', 'pieces, special ones included', wholeNumber(1, 1_000_000))
    .requiredOption('--out <directory>', 'where to write the files')
    .option('--column <name>', 'where records have their text', 'text')
    .addOption(
      new Option(
        '--layout <layout>',
        'special pieces: all of Gemma’s at Gemma’s ids, or few; default: gemma from 1024 pieces on',
      ).choices(['gemma', 'compact']),
    )
    .option(
      '--coverage <share>',
      'share of the characters that get pieces, the others become bytes; default: 0.9995',
      decimal(0, { most: 1 }),
    )
    .option('--force', 'replace tokenizer files that are there')
    .option('--json', 'print figures as one JSON object')
    .option('-q, --quiet', 'no progress and no figures')
    .action((files: string[], flags: Flags) => runTrainTokenizer(files, flags, interrupts))
  addExamples(command, [
    'gemma train-tokenizer corpus.jsonl.gz --vocab-size 4096 --out ./tokenizer',
    'gemma train-tokenizer books/*.txt --vocab-size 32000 --out ./tokenizer --json',
    "gemma train-tokenizer './data/**/*.jsonl' --column content --vocab-size 1024 --layout compact --out ./tokenizer",
  ])
}

async function runTrainTokenizer(
  files: readonly string[],
  flags: Flags,
  { signal }: Interrupts,
): Promise<void> {
  const { out, vocabSize, layout, coverage: characterCoverage, force, quiet } = flags
  const { findTexts } = await import('./text-files.ts')
  const { trainTokenizer } = await import('../tokenizer/index.ts')
  const { checkTokenizerTarget, writeTokenizer } = await import('../tokenizer/train/write-tokenizer.node.ts')
  await checkTokenizerTarget(out, { force })
  const texts = await findTexts(files, flags.column, signal)
  const shown = showProgress(texts, quiet)
  const start = performance.now()
  try {
    const { files: written, statistics } = await trainTokenizer(texts.read(), {
      ...{ vocabSize, layout, characterCoverage, signal, onProgress: shown.update },
    })
    await writeTokenizer(out, written, { force })
    shown.end()
    const seconds = (performance.now() - start) / 1000
    const badRecords = texts.badRecords()
    if (!quiet) noteFigures(out, vocabSize, statistics, badRecords, seconds)
    if (flags.json) await printJson({ out, vocabSize, ...statistics, badRecords, seconds })
  } finally {
    shown.end()
  }
}

function noteFigures(
  out: string,
  vocabSize: number,
  { documents, bytes, bytesPerToken, shortBy }: TrainTokenizerStatistics,
  badRecords: number,
  seconds: number,
): void {
  if (shortBy > 0) {
    note(`There were more words than are counted at once: counts may be short by ${formatCount(shortBy)}.`)
  }
  if (badRecords > 0) {
    note(`${formatCount(badRecords)} ${badRecords === 1 ? 'record' : 'records'} could not be used.`)
  }
  note(
    `${out}: ${formatCount(vocabSize)} pieces from ${formatCount(documents)} texts (${formatBytes(bytes)}) in ` +
      `${formatSeconds(seconds)} · ${bytesPerToken.toFixed(2)} bytes per token`,
  )
}

function showProgress(
  texts: Texts,
  quiet: boolean | undefined,
): { update(state: TrainTokenizerProgress): void; end(): void } {
  const reading = createProgress('Reading', { unit: 'bytes', quiet })
  let merging: Progress | undefined
  return {
    update({ phase, words, merges, totalMerges }) {
      if (phase === 'reading') {
        reading.update(texts.bytesRead(), texts.totalBytes, { detail: `${formatCount(words)} words` })
        return
      }
      reading.end()
      merging ??= createProgress('Merging', { unit: 'merges', quiet })
      merging.update(merges, totalMerges)
    },
    end() {
      reading.end()
      merging?.end()
    },
  }
}
