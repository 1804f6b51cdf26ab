// The three matrix products of training by themselves: 10⁹ multiply-adds a second, as shares of what the machine does
// in registers at the same time. For work on the kernels; built ones are measured (npm run build:kernels).
//
//   node bench/train-kernels.ts [--shapes 1024x128x128,…] [--products forward,input,weight] [--dtypes f32,int4]
//                               [--threads 1,2] [--milliseconds 600]
//
// A shape is rows × columns of the weight × rows of the weight. Products and ceiling take turns in runs of about two
// milliseconds on the same workers: so short that some of them escape whatever else the machine does. A large product
// is therefore taken in parts, as if there were as many workers. Other work only takes speed away, so the best run
// (rather: the best of a hundred, leaving out one) tells what the kernel does; the median tells what the machine gave.

import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import * as asc from 'assemblyscript/asc'
import { FIRST_ADDRESS, RUN_ROWS } from '../src/backends/wasm/addresses.ts'
import { bufferBytes } from '../src/backends/wasm/program.ts'
import { loadKernels } from '../src/backends/wasm/variant.ts'
import { type Dtype, isPacked, layoutOf } from '../src/graph/dtype.ts'
import { type Op, persistentTensor, type Tensor } from '../src/graph/tape.ts'
import {
  exactLinearOp,
  linearInputGradientOp,
  linearWeightGradientOp,
} from '../src/ops/linear/linear-backward.ts'
import type { Argument, BufferLike, Lowering } from '../src/ops/lowering.ts'
import { trainingLowerings } from '../src/ops/wasm-training.ts'
import { foreignCores, snapshot } from './peers/noise.ts'
import { median } from './peers/report.ts'

const SHAPES =
  '1024x128x128,2048x128x512,2048x512x128,2048x256x1024,512x2048x2048,512x2048x16384,2048x128x2048,512x2048x8,512x8x2048'

const text = { type: 'string' } as const
const { values } = parseArgs({
  options: { shapes: text, products: text, dtypes: text, threads: text, milliseconds: text },
})
const list = (given: string | undefined, otherwise: string): string[] => (given ?? otherwise).split(',')
const milliseconds = Number(values.milliseconds ?? 600)

const OPS: Readonly<Record<string, Op>> = {
  forward: exactLinearOp,
  input: linearInputGradientOp,
  weight: linearWeightGradientOp,
}

/** Multiply-adds of a run of one worker. */
const WORTH = 40e6
/** Where the ceiling's kernel leaves its sums. */
const SINK = 4096

const { module, integers } = await loadKernels('auto', 'kernels-training')
const ceilingModule = await compileCeiling()
/** Large enough for two weights of 2048 × 16384 and 2048 rows of either. */
const memory = new WebAssembly.Memory({ initial: 12288, maximum: 65536, shared: true })

const WORKER = `
const { parentPort, workerData: { module, ceilingModule, memory } } = require('node:worker_threads')
const instance = (m) => new WebAssembly.Instance(m, { env: { memory } }).exports
const kernels = { ...instance(module), ...instance(ceilingModule) }
parentPort.on('message', ({ kernel, args, times, gate, count }) => {
  // All begin together.
  if (Atomics.add(gate, 0, 1) + 1 < count) while (Atomics.load(gate, 0) < count);
  const start = performance.timeOrigin + performance.now()
  for (let i = 0; i < times; i++) kernels[kernel](...args)
  const end = performance.timeOrigin + performance.now()
  parentPort.postMessage([start, end])
})
`

interface Job {
  readonly kernel: string
  /** Arguments of each worker in run number `index`. */
  readonly args: (index: number) => ReadonlyArray<readonly [number, number, number]>
  readonly times: number
  /** Multiply-adds of all workers together in one run. */
  readonly macs: number
}

interface Rates {
  readonly best: number
  readonly median: number
}

/** 10⁹ multiply-adds a second, from the first start to the last end. */
async function run(workers: readonly Worker[], job: Job, index: number): Promise<number> {
  const { kernel, times, macs } = job
  const args = job.args(index)
  const gate = new Int32Array(new SharedArrayBuffer(4))
  const spans = await Promise.all(
    workers.map((worker, i) => {
      const { promise, resolve, reject } = Promise.withResolvers<[number, number]>()
      worker.once('message', resolve)
      worker.once('error', reject)
      worker.postMessage({ kernel, args: args[i], times, gate, count: workers.length })
      return promise.finally(() => worker.off('error', reject))
    }),
  )
  const start = Math.min(...spans.map(([from]) => from))
  return macs / (Math.max(...spans.map(([, to]) => to)) - start) / 1e6
}

function ratesOf(rates: readonly number[]): Rates {
  const sorted = rates.toSorted((a, b) => b - a)
  return { best: sorted[Math.floor(sorted.length / 100)]!, median: median(rates) }
}

/** Multiply-adds of f32 in registers, with numbers that stay normal. */
function ceilingJob(threads: number): Job {
  new Float32Array(memory.buffer, 0, 8).fill(1e-3)
  const rounds = WORTH / 40
  const args = Array.from({ length: threads }, (_, i) => [0, rounds, SINK + i * 256] as const)
  return { kernel: 'multiplyAdd', args: () => args, times: 1, macs: threads * rounds * 40 }
}

interface Product {
  readonly product: string
  readonly dtype: Dtype
  readonly rows: number
  readonly columns: number
  readonly count: number
}

/** What the op's lowering asks for, laid out in memory from the first address on. */
function productJob({ product, dtype, rows, columns, count }: Product, threads: number): Job {
  const op = OPS[product]
  if (op === undefined) throw new Error(`There is no product ${product}.`)
  const tensor = (name: string, shape: readonly number[], type: Dtype = 'f32'): Tensor =>
    persistentTensor('weight', name, shape, type)
  const x = tensor('x', [rows, columns])
  const gradient = tensor('gradient', [rows, count])
  const weight = tensor('weight', [count, columns], dtype)
  const inputs = { forward: [x, weight], input: [gradient, weight], weight: [x, gradient, weight] }[product]!
  const attributes = { from: 0, count }
  const outputs = op.shape(inputs, attributes).map(({ shape, dtype: type }) => tensor('out', shape, type))
  const places = new Map<BufferLike, number>()
  let free = FIRST_ADDRESS
  const place = (buffer: BufferLike): number => {
    const known = places.get(buffer)
    if (known !== undefined) return known
    const at = free
    const bytes = bufferBytes(buffer)
    free = Math.ceil((at + bytes) / 64) * 64
    if (free > memory.buffer.byteLength) throw new Error(`${rows}x${columns}x${count} takes too much memory.`)
    places.set(buffer, at)
    if ('role' in buffer) fill(buffer, at)
    return at
  }
  const calls: { kernel: string; args: readonly Argument[] }[] = []
  const lower: Lowering = {
    ...{ rows, threads, integers },
    call: (kernel, args) => void calls.push({ kernel, args }),
    scratch: (bytes) => ({ scratch: calls.length, bytes }),
    shared: (_key, make) => make(),
  }
  trainingLowerings.get(op)!({ op, inputs, outputs, attributes }, lower)
  const [call] = calls
  if (call === undefined || calls.length !== 1)
    throw new Error('Only products of one call are measured here.')
  const words = call.args.map((argument) =>
    'buffer' in argument ? place(argument.buffer) + argument.offset : argument.value,
  )
  new Int32Array(memory.buffer, 8192, words.length).set(words)
  new Int32Array(memory.buffer, RUN_ROWS, 1)[0] = rows
  const macs = rows * columns * count
  const work = WORTH * threads
  const times = Math.max(1, Math.round(work / macs))
  const parts = threads * Math.max(1, 2 ** Math.round(Math.log2(macs / work)))
  return {
    kernel: call.kernel,
    args: (index) => Array.from({ length: threads }, (_, i) => [8192, (index * threads + i) % parts, parts]),
    times,
    macs: (macs * times * threads) / parts,
  }
}

/** Numbers of ordinary size in whatever form. */
function fill({ dtype, shape }: Tensor, at: number): void {
  const [rows, columns] = shape as [number, number]
  const { bytes, scales } = layoutOf(dtype, rows, columns)
  if (dtype === 'f32' || dtype === 'int8row') {
    const from = dtype === 'f32' ? at : at + scales
    const floats = new Float32Array(memory.buffer, from, (at + bytes - from) / 4)
    for (let i = 0; i < floats.length; i++) floats[i] = ((i % 61) - 30) / 1000
  } else new Uint16Array(memory.buffer, at, bytes / 2).fill(dtype === 'bf16' ? 0x3c12 : 0x2412)
  if (!isPacked(dtype)) return
  const codes = new Uint8Array(memory.buffer, at, scales)
  for (let i = 0; i < codes.length; i++) codes[i] = (i * 37) & 255
}

async function compileCeiling(): Promise<WebAssembly.Module> {
  let binary: Uint8Array<ArrayBuffer> | undefined
  const { error, stderr } = await asc.main(
    [
      'bench/ceilings.wasm.ts',
      ...['--baseDir', new URL('..', import.meta.url).pathname, '--outFile', 'ceilings.wasm'],
      ...['-O3', '--noAssert', '--runtime', 'stub', '--importMemory', '--sharedMemory'],
      ...['--initialMemory', '1', '--maximumMemory', '65536', '--memoryBase', '32768'],
      ...['--enable', 'simd', '--enable', 'threads', '--enable', 'bulk-memory', '--enable', 'relaxed-simd'],
    ],
    { writeFile: (_name, contents) => void (binary = new Uint8Array(contents as Uint8Array)) },
  )
  if (error || binary === undefined) throw new Error(`AssemblyScript: ${stderr.toString()}`, { cause: error })
  return WebAssembly.compile(binary)
}

interface Result extends Product {
  readonly threads: number
  readonly rates: Rates
  readonly ceiling: Rates
  /** Cores that other work held meanwhile. */
  readonly foreign: number | undefined
}

async function measure(product: Product, workers: readonly Worker[]): Promise<Result> {
  const threads = workers.length
  const jobs = [ceilingJob(threads), productJob(product, threads)]
  // The compiler brings its best version of a kernel only to a later call.
  for (let i = 0; i < 5; i++) for (const job of jobs) await run(workers, job, i)
  const before = snapshot()
  const rates: number[][] = jobs.map(() => [])
  const stop = performance.now() + milliseconds
  for (let index = 0; performance.now() < stop || index < 20; index++) {
    for (const [i, job] of jobs.entries()) rates[i]!.push(await run(workers, job, index))
  }
  const foreign = foreignCores(before, snapshot())
  const [ceiling, own] = rates.map(ratesOf) as [Rates, Rates]
  return { ...product, threads, rates: own, ceiling, foreign }
}

function describe({
  product,
  dtype,
  rows,
  columns,
  count,
  threads,
  rates,
  ceiling,
  foreign,
}: Result): string {
  const percent = (a: number, b: number): string => `${((100 * a) / b).toFixed(0)} %`.padStart(5)
  return (
    `${product.padEnd(7)} ${dtype.padEnd(7)} [${rows} × ${columns} · ${count}]`.padEnd(38) +
    `${threads} threads: best ${rates.best.toFixed(1).padStart(5)} GMAC/s (${percent(rates.best, ceiling.best)} ` +
    `of ${ceiling.best.toFixed(1)}), median ${rates.median.toFixed(1).padStart(5)}` +
    (foreign !== undefined && foreign > 0.1 ? `, other work held ${foreign.toFixed(1)} cores` : '')
  )
}

const results: Result[] = []
for (const threads of list(values.threads, '1,2').map(Number)) {
  const workers = Array.from(
    { length: threads },
    () => new Worker(WORKER, { eval: true, workerData: { module, ceilingModule, memory } }),
  )
  for (const shape of list(values.shapes, SHAPES)) {
    const [rows, columns, count] = shape.split('x').map(Number) as [number, number, number]
    for (const dtype of list(values.dtypes, 'f32') as Dtype[]) {
      for (const product of list(values.products, 'forward,input,weight')) {
        // Gradients of weights are float32 whatever the weight is held in.
        if (product === 'weight' && dtype !== 'f32') continue
        const result = await measure({ product, dtype, rows, columns, count }, workers)
        results.push(result)
        console.log(describe(result))
      }
    }
  }
  await Promise.all(workers.map((worker) => worker.terminate()))
}
console.log(JSON.stringify({ bench: 'train-kernels', node: process.version, results }))
