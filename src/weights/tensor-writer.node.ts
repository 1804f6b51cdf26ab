// Writes the rows of one tensor after another in pieces, so that memory stays at one piece however large
// the model: shared by the writers of safetensors and GGUF. Node only.

import { throwIfAborted } from '../error.ts'
import type { FileWriter } from './atomic.node.ts'

/** A tensor that is about to be written, under the name of the target format. */
export interface TensorPlan<Type extends string = string> {
  readonly name: string
  /** Row-major. */
  readonly shape: readonly number[]
  /** The type in the target format. */
  readonly type: Type
  /** Bytes of one row (of the whole for a vector). */
  readonly rowBytes: number
  /** Fills `into` with whole encoded rows from row `from` on. */
  fill(from: number, into: Uint8Array): Promise<void> | void
}

/** Bytes of all rows. */
export function planBytes(plan: TensorPlan): number {
  return (plan.shape.length === 1 ? 1 : plan.shape[0]) * plan.rowBytes
}

export interface WriteOptions {
  /** Called after every piece. */
  readonly onProgress?: (progress: WriteProgress) => void
  readonly signal?: AbortSignal
}

export interface WriteProgress {
  readonly phase: 'write'
  /** The tensor that is being written, as the file calls it. */
  readonly tensor: string
  /** Bytes of all tensors that are written now, and that there will be. */
  readonly bytes: number
  readonly totalBytes: number
}

const pieceBytes = 8 * 1024 * 1024

/** Appends all rows of a tensor; `onPiece` hears how many bytes each piece had. */
export async function writeTensor(
  out: FileWriter,
  plan: TensorPlan,
  signal: AbortSignal | undefined,
  onPiece: (bytes: number) => void,
): Promise<void> {
  const rows = plan.shape.length === 1 ? 1 : plan.shape[0]
  const rowsAtOnce = Math.max(1, Math.min(rows, Math.floor(pieceBytes / plan.rowBytes)))
  const piece = new Uint8Array(rowsAtOnce * plan.rowBytes)
  for (let row = 0; row < rows; row += rowsAtOnce) {
    throwIfAborted(signal)
    const bytes = piece.subarray(0, Math.min(rowsAtOnce, rows - row) * plan.rowBytes)
    await plan.fill(row, bytes)
    await out.write(bytes)
    onPiece(bytes.byteLength)
  }
}
