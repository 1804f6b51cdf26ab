// The worker threads of one model: started once, told by a shared word to run a program, gone at dispose.
// With no threads the program runs in the caller's own thread. Knows no program.

import { abortedError, GemmaError } from '../../error.ts'
import {
  ACTIVE,
  CALLS,
  CONTROL_WORDS,
  DONE,
  EXIT,
  FAILED,
  GENERATION,
  PROGRAM,
  STOP,
  STOPPED,
  WAKE,
} from './control.ts'
import { execute, instantiate } from './execute.ts'
import type { WorkerStart } from './worker.ts'

export interface Pool {
  readonly workers: number
  /**
   * Runs `calls` calls whose words lie at `address` of the first memory, on the first `active` workers (default:
   * all; the others sleep on).
   */
  run(address: number, calls: number, signal?: AbortSignal, active?: number): Promise<void>
  dispose(): Promise<void>
}

/** The little that Node's and the browser's workers have in common. */
interface Thread {
  start(message: WorkerStart): void
  /** Called with 'ready', 'failed: …', or when the thread dies. */
  listen(heard: (message: string) => void): void
  /** Whether the thread keeps the process alive. */
  hold(alive: boolean): void
  end(): Promise<void>
}

export async function createPool(
  module: WebAssembly.Module,
  memories: readonly WebAssembly.Memory[],
  threads: number,
): Promise<Pool> {
  // Pages that are not isolated from other origins have no SharedArrayBuffer; without workers none is needed.
  if (threads === 0) return inlinePool(module, memories, new Int32Array(CONTROL_WORDS))
  const control = new Int32Array(new SharedArrayBuffer(CONTROL_WORDS * 4))
  const workers: Thread[] = []
  let failure: GemmaError | undefined
  const failed = new Set<(error: GemmaError) => void>()
  const fail = (message: string): void => {
    failure ??= new GemmaError('worker', `A worker thread failed: ${message}.`, 'Load the model again.')
    // The others must not wait for it at the next barrier.
    Atomics.store(control, FAILED, 1)
    for (const reject of failed) reject(failure)
  }
  try {
    await Promise.all(
      Array.from({ length: threads }, async (_, worker) => {
        const thread = await startThread()
        workers[worker] = thread
        await new Promise<void>((resolve, reject) => {
          failed.add(reject)
          thread.listen((message) => (message === 'ready' ? resolve() : fail(message)))
          thread.start({ control, module, memories, worker })
        })
      }),
    )
  } catch (error) {
    await Promise.all(workers.map((thread) => thread.end()))
    throw error
  }
  failed.clear()
  for (const thread of workers) thread.hold(false)

  const run = async (
    address: number,
    calls: number,
    signal?: AbortSignal,
    active: number = threads,
  ): Promise<void> => {
    if (failure) throw failure
    if (signal?.aborted) throw abortedError(signal)
    const before = Atomics.load(control, DONE)
    control[PROGRAM] = address
    control[CALLS] = calls
    control[ACTIVE] = active
    Atomics.store(control, STOP, 0)
    const stop = (): void => void Atomics.store(control, STOP, 1)
    signal?.addEventListener('abort', stop)
    for (let worker = 0; worker < active; worker++) workers[worker]!.hold(true)
    let reject!: (error: GemmaError) => void
    const broken = new Promise<never>((_, no) => {
      reject = no
    })
    failed.add(reject)
    try {
      const generation = Atomics.add(control, GENERATION, 1) + 1
      wake(control, generation, active)
      await Promise.race([broken, untilChanged(control, DONE, before)])
      if (Atomics.load(control, FAILED) !== 0) await broken
      if (signal?.aborted && Atomics.load(control, STOPPED) === generation) throw abortedError(signal)
    } finally {
      failed.delete(reject)
      signal?.removeEventListener('abort', stop)
      for (const thread of workers) thread.hold(false)
    }
  }
  const dispose = async (): Promise<void> => {
    failure ??= new GemmaError('disposed', 'The model has been disposed of.', 'Load it again.')
    Atomics.store(control, EXIT, 1)
    wake(control, Atomics.add(control, GENERATION, 1) + 1, threads)
    await Promise.all(workers.map((thread) => thread.end()))
  }
  return { workers: threads, run, dispose }
}

/** Only the workers that take part are woken: an idle one would cost the others their time. */
function wake(control: Int32Array, generation: number, active: number): void {
  for (let worker = 0; worker < active; worker++) {
    Atomics.store(control, WAKE + worker, generation)
    Atomics.notify(control, WAKE + worker)
  }
}

async function untilChanged(control: Int32Array, index: number, before: number): Promise<void> {
  while (Atomics.load(control, index) === before) {
    const waiting = Atomics.waitAsync(control, index, before)
    if (waiting.async) await waiting.value
  }
}

/** In the calling thread, other work waits at most about so long. */
const BREATH_MS = 30

function inlinePool(
  module: WebAssembly.Module,
  memories: readonly WebAssembly.Memory[],
  control: Int32Array,
): Pool {
  const executor = { control, memories, kernels: instantiate(module, memories), worker: 0 }
  let disposed = false
  let breathed = performance.now()
  return {
    workers: 1,
    async run(address, calls, signal) {
      if (disposed) throw new GemmaError('disposed', 'The model has been disposed of.', 'Load it again.')
      if (signal?.aborted) throw abortedError(signal)
      control[PROGRAM] = address
      control[CALLS] = calls
      control[ACTIVE] = 1
      control[GENERATION]!++
      execute(executor)
      // Nothing else of the page (or of the process) would run before the whole text is there.
      if (performance.now() - breathed < BREATH_MS) return
      await new Promise((resolve) => setTimeout(resolve))
      breathed = performance.now()
    },
    async dispose() {
      disposed = true
    },
  }
}

async function startThread(): Promise<Thread> {
  if (typeof process !== 'undefined' && process.versions?.node) {
    // No import: bundlers for browsers would follow it, and some stop at node:.
    const { Worker: NodeWorker } = process.getBuiltinModule('node:worker_threads')
    // Written so that bundlers take the other one, below, for the file they are to build, and this one for none.
    const file = new URL('./worker.ts', new URL(import.meta.url))
    // None of this process's own flags: some, such as --input-type, make a worker refuse its file.
    const worker = new NodeWorker(file, { name: 'gemma', execArgv: [] })
    const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
    return {
      start: (message) => worker.postMessage(message),
      listen(heard) {
        worker.on('message', heard)
        worker.on('error', (error) => heard(error instanceof Error ? error.message : String(error)))
        worker.on('exit', () => heard('it ended'))
      },
      hold: (alive) => (alive ? worker.ref() : worker.unref()),
      end: async () => {
        worker.ref()
        const patience = setTimeout(() => void worker.terminate(), 1000)
        await ended
        clearTimeout(patience)
      },
    }
  }
  // Bundlers know a worker by these very words (the build makes worker.js of worker.ts).
  const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module', name: 'gemma' })
  return {
    start: (message) => worker.postMessage(message),
    listen(heard) {
      worker.onmessage = (event): void => heard(String(event.data))
      worker.onerror = (event): void => heard(event.message)
    },
    hold: () => {},
    end: async () => worker.terminate(),
  }
}
