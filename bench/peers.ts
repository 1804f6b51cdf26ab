// gemma-ts beside node-llama-cpp in Node and beside wllama in Chromium, on the same files with random weights, in
// turn (A B A B), each repetition in a process of its own:
//
//   npm run bench:peers -- [--quick] [--only q4_0,q8_0,bf16] [--threads 1,2] [--reps 3] [--no-browser]
//                          [--engines gemma-ts,node-llama-cpp,wllama] [--prompt 512] [--tokens 128]
//                          [--shape 2b|small] [--no-long] [--no-tokenizer] [--keep FOLDER]
//
// It makes the files and installs the other engines in a scratch folder (.scratch/peers, some 10 GB) and leaves
// them there for the next time. Progress goes to stderr, tables and one line of JSON to stdout, a picture to
// bench/peers.svg (with --quick into the scratch folder). A full run takes an hour or two; --quick, on a tiny model,
// shows in half a minute that everything works and compares nothing.

import { spawnSync } from 'node:child_process'
import { mkdir, stat, writeFile } from 'node:fs/promises'
import { availableParallelism, cpus } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type Ceilings, describeCeilings, measureCeilings } from './ceilings.ts'
import { findChromium } from './chromium.ts'
import { type Engine, inChild, inPage, type StartEngine } from './peers/engine.ts'
import { foreignCores, snapshot, undisturbed, untilQuiet } from './peers/noise.ts'
import { drawPicture } from './peers/picture.ts'
import { prepareModel, prepareOwn, preparePeer, SHAPES, type Shape, VERSIONS } from './peers/prepare.ts'
import type { Model, Timing } from './peers/prompt.ts'
import { type Cell, describe, describeLong, type LongSample, type Sample, summarise } from './peers/report.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const LONG_CONTEXTS = [4096, 8000]
const LONG_TOKENS = 32
/** Above this many cores held by other work a repetition counts as disturbed. */
const QUIET_CORES = 0.1

interface Plan {
  readonly quick: boolean
  readonly shape: Shape
  readonly types: readonly string[]
  readonly threads: readonly number[]
  readonly reps: number
  readonly prompt: number
  readonly tokens: number
  readonly long: boolean
  readonly tokenizer: boolean
  readonly engines: readonly string[]
  readonly browser: boolean
  readonly scratch: string
}

interface Contender {
  readonly engine: string
  readonly where: Cell['where']
  readonly start: StartEngine
}

const plan = readPlan()
// Engines end with this process (chromium.ts, child.ts).
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))
const noise = { limit: QUIET_CORES, attempts: plan.quick ? 1 : 3, patience: plan.quick ? 0 : 60 }
await mkdir(plan.scratch, { recursive: true })
const { contenders, bytes, missing } = await prepareContenders()
const ceilingsBefore = await measureLimits()

const cells: Cell[] = []
const files = new Map<string, number>()
for (const type of plan.types) {
  const inParts = plan.browser && plan.engines.includes('wllama') && type !== 'bf16'
  const model = await prepareModel(join(plan.scratch, 'models'), plan.shape, type, inParts)
  files.set(type, (await stat(model.file)).size)
  for (const threads of plan.threads) cells.push(...(await compare(type, model, threads)))
}

// Neighbours on a shared machine only ever lower what is measured: the better of two times, an hour apart.
const ceilingsAfter = await measureLimits()
const ceilings = ceilingsBefore.map((before, i) => betterOf(before, ceilingsAfter[i]!))
console.log(describeCeilings(ceilings))

const summaries = cells.flatMap((cell) => {
  const { embedding: head, others: perToken } = SHAPES[plan.shape]
  const work = { bytes: files.get(cell.type)!, perToken, head }
  const limit = ceilings.find(({ threads }) => threads === cell.threads)
  return summarise(cell, plan.prompt, work, limit) ?? []
})
console.log(`\n${describe(summaries, QUIET_CORES)}`)
const long = describeLong(cells)
if (long !== '') console.log(`\n${long}`)
for (const { engine, where, type, threads, error } of cells) {
  if (error !== undefined) console.log(`${engine} in ${where}, ${type}, ${threads} threads: ${error}`)
}
for (const [name, size] of bytes) console.log(`${name}: ${(size / 1e6).toFixed(1)} MB installed`)
for (const name of missing) console.log(`${name} is not there and was left out`)
if (plan.tokenizer) tokenizer()

const processor = cpus()[0]?.model.trim() ?? process.arch
const picture = join(plan.quick ? plan.scratch : join(ROOT, 'bench'), 'peers.svg')
if (summaries.length > 0) {
  const what = plan.shape === '2b' ? 'Gemma 2B with random weights' : 'a small model with random weights'
  const disturbed = summaries.some(({ foreign }) => (foreign ?? 0) > QUIET_CORES)
    ? ' DISTURBED by other work.'
    : ''
  const subtitle = `${what}; prompt of ${plan.prompt} tokens, answer of ${plan.tokens}; ${processor}, ${availableParallelism()} cores.${disturbed}`
  await writeFile(picture, drawPicture(summaries, subtitle))
  note(`picture: ${picture}`)
}
console.log(
  JSON.stringify({
    bench: 'peers',
    date: new Date().toISOString(),
    machine: { processor, cores: availableParallelism(), node: process.version, chromium: chromiumVersion() },
    versions: VERSIONS,
    shape: plan.shape,
    prompt: plan.prompt,
    tokens: plan.tokens,
    ceilings,
    fileBytes: Object.fromEntries(files),
    installedBytes: Object.fromEntries(bytes),
    missing,
    medians: summaries,
    cells,
  }),
)

function readPlan(): Plan {
  const flag = { type: 'boolean' } as const
  const text = { type: 'string' } as const
  const { values } = parseArgs({
    options: {
      ...{ quick: flag, only: text, threads: text, reps: text, engines: text, keep: text },
      ...{
        prompt: text,
        tokens: text,
        shape: text,
        'no-browser': flag,
        'no-long': flag,
        'no-tokenizer': flag,
      },
    },
  })
  const quick = values.quick ?? false
  const list = (given: string | undefined, otherwise: readonly string[]): string[] =>
    given === undefined ? [...otherwise] : given.split(',')
  const cores = [...new Set([1, Math.min(2, availableParallelism())])].map(String)
  const number = (given: string): number => {
    const value = Number(given)
    if (Number.isSafeInteger(value) && value > 0) return value
    console.error(`${given} is not a whole number above 0`)
    return process.exit(2)
  }
  const shape = values.shape ?? (quick ? 'small' : '2b')
  if (shape !== '2b' && shape !== 'small') {
    console.error(`There is no shape ${shape}, only 2b and small.`)
    return process.exit(2)
  }
  return {
    quick,
    shape,
    types: list(values.only, quick ? ['q4_0'] : ['q4_0', 'q8_0', 'bf16']),
    threads: list(values.threads, quick ? [cores.at(-1)!] : cores).map(number),
    reps: number(values.reps ?? (quick ? '1' : '3')),
    prompt: number(values.prompt ?? (quick ? '128' : '512')),
    tokens: number(values.tokens ?? (quick ? '16' : '128')),
    long: !quick && !values['no-long'],
    tokenizer: !quick && !values['no-tokenizer'],
    engines: list(values.engines, ['gemma-ts', 'node-llama-cpp', 'wllama']),
    browser: !values['no-browser'],
    scratch: resolve(values.keep ?? join(ROOT, '.scratch', 'peers')),
  }
}

async function prepareContenders(): Promise<{
  contenders: Contender[]
  bytes: Map<string, number>
  missing: string[]
}> {
  const contenders: Contender[] = []
  const bytes = new Map<string, number>()
  const missing: string[] = []
  const wanted = (name: string): boolean => plan.engines.includes(name)
  note('building gemma-ts')
  const own = await prepareOwn(plan.scratch)
  bytes.set('gemma-ts', own.bytes)
  if (wanted('gemma-ts')) {
    contenders.push({ engine: 'gemma-ts', where: 'Node', start: inChild('gemma-ts.child.ts', own.folder) })
  }
  if (wanted('node-llama-cpp')) {
    const peer = await preparePeer(plan.scratch, 'node-llama-cpp')
    if (peer === undefined) missing.push('node-llama-cpp')
    else {
      bytes.set('node-llama-cpp (without its builds for graphics processors)', peer.bytes)
      const start = inChild('node-llama-cpp.child.ts', peer.folder)
      contenders.push({ engine: 'node-llama-cpp', where: 'Node', start })
    }
  }
  if (!plan.browser) return { contenders, bytes, missing }
  if (findChromium() === undefined) return { contenders, bytes, missing: [...missing, 'Chromium'] }
  if (wanted('gemma-ts')) {
    const start = inPage('gemma-ts.page.ts', own.folder)
    contenders.push({ engine: 'gemma-ts', where: 'Chromium', start })
  }
  if (wanted('wllama')) {
    const peer = await preparePeer(plan.scratch, '@wllama/wllama')
    if (peer === undefined) missing.push('wllama')
    else {
      bytes.set('wllama', peer.bytes)
      contenders.push({ engine: 'wllama', where: 'Chromium', start: inPage('wllama.page.ts', peer.folder) })
    }
  }
  return { contenders, bytes, missing }
}

async function measureLimits(): Promise<Ceilings[]> {
  note('measuring what the machine can do')
  const options = { threads: plan.threads, megabytes: plan.quick ? 256 : 1024 }
  const { value, foreign } = await undisturbed(() => measureCeilings(options), noise)
  const others = foreign === undefined ? '' : ` (other work held ${foreign.toFixed(2)} cores)`
  note(`${describeCeilings(value)}${others}`)
  return value
}

function betterOf(a: Ceilings, b: Ceilings): Ceilings {
  return {
    threads: a.threads,
    readGigabytes: Math.max(a.readGigabytes, b.readGigabytes),
    int8: Math.max(a.int8, b.int8),
    int8Dot: Math.max(a.int8Dot, b.int8Dot),
    f32: Math.max(a.f32, b.f32),
  }
}

/** All engines in turn, repetition after repetition. */
async function compare(type: string, model: Model, threads: number): Promise<Cell[]> {
  // No browser engine but ours holds more than 4 GB.
  const taking = contenders.filter(({ where }) => where === 'Node' || type !== 'bf16')
  const found = taking.map(({ engine, where, start }) => {
    const samples: Sample[] = []
    const long: LongSample[] = []
    const error: string | undefined = undefined
    return { engine, where, start, type, threads, samples, long, error: error as string | undefined }
  })
  const attempt = async (cell: (typeof found)[number], work: () => Promise<void>): Promise<void> => {
    if (cell.error !== undefined) return
    try {
      await work()
    } catch (cause) {
      cell.error = cause instanceof Error ? cause.message.split('\n').slice(0, 3).join(' ') : String(cause)
      note(`${cell.engine}: ${cell.error}`)
    }
  }
  for (let rep = 0; rep < plan.reps; rep++) {
    for (const cell of found) {
      await attempt(cell, async () => {
        const sample = await repetition(cell.start, model, threads, rep)
        cell.samples.push(sample)
        note(`${type}, ${threads} threads, ${cell.engine} in ${cell.where}: ${sampleText(sample)}`)
      })
    }
  }
  if (plan.long && type === plan.types[0]) {
    for (const cell of found.filter(({ where }) => where === 'Node')) {
      await attempt(cell, async () => {
        cell.long.push(...(await longRun(cell.start, model, threads)))
        const rates = cell.long.map(({ context, decode }) => `${decode.toFixed(2)} at ${context}`).join(', ')
        note(`${type}, ${threads} threads, ${cell.engine}, tokens/s by context: ${rates}`)
      })
    }
  }
  return found.map(({ start: _, ...cell }) => cell)
}

async function repetition(start: StartEngine, model: Model, threads: number, rep: number): Promise<Sample> {
  return withEngine(start, model, threads, plan.prompt + plan.tokens + 16, async (engine) => {
    // Compilers settle, and so do caches.
    await engine.run(1000 + rep, Math.min(plan.prompt, 128), 8)
    let seed = 100 * rep
    const { value, foreign, attempts } = await undisturbed(
      () => engine.run(++seed, plan.prompt, plan.tokens),
      noise,
    )
    return { ...rates(value), foreign, attempts }
  })
}

/** Fills a context step by step and decodes at each length. */
async function longRun(start: StartEngine, model: Model, threads: number): Promise<LongSample[]> {
  const samples: LongSample[] = []
  await withEngine(start, model, threads, 8192, async (engine) => {
    for (const context of LONG_CONTEXTS) {
      if (noise.patience > 0) await untilQuiet(noise.limit, noise.patience)
      const before = snapshot()
      const timing = await engine.fill(context, context, LONG_TOKENS)
      samples.push({ context, ...rates(timing), foreign: foreignCores(before, snapshot()) })
    }
    return {}
  })
  return samples
}

async function withEngine<T extends object>(
  start: StartEngine,
  model: Model,
  threads: number,
  contextLength: number,
  work: (engine: Engine) => Promise<T>,
): Promise<T & { firstTokenMs: number; loadMs: number; peakBytes: number }> {
  const engine = await start({ model, threads, contextLength })
  let result: T | undefined
  let peakBytes = 0
  try {
    result = await work(engine)
  } finally {
    peakBytes = await engine.stop()
  }
  const { firstTokenMs, loadMs } = engine
  return { ...result, firstTokenMs, loadMs, peakBytes }
}

function rates({ prompt, prefillMs, tokens, decodeMs }: Timing): { prefill: number; decode: number } {
  return { prefill: (1000 * prompt) / prefillMs, decode: (1000 * tokens) / decodeMs }
}

function sampleText({ prefill, decode, foreign, attempts }: Sample): string {
  const others = foreign === undefined ? '' : `, other work held ${foreign.toFixed(2)} cores`
  const again = attempts > 1 ? `, ${attempts} attempts` : ''
  return `prompt ${prefill.toFixed(1)} tokens/s, answer ${decode.toFixed(2)}${others}${again}`
}

/** The tokenizer's own benchmark, in a process of its own. */
function tokenizer(): void {
  spawnSync(process.execPath, [join(ROOT, 'bench', 'tokenizer.ts')], { cwd: ROOT, stdio: ['ignore', 1, 2] })
}

function chromiumVersion(): string | undefined {
  const path = plan.browser ? findChromium() : undefined
  if (path === undefined) return undefined
  return spawnSync(path, ['--version', '--no-sandbox']).stdout?.toString().trim()
}

function note(text: string): void {
  process.stderr.write(`${text}\n`)
}
