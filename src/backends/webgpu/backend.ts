// The WebGPU backend: weights, caches and scratch in buffers of one device; a plan is a list of dispatches with pipelines
// and bind groups made once, replayed in one submit. Ops bring their kernels (ops/webgpu.ts). Knows neither where the device
// comes from nor any op.

import { GemmaError, throwIfAborted } from '../../error.ts'
import { elementCount, type RunInputs, type Tape, type Tensor } from '../../graph/tape.ts'
import type { WebGpuFusion, WebGpuLowerings } from '../../ops/lowering-webgpu.ts'
import { webGpuFusions, webGpuLowerings } from '../../ops/webgpu.ts'
import { type Backend, MAX_ROWS, type Plan } from '../backend.ts'
import type { OpenDevice } from './device.ts'
import { createTakeDrawn } from './follow.ts'
import { loadTensor } from './load.ts'
import { pipelinesOf } from './pipelines.ts'
import { checkSizes, compileProgram, type Dispatch, isPassing, type Program } from './program.ts'
import { createReadBack } from './read-back.ts'
import { reportErrors } from './report-errors.ts'
import { ROW_BYTES, RUN_BYTES, rowBlock, runBlock } from './run-inputs.ts'
import { createStore, type Together, tooLargeToBind } from './store.ts'
import { BUFFER } from './usage.ts'

export interface WebGpuBackendOptions {
  /** Closed by dispose, or when there can be no backend on it. */
  readonly open: OpenDevice
  /** Weights, caches and states. */
  readonly tensors: readonly Tensor[]
  readonly constants: ReadonlyMap<Tensor, Float32Array>
  /** Weights that share buffers, so that one product reads them as one matrix, where they are alike and fit. */
  readonly together?: Together
  /** How ops become dispatches; default: those of inference. */
  readonly lowerings?: WebGpuLowerings
  /** Steps that become one kernel; default: all that are known. */
  readonly fusions?: readonly WebGpuFusion[]
  /** Most rows of a run; default MAX_ROWS. */
  readonly mostRows?: number
  /** Largest binding in bytes; smaller only in tests of tensors in several pieces. */
  readonly largestBinding?: number
  /** Tapes that need the most scratch; it is set aside from the start. */
  readonly sizing?: readonly Tape[]
  /** Default: all of a run. Systems take a GPU away from who keeps it for seconds with one submission. */
  readonly dispatchesPerSubmit?: number
}

interface ReadyDispatch {
  readonly pipeline: GPUComputePipeline
  readonly group: GPUBindGroup
  readonly groups: Dispatch['groups']
}

interface WebGpuPlan extends Plan {
  readonly program: Program
  ready?: { readonly dispatches: readonly ReadyDispatch[]; readonly era: number; readonly numbers: GPUBuffer }
  /** Kept values of the last run. */
  results: ReadonlyMap<Tensor, Float32Array>
}

/** About so many bytes of a weight are read back at a time. */
const FETCH_BYTES = 32 << 20

/** Numbers of a dispatch begin at a multiple of this, as every device allows. */
const NUMBERS_STEP = 256

/** Throws GemmaError 'memory' where the device has no room, 'device' where it fails. */
export async function createWebGpuBackend(options: WebGpuBackendOptions): Promise<Backend> {
  const { open } = options
  try {
    const backend = await reportErrors(open.device, () => createBackend(options))
    const failure = open.failure()
    if (failure) throw failure
    return backend
  } catch (error) {
    open.close()
    throw error
  }
}

function createBackend(options: WebGpuBackendOptions): Backend {
  const { open, tensors, constants, mostRows = MAX_ROWS } = options
  const { lowerings = webGpuLowerings, fusions = webGpuFusions } = options
  const { dispatchesPerSubmit = Number.POSITIVE_INFINITY } = options
  const { device } = open
  const limit = device.limits.maxStorageBufferBindingSize
  const largest = Math.min(options.largestBinding ?? limit, limit)
  const held = [...tensors, ...constants.keys()]
  checkContext(held, limit)
  const pipelines = pipelinesOf(open)
  const store = createStore(device, held, largest, options.together)
  const { STORAGE, UNIFORM, COPY_SRC, COPY_DST } = BUFFER
  const runBuffer = device.createBuffer({ label: 'run', size: RUN_BYTES, usage: UNIFORM | COPY_DST })
  const rowBuffer = device.createBuffer({
    label: 'rows',
    size: mostRows * ROW_BYTES,
    usage: STORAGE | COPY_DST,
  })
  const runGroup = device.createBindGroup({
    layout: pipelines.runLayout,
    entries: [runBuffer, rowBuffer].map((buffer, binding) => ({ binding, resource: { buffer } })),
  })
  /** Buffers in which values take turns, shared by all plans; when one grows, bind groups are made anew. */
  const turns: GPUBuffer[] = []
  let era = 0
  let disposed = false

  for (const [tensor, values] of constants) putValues(tensor, values)

  function putValues(tensor: Tensor, values: Float32Array): void {
    for (const piece of store.pieces(tensor)) {
      const columns = tensor.shape.at(-1)!
      const part = values.slice(piece.first * columns, (piece.first + piece.rows) * columns)
      device.queue.writeBuffer(store.buffer({ piece, part: 'data' }), piece.above * columns * 4, part)
    }
  }

  const compile = (tape: Tape): Program => {
    const mostBuffers = device.limits.maxStorageBuffersPerShaderStage
    const program = compileProgram(tape, { lowerings, fusions, mostBuffers }, store)
    checkSizes(program, limit)
    return program
  }

  const makeTurns = (sizes: readonly number[]): void => {
    sizes.forEach((bytes, i) => {
      const size = Math.ceil(bytes / 256) * 256
      if ((turns[i]?.size ?? 0) >= size) return
      turns[i]?.destroy()
      turns[i] = device.createBuffer({ label: `values ${i}`, size, usage: STORAGE | COPY_SRC })
      era++
    })
  }

  const makeReady = (plan: WebGpuPlan): readonly ReadyDispatch[] => {
    makeTurns(plan.program.sizes)
    if (plan.ready?.era === era) return plan.ready.dispatches
    const { dispatches, places } = plan.program
    const numbers = plan.ready?.numbers ?? writeNumbers(device, dispatches)
    const ready = dispatches.map(({ kernel, bindings, groups }, i): ReadyDispatch => {
      const { pipeline, layout } = pipelines.of(kernel)
      const buffers = bindings.map((binding): GPUBufferBinding => {
        return { buffer: isPassing(binding) ? turns[places.get(binding)!]! : store.buffer(binding) }
      })
      const own = { buffer: numbers, offset: i * NUMBERS_STEP, size: NUMBERS_STEP }
      const entries = [...buffers, own].map((resource, binding) => ({ binding, resource }))
      return { pipeline, group: device.createBindGroup({ label: kernel.name, layout, entries }), groups }
    })
    plan.ready = { dispatches: ready, era, numbers }
    return ready
  }

  const encode = (encoder: GPUCommandEncoder, dispatches: readonly ReadyDispatch[], rows: number): void => {
    const pass = encoder.beginComputePass()
    pass.setBindGroup(1, runGroup)
    let current: GPUComputePipeline | undefined
    for (const { pipeline, group, groups } of dispatches) {
      if (pipeline !== current) pass.setPipeline(pipeline)
      current = pipeline
      pass.setBindGroup(0, group)
      pass.dispatchWorkgroups(...groups(rows))
    }
    pass.end()
  }

  const alive = (): void => {
    if (disposed) throw new GemmaError('disposed', 'The model has been disposed of.', 'Load it again.')
    const failure = open.failure()
    if (failure) throw failure
  }
  const readBack = createReadBack(device, alive)
  const takeDrawn = createTakeDrawn(device, rowBuffer)
  let last: Plan | undefined

  const start = (
    plan: Plan,
    inputs: RunInputs,
    follows?: Tensor,
  ): ReturnType<NonNullable<Backend['start']>> => {
    alive()
    const own = plan as WebGpuPlan
    const before = last as WebGpuPlan | undefined
    const eraBefore = era
    const dispatches = makeReady(own)
    // What was drawn is lost when the buffers were made anew, or are another run's by now.
    if (follows && (era !== eraBefore || !before?.tape.kept.has(follows))) return undefined
    last = plan
    device.queue.writeBuffer(runBuffer, 0, runBlock(inputs))
    if (inputs.rows > 0) device.queue.writeBuffer(rowBuffer, 0, rowBlock(inputs))
    const encoders: GPUCommandEncoder[] = []
    for (let first = 0; first < Math.max(1, dispatches.length); first += dispatchesPerSubmit) {
      const encoder = device.createCommandEncoder()
      if (follows && first === 0) takeDrawn(encoder, turns[before!.program.places.get(follows)!]!)
      encode(encoder, dispatches.slice(first, first + dispatchesPerSubmit), inputs.rows)
      encoders.push(encoder)
    }
    for (const encoder of encoders.slice(0, -1)) device.queue.submit([encoder.finish()])
    const kept = [...plan.tape.kept]
    const stretches = kept.map((tensor) => {
      const buffer = turns[own.program.places.get(tensor)!]!
      return { buffer, bytes: resultBytes(tensor, plan.tape, inputs) }
    })
    return readBack(encoders.at(-1)!, stretches).then((values) => {
      let at = 0
      return new Map(
        kept.map((tensor, i) => {
          const { bytes } = stretches[i]!
          const part = new Float32Array(values, at, bytes / 4)
          at += bytes
          return [tensor, part] as const
        }),
      )
    })
  }

  for (const tape of options.sizing ?? []) makeTurns(compile(tape).sizes)
  return {
    name: 'webgpu',
    gpu: open,
    // Kernels for one row and for several are compiled apart, and may round apart.
    exactRows: false,
    threads: 1,
    description: `WebGPU on ${open.name}${open.software ? ', a driver in software' : ''}`,
    async load(tensor, stored, onBytes, signal) {
      alive()
      await loadTensor(device, store, tensor, stored, onBytes, signal)
    },
    compile(tape: Tape): WebGpuPlan {
      alive()
      return { tape, program: compile(tape), results: new Map() }
    },
    start,
    async run(plan, inputs, signal) {
      alive()
      throwIfAborted(signal)
      const own = plan as WebGpuPlan
      own.results = await start(plan, inputs)!
    },
    read(plan, tensor, rows) {
      alive()
      const values = (plan as WebGpuPlan).results.get(tensor)
      if (!values) throw new Error(`${tensor.name} was not kept`)
      return values.slice(0, rows * tensor.shape[1]!)
    },
    async fetch(tensor) {
      alive()
      if (tensor.dtype !== 'f32') throw new Error(`${tensor.name} is ${tensor.dtype}, not f32`)
      const values = new Float32Array(elementCount(tensor.shape))
      let at = 0
      for (const piece of store.pieces(tensor)) {
        const buffer = store.buffer({ piece, part: 'data' })
        const rowBytes = tensor.shape.at(-1)! * 4
        const end = (piece.above + piece.rows) * rowBytes
        for (let from = piece.above * rowBytes; from < end; from += FETCH_BYTES) {
          const bytes = Math.min(FETCH_BYTES, end - from)
          const part = await readBack(device.createCommandEncoder(), [{ buffer, from, bytes }])
          values.set(new Float32Array(part), at)
          at += bytes / 4
        }
      }
      return values
    },
    put(tensor, values) {
      alive()
      putValues(tensor, values)
    },
    memoryBytes: () => ({
      weights: store.weightBytes,
      caches: store.cacheBytes,
      scratch: turns.reduce((sum, { size }) => sum + size, 0),
    }),
    async dispose() {
      if (disposed) return
      disposed = true
      // With the device goes everything that was made on it.
      open.close()
    },
  }
}

/** Bytes of a kept value that a run made: of its rows those that were valid. */
function resultBytes({ shape }: Tensor, tape: Tape, { rows }: RunInputs): number {
  const [capacity, columns] = shape as [number, number]
  return (capacity === tape.rows && rows > 0 ? Math.min(rows, capacity) : capacity) * columns * 4
}

function checkContext(tensors: readonly Tensor[], largest: number): void {
  const found = tooLargeToBind(tensors, largest)
  if (!found) return
  const [{ name }, bytes] = found
  throw new GemmaError(
    'memory',
    `The context takes ${bytes} bytes at once (${name}), and this GPU binds at most ${largest}.`,
    'Choose a shorter contextLength, fewer sequences or a narrower cacheDtype.',
  )
}

/** The numbers of every dispatch in one buffer. */
function writeNumbers(device: GPUDevice, dispatches: readonly Dispatch[]): GPUBuffer {
  const block = new ArrayBuffer(Math.max(1, dispatches.length) * NUMBERS_STEP)
  const view = new DataView(block)
  dispatches.forEach(({ kernel, numbers }, i) => {
    numbers.forEach((value, j) => {
      const at = i * NUMBERS_STEP + 4 * j
      const type = kernel.numbers[j]![1]
      if (type === 'f32') view.setFloat32(at, value, true)
      else if (type === 'i32') view.setInt32(at, value, true)
      else view.setUint32(at, value, true)
    })
  })
  const usage = BUFFER.UNIFORM | BUFFER.COPY_DST
  const buffer = device.createBuffer({ label: 'numbers', size: block.byteLength, usage })
  device.queue.writeBuffer(buffer, 0, block)
  return buffer
}
