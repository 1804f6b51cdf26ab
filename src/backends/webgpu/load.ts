// Streams a stored tensor onto the device: rows are read a stretch at a time, brought into the form that kernels read, and
// written where they belong; while one stretch is on its way, the next is read.

import { throwIfAborted } from '../../error.ts'
import { matrixSize, type Tensor } from '../../graph/tape.ts'
import type { Piece } from '../../ops/lowering-webgpu.ts'
import type { StoredTensor } from '../../weights/checkpoint.ts'
import { type Packed, pack, partBytes } from './pack.ts'
import type { Store } from './store.ts'

/** About so many stored bytes are read at a time. */
const STRETCH_BYTES = 8 << 20

export async function loadTensor(
  device: GPUDevice,
  store: Store,
  tensor: Tensor,
  stored: StoredTensor,
  onBytes?: (bytes: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  const { rows, columns } = matrixSize(stored.shape)
  const scales = stored.rowScales && new Float32Array(rows)
  if (scales) await stored.rowScales!.readRows(0, new Uint8Array(scales.buffer))
  // Whole eights of rows, so that every part of a stretch begins at a whole word.
  const step = Math.max(8, Math.floor(STRETCH_BYTES / stored.rowBytes / 8) * 8)
  for (const piece of store.pieces(tensor)) {
    for (let from = piece.first; from < piece.first + piece.rows; from += step) {
      throwIfAborted(signal)
      const count = Math.min(step, piece.first + piece.rows - from)
      const bytes = new Uint8Array(count * stored.rowBytes)
      await stored.readRows(from, bytes)
      const { encoding, subtract, name } = stored
      const rowScales = scales?.subarray(from, from + count)
      const packed = pack({ encoding, bytes, rows: count, columns, rowScales, subtract, name }, tensor.dtype)
      write(device, store, piece, packed, { from: piece.above + from - piece.first, columns })
      // What is written is copied first: without this, a fast source would pile copies up.
      await device.queue.onSubmittedWorkDone()
      onBytes?.(bytes.length)
    }
  }
}

function write(
  device: GPUDevice,
  store: Store,
  piece: Piece,
  packed: Packed,
  { from, columns }: { readonly from: number; readonly columns: number },
): void {
  const before = partBytes(piece.tensor.dtype, from, columns)
  for (const part of ['data', 'scales', 'minima'] as const) {
    const bytes = packed[part]
    if (bytes.length === 0) continue
    const whole = bytes.length % 4 === 0 ? bytes : padded(bytes)
    device.queue.writeBuffer(store.buffer({ piece, part }), before[part], whole)
  }
}

/** Bytes filled up to whole words. */
function padded(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(Math.ceil(bytes.length / 4) * 4)
  whole.set(bytes)
  return whole
}
