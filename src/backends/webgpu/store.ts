// Where tensors that outlive runs lie on the device: each in buffers of its own, cut by rows where it is larger than one
// binding may be. Knows no op.

import { cacheRowBytes } from '../../graph/dtype.ts'
import { matrixSize, type Tensor } from '../../graph/tape.ts'
import type { Piece, PiecePart } from '../../ops/lowering-webgpu.ts'
import { type PartBytes, partBytes } from './pack.ts'
import { BUFFER } from './usage.ts'

/** Where tensors are cut. */
export interface Cuts {
  /** The pieces of a tensor; throws for one that was never placed. */
  pieces(tensor: Tensor): readonly Piece[]
}

export interface Store extends Cuts {
  /** A piece's buffer; a tensor that lies in one piece stands for its data. */
  buffer(part: PiecePart): GPUBuffer
  readonly weightBytes: number
  readonly cacheBytes: number
}

/** Pieces begin at a multiple of so many rows: then every part of them begins at a whole word. */
const ROW_STEP = 8

/** Cuts tensors so that no piece needs a binding larger than `largest`; makes nothing. */
export function cutTensors(tensors: Iterable<Tensor>, largest: number): Cuts {
  const pieces = new Map([...tensors].map((tensor) => [tensor, cutTensor(tensor, largest)]))
  return {
    pieces(tensor) {
      const own = pieces.get(tensor)
      if (!own) throw new Error(`tensor ${tensor.name} was never placed`)
      return own
    },
  }
}

function cutTensor(tensor: Tensor, largest: number): Piece[] {
  const { rows } = matrixSize(tensor.shape)
  const most = canCut(tensor) ? rowsWithin(tensor, largest) : rows
  const pieces: Piece[] = []
  for (let first = 0; first < rows; first += most) {
    pieces.push({ tensor, index: pieces.length, first, rows: Math.min(rows - first, most) })
  }
  return pieces
}

export function createStore(device: GPUDevice, tensors: readonly Tensor[], largest: number): Store {
  const cuts = cutTensors(tensors, largest)
  const buffers = new Map<Piece, Record<PiecePart['part'], GPUBuffer | undefined>>()
  const sums = { weights: 0, caches: 0 }
  const make = (label: string, bytes: number): GPUBuffer | undefined => {
    if (bytes === 0) return undefined
    const usage = BUFFER.STORAGE | BUFFER.COPY_DST | BUFFER.COPY_SRC
    return device.createBuffer({ label, size: Math.ceil(bytes / 16) * 16, usage })
  }
  for (const tensor of tensors) {
    for (const piece of cuts.pieces(tensor)) {
      const bytes = bytesOf(tensor, piece.rows)
      const label = piece.index === 0 ? tensor.name : `${tensor.name} from row ${piece.first}`
      buffers.set(piece, {
        data: make(label, bytes.data),
        scales: make(`${label}, scales`, bytes.scales),
        minima: make(`${label}, minima`, bytes.minima),
      })
      sums[tensor.role === 'cache' ? 'caches' : 'weights'] += bytes.data + bytes.scales + bytes.minima
    }
  }
  return {
    ...cuts,
    buffer({ piece, part }) {
      const buffer = buffers.get(piece)?.[part]
      if (!buffer) throw new Error(`${piece.tensor.name} has no ${part}`)
      return buffer
    },
    weightBytes: sums.weights,
    cacheBytes: sums.caches,
  }
}

function bytesOf(tensor: Tensor, rows: number): PartBytes {
  const { columns } = matrixSize(tensor.shape)
  if (tensor.role !== 'cache') return partBytes(tensor.dtype, rows, columns)
  return { data: rows * cacheStride(tensor.dtype, columns), scales: 0, minima: 0 }
}

/** Rows of a cache begin at whole words. */
function cacheStride(dtype: Tensor['dtype'], columns: number): number {
  return Math.ceil(cacheRowBytes(dtype, columns) / 4) * 4
}

/** A tensor that must lie in one piece and is larger than one binding may be, with its bytes. */
export function tooLargeToBind(tensors: Iterable<Tensor>, largest: number): [Tensor, number] | undefined {
  for (const tensor of tensors) {
    if (canCut(tensor)) continue
    const { data } = bytesOf(tensor, matrixSize(tensor.shape).rows)
    if (data > largest) return [tensor, data]
  }
  return undefined
}

/** Kernels take caches and the tables that the host makes in one piece. */
function canCut({ role }: Tensor): boolean {
  return role === 'weight' || role === 'state'
}

/** Most rows of a tensor in one piece. */
function rowsWithin(tensor: Tensor, largest: number): number {
  const rowBytes = bytesOf(tensor, ROW_STEP).data / ROW_STEP
  return Math.max(ROW_STEP, Math.floor(largest / rowBytes / ROW_STEP) * ROW_STEP)
}
