// Takes the weights of a loaded model out of its backend again, as float32, whatever they are held in. Knows no file.

import { type Backend, MAX_ROWS, type Plan } from '../backends/backend.ts'
import { throwIfAborted } from '../error.ts'
import { createTape, keep, type Tensor } from '../graph/tape.ts'
import { embed } from '../ops/embed/embed.ts'
import type { StoredTensor } from '../weights/checkpoint.ts'
import { GREEDY } from './engine.ts'
import { allParameters } from './load-model.ts'
import type { Scheduler } from './scheduler.ts'

interface Reader {
  readonly plan: Plan
  readonly output: Tensor
}

/** Plans stay with a backend as long as it lives, so each is made once. */
const readers = new WeakMap<Tensor, Reader>()

function readerOf(backend: Backend, tensor: Tensor): Reader {
  const known = readers.get(tensor)
  if (known) return known
  const tape = createTape(Math.min(MAX_ROWS, tensor.shape[0]!))
  // Looking up rows is what every dtype can do.
  const output = keep(tape, embed(tape, tensor, 1))
  const reader = { plan: backend.compile(tape), output }
  readers.set(tensor, reader)
  return reader
}

async function readWeight(backend: Backend, tensor: Tensor, signal?: AbortSignal): Promise<Float32Array> {
  if (tensor.dtype === 'f32') return backend.fetch(tensor)
  const [rows, columns] = tensor.shape as [number, number]
  const values = new Float32Array(rows * columns)
  const { plan, output } = readerOf(backend, tensor)
  for (let from = 0; from < rows; from += MAX_ROWS) {
    throwIfAborted(signal)
    const count = Math.min(MAX_ROWS, rows - from)
    const none = new Int32Array(count)
    await backend.run(plan, {
      rows: count,
      tokens: Int32Array.from(none, (_, i) => from + i),
      ...{ positions: none, sequences: none, targets: none, sampling: GREEDY },
    })
    values.set(backend.read(plan, output, count), from * columns)
  }
  return values
}

/** Every weight by its Hugging Face name, read when it is asked for. */
export function storedWeights(scheduler: Scheduler, signal?: AbortSignal): Map<string, StoredTensor> {
  const { backend, model } = scheduler.engine
  return new Map(
    allParameters(model.parameters).map((tensor) => [
      tensor.name,
      storedWeight(scheduler, backend, tensor, signal),
    ]),
  )
}

function storedWeight(
  scheduler: Scheduler,
  backend: Backend,
  tensor: Tensor,
  signal: AbortSignal | undefined,
): StoredTensor {
  const { name, shape } = tensor
  const rowBytes = 4 * shape.at(-1)!
  let values: Promise<Float32Array> | undefined
  return {
    ...{ name, shape, rowBytes, encoding: 'F32', subtract: 0 },
    async readRows(from, into) {
      values ??= scheduler.alone(() => readWeight(backend, tensor, signal))
      const { buffer } = await values
      into.set(new Uint8Array(buffer, from * rowBytes, into.byteLength))
      // Read to the end: one tensor at a time is enough to hold.
      if ((from + into.byteLength / rowBytes) * rowBytes >= buffer.byteLength) values = undefined
    },
  }
}
