// The WebAssembly backend: weights, caches and scratch in shared memories of at most 4 GiB each, programs of
// kernel calls that a pool of workers runs in lock-step. Ops bring their kernels (ops/wasm.ts); this file
// gives everything a place and an address.

import { GemmaError } from '../../error.ts'
import { elementCount, type RunInputs, type Tape, type Tensor } from '../../graph/tape.ts'
import type { IntegerVariant, Lowerings } from '../../ops/lowering.ts'
import { wasmLowerings } from '../../ops/wasm.ts'
import type { Backend, Plan } from '../backend.ts'
import {
  FIRST_ADDRESS,
  RUN_POSITIONS,
  RUN_ROWS,
  RUN_SCALARS,
  RUN_SEED,
  RUN_SEQUENCES,
  RUN_TARGETS,
  RUN_TEMPERATURE,
  RUN_TOKENS,
  RUN_TOP_K,
  RUN_TOP_P,
  RUN_UNIFORM,
  RUN_WEIGHTS,
} from './addresses.ts'
import { CALL_WORDS } from './control.ts'
import { kernelNames } from './execute.ts'
import { type LoaderAccess, loadTensor } from './load.ts'
import { createMemory, grow } from './memory.ts'
import { layOutMemories, PROGRAM_BYTES } from './placement.ts'
import { createPool } from './pool.ts'
import {
  align,
  bufferBytes,
  type Call,
  compileProgram,
  isPersistent,
  type Program,
  placeKey,
} from './program.ts'
import { createThreadChoice, type ThreadChoice } from './thread-choice.ts'
import { type KernelBuild, type KernelSet, type Kernels, loadKernels } from './variant.ts'

export interface WasmBackendOptions {
  /** Worker threads; 0 runs in the calling thread. */
  readonly threads: number
  /** Weights and caches in the order in which a run meets them: neighbours share a memory. */
  readonly tensors: readonly Tensor[]
  /** Made by the host, copied into every memory. */
  readonly constants: ReadonlyMap<Tensor, Float32Array>
  /** How ops become kernel calls, and the kernels for that; default: those of inference. */
  readonly lowerings?: Lowerings
  readonly kernels?: KernelSet
  /** Tapes that need the most scratch; what they need is set aside from the start. */
  readonly sizing: readonly Tape[]
  readonly build?: KernelBuild | 'auto'
  /** How small integers are multiplied, in place of what this machine does best: only in tests. */
  readonly integers?: IntegerVariant
  /** Largest memory in bytes; smaller only in tests of models that span several. */
  readonly memoryLimit?: number
}

interface WasmPlan extends Plan {
  readonly program: Program
  readonly threads: ThreadChoice
  /** Where its words lie, if they were written since the room for programs was last cleared. */
  address: number
  era: number
}

/** Two raw calls may be under way: their words lie at the start of the program room. */
const RAW_BYTES = 512

export async function createWasmBackend(options: WasmBackendOptions): Promise<Backend> {
  const loaded = await loadKernels(options.build, options.kernels)
  const kernels: Kernels = { ...loaded, integers: options.integers ?? loaded.integers }
  const lowerings = options.lowerings ?? wasmLowerings
  const layout = layOutMemories({
    ...{ tensors: options.tensors, constants: [...options.constants.keys()], sizing: options.sizing },
    ...{ threads: options.threads, lowerings, integers: kernels.integers, limit: options.memoryLimit },
  })
  const scratchBytes = [...layout.scratchBytes]
  const memories = layout.ends.map((end, i) => createMemory(end + PROGRAM_BYTES + scratchBytes[i]!))
  for (const [tensor, values] of options.constants) {
    for (const { memory, address } of layout.placements.get(tensor)!) {
      new Float32Array(memories[memory]!.buffer, address, values.length).set(values)
    }
  }
  const pool = await createPool(kernels.module, memories, options.threads)
  const indexOf = new Map(kernelNames(kernels.module).map((name, index) => [name, index]))
  const programStart = layout.ends.map((end) => end + 2 * RAW_BYTES)
  const programRoom = [...programStart]
  let era = 0
  const scratchBase = layout.ends.map((end) => end + PROGRAM_BYTES)

  /** Takes room for words and returns their address. */
  const room = (memory: number, words: number): number => {
    const address = programRoom[memory]!
    if (address + words * 4 > scratchBase[memory]!) throw new Error('the room for programs is full')
    programRoom[memory] = align(address + words * 4)
    return address
  }
  const ensureScratch = (memory: number, bytes: number): void => {
    if (bytes <= scratchBytes[memory]!) return
    grow(memories[memory]!, scratchBase[memory]! + bytes)
    scratchBytes[memory] = bytes
  }

  const access: LoaderAccess = {
    kernels,
    placementOf: (tensor) => layout.placements.get(tensor)![0]!,
    bytesAt: (memory, address, length) => new Uint8Array(memories[memory]!.buffer, address, length),
    stagingAddress: (memory) => scratchBase[memory]!,
    async runRaw({ kernel, memory, words }, slot) {
      const at = layout.ends[memory]! + slot * RAW_BYTES
      new Int32Array(memories[memory]!.buffer, at, words.length).set(words)
      const code = layout.ends[0]! + slot * RAW_BYTES + RAW_BYTES / 2
      new Int32Array(memories[0]!.buffer, code, 4).set([indexOf.get(kernel)!, memory, at, 1])
      await pool.run(code, 1)
    },
  }

  const addressOf = (
    call: Call,
    buffer: Parameters<typeof placeKey>[0],
    memory: number,
    program: Program,
  ): number => {
    if (isPersistent(buffer)) return layout.placements.get(buffer)!.find((p) => p.memory === memory)!.address
    const offset = program.offsets.get(placeKey(buffer, memory))
    if (offset === undefined) throw new Error(`a buffer of ${call.kind} has no place`)
    return scratchBase[memory]! + offset
  }

  const encode = (program: Program): number => {
    const words = new Int32Array(program.calls.length * CALL_WORDS)
    program.calls.forEach((call, index) => {
      const at = index * CALL_WORDS
      words[at + 3] = call.barrier ? 1 : 0
      if (call.kind === 'transfer') {
        words[at] = -1
        words[at + 1] = call.from
        words[at + 2] = addressOf(call, call.buffer, call.from, program)
        words[at + 4] = call.to
        words[at + 5] = addressOf(call, call.buffer, call.to, program)
        words[at + 6] = call.bytes
        return
      }
      const kernel = indexOf.get(call.kernel)
      if (kernel === undefined) throw new Error(`there is no kernel ${call.kernel}`)
      const address = room(call.memory, call.args.length)
      const view = new DataView(memories[call.memory]!.buffer, address, call.args.length * 4)
      call.args.forEach((argument, i) => {
        if ('buffer' in argument) {
          view.setUint32(
            4 * i,
            addressOf(call, argument.buffer, call.memory, program) + argument.offset,
            true,
          )
        } else if (argument.kind === 'int') view.setInt32(4 * i, argument.value, true)
        else view.setFloat32(4 * i, argument.value, true)
      })
      words[at] = kernel
      words[at + 1] = call.memory
      words[at + 2] = address
    })
    const address = room(0, words.length)
    new Int32Array(memories[0]!.buffer, address, words.length).set(words)
    return address
  }

  const fitsRoom = (program: Program): boolean =>
    programBytes(program, memories.length).every((bytes, i) => programRoom[i]! + bytes <= scratchBase[i]!)

  const programAddress = (plan: WasmPlan): number => {
    if (plan.era === era) return plan.address
    if (!fitsRoom(plan.program)) {
      era++
      programStart.forEach((start, i) => {
        programRoom[i] = start
      })
    }
    plan.address = encode(plan.program)
    plan.era = era
    return plan.address
  }

  const writeInputs = (inputs: RunInputs): void => {
    for (const { buffer } of memories) {
      new Int32Array(buffer, RUN_TOKENS, inputs.rows).set(inputs.tokens.subarray(0, inputs.rows))
      new Int32Array(buffer, RUN_POSITIONS, inputs.rows).set(inputs.positions.subarray(0, inputs.rows))
      new Int32Array(buffer, RUN_SEQUENCES, inputs.rows).set(inputs.sequences.subarray(0, inputs.rows))
      new Int32Array(buffer, RUN_TARGETS, inputs.rows).set(inputs.targets.subarray(0, inputs.rows))
      const { temperature, topK, topP, uniform } = inputs.sampling
      new Float64Array(buffer, RUN_UNIFORM, inputs.rows).set(uniform.subarray(0, inputs.rows))
      if (inputs.weights) {
        new Float32Array(buffer, RUN_WEIGHTS, inputs.rows).set(inputs.weights.subarray(0, inputs.rows))
      }
      if (inputs.scalars) new Float32Array(buffer, RUN_SCALARS, inputs.scalars.length).set(inputs.scalars)
      const view = new DataView(buffer)
      view.setInt32(RUN_ROWS, inputs.rows, true)
      // Kernels divide by it in float32; below this only the most likely token is left anyway.
      view.setFloat32(RUN_TEMPERATURE, temperature < 1e-30 ? 0 : temperature, true)
      view.setInt32(RUN_TOP_K, Math.min(topK, 0x7fffffff), true)
      view.setUint32(RUN_SEED, inputs.seed ?? 0, true)
      view.setFloat64(RUN_TOP_P, topP, true)
    }
  }

  const heldValues = (tensor: Tensor): Float32Array => {
    const { memory, address } = layout.placements.get(tensor)![0]!
    if (tensor.dtype !== 'f32') throw new Error(`${tensor.name} is ${tensor.dtype}, not f32`)
    return new Float32Array(memories[memory]!.buffer, address, elementCount(tensor.shape))
  }
  let disposed = false
  const alive = (): void => {
    if (disposed) throw new GemmaError('disposed', 'The model has been disposed of.', 'Load it again.')
  }
  return {
    name: 'wasm',
    exactRows: true,
    threads: pool.workers,
    description: describe(kernels, pool.workers, options.threads, memories.length),
    async load(tensor, stored, onBytes, signal) {
      alive()
      await loadTensor(access, tensor, stored, onBytes, signal)
    },
    compile(tape): WasmPlan {
      alive()
      const program = compileProgram(tape, {
        threads: pool.workers,
        integers: kernels.integers,
        lowerings,
        placements: layout.placements,
        memories: memories.length,
      })
      for (const [memory, bytes] of program.scratchBytes.entries()) ensureScratch(memory, bytes)
      const threads = createThreadChoice(pool.workers, weightBytesOf(program) * tape.rows)
      return { tape, program, threads, address: 0, era: -1 }
    },
    async run(plan, inputs, signal) {
      alive()
      const { program, threads } = plan as WasmPlan
      const address = programAddress(plan as WasmPlan)
      writeInputs(inputs)
      const workers = threads.next()
      const start = performance.now()
      await pool.run(address, program.calls.length, signal, workers)
      threads.took(workers, performance.now() - start)
    },
    read(plan, tensor, rows) {
      alive()
      const { program } = plan as WasmPlan
      const memory = program.homes.get(tensor)
      if (memory === undefined) throw new Error(`${tensor.name} was not kept`)
      const from = scratchBase[memory]! + program.offsets.get(placeKey(tensor, memory))!
      return new Float32Array(memories[memory]!.buffer, from, rows * tensor.shape[1]!).slice()
    },
    async fetch(tensor) {
      alive()
      return heldValues(tensor).slice()
    },
    put(tensor, values) {
      alive()
      heldValues(tensor).set(values)
    },
    memoryBytes: () => ({
      weights: layout.weightBytes,
      caches: layout.cacheBytes,
      scratch: scratchBytes.reduce((a, b) => a + b + PROGRAM_BYTES + FIRST_ADDRESS, 0),
    }),
    async dispose() {
      if (disposed) return
      disposed = true
      await pool.dispose()
      // Views of the memories may outlive this object in the caller's hands; the memories themselves go.
      memories.length = 0
    },
  }
}

/** Bytes of room that the words of a program take in each memory. */
function programBytes({ calls }: Program, memories: number): number[] {
  const bytes = new Array<number>(memories).fill(0)
  for (const call of calls) if (call.kind === 'kernel') bytes[call.memory]! += align(call.args.length * 4)
  bytes[0]! += align(calls.length * CALL_WORDS * 4)
  return bytes
}

/** Bytes of weights that one run of a program reads. */
function weightBytesOf({ calls }: Program): number {
  const weights = new Set<Tensor>()
  for (const call of calls) {
    if (call.kind === 'transfer') continue
    for (const argument of call.args) {
      if ('buffer' in argument && 'role' in argument.buffer && argument.buffer.role === 'weight') {
        weights.add(argument.buffer)
      }
    }
  }
  return [...weights].reduce((sum, tensor) => sum + bufferBytes(tensor), 0)
}

function describe({ build, integers }: Kernels, workers: number, threads: number, memories: number): string {
  const where = threads === 0 ? 'in the calling thread' : `${workers} thread${workers === 1 ? '' : 's'}`
  const spread = memories > 1 ? `, ${memories} memories` : ''
  return `WebAssembly, ${build} SIMD (int4 ${integers.int4}, int8 ${integers.int8}), ${where}${spread}`
}
