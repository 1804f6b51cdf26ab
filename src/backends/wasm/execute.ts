// Runs one program as one of several workers (or alone). The same code serves worker threads and the
// single-threaded fallback in the caller's own thread.

import {
  ACTIVE,
  ARRIVED,
  CALL_WORDS,
  CALLS,
  FAILED,
  GENERATION,
  PHASE,
  PROGRAM,
  STOP,
  STOPPED,
} from './control.ts'

export type Kernel = (args: number, worker: number, workers: number) => void

export interface Executor {
  readonly control: Int32Array
  readonly memories: readonly WebAssembly.Memory[]
  /** kernels[memory][index] */
  readonly kernels: readonly (readonly Kernel[])[]
  readonly worker: number
}

/** One instance per memory; kernels are numbered in the order of the module's exports. */
export function instantiate(
  module: WebAssembly.Module,
  memories: readonly WebAssembly.Memory[],
): readonly (readonly Kernel[])[] {
  const names = kernelNames(module)
  return memories.map((memory) => {
    const { exports } = new WebAssembly.Instance(module, { env: { memory } })
    return names.map((name) => exports[name] as Kernel)
  })
}

export function kernelNames(module: WebAssembly.Module): readonly string[] {
  return WebAssembly.Module.exports(module)
    .filter((entry) => entry.kind === 'function')
    .map((entry) => entry.name)
}

/** Runs the program that the control block names. */
export function execute(executor: Executor): void {
  const { control, memories, kernels, worker } = executor
  const workers = control[ACTIVE]!
  const generation = control[GENERATION]!
  const count = control[CALLS]!
  const words = new Int32Array(memories[0]!.buffer, control[PROGRAM]! >>> 0, count * CALL_WORDS)
  for (let at = 0; at < count * CALL_WORDS; at += CALL_WORDS) {
    const kernel = words[at]!
    if (kernel >= 0) kernels[words[at + 1]!]![kernel]!(words[at + 2]!, worker, workers)
    else if (worker === 0) transfer(memories, words, at)
    if (words[at + 3] !== 0 && workers > 1) {
      if (!barrier(control, workers)) return
      if (Atomics.load(control, STOPPED) === generation) return
    } else if (workers === 1 && control[STOP] !== 0) {
      control[STOPPED] = generation
      return
    }
  }
}

function transfer(memories: readonly WebAssembly.Memory[], words: Int32Array, at: number): void {
  const bytes = words[at + 6]!
  const source = new Uint8Array(memories[words[at + 1]!]!.buffer, words[at + 2]! >>> 0, bytes)
  new Uint8Array(memories[words[at + 4]!]!.buffer, words[at + 5]! >>> 0, bytes).set(source)
}

/** Looks at the phase this often before it sleeps: some tens of microseconds. */
const SPINS = 4000
/** A sleeping worker looks up this often, in case another has failed. */
const LOOK_UP_MS = 50

/** Waits for all workers. False when one of them has failed. */
function barrier(control: Int32Array, workers: number): boolean {
  const phase = Atomics.load(control, PHASE)
  if (Atomics.add(control, ARRIVED, 1) === workers - 1) {
    Atomics.store(control, ARRIVED, 0)
    // Only the last one looks at the request to stop, so that all take the same decision.
    if (Atomics.load(control, STOP) !== 0) Atomics.store(control, STOPPED, control[GENERATION]!)
    Atomics.store(control, PHASE, phase + 1)
    Atomics.notify(control, PHASE)
    return Atomics.load(control, FAILED) === 0
  }
  for (let i = 0; i < SPINS; i++) if (Atomics.load(control, PHASE) !== phase) return true
  while (Atomics.load(control, PHASE) === phase) {
    if (Atomics.load(control, FAILED) !== 0) return false
    Atomics.wait(control, PHASE, phase, LOOK_UP_MS)
  }
  return true
}
