// How fast text becomes ids, beside @huggingface/tokenizers on the same vocabulary and the same text.
//
//   node bench/tokenizer.ts [tokenizer.model]
//
// English is prose from doc comments, code is source files, mixed is READMEs in ten languages: all from
// node_modules, so that nothing large is kept here. Each text is cut into parts; "new" is the median over parts that a
// tokenizer sees for the first time, "again" that of seeing them once more (both remember segments). The
// compiler is warm: ours has seen the other texts, the other library the first part. Ids must agree.

import { existsSync, globSync, readFileSync } from 'node:fs'
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers'
import { createTokenizer } from '../src/tokenizer/index.ts'
import { toTokenizerJson } from '../src/tokenizer/to-tokenizer-json.ts'

const ROOT = new URL('../', import.meta.url).pathname
const PARTS = 8
const PART_CHARACTERS = 60_000 // the other library needs seconds for each megabyte

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

interface Speeds {
  fresh: number // MB/s on parts never seen
  again: number // MB/s on parts seen once
  ids: number[][] // of every part
}

const all = texts()
const results: Record<string, unknown> = {}
let allSame = true
for (const [name, text] of Object.entries(all)) {
  const size = Math.min(PART_CHARACTERS, Math.floor(text.length / PARTS))
  const parts = Array.from({ length: PARTS }, (_, i) => text.slice(i * size, (i + 1) * size))
  const ours = createTokenizer({ sentencePiece })
  for (const [otherName, otherText] of Object.entries(all)) if (otherName !== name) ours.encode(otherText)
  const own = measure(parts, (part) => ours.encode(part))
  const others = measure(parts, (part) => other.encode(part, { add_special_tokens: false }).ids)
  const same = own.ids.join(';') === others.ids.join(';')
  allSame &&= same
  const wholeMegabytes = megabytes(text)
  const whole = (wholeMegabytes * 1e3) / median(times(5, () => ours.encode(text)))
  const ids = ours.encode(text)
  const decode = (wholeMegabytes * 1e3) / median(times(5, () => ours.decode(ids)))
  results[name] = rounded({
    new: own.fresh,
    again: own.again,
    whole,
    decode,
    huggingFaceNew: others.fresh,
    huggingFaceAgain: others.again,
    ratioNew: own.fresh / others.fresh,
    ratioAgain: own.again / others.again,
  })
  console.log(
    `${name.padEnd(8)} new ${own.fresh.toFixed(1)} MB/s against ${others.fresh.toFixed(2)}, ` +
      `ratio ${(own.fresh / others.fresh).toFixed(0)}; again ${own.again.toFixed(1)} against ${others.again.toFixed(2)}, ` +
      `ratio ${(own.again / others.again).toFixed(0)}; all ${wholeMegabytes.toFixed(1)} MB ${whole.toFixed(1)} MB/s, ` +
      `decode ${decode.toFixed(1)} MB/s; ${same ? 'same ids' : 'DIFFERENT IDS'}`,
  )
}
console.log(
  JSON.stringify({ bench: 'tokenizer', pieces: reference.vocabSize, loadMs, sameIds: allSame, results }),
)
if (!allSame) process.exitCode = 1

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

function measure(parts: readonly string[], encode: (part: string) => number[]): Speeds {
  encode(parts[0])
  const ids: number[][] = []
  const pass = (part: string): number => {
    const start = performance.now()
    const result = encode(part)
    const milliseconds = performance.now() - start
    ids.push(result)
    return (megabytes(part) * 1e3) / milliseconds
  }
  const fresh = median(parts.slice(1).map(pass))
  const again = median(parts.slice(1).map(pass))
  return { fresh, again, ids }
}

function megabytes(text: string): number {
  return new TextEncoder().encode(text).length / 1e6
}

function rounded(values: Record<string, number>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(values).map(([key, value]) => [key, Math.round(value * 1e3) / 1e3]),
  )
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
