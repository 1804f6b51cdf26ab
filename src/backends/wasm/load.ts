// Brings stored rows into a tensor's place while they stream in: read a stretch into scratch, and while the
// workers pack it, read the next. At no time is more than two stretches held besides the packed weights.

import { GemmaError, throwIfAborted } from '../../error.ts'
import { type Dtype, isPacked, layoutOf } from '../../graph/dtype.ts'
import { matrixSize, type Tensor } from '../../graph/tape.ts'
import { packingOrder } from '../../ops/lowering.ts'
import type { Encoding, StoredTensor } from '../../weights/checkpoint.ts'
import { decodeRows } from '../../weights/encodings.ts'
import { SAME_FORM } from '../same-form.ts'
import type { Placement } from './program.ts'
import type { Kernels } from './variant.ts'

/** The words of a raw kernel call: numbers are integers or addresses. */
export interface RawCall {
  readonly kernel: string
  readonly memory: number
  readonly words: readonly number[]
}

/** What the loader may do inside the backend. */
export interface LoaderAccess {
  readonly kernels: Kernels
  placementOf(tensor: Tensor): Placement
  bytesAt(memory: number, address: number, length: number): Uint8Array
  /** Address of scratch in a memory, at least STAGING_BYTES long. */
  stagingAddress(memory: number): number
  runRaw(call: RawCall, slot: number): Promise<void>
}

/** Two stretches of stored rows and two of widened rows. */
export const STAGING_BYTES: number = 48 << 20
const STORED_BYTES = 8 << 20
/** Reads under way at a time where rows need no packing. */
const CONCURRENT_READS = 4
const WIDE_BYTES = 16 << 20

/** Kernels that bring a stored encoding straight into a packed dtype. */
const DIRECT: Partial<Record<`${Encoding} ${Dtype}`, string>> = {
  'Q4_0 int4': 'packQ4_0',
  'Q4_1 int4min': 'packQ4_1',
  'Q4_K int4min': 'packQ4_K',
  'Q8_0 int8': 'packQ8_0',
  'I8 int8row': 'packI8',
}

/** Kernels that bring f32 rows into a dtype. */
const FROM_WIDE: Partial<Record<Dtype, string>> = {
  bf16: 'narrowBf16',
  f16: 'narrowF16',
  int8: 'packInt8',
  int8row: 'packInt8Row',
  int4: 'packInt4',
}

interface Stretch {
  readonly from: number
  readonly rows: number
}

export async function loadTensor(
  access: LoaderAccess,
  tensor: Tensor,
  stored: StoredTensor,
  onBytes?: (bytes: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  const place = access.placementOf(tensor)
  const { rows, columns } = matrixSize(stored.shape)
  const scales = stored.rowScales ? await readScales(stored.rowScales) : undefined
  const same = sameBytes(stored, tensor.dtype)
  const direct = DIRECT[`${stored.encoding} ${tensor.dtype}`]
  if (tensor.dtype === 'int8row' && scales) {
    const at = place.address + layoutOf(tensor.dtype, rows, columns).scales
    access.bytesAt(place.memory, at, scales.byteLength).set(new Uint8Array(scales.buffer))
  }
  const limit = Math.min(
    Math.floor(STORED_BYTES / stored.rowBytes),
    same || direct ? Number.POSITIVE_INFINITY : Math.floor(WIDE_BYTES / (columns * 4)),
  )
  if (limit < 1) throw tooLong(tensor, columns)
  // Whole groups of eight rows where they fit: a packer writes the neighbours of a row in one stream.
  const step = limit < 8 ? limit : limit - (limit % 8)
  const reads: Promise<void>[] = []
  let packing: Promise<void> = Promise.resolve()
  try {
    for (let from = 0, slot = 0; from < rows; from += step, slot ^= 1) {
      throwIfAborted(signal)
      const stretch = { from, rows: Math.min(step, rows - from) }
      const bytes = stretch.rows * stored.rowBytes
      if (same) {
        // Read where it belongs; several reads at once, since copying is the work here.
        const into = access.bytesAt(place.memory, place.address + from * stored.rowBytes, bytes)
        if (reads.length === CONCURRENT_READS) await reads.shift()
        const reading = stored.readRows(from, into).then(() => onBytes?.(bytes))
        reading.catch(() => {})
        reads.push(reading)
        continue
      }
      const staging = access.stagingAddress(place.memory) + slot * STORED_BYTES
      const view = access.bytesAt(place.memory, staging, bytes)
      await stored.readRows(from, view)
      await packing
      packing = direct
        ? pack(access, direct, tensor, stretch, staging, stored.rowBytes, slot)
        : widenAndPack(access, tensor, stored, stretch, staging, scales, slot)
      // Whether it failed is asked after the next stretch is read; until then nobody listens.
      packing.catch(() => {})
      onBytes?.(bytes)
    }
  } catch (error) {
    // The workers still pack the stretch before; whoever runs them next must find them idle.
    await Promise.allSettled([...reads, packing])
    throw error
  }
  await Promise.all([...reads, packing])
}

function tooLong({ name }: Tensor, columns: number): GemmaError {
  return new GemmaError(
    'unsupported',
    `${name} has rows of ${columns} values, longer than this library can load.`,
  )
}

function sameBytes({ encoding, subtract }: StoredTensor, dtype: Dtype): boolean {
  return subtract === 0 && SAME_FORM[encoding] === dtype
}

async function readScales(stored: StoredTensor): Promise<Float32Array> {
  const scales = new Float32Array(stored.shape[0]!)
  await stored.readRows(0, new Uint8Array(scales.buffer))
  return scales
}

/** Runs a packing kernel over rows that lie at `source`. */
function pack(
  access: LoaderAccess,
  kernel: string,
  tensor: Tensor,
  { from, rows }: Stretch,
  source: number,
  rowBytes: number,
  slot: number,
): Promise<void> {
  const { memory, address } = access.placementOf(tensor)
  const size = matrixSize(tensor.shape)
  const layout = layoutOf(tensor.dtype, size.rows, size.columns)
  const order = packingOrder(tensor.dtype, access.kernels.integers)
  const words = [source, rows, address, address + layout.scales, address + layout.minima, from]
  return access.runRaw({ kernel, memory, words: [...words, size.columns, rowBytes, order] }, slot)
}

/** Stored rows → f32 → the tensor's dtype. */
async function widenAndPack(
  access: LoaderAccess,
  tensor: Tensor,
  stored: StoredTensor,
  stretch: Stretch,
  staging: number,
  scales: Float32Array | undefined,
  slot: number,
): Promise<void> {
  const { memory, address } = access.placementOf(tensor)
  const { columns } = matrixSize(tensor.shape)
  const values = stretch.rows * columns
  const kernel = FROM_WIDE[tensor.dtype]
  // Rows that stay f32 are widened where they belong.
  const wide = kernel
    ? access.stagingAddress(memory) + 2 * STORED_BYTES + slot * WIDE_BYTES
    : address + stretch.from * columns * 4
  await widen(access, stored, stretch, staging, memory, wide, values, scales, slot)
  if (!kernel) return
  if (isPacked(tensor.dtype)) return pack(access, kernel, tensor, stretch, wide, columns * 4, slot)
  const target = address + stretch.from * columns * 2
  await access.runRaw({ kernel, memory, words: [wide, target, values] }, slot)
}

async function widen(
  access: LoaderAccess,
  stored: StoredTensor,
  { from, rows }: Stretch,
  staging: number,
  memory: number,
  wide: number,
  values: number,
  scales: Float32Array | undefined,
  slot: number,
): Promise<void> {
  const kernel = { BF16: 'widenBf16', F16: 'widenF16' }[stored.encoding as string]
  if (kernel && stored.subtract === 0) {
    return access.runRaw({ kernel, memory, words: [staging, wide, values] }, slot)
  }
  const bytes = access.bytesAt(memory, staging, rows * stored.rowBytes)
  const view = access.bytesAt(memory, wide, values * 4)
  const into = new Float32Array(view.buffer, view.byteOffset, values)
  const columns = values / rows
  decodeRows(stored.encoding, bytes, rows, columns, into, scales?.subarray(from, from + rows))
  if (stored.subtract !== 0) for (let i = 0; i < values; i++) into[i]! -= stored.subtract
}
