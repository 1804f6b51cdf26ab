import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { WeightDtype } from '../../generate/load-choices.ts'
import { loadModel } from '../../generate/load-model.ts'
import { createTape, keep, persistentTensor, type Tape, type Tensor } from '../../graph/tape.ts'
import { add } from '../../ops/add/add.ts'
import { append } from '../../ops/append/append.ts'
import { embed } from '../../ops/embed/embed.ts'
import { linear } from '../../ops/linear/linear.ts'
import { runOf, smallestLimit, wasmFor } from '../../ops/testing/harness.ts'
import { normals, storedValues } from '../../ops/testing/stored.ts'
import { openCheckpoint } from '../../weights/open.node.ts'
import type { Backend, Plan } from '../backend.ts'
import { createWasmBackend } from './backend.ts'

const modelPath = (name: string): string =>
  fileURLToPath(new URL(`../../../test/data/models/${name}`, import.meta.url))

const WIDTH = 1024
const ROWS = 256
const STEPS = 400

interface LongRun {
  readonly backend: Backend
  /** Many products, some seconds of work unless it is stopped; the last step writes into a cache. */
  readonly long: Plan
  /** Whether the last step of `long` was ever reached. */
  reached(): Promise<boolean>
  readonly short: Plan
  readonly value: Tensor
}

async function longRun(threads: number): Promise<LongRun> {
  const table = persistentTensor('weight', 'table', [ROWS, WIDTH], 'f32')
  const weight = persistentTensor('weight', 'weight', [WIDTH, WIDTH], 'f32')
  const written = persistentTensor('cache', 'written', [ROWS, WIDTH], 'f32')
  const backend = await wasmFor({ name: '', threads, build: 'auto' }, [table, weight, written], new Map())
  onTestFinished(() => backend.dispose())
  await backend.load(table, storedValues('F32', table.shape, normals(ROWS * WIDTH, 1)))
  await backend.load(weight, storedValues('F32', weight.shape, normals(WIDTH * WIDTH, 2, WIDTH ** -0.5)))
  const long = createTape(ROWS)
  let x = embed(long, table, 1)
  for (let i = 0; i < STEPS; i++) x = linear(long, x, weight)
  append(long, x, written, ROWS)
  const short = createTape(4)
  const value = keep(short, add(short, embed(short, table, 1), linear(short, embed(short, table, 1), weight)))
  const look = createTape(1)
  const seen = keep(look, linear(look, embed(look, table, 1), written))
  const lookPlan = backend.compile(look)
  return {
    backend,
    long: backend.compile(long),
    async reached() {
      await backend.run(lookPlan, runOf(1))
      return backend.read(lookPlan, seen, 1).some((number) => number !== 0)
    },
    short: backend.compile(short),
    value,
  }
}

describe.each([1, 3])('with %i threads', (threads) => {
  test('a long run that is aborted stops before its end, and the next run is right', async () => {
    const { backend, long, reached, short, value } = await longRun(threads)
    await backend.run(short, runOf(4))
    const expected = backend.read(short, value, 4)
    for (const when of [0, 40]) {
      const controller = new AbortController()
      const running = backend.run(long, runOf(ROWS), controller.signal)
      if (when === 0) queueMicrotask(() => controller.abort('enough'))
      else setTimeout(() => controller.abort('enough'), when)
      await expect(running).rejects.toMatchObject({ name: 'GemmaError', code: 'aborted', cause: 'enough' })
      expect(await reached()).toBe(false)
      await backend.run(short, runOf(4))
      expect(backend.read(short, value, 4)).toEqual(expected)
    }
  })
})

describe.each([0, 1, 3])('with %i threads', (threads) => {
  test('a signal that is aborted before a run refuses it, one aborted after it changes nothing', async () => {
    const { backend, short, value } = await longRun(threads)
    await backend.run(short, runOf(4))
    const expected = backend.read(short, value, 4)
    const aborted = AbortSignal.abort()
    await expect(backend.run(short, runOf(4), aborted)).rejects.toMatchObject({ code: 'aborted' })
    const late = new AbortController()
    await backend.run(short, runOf(4), late.signal)
    late.abort()
    expect(backend.read(short, value, 4)).toEqual(expected)
    await backend.run(short, runOf(4))
  })

  test('everything after dispose is a GemmaError', async () => {
    const { backend, short, value } = await longRun(threads)
    await backend.run(short, runOf(4))
    await backend.dispose()
    await backend.dispose()
    const disposed = { name: 'GemmaError', code: 'disposed' }
    await expect(backend.run(short, runOf(4))).rejects.toMatchObject(disposed)
    expect(() => backend.read(short, value, 4)).toThrow(expect.objectContaining(disposed))
    expect(() => backend.compile(createTape(1))).toThrow(expect.objectContaining(disposed))
    const stored = storedValues('F32', [2, 2], new Float32Array(4))
    const tensor = persistentTensor('weight', 'x', [2, 2], 'f32')
    await expect(backend.load(tensor, stored)).rejects.toMatchObject(disposed)
  })

  test('dispose during a run ends the run, one way or the other, and hangs nobody', async () => {
    const { backend, short, value } = await longRun(threads)
    const running = backend.run(short, runOf(4)).then(
      () => 'done',
      (error: unknown) => (error as { code?: string }).code,
    )
    await backend.dispose()
    expect(['done', 'disposed']).toContain(await running)
    expect(() => backend.read(short, value, 4)).toThrow(/disposed/)
  })
})

/** Worker threads that are started while a test runs, in order. */
function watchWorkers(): Worker[] {
  const workers: Worker[] = []
  const original = Worker.prototype.postMessage
  Worker.prototype.postMessage = function (this: Worker, ...args: Parameters<typeof original>) {
    workers.push(this)
    return original.apply(this, args)
  }
  onTestFinished(() => {
    Worker.prototype.postMessage = original
  })
  return workers
}

describe('worker threads', () => {
  test.each([0, 1, 2])(
    'when thread %i of three dies in a run, the run ends with GemmaError worker',
    async (which) => {
      const workers = watchWorkers()
      const { backend, long, short } = await longRun(3)
      expect(workers.length).toBe(3)
      const running = backend.run(long, runOf(ROWS))
      setTimeout(() => void workers[which]!.terminate(), 30)
      await expect(running).rejects.toMatchObject({ name: 'GemmaError', code: 'worker' })
      await expect(backend.run(short, runOf(4))).rejects.toMatchObject({ code: 'worker' })
      await backend.dispose()
    },
  )

  test('when one dies between runs, the next run says so', async () => {
    const workers = watchWorkers()
    const { backend, short } = await longRun(2)
    await backend.run(short, runOf(4))
    await workers[0]!.terminate()
    await expect(backend.run(short, runOf(4))).rejects.toMatchObject({ code: 'worker' })
    await backend.dispose()
  })

  const script = (end: string): string => `
    const { createWasmBackend } = await import(${JSON.stringify(new URL('./backend.ts', import.meta.url).href)})
    const { createTape } = await import(${JSON.stringify(new URL('../../graph/tape.ts', import.meta.url).href)})
    const { runOf } = { runOf: (rows) => ({ rows, tokens: new Int32Array(1), positions: new Int32Array(1),
      sequences: new Int32Array(1), targets: new Int32Array(1),
      sampling: { temperature: 0, topK: 1, topP: 1, uniform: new Float64Array(1) } }) }
    const backend = await createWasmBackend({ threads: 3, tensors: [], constants: new Map(), sizing: [] })
    await backend.run(backend.compile(createTape(1)), runOf(1))
    ${end}
    console.log('end of the program')
  `

  test.each([
    ['dispose ends them: the process ends', 'await backend.dispose()'],
    ['idle threads keep no process alive', ''],
  ])('%s', async (_, end) => {
    const options = ['--no-warnings', '--input-type=module', '-e', script(end)]
    const { stdout } = await promisify(execFile)(process.execPath, options, { timeout: 30_000 })
    expect(stdout).toBe('end of the program\n')
  })
})

describe('placement', () => {
  test('a tensor larger than a memory is refused with what to do', async () => {
    const weight = persistentTensor('weight', 'model.embed', [70000, 70000], 'bf16')
    const cache = persistentTensor('cache', 'cache.0', [1 << 20, 2048], 'f32')
    const make = (tensors: Tensor[]): Promise<Backend> =>
      createWasmBackend({ threads: 0, tensors, constants: new Map(), sizing: [] })
    await expect(make([weight])).rejects.toMatchObject({
      code: 'unsupported',
      remedy: 'Choose a narrower dtype.',
    })
    await expect(make([cache])).rejects.toMatchObject({
      code: 'unsupported',
      remedy: 'Choose a shorter contextLength.',
    })
  })

  test('a tensor that leaves no room for whole tapes lies alone, and results are the same', async () => {
    const table = persistentTensor('weight', 'table', [512, 8192], 'f32')
    const small = persistentTensor('weight', 'small', [16, 8192], 'f32')
    const tape = createTape(512)
    // All of these live until the end, but for the first one none of them touches the table.
    const parts = [table, ...Array.from({ length: 9 }, () => small)].map((one, i) => embed(tape, one, i + 1))
    const value = keep(
      tape,
      parts.reduce((a, b) => add(tape, a, b)),
    )
    const [values, few] = [normals(512 * 8192, 1), normals(16 * 8192, 2)]
    const run = async (memoryLimit?: number) => {
      const options = { threads: 2, tensors: [table, small], constants: new Map(), sizing: [tape] }
      const backend = await createWasmBackend({ ...options, memoryLimit })
      await backend.load(table, storedValues('F32', table.shape, values))
      await backend.load(small, storedValues('F32', small.shape, few))
      const plan = backend.compile(tape)
      await backend.run(plan, runOf(512))
      const result = { sum: backend.read(plan, value, 2), scratch: backend.memoryBytes().scratch }
      const { description } = backend
      await backend.dispose()
      return { ...result, description }
    }
    const alone = await run()
    const split = await run(alone.scratch + 8 * 2 ** 20)
    expect(split.description).toContain(', 2 memories')
    expect(split.sum).toEqual(alone.sum)
    // The memory of the table has room for what is done with the table, not for all of the tape.
    expect(split.scratch).toBeLessThan(1.5 * alone.scratch)
  })

  test('memory is reported by what was asked for', async () => {
    const weight = persistentTensor('weight', 'w', [100, 64], 'f32')
    const cache = persistentTensor('cache', 'c', [10, 16], 'f32')
    const backend = await createWasmBackend({
      threads: 0,
      tensors: [weight, cache],
      constants: new Map(),
      sizing: [],
    })
    expect(backend.memoryBytes().weights).toBe(25600)
    expect(backend.memoryBytes().caches).toBe(640)
    await backend.dispose()
  })

  test('a plan that needs more scratch than was set aside gets it, and earlier plans still run', async () => {
    const table = persistentTensor('weight', 'table', [512, 8192], 'f32')
    const limit = smallestLimit([table], new Map())
    const backend = await createWasmBackend({
      threads: 2,
      tensors: [table],
      constants: new Map(),
      sizing: [],
      memoryLimit: limit,
    })
    const values = normals(512 * 8192, 1)
    await backend.load(table, storedValues('F32', table.shape, values))
    const sum = (rows: number, terms: number): { tape: Tape; value: Tensor } => {
      const tape = createTape(rows)
      // All terms live until the end, so scratch grows with their number.
      const parts = Array.from({ length: terms }, () => embed(tape, table, 1))
      return {
        tape,
        value: keep(
          tape,
          parts.reduce((a, b) => add(tape, a, b)),
        ),
      }
    }
    const small = sum(4, 3)
    const smallPlan = backend.compile(small.tape)
    const before = backend.memoryBytes().scratch
    const large = sum(512, 9)
    const largePlan = backend.compile(large.tape)
    expect(backend.memoryBytes().scratch).toBeGreaterThan(before)
    await backend.run(largePlan, runOf(512))
    await backend.run(smallPlan, runOf(4))
    expect(backend.read(smallPlan, small.value, 4)).toEqual(values.slice(0, 4 * 8192).map((v) => v + v + v))
    await backend.run(largePlan, runOf(512))
    let total = 0
    for (let i = 0; i < 9; i++) total = Math.fround(total + values[77]!)
    expect(backend.read(largePlan, large.value, 1)[77]).toBe(total)
    await backend.dispose()
  })
})

test('more plans than their room holds: each still does what it was recorded for', async () => {
  const table = persistentTensor('weight', 'table', [4, 8], 'f32')
  const backend = await wasmFor({ name: '', threads: 0, build: 'auto' }, [table], new Map())
  onTestFinished(() => backend.dispose())
  const values = Float32Array.from({ length: 32 }, (_, i) => i)
  await backend.load(table, storedValues('F32', table.shape, values))
  // 600 calls each: some 60 kB, of a room of 4 MiB.
  const plans = Array.from({ length: 120 }, (_, i) => {
    const tape = createTape(4)
    const start = embed(tape, table, 1)
    let x = start
    for (let step = 0; step < 600; step++) x = add(tape, x, start, step < i ? 1 : 0)
    const value = keep(tape, x)
    return { plan: backend.compile(tape), value, times: i + 1 }
  })
  const scratch = backend.memoryBytes().scratch
  for (const order of [plans, plans.toReversed(), [plans[3]!, plans[117]!, plans[3]!]]) {
    for (const { plan, value, times } of order) {
      await backend.run(plan, runOf(4))
      expect(backend.read(plan, value, 4)).toEqual(values.map((v) => v * times))
    }
  }
  expect(backend.memoryBytes().scratch).toBe(scratch)
})

describe('whole models', () => {
  test.each(['gemma1-mqa', 'gemma2', 'gemma3-scaled'])(
    '%s: logits have the same bits with any number of threads, in one memory or several',
    async (name) => {
      const checkpoint = await openCheckpoint(modelPath(name))
      onTestFinished(() => checkpoint.close())
      const rows = Array.from({ length: 40 }, (_, i) => ({
        token: (i * 37) % 1000,
        position: i,
        sequence: 0,
      }))
      const run = async (dtype: WeightDtype, threads: number, memoryLimit?: number) => {
        const engine = await loadModel(checkpoint, {
          dtype,
          threads,
          memoryLimit,
          contextLength: 64,
          sequences: 2,
        })
        const prompt = await engine.run('logits', rows)
        const next = await engine.run('logits', [{ token: 5, position: 40, sequence: 0 }])
        const again = await engine.run('logits', [{ token: 5, position: 40, sequence: 0 }])
        expect(again).toEqual(next)
        const { description } = engine.backend
        const memory = engine.backend.memoryBytes()
        await engine.backend.dispose()
        return { logits: Float32Array.of(...prompt.slice(-2048), ...next), description, memory }
      }
      for (const dtype of ['auto', 'f32', 'int8', 'int4'] as const) {
        const alone = await run(dtype, 0)
        for (const threads of [0, 1, 2, 4]) {
          const { logits, memory } = await run(dtype, threads)
          expect(logits).toEqual(alone.logits)
          if (threads % 2 === 1) continue
          // Room for half of the weights and caches beside what every memory holds.
          const limit = memory.scratch + 40_000 + (memory.weights + memory.caches) / 2
          const split = await run(dtype, threads, limit)
          expect(split.description).toMatch(/, [23] memories/)
          expect(split.logits).toEqual(alone.logits)
        }
      }
    },
  )
})
