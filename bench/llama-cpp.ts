// Do the GGUF files that we write mean the same to llama.cpp? Writes the tiny golden checkpoints of all
// generations as F32, F16, BF16, Q8_0 and Q4_0, has llama.cpp (node-llama-cpp, installed in .scratch/peers unless it
// is there) and this package read the same files, and compares next-token distributions and token ids:
//
//   npm run bench:llama-cpp -- [--installed]
//
// --installed: end with an error where node-llama-cpp would have to be installed. Half a minute; a table and one line
// of JSON on stdout; exit code 1 when anything differs by more than is explained below.
//
// Expected are our logits with weights, sums and caches in float32. llama.cpp itself rounds: GELU through a table of
// f16 values (ggml/src/ggml-cpu/vec.h); the activations of products to f16 for F16 weights, to bf16 for BF16 and to
// 8 bits for Q8_0 and Q4_0 (vec_dot_type in ggml-cpu.c). So the limits follow from the file type. Beside it stands the divergence of our own default, which rounds
// activations for integer weights too.

import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Gemma } from '../src/index.ts'
import type { Checkpoint } from '../src/weights/checkpoint.ts'
import { openCheckpoint } from '../src/weights/open.node.ts'
import { convertCheckpoint, type SaveDtype } from '../src/weights/save.node.ts'
import { expectedOf, MODELS, modelPath, PROMPTS } from '../test/goldens.ts'
import { type Distance, distance, rowsOf } from './llama-cpp/compare.ts'
import { isInstalled, type Llama, startLlama } from './llama-cpp/llama.ts'
import { preparePeer, VERSIONS } from './peers/prepare.ts'

const SCRATCH = fileURLToPath(new URL('../.scratch/peers', import.meta.url))
const TEXTS = new URL('../test/data/goldens/tokenizer/small.json', import.meta.url)
const GREEDY = 32

/** Limits of the mean divergence and of the worst position's, in nats: several times what was measured. */
const TYPES: readonly { dtype: SaveDtype; type: string; mean: number; worst: number }[] = [
  { dtype: 'f32', type: 'F32', mean: 2e-6, worst: 1e-5 },
  { dtype: 'f16', type: 'F16', mean: 2e-5, worst: 1e-4 },
  { dtype: 'bf16', type: 'BF16', mean: 1e-3, worst: 5e-3 },
  { dtype: 'int8', type: 'Q8_0', mean: 1e-2, worst: 5e-2 },
  { dtype: 'int4', type: 'Q4_0', mean: 1e-2, worst: 5e-2 },
]

/**
 * Pieces that llama.cpp (load of src/llama-vocab.cpp) turns into control tokens whatever the file says, because they
 * end texts in some model; it says so in a warning. In text without special tokens it then takes them for letters.
 */
const OVERRIDDEN = ['<end_of_turn>', '</s>']

interface Result {
  readonly model: string
  readonly type: string
  readonly llama: Distance
  readonly ours: Distance
  /** Prompts after which all of the most likely tokens are the same. */
  readonly greedy: number
  readonly ok: boolean
}

type Compared = Pick<Result, 'llama' | 'ours' | 'greedy'>

const { values: options } = parseArgs({ options: { installed: { type: 'boolean', default: false } } })
const peer = join(SCRATCH, 'node-llama-cpp')
if (!isInstalled(peer) && (options.installed || !(await preparePeer(SCRATCH, 'node-llama-cpp')))) {
  console.error(`node-llama-cpp ${VERSIONS['node-llama-cpp']} is not in ${peer}.`)
  process.exit(2)
}
const { version } = JSON.parse(
  readFileSync(join(peer, 'node_modules/node-llama-cpp/package.json'), 'utf8'),
) as { version: string }
const loadLlama = await startLlama(peer)
const folder = await mkdtemp(join(tmpdir(), 'gemma-llama-cpp-'))
try {
  process.exitCode = (await compareAll()) ? 0 : 1
} finally {
  await rm(folder, { recursive: true, force: true })
}

async function compareAll(): Promise<boolean> {
  console.log(
    `llama.cpp as in node-llama-cpp ${version}. Divergence in nats from our float32, mean and worst.`,
  )
  console.log(
    'model           type   positions  llama.cpp          largest Δ  same best  greedy  our default',
  )
  const results: Result[] = []
  for (const model of MODELS) {
    for (const { dtype, type, mean, worst } of TYPES) {
      const file = await convert(model, dtype, true)
      const compared = await compareFile(file, model)
      const { llama } = compared
      const ok = llama.mean <= mean && llama.worst <= worst
      results.push({ model, type, ...compared, ok })
      console.log(describe(results.at(-1)!))
    }
  }
  const scale = await compareFile(await convert('gemma2', 'f32', false), 'gemma2')
  console.log(
    `\nNot read by llama.cpp: a query_pre_attn_scalar that is not its own. gemma2 with its 24 instead of 32: ` +
      `${spread(scale.llama)}. The files above have head_dim, which is what llama.cpp takes.`,
  )
  const tokens = await compareTokens()
  const ok = results.every((result) => result.ok) && tokens.unexplained === 0
  console.log(
    JSON.stringify({ bench: 'llama-cpp', nodeLlamaCpp: version, ok, tokens, results: results.map(rounded) }),
  )
  return ok
}

/** Writes a golden checkpoint as GGUF; `agreeing`: with the scale of queries that llama.cpp takes for granted. */
async function convert(model: string, dtype: SaveDtype, agreeing: boolean): Promise<string> {
  const checkpoint = await openCheckpoint(modelPath(model))
  const { config } = checkpoint
  const scalar = agreeing && 'query_pre_attn_scalar' in config
  const written: Checkpoint = scalar
    ? { ...checkpoint, config: { ...config, query_pre_attn_scalar: config.head_dim } }
    : checkpoint
  const file = join(folder, `${model}-${dtype}${agreeing ? '' : '-own-scale'}.gguf`)
  await convertCheckpoint(written, file, { dtype })
  await checkpoint.close()
  return file
}

/** All positions of the prompts, then those of our 32 most likely tokens, which llama.cpp gets one by one. */
async function compareFile(file: string, model: string): Promise<Compared> {
  await using exact = await Gemma.load(file, { dtype: 'f32', cacheDtype: 'f32', threads: 0 })
  await using usual = await Gemma.load(file, { threads: 0 })
  const llama = await loadLlama(file)
  const rows = { exact: [] as Float32Array[], usual: [] as Float32Array[], llama: [] as Float32Array[] }
  const { vocabSize } = exact.config
  let greedy = 0
  for (const prompt of PROMPTS) {
    const { ids } = expectedOf(model).prompts[prompt]!
    const tokens = [...ids]
    for await (const piece of exact.generate(ids, { maxTokens: GREEDY, temperature: 0, stopTokens: [] }))
      tokens.push(piece.token)
    rows.exact.push(...rowsOf(await exact.logits(tokens), vocabSize))
    rows.usual.push(...rowsOf(await usual.logits(tokens), vocabSize))
    rows.llama.push(...(await llama.logits(tokens, ids.length)))
    const { agree } = distance(rows.exact.slice(-1 - GREEDY, -1), rows.llama.slice(-1 - GREEDY, -1))
    if (agree === GREEDY) greedy++
  }
  await llama.dispose()
  return { llama: distance(rows.exact, rows.llama), ours: distance(rows.exact, rows.usual), greedy }
}

interface TokenCounts {
  texts: number
  same: number
  /** Different for the reason given at OVERRIDDEN, and as expected once special tokens are recognised. */
  overridden: number
  unexplained: number
}

/** llama.cpp's ids of the golden texts, with and without special tokens, from a file of ours. */
async function compareTokens(): Promise<TokenCounts> {
  const llama = await loadLlama(await convert('gemma1-mha', 'bf16', true))
  const { cases } = JSON.parse(readFileSync(TEXTS, 'utf8')) as { cases: TokenCase[] }
  const prompts = Object.values(expectedOf('gemma1-mha').prompts)
  const all = [...cases, ...prompts.map(({ text, ids }) => ({ text, ids: ids.slice(1) }))]
  const counts = { texts: all.length, same: 0, overridden: 0, unexplained: 0 }
  for (const each of all) {
    const kind = judgeTokens(llama, each)
    counts[kind]++
    if (kind === 'unexplained') console.log(`Other ids in llama.cpp: ${JSON.stringify(each.text)}`)
  }
  await llama.dispose()
  console.log(
    `\nToken ids: ${counts.same} of ${counts.texts} texts the same, with special tokens and without; ` +
      `${counts.overridden} the same with them only (llama.cpp takes ${OVERRIDDEN.join(' and ')} for control ` +
      `tokens), ${counts.unexplained} different.`,
  )
  return counts
}

interface TokenCase {
  readonly text: string
  readonly ids: readonly number[]
  /** With control tokens recognised, where that makes a difference. */
  readonly ids_by_tokenizer_json?: readonly number[]
}

function judgeTokens(
  llama: Llama,
  { text, ids, ids_by_tokenizer_json: recognised = ids }: TokenCase,
): 'same' | 'overridden' | 'unexplained' {
  if (`${llama.tokenize(text, true)}` !== `${recognised}`) return 'unexplained'
  if (`${llama.tokenize(text, false)}` === `${ids}`) return 'same'
  return OVERRIDDEN.some((piece) => text.includes(piece)) ? 'overridden' : 'unexplained'
}

function describe({ model, type, llama, ours, greedy, ok }: Result): string {
  return [
    model.padEnd(15),
    type.padEnd(6),
    String(llama.positions).padEnd(10),
    spread(llama).padEnd(18),
    llama.top.toExponential(1).padEnd(10),
    `${llama.agree}/${llama.positions}`.padEnd(10),
    `${greedy}/${PROMPTS.length}`.padEnd(7),
    spread(ours).padEnd(18),
    ok ? '' : 'TOO FAR',
  ].join(' ')
}

function spread({ mean, worst }: Distance): string {
  return `${mean.toExponential(1)}, ${worst.toExponential(1)}`
}

function rounded({ model, type, llama, ours, greedy, ok }: Result): Record<string, unknown> {
  const short = (value: number): number => Number(value.toPrecision(2))
  return {
    model,
    type,
    ok,
    mean: short(llama.mean),
    worst: short(llama.worst),
    top: short(llama.top),
    agree: `${llama.agree}/${llama.positions}`,
    greedy: `${greedy}/${PROMPTS.length}`,
    ours: short(ours.mean),
  }
}
