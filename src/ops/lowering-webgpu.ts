// How an op asks for WGSL kernels. An op's lowering turns one recorded step into dispatches on buffers; the backend
// (backends/webgpu) makes the pipelines, gives values buffers by their lifetimes, and replays the dispatches. Knows the
// shape of that conversation, not the backend.

import type { Op, Step, Tensor } from '../graph/tape.ts'
import type { ScratchBuffer } from './lowering.ts'
import type { Kernel } from './wgsl/kernel.ts'

/**
 * Some rows of a tensor that outlives runs, in buffers of their own: no binding may be larger than the device allows
 * (128 MiB everywhere), so large tensors lie in several pieces; small ones that are read together share buffers.
 */
export interface Piece {
  readonly tensor: Tensor
  readonly index: number
  /** First row of the tensor that lies here, and how many do. A vector is one row. */
  readonly first: number
  readonly rows: number
  /** Pieces of different weights with the same home lie in the same buffers, this one with so many rows above it. */
  readonly home: number
  readonly above: number
}

/** One of a piece's buffers: narrow integers keep scales and minima apart (see wgsl/weight.ts). */
export interface PiecePart {
  readonly piece: Piece
  readonly part: 'data' | 'scales' | 'minima'
}

/** A tensor stands for its data where it lies in one piece. */
export type Binding = Tensor | ScratchBuffer | PiecePart

/** Workgroups in x, y and z for a run of so many valid rows. */
export type Groups = (rows: number) => readonly [number, number, number]

export interface WebGpuLowering {
  /** Capacity of rows of the plan. */
  readonly rows: number
  /** Appends one dispatch. What the kernel writes must not be among what it reads. */
  dispatch<B extends string, N extends string>(
    kernel: Kernel<B, N>,
    bindings: Readonly<Record<B, Binding>>,
    numbers: Readonly<Record<N, number>>,
    groups: Groups,
  ): void
  scratch(bytes: number): ScratchBuffer
  /** What several steps need of the same thing (quantised activations) is made by the first and remembered. */
  shared<T>(key: string, make: () => T): T
  /** The pieces of a weight, a cache, a constant or a state. */
  pieces(tensor: Tensor): readonly Piece[]
  /** The steps that read a value. */
  readersOf(tensor: Tensor): readonly Step[]
  /** Whether a value passes from one step to the next and nobody else: then no buffer need ever hold it. */
  passesTo(tensor: Tensor, reader: Step): boolean
  /** Most storage buffers of a kernel, `runRows` not counted. */
  readonly mostBuffers: number
}

export type WebGpuLoweringRule = (step: Step, lower: WebGpuLowering) => void

/**
 * Lowers the steps that begin with steps[at] as one, if they are such as it knows; gives how many they are, 0 where they are
 * not.
 */
export type WebGpuFusion = (steps: readonly Step[], at: number, lower: WebGpuLowering) => number

export type WebGpuLowerings = ReadonlyMap<Op, WebGpuLoweringRule>

/** The most workgroups in one dimension that every device takes. */
const MOST_GROUPS = 65535

/** So many workgroups spread over x and y; kernels count them with `groupIndex` and mind that there may be a few more. */
export function spread(groups: number): readonly [number, number] {
  if (groups <= MOST_GROUPS) return [groups, 1]
  const y = Math.ceil(groups / MOST_GROUPS)
  return [Math.ceil(groups / y), y]
}

/** One invocation per element of a row in x (64 to a workgroup), rows in y: for kernels whose rows are those of the run. */
export function elementwise(columns: number, capacity: number = Number.POSITIVE_INFINITY): Groups {
  return (rows) => [Math.ceil(columns / 64), Math.min(rows, capacity), 1]
}
