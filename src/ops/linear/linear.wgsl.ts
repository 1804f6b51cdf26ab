// The matrix product on the GPU: which kernel takes which weight and how many rows, and the pieces of a large weight.

import { isPacked } from '../../graph/dtype.ts'
import { matrixSize, type Step, type Tensor } from '../../graph/tape.ts'
import type { ScratchBuffer } from '../lowering.ts'
import {
  type Groups,
  type Piece,
  spread,
  type WebGpuLowering,
  type WebGpuLoweringRule,
} from '../lowering-webgpu.ts'
import { partsOf, type WeightDtype } from '../wgsl/weight.ts'
import { floatMatrixKernel, integerMatrixKernel, TILE } from './matrix.wgsl.ts'
import { rounded } from './quantize.wgsl.ts'
import {
  type FloatDtype,
  floatVectorKernel,
  type IntegerDtype,
  integerVectorKernel,
  isWide,
  type Tokens,
  vectorOutputs,
} from './vector.wgsl.ts'

/** Plans of at most so many rows read the weights once for every few rows; larger ones take tiles. */
const FEW_ROWS = 8

interface Slice {
  readonly piece: Piece
  readonly numbers: {
    readonly rows: number
    readonly columns: number
    readonly begin: number
    readonly count: number
    readonly outColumns: number
    readonly outFrom: number
  }
}

/** Rows from … from + count of a weight. */
export interface WeightRows {
  readonly weight: Tensor
  readonly from: number
  readonly count: number
}

/** The parts of rows from … from + count of a weight that lie in one piece each. */
export function slicesOf(
  lower: WebGpuLowering,
  weight: Tensor,
  { from, count, rows }: { readonly from: number; readonly count: number; readonly rows: number },
): Slice[] {
  const { columns } = matrixSize(weight.shape)
  return lower.pieces(weight).flatMap((piece): Slice[] => {
    const first = Math.max(from, piece.first)
    const end = Math.min(from + count, piece.first + piece.rows)
    if (first >= end) return []
    const begin = first - piece.first + piece.above
    return [
      {
        piece,
        numbers: { rows, columns, begin, count: end - first, outColumns: count, outFrom: first - from },
      },
    ]
  })
}

/** The slices of several weights whose products lie side by side; what lies together is one slice. */
function slicesOfAll(lower: WebGpuLowering, weights: readonly WeightRows[], rows: number): Slice[] {
  const outColumns = weights.reduce((sum, { count }) => sum + count, 0)
  const slices: Slice[] = []
  let before = 0
  for (const { weight, from, count } of weights) {
    for (const { piece, numbers } of slicesOf(lower, weight, { from, count, rows })) {
      const own = { ...numbers, outColumns, outFrom: before + numbers.outFrom }
      const last = slices.at(-1)
      if (last?.piece.home === piece.home && last.numbers.begin + last.numbers.count === own.begin) {
        const joined = { ...last.numbers, count: last.numbers.count + own.count }
        slices[slices.length - 1] = { piece: last.piece, numbers: joined }
      } else slices.push({ piece, numbers: own })
    }
    before += count
  }
  return slices
}

const vectorGroups = (count: number, capacity: number, { tokens, gated }: Few): Groups => {
  const [x, y] = spread(Math.ceil(count / vectorOutputs(gated)))
  return (rows) => [x, y, Math.ceil(Math.min(rows, capacity) / tokens)]
}

export const tileGroups =
  (count: number, capacity: number): Groups =>
  (rows) => [Math.ceil(count / TILE), Math.ceil(Math.min(rows, capacity) / TILE), 1]

export const linearWebGpu: WebGpuLoweringRule = (step, lower) =>
  lowerProducts(step.inputs[0]!, [weightRowsOf(step)], step.outputs[0]!, lower)

/** What a step of `linear` multiplies with. */
export function weightRowsOf({ inputs: [, weight], attributes }: Step): WeightRows {
  return { weight: weight!, ...(attributes as { from: number; count: number }) }
}

/** Products of x with rows of several weights, side by side in the rows of `out`. */
export function lowerProducts(
  x: Tensor,
  weights: readonly WeightRows[],
  out: Tensor | ScratchBuffer,
  lower: WebGpuLowering,
): void {
  const { rows } = matrixSize(x.shape)
  for (const slice of slicesOfAll(lower, weights, rows)) {
    if (rows <= FEW_ROWS) lowerFew(x, slice, out, lower)
    else lowerTiles(x, slice, out, lower)
  }
}

/** gelu(x · Gᵀ) · (x · Uᵀ) as one, where x has few rows and G and U lie together; else nothing is lowered, and it says so. */
export function lowerGated(
  x: Tensor,
  [gate, up]: readonly [WeightRows, WeightRows],
  out: Tensor,
  lower: WebGpuLowering,
): boolean {
  const { rows } = matrixSize(x.shape)
  if (rows > FEW_ROWS || gate.count !== up.count) return false
  const [slice, ...more] = slicesOfAll(lower, [gate, up], rows)
  if (!slice || more.length > 0) return false
  const numbers = { ...slice.numbers, count: gate.count, outColumns: gate.count }
  lowerFew(x, { ...slice, numbers }, out, lower, true)
  return true
}

interface Few {
  readonly tokens: Tokens
  readonly gated: boolean
}

function lowerFew(
  x: Tensor,
  { piece, numbers }: Slice,
  out: Tensor | ScratchBuffer,
  lower: WebGpuLowering,
  gated = false,
): void {
  const { rows, columns } = matrixSize(x.shape)
  const { dtype } = piece.tensor
  const tokens = rows === 1 ? 1 : 4
  const groups = vectorGroups(numbers.count, rows, { tokens, gated })
  if (isPacked(dtype)) {
    const { data, scales } = rounded(x, lower)
    const bindings = { x: data, xScales: scales, ...partsOf(piece), out }
    lower.dispatch(integerVectorKernel(dtype as IntegerDtype, tokens, gated), bindings, numbers, groups)
  } else {
    const float = dtype as FloatDtype
    const bindings = { x, weight: { piece, part: 'data' as const }, out }
    lower.dispatch(floatVectorKernel(float, isWide(float, columns), tokens, gated), bindings, numbers, groups)
  }
}

function lowerTiles(
  x: Tensor,
  { piece, numbers }: Slice,
  out: Tensor | ScratchBuffer,
  lower: WebGpuLowering,
): void {
  const { dtype } = piece.tensor
  const groups = tileGroups(numbers.count, numbers.rows)
  if (isPacked(dtype)) {
    const { data, scales } = rounded(x, lower)
    const bindings = { x: data, xScales: scales, ...partsOf(piece), out }
    lower.dispatch(integerMatrixKernel(dtype as IntegerDtype), bindings, numbers, groups)
  } else {
    lower.dispatch(floatMatrixKernel(dtype as WeightDtype), { x, ...partsOf(piece), out }, numbers, groups)
  }
}
