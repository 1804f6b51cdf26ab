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
  /** The buffer that a piece lies in, `above` rows from its beginning. */
  buffer(part: PiecePart): GPUBuffer
  readonly weightBytes: number
  readonly cacheBytes: number
}

/** Pieces begin at a multiple of so many rows: then every part of them begins at a whole word. */
const ROW_STEP = 8

/** Weights whose rows one product may read as those of a single matrix. */
export type Together = readonly (readonly Tensor[])[]

/** Cuts tensors so that no piece needs a binding larger than `largest`; makes nothing. */
export function cutTensors(tensors: Iterable<Tensor>, largest: number, together: Together = []): Cuts {
  const pieces = new Map<Tensor, readonly Piece[]>()
  let homes = 0
  for (const group of together.filter((one) => canShare(one, largest))) {
    let above = 0
    for (const tensor of group) {
      const { rows } = matrixSize(tensor.shape)
      pieces.set(tensor, [{ tensor, index: 0, first: 0, rows, home: homes, above }])
      above += rows
    }
    homes++
  }
  for (const tensor of tensors) {
    if (pieces.has(tensor)) continue
    const { rows } = matrixSize(tensor.shape)
    const most = canCut(tensor) ? rowsWithin(tensor, largest) : rows
    const own: Piece[] = []
    for (let first = 0; first < rows; first += most) {
      const place = { first, rows: Math.min(rows - first, most), home: homes++, above: 0 }
      own.push({ tensor, index: own.length, ...place })
    }
    pieces.set(tensor, own)
  }
  return {
    pieces(tensor) {
      const own = pieces.get(tensor)
      if (!own) throw new Error(`tensor ${tensor.name} was never placed`)
      return own
    },
  }
}

/** Whether weights fit into one binding, one below the other. */
function canShare(group: readonly Tensor[], largest: number): boolean {
  const [first] = group
  if (!first) return false
  const { columns } = matrixSize(first.shape)
  const alike = group.every(({ role, dtype, shape }) => {
    const own = matrixSize(shape)
    return role === 'weight' && dtype === first.dtype && own.columns === columns && own.rows % ROW_STEP === 0
  })
  const rows = group.reduce((sum, { shape }) => sum + matrixSize(shape).rows, 0)
  return alike && bytesOf(first, rows).data <= largest
}

export function createStore(
  device: GPUDevice,
  tensors: readonly Tensor[],
  largest: number,
  together: Together = [],
): Store {
  const cuts = cutTensors(tensors, largest, together)
  const homes = new Map<number, Piece[]>()
  for (const piece of tensors.flatMap((tensor) => cuts.pieces(tensor))) {
    if (!homes.get(piece.home)?.push(piece)) homes.set(piece.home, [piece])
  }
  const buffers = new Map<number, Record<PiecePart['part'], GPUBuffer | undefined>>()
  const sums = { weights: 0, caches: 0 }
  const make = (label: string, bytes: number): GPUBuffer | undefined => {
    if (bytes === 0) return undefined
    const usage = BUFFER.STORAGE | BUFFER.COPY_DST | BUFFER.COPY_SRC
    return device.createBuffer({ label, size: Math.ceil(bytes / 16) * 16, usage })
  }
  for (const [home, pieces] of homes) {
    const [{ tensor }] = pieces as [Piece]
    const bytes = bytesOf(tensor, Math.max(...pieces.map(({ above, rows }) => above + rows)))
    const label = pieces.map(nameOf).join(' and ')
    buffers.set(home, {
      data: make(label, bytes.data),
      scales: make(`${label}, scales`, bytes.scales),
      minima: make(`${label}, minima`, bytes.minima),
    })
    sums[tensor.role === 'cache' ? 'caches' : 'weights'] += bytes.data + bytes.scales + bytes.minima
  }
  return {
    ...cuts,
    buffer({ piece, part }) {
      const buffer = buffers.get(piece.home)?.[part]
      if (!buffer) throw new Error(`${piece.tensor.name} has no ${part}`)
      return buffer
    },
    weightBytes: sums.weights,
    cacheBytes: sums.caches,
  }
}

function nameOf({ tensor, index, first }: Piece): string {
  return index === 0 ? tensor.name : `${tensor.name} from row ${first}`
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
