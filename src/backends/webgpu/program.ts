// From a tape to dispatches: ops are lowered, and values get buffers by their lifetimes. Within one dispatch a buffer may
// not be both read and written, so values do not share one large buffer but take turns in several. Knows no kernel by name.

import { GemmaError } from '../../error.ts'
import { elementCount, type Step, type Tape, type Tensor } from '../../graph/tape.ts'
import type { ScratchBuffer } from '../../ops/lowering.ts'
import type {
  Binding,
  Groups,
  PiecePart,
  WebGpuFusion,
  WebGpuLowering,
  WebGpuLowerings,
} from '../../ops/lowering-webgpu.ts'
import type { Kernel } from '../../ops/wgsl/kernel.ts'
import type { Cuts } from './store.ts'

/** A value or scratch: what takes turns in buffers. */
export type Passing = Tensor | ScratchBuffer

export interface Dispatch {
  readonly kernel: Kernel
  /** In the order of the kernel's bindings. */
  readonly bindings: readonly (Passing | PiecePart)[]
  readonly numbers: readonly number[]
  readonly groups: Groups
}

export interface Program {
  readonly dispatches: readonly Dispatch[]
  /** Which of the shared buffers each value and scratch has, and how large those must be. */
  readonly places: ReadonlyMap<Passing, number>
  readonly sizes: readonly number[]
}

/** What tapes are lowered with. */
export interface Kernels {
  readonly lowerings: WebGpuLowerings
  /** Tried in this order at every step. */
  readonly fusions: readonly WebGpuFusion[]
  /** Most storage buffers of a kernel, those counted that a run brings. */
  readonly mostBuffers: number
}

export function compileProgram(tape: Tape, kernels: Kernels, store: Cuts): Program {
  const dispatches = lowerTape(tape, kernels, store)
  return { dispatches, ...takeTurns(dispatches, tape) }
}

/** Throws GemmaError 'unsupported' where a step makes more than `largest` bytes, which is what may be bound. */
export function checkSizes({ sizes }: Program, largest: number): void {
  const bytes = Math.max(0, ...sizes)
  if (bytes <= largest) return
  throw new GemmaError(
    'unsupported',
    `A step of the model makes ${bytes} bytes, and this GPU takes at most ${largest} as one.`,
    "Use device 'cpu'.",
  )
}

export function isPassing(binding: Binding): binding is Passing {
  return 'scratch' in binding || ('role' in binding && binding.role === 'value')
}

/** Storage buffers that every kernel has: the rows of a run. */
const BUFFERS_OF_RUNS = 1

function lowerTape(tape: Tape, { lowerings, fusions, mostBuffers }: Kernels, store: Cuts): Dispatch[] {
  const dispatches: Dispatch[] = []
  const readers = readersIn(tape)
  const readersOf = (tensor: Tensor): readonly Step[] => readers.get(tensor) ?? []
  const made = new Map<string, unknown>()
  let scratches = 0
  const whole = (binding: Binding): Passing | PiecePart => {
    if ('piece' in binding || 'scratch' in binding || binding.role === 'value') return binding
    const [piece, ...more] = store.pieces(binding)
    if (!piece || more.length > 0 || piece.above > 0) {
      throw new Error(`${binding.name} has no buffers of its own`)
    }
    return { piece, part: 'data' }
  }
  const lowering: WebGpuLowering = {
    rows: tape.rows,
    dispatch(kernel, bindings, numbers, groups) {
      dispatches.push({
        kernel,
        bindings: [...kernel.reads, ...kernel.writes].map((name) => whole(bindings[name])),
        numbers: kernel.numbers.map(([name]) => numbers[name]),
        groups,
      })
    },
    scratch: (bytes) => ({ scratch: scratches++, bytes }),
    shared: <T>(key: string, make: () => T): T => {
      if (!made.has(key)) made.set(key, make())
      return made.get(key) as T
    },
    pieces: (tensor) => store.pieces(tensor),
    readersOf,
    passesTo: (tensor, reader) =>
      !tape.kept.has(tensor) && readersOf(tensor).every((step) => step === reader),
    mostBuffers: mostBuffers - BUFFERS_OF_RUNS,
  }
  const { steps } = tape
  for (let at = 0; at < steps.length; ) {
    const step = steps[at]!
    const together = firstFusion(fusions, steps, at, lowering)
    if (together === 0) {
      const lower = lowerings.get(step.op)
      if (!lower) throw new Error(`no WGSL lowering for ${step.op.name}`)
      lower(step, lowering)
    }
    at += Math.max(1, together)
  }
  return dispatches
}

function firstFusion(
  fusions: readonly WebGpuFusion[],
  steps: readonly Step[],
  at: number,
  lowering: WebGpuLowering,
): number {
  for (const fusion of fusions) {
    const together = fusion(steps, at, lowering)
    if (together > 0) return together
  }
  return 0
}

function readersIn({ steps }: Tape): Map<Tensor, Step[]> {
  const readers = new Map<Tensor, Step[]>()
  for (const step of steps) {
    for (const tensor of new Set(step.inputs)) {
      if (!readers.get(tensor)?.push(step)) readers.set(tensor, [step])
    }
  }
  return readers
}

export function passingBytes(passing: Passing): number {
  return 'scratch' in passing ? passing.bytes : elementCount(passing.shape) * 4
}

/** Gives each passing buffer the smallest free place that holds it, or grows the largest, or opens one. */
function takeTurns(dispatches: readonly Dispatch[], tape: Tape): Pick<Program, 'places' | 'sizes'> {
  const last = new Map<Passing, number>()
  dispatches.forEach(({ bindings }, at) => {
    for (const binding of bindings) if (isPassing(binding)) last.set(binding, at)
  })
  for (const tensor of tape.kept) last.set(tensor, dispatches.length)
  const places = new Map<Passing, number>()
  const sizes: number[] = []
  const free = new Set<number>()
  const place = (bytes: number): number => {
    const rising = [...free].sort((a, b) => sizes[a]! - sizes[b]!)
    const chosen = rising.find((i) => sizes[i]! >= bytes) ?? rising.at(-1) ?? sizes.push(0) - 1
    sizes[chosen] = Math.max(sizes[chosen]!, bytes)
    free.delete(chosen)
    return chosen
  }
  dispatches.forEach(({ bindings }, at) => {
    for (const binding of bindings) {
      if (isPassing(binding) && !places.has(binding)) places.set(binding, place(passingBytes(binding)))
    }
    for (const binding of new Set(bindings)) {
      if (isPassing(binding) && last.get(binding) === at) free.add(places.get(binding)!)
    }
  })
  return { places, sizes }
}
