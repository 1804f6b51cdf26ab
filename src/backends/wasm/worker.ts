// A worker thread: waits for the main thread to raise the generation, runs its share of the program, and
// waits again. Everything it shares is in shared memory; no message is exchanged after the first.

import { ACTIVE, DONE, EXIT, FAILED, LEFT, WAKE } from './control.ts'
import { type Executor, execute, instantiate } from './execute.ts'

export interface WorkerStart {
  readonly control: Int32Array
  readonly module: WebAssembly.Module
  readonly memories: readonly WebAssembly.Memory[]
  readonly worker: number
}

function serve(start: WorkerStart, report: (message: string) => void): void {
  const { control, module, memories, worker } = start
  const executor: Executor = { control, memories, kernels: instantiate(module, memories), worker }
  report('ready')
  let seen = 0
  for (;;) {
    Atomics.wait(control, WAKE + worker, seen)
    const generation = Atomics.load(control, WAKE + worker)
    if (generation === seen) continue
    if (Atomics.load(control, EXIT) !== 0) return
    seen = generation
    try {
      execute(executor)
    } catch (error) {
      Atomics.store(control, FAILED, 1)
      report(`failed: ${error instanceof Error ? error.message : String(error)}`)
    }
    if (Atomics.add(control, LEFT, 1) === control[ACTIVE]! - 1) {
      Atomics.store(control, LEFT, 0)
      Atomics.store(control, DONE, generation)
      Atomics.notify(control, DONE)
    }
  }
}

// Node and browsers hand messages over differently; nothing else differs.
const scope = globalThis as unknown as {
  process?: { versions?: { node?: string } }
  postMessage?: (message: unknown) => void
  onmessage?: (event: { data: WorkerStart }) => void
}
if (scope.process?.versions?.node) {
  // No import, which bundlers for browsers would follow; nor the wait for it, which not all their formats can express.
  const { parentPort } = process.getBuiltinModule('node:worker_threads')
  parentPort?.once('message', (start: WorkerStart) => {
    serve(start, (message) => parentPort.postMessage(message))
    parentPort.close()
  })
} else {
  scope.onmessage = ({ data }): void => serve(data, (message) => scope.postMessage?.(message))
}
