// The matrix products of a 2B model by themselves: 10⁹ multiply-adds and bytes of weights a second, as shares of
// what the machine can do. For work on the kernels; built ones are measured (npm run build:kernels).
//
//   node bench/kernels.ts [--dtype int4,int8,bf16,f32] [--shape attention,up,down] [--tokens 1,8,64,256]
//                         [--threads 1] [--milliseconds 300] [--build relaxed|baseline]
//
// Each plan multiplies one input by several weights in turn, together larger than any cache, as a model does.

import { parseArgs } from 'node:util'
import { createWasmBackend } from '../src/backends/wasm/backend.ts'
import type { KernelBuild } from '../src/backends/wasm/variant.ts'
import { type Dtype, layoutOf } from '../src/graph/dtype.ts'
import { createTape, keep, persistentTensor, type Tape, type Tensor } from '../src/graph/tape.ts'
import { embed } from '../src/ops/embed/embed.ts'
import { linear } from '../src/ops/linear/linear.ts'
import type { StoredTensor } from '../src/weights/checkpoint.ts'
import { encodedBytes } from '../src/weights/encodings.ts'
import { type RandomEncoding, randomBlocks } from '../src/weights/random-blocks.ts'
import { type Ceilings, describeCeilings, measureCeilings } from './ceilings.ts'
import { foreignCores, snapshot } from './peers/noise.ts'
import { median } from './peers/report.ts'

/** [rows, columns] of the weights of Gemma 2B. */
const SHAPES: Readonly<Record<string, readonly [number, number]>> = {
  attention: [2048, 2048],
  up: [16384, 2048],
  down: [2048, 16384],
}

/** What is stored for each dtype, so that loading packs it as it packs a file. */
const STORED: Partial<Record<Dtype, RandomEncoding>> = {
  int4: 'Q4_0',
  int8: 'Q8_0',
  bf16: 'BF16',
  f16: 'F16',
  f32: 'F32',
}

/** Weights of one plan: more than the last-level cache of a server's core complex. */
const PLAN_BYTES = 160e6

interface Result {
  readonly dtype: string
  readonly shape: string
  readonly tokens: number
  readonly threads: number
  readonly milliseconds: number
  readonly gigamacs: number
  readonly gigabytes: number
  /** Share of the ceiling that is nearer. */
  readonly share: number
  readonly foreign: number | undefined
}

const text = { type: 'string' } as const
const { values } = parseArgs({
  options: { dtype: text, shape: text, tokens: text, threads: text, milliseconds: text, build: text },
})
const list = (given: string | undefined, otherwise: string): string[] => (given ?? otherwise).split(',')
const tokenCounts = list(values.tokens, '1,8,64,256').map(Number)
const threadCounts = list(values.threads, '1').map(Number)
const build = (values.build ?? 'auto') as KernelBuild | 'auto'
const milliseconds = Number(values.milliseconds ?? 300)

const ceilings = await measureCeilings({ threads: threadCounts, megabytes: 512 })
console.log(describeCeilings(ceilings))
const results: Result[] = []
for (const limit of ceilings) {
  for (const dtype of list(values.dtype, 'int4,int8,bf16,f32')) {
    for (const shape of list(values.shape, 'attention,up,down')) {
      results.push(...(await measure(dtype as Dtype, shape, limit)))
    }
  }
}
console.log(JSON.stringify({ bench: 'kernels', node: process.version, build, ceilings, results }))

async function measure(dtype: Dtype, shape: string, limit: Ceilings): Promise<Result[]> {
  const [rows, columns] = shapeOf(shape)
  const encoding = STORED[dtype]
  if (encoding === undefined) throw new Error(`There is no stored form of ${dtype} here.`)
  const bytes = layoutOf(dtype, rows, columns).bytes
  const copies = Math.ceil(PLAN_BYTES / bytes)
  const weights = Array.from({ length: copies }, (_, i) =>
    persistentTensor('weight', `weight ${i}`, [rows, columns], dtype),
  )
  // Inputs come by embedding: row t of the table is token t's.
  const most = Math.max(...tokenCounts)
  const table = persistentTensor('weight', 'inputs', [most, columns], 'f32')
  const tapes = tokenCounts.map((tokens) => recordProducts(tokens, table, weights))
  const backend = await createWasmBackend({
    threads: limit.threads,
    tensors: [table, ...weights],
    constants: new Map(),
    sizing: tapes,
    build,
  })
  const results: Result[] = []
  try {
    await backend.load(table, randomTensor('F32', most, columns))
    for (const weight of weights) await backend.load(weight, randomTensor(encoding, rows, columns))
    for (const [index, tokens] of tokenCounts.entries()) {
      const plan = backend.compile(tapes[index]!)
      const run = (): Promise<void> => backend.run(plan, inputsOf(tokens))
      for (let i = 0; i < 3; i++) await run()
      const before = snapshot()
      const times: number[] = []
      const stop = performance.now() + milliseconds
      while (performance.now() < stop || times.length < 5) {
        const start = performance.now()
        await run()
        times.push(performance.now() - start)
      }
      const time = median(times)
      const gigamacs = (copies * rows * columns * tokens) / time / 1e6
      const gigabytes = (copies * bytes) / time / 1e6
      const products = dtype === 'int4' || dtype === 'int8' ? limit.int8 : limit.f32
      const share = Math.max(gigamacs / products, gigabytes / limit.readGigabytes)
      const foreign = foreignCores(before, snapshot())
      const result = { dtype, shape, tokens, threads: limit.threads, milliseconds: time }
      results.push({ ...result, gigamacs, gigabytes, share, foreign })
      console.log(
        `${dtype.padEnd(5)} ${shape.padEnd(9)} ${String(tokens).padStart(3)} tokens, ${limit.threads} threads: ` +
          `${gigamacs.toFixed(1).padStart(6)} GMAC/s (${percent(gigamacs / products)}), ` +
          `${gigabytes.toFixed(1).padStart(5)} GB/s (${percent(gigabytes / limit.readGigabytes)})` +
          `${foreign !== undefined && foreign > 0.1 ? `, other work held ${foreign.toFixed(1)} cores` : ''}`,
      )
    }
  } finally {
    await backend.dispose()
  }
  return results
}

function shapeOf(name: string): readonly [number, number] {
  const shape = SHAPES[name]
  if (shape === undefined) {
    throw new Error(`There is no shape ${name}; there are ${Object.keys(SHAPES).join(', ')}.`)
  }
  return shape
}

function recordProducts(tokens: number, table: Tensor, weights: readonly Tensor[]): Tape {
  const tape = createTape(tokens)
  const x = embed(tape, table, 1)
  for (const [i, weight] of weights.entries()) {
    const y = linear(tape, x, weight)
    if (i === weights.length - 1) keep(tape, y)
  }
  return tape
}

function inputsOf(rows: number): Parameters<Awaited<ReturnType<typeof createWasmBackend>>['run']>[1] {
  const numbers = Int32Array.from({ length: rows }, (_, i) => i)
  const none = new Int32Array(rows)
  const sampling = { temperature: 0, topK: 1, topP: 1, uniform: new Float64Array(rows) }
  return { rows, tokens: numbers, positions: numbers, sequences: none, targets: none, sampling }
}

function randomTensor(encoding: RandomEncoding, rows: number, columns: number): StoredTensor {
  const fill = randomBlocks(encoding, 'kernels', 0.02, 0)
  return {
    name: 'random',
    shape: [rows, columns],
    encoding,
    rowBytes: encodedBytes(encoding, columns),
    subtract: 0,
    async readRows(_from, into) {
      fill(into)
    },
  }
}

function percent(share: number): string {
  return `${(100 * share).toFixed(0)} %`.padStart(5)
}
