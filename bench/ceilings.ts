// What this machine can do at most in WebAssembly: bytes read, and small integers and floats multiplied and added,
// by one thread and by several. Every other benchmark gives its results as a share of these.
//
//   node bench/ceilings.ts [--threads 1,2] [--reps 7] [--megabytes 1024]
//
// The limits are those of 128-bit vectors under this engine (V8), not those of the processor's wider ones.

import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import * as asc from 'assemblyscript/asc'

const ROOT = new URL('..', import.meta.url).pathname

export interface Ceilings {
  readonly threads: number
  /** GB/s (10⁹ bytes), the better of one and two streams per thread. */
  readonly readGigabytes: number
  /** 10⁹ multiply-adds a second of 8-bit integers, the better of 32-bit sums and 16-bit sums of pairs. */
  readonly int8: number
  /** The same with 32-bit sums only: one instruction with VNNI, three without. */
  readonly int8Dot: number
  /** 10⁹ multiply-adds a second of f32. */
  readonly f32: number
}

export interface CeilingOptions {
  readonly threads: readonly number[]
  readonly reps?: number
  readonly megabytes?: number
}

/** One kernel run on every worker at once. */
export interface CeilingJob {
  readonly kernel: string
  readonly args: ReadonlyArray<readonly [number, number, number]>
}

const FIRST_BYTES = 65536
/** Rounds of arithmetic: some tens of milliseconds. */
const ROUNDS = 10_000_000

/** Measures; takes some seconds. */
export async function measureCeilings(options: CeilingOptions): Promise<Ceilings[]> {
  const { reps = 7, megabytes = 1024 } = options
  const module = await compile()
  const bytes = megabytes << 20
  const pages = (FIRST_BYTES + bytes) / 65536
  const memory = new WebAssembly.Memory({ initial: pages, maximum: 65536, shared: true })
  // Pages that were never written are all the same page of zeros.
  new Uint8Array(memory.buffer, FIRST_BYTES).fill(1)
  new Float32Array(memory.buffer, 0, 8).fill(1e-3)
  const results: Ceilings[] = []
  for (const threads of options.threads) {
    const workers = Array.from({ length: threads }, () => startWorker(module, memory))
    const part = Math.floor(bytes / threads / 256) * 256
    const reading = workers.map((_, i) => [FIRST_BYTES + i * part, part, sinkOf(i)] as const)
    const computing = workers.map((_, i) => [0, ROUNDS, sinkOf(i)] as const)
    const rate = async (kernel: string, args: CeilingJob['args'], each: number): Promise<number> => {
      // Short calls first: the compiler brings its best version of a kernel only to a later call.
      const short = args.map(([at, amount, sink]) => [at, Math.floor(amount / 5120) * 256, sink] as const)
      for (let i = 0; i < 10; i++) await runAll(workers, { kernel, args: short })
      const seconds: number[] = []
      for (let i = 0; i < reps; i++) seconds.push(await runAll(workers, { kernel, args }))
      return (each * threads) / lowerQuartile(seconds) / 1e9
    }
    const read = Math.max(await rate('read', reading, part), await rate('read2', reading, part))
    const int8Dot = await rate('dot', computing, ROUNDS * 160)
    const pairs = await rate('dotPairs', computing, ROUNDS * 256)
    const f32 = await rate('multiplyAdd', computing, ROUNDS * 40)
    results.push({ threads, readGigabytes: read, int8: Math.max(int8Dot, pairs), int8Dot, f32 })
    await Promise.all(workers.map((worker) => worker.terminate()))
  }
  return results
}

/** Where a worker leaves its sums: lines of their own, so that no worker waits for another's. */
function sinkOf(worker: number): number {
  return 1024 + worker * 256
}

async function compile(): Promise<WebAssembly.Module> {
  let binary: Uint8Array<ArrayBuffer> | undefined
  const { error, stderr } = await asc.main(
    [
      'bench/ceilings.wasm.ts',
      ...['--baseDir', ROOT, '--outFile', 'ceilings.wasm'],
      ...['-O3', '--noAssert', '--runtime', 'stub', '--importMemory', '--sharedMemory'],
      ...['--initialMemory', '1', '--maximumMemory', '65536', '--memoryBase', '32768'],
      ...['--enable', 'simd', '--enable', 'threads', '--enable', 'bulk-memory', '--enable', 'relaxed-simd'],
    ],
    { writeFile: (_name, contents) => void (binary = new Uint8Array(contents as Uint8Array)) },
  )
  if (error || binary === undefined) throw new Error(`AssemblyScript: ${stderr.toString()}`, { cause: error })
  return WebAssembly.compile(binary)
}

const WORKER = `
const { parentPort, workerData } = require('node:worker_threads')
const { exports } = new WebAssembly.Instance(workerData.module, { env: { memory: workerData.memory } })
parentPort.on('message', ({ kernel, args, gate, count }) => {
  // All begin together.
  if (Atomics.add(gate, 0, 1) + 1 < count) while (Atomics.load(gate, 0) < count);
  const start = performance.timeOrigin + performance.now()
  exports[kernel](...args)
  parentPort.postMessage([start, performance.timeOrigin + performance.now()])
})
`

function startWorker(module: WebAssembly.Module, memory: WebAssembly.Memory): Worker {
  return new Worker(WORKER, { eval: true, workerData: { module, memory } })
}

/** Seconds from the first start to the last end. */
async function runAll(workers: readonly Worker[], { kernel, args }: CeilingJob): Promise<number> {
  const gate = new Int32Array(new SharedArrayBuffer(4))
  const spans = await Promise.all(
    workers.map((worker, i) => {
      const { promise, resolve, reject } = Promise.withResolvers<[number, number]>()
      worker.once('message', resolve)
      worker.once('error', reject)
      worker.postMessage({ kernel, args: args[i], gate, count: workers.length })
      return promise.finally(() => worker.off('error', reject))
    }),
  )
  const start = Math.min(...spans.map(([from]) => from))
  return (Math.max(...spans.map(([, to]) => to)) - start) / 1000
}

/** Other work on the machine only ever takes speed away, so the better runs tell what the machine can do. */
function lowerQuartile(seconds: readonly number[]): number {
  return seconds.toSorted((a, b) => a - b)[seconds.length >> 2]!
}

export function describeCeilings(ceilings: readonly Ceilings[]): string {
  return ceilings
    .map(
      ({ threads, readGigabytes, int8, int8Dot, f32 }) =>
        `${threads} thread${threads === 1 ? '' : 's'}: reads ${readGigabytes.toFixed(1)} GB/s, ` +
        `8-bit ${int8.toFixed(1)} GMAC/s (${int8Dot.toFixed(1)} with 32-bit sums), f32 ${f32.toFixed(1)} GMAC/s`,
    )
    .join('\n')
}

if (import.meta.main) {
  const text = { type: 'string' } as const
  const { values } = parseArgs({ options: { threads: text, reps: text, megabytes: text } })
  const threads = (values.threads ?? [...new Set([1, availableParallelism()])].join(','))
    .split(',')
    .map(Number)
  const ceilings = await measureCeilings({
    threads,
    reps: Number(values.reps ?? 7),
    megabytes: Number(values.megabytes ?? 1024),
  })
  console.log(describeCeilings(ceilings))
  console.log(JSON.stringify({ bench: 'ceilings', node: process.version, ceilings }))
}
