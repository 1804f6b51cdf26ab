// How fast text becomes ids, beside @huggingface/tokenizers on the same vocabulary and the same text.
//
//   node bench/tokenizer.ts [tokenizer.model]
//
// English is prose from doc comments, code is source files, mixed is READMEs in ten languages: all from
// node_modules, so that nothing large is kept here. "first" is one pass of a new tokenizer, whose cache of
// segments is empty; "again" the median of later passes. Every pass checks nothing but time; ids are compared once.

import { existsSync, globSync, readFileSync } from 'node:fs'
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers'
import { createTokenizer } from '../src/tokenizer/index.ts'
import { toTokenizerJson } from '../src/tokenizer/to-tokenizer-json.ts'

const ROOT = new URL('../', import.meta.url).pathname
const PASSES = 7
const SLOW_CHARACTERS = 60_000 // the other library gets a part of the text: it needs seconds for each megabyte

const modelPath =
  process.argv[2] ??
  [`${ROOT}../shared/tokenizer/tokenizer.model`, `${ROOT}test/data/models/gemma1-mqa/tokenizer.model`].find(
    existsSync,
  )!

const sentencePiece: Uint8Array = readFileSync(modelPath)
const loads = times(5, () => createTokenizer({ sentencePiece }))
const loadMs = median(loads)
const reference = createTokenizer({ sentencePiece })
console.log(
  `${modelPath}: ${reference.vocabSize} pieces, loaded in ${loads[0].toFixed(0)} ms, median ${loadMs.toFixed(0)} ms`,
)
const other = new HuggingFaceTokenizer(toTokenizerJson(reference.vocabulary), {
  tokenizer_class: 'GemmaTokenizer',
  clean_up_tokenization_spaces: false,
})

const results: Record<string, Record<string, number>> = {}
for (const [name, text] of Object.entries(texts())) {
  const megabytes = new TextEncoder().encode(text).length / 1e6
  const tokenizer = createTokenizer({ sentencePiece })
  let ids: number[] = []
  const [first] = times(1, () => {
    ids = tokenizer.encode(text)
  })
  const again = median(times(PASSES, () => tokenizer.encode(text)))
  const decode = median(times(PASSES, () => tokenizer.decode(ids)))
  const part = text.slice(0, SLOW_CHARACTERS)
  const partMegabytes = new TextEncoder().encode(part).length / 1e6
  let otherIds: number[] = []
  const otherMs = median(
    times(3, () => {
      otherIds = other.encode(part, { add_special_tokens: false }).ids
    }),
  )
  const same = otherIds.join() === tokenizer.encode(part).join()
  const row = {
    megabytes,
    tokens: ids.length,
    first: (megabytes * 1e3) / first,
    again: (megabytes * 1e3) / again,
    decode: (megabytes * 1e3) / decode,
    huggingFace: (partMegabytes * 1e3) / otherMs,
    ratio: ((megabytes / again) * otherMs) / partMegabytes,
    sameIds: same ? 1 : 0,
  }
  results[name] = Object.fromEntries(
    Object.entries(row).map(([key, value]) => [key, Math.round(value * 1e3) / 1e3]),
  )
  console.log(
    `${name.padEnd(8)} ${megabytes.toFixed(2)} MB, ${ids.length} tokens: first ${row.first.toFixed(1)} MB/s, ` +
      `again ${row.again.toFixed(1)} MB/s, decode ${row.decode.toFixed(1)} MB/s; ` +
      `@huggingface/tokenizers ${row.huggingFace.toFixed(2)} MB/s, ratio ${row.ratio.toFixed(0)}, ` +
      `${same ? 'same ids' : 'DIFFERENT IDS'}`,
  )
}
console.log(JSON.stringify({ bench: 'tokenizer', pieces: reference.vocabSize, loadMs, results }))

function texts(): Record<string, string> {
  const read = (pattern: string): string[] =>
    globSync(pattern, { cwd: ROOT })
      .sort()
      .map((file) => readFileSync(ROOT + file, 'utf8'))
  const declarations = read('node_modules/@types/node/**/*.d.ts').join('\n')
  const english = declarations
    .split('\n')
    .filter((line) => /^\s*\* /.test(line))
    .map((line) => line.replace(/^\s*\* /, ''))
    .join(' ')
  const code = read('node_modules/vitest/dist/**/*.js').join('\n')
  const mixed = read('node_modules/@biomejs/biome/README.*.md').join('\n')
  return { english, code, mixed }
}

/** Milliseconds of each run. */
function times(count: number, run: () => void): number[] {
  return Array.from({ length: count }, () => {
    const start = performance.now()
    run()
    return performance.now() - start
  })
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]
}
