// The matrix product on the GPU: which kernel takes which weight and how many rows, and the pieces of a large weight.

import { isPacked } from '../../graph/dtype.ts'
import { matrixSize, type Tensor } from '../../graph/tape.ts'
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
  VECTOR_ROWS,
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
    const place = { begin: first - piece.first, count: end - first, outColumns: count, outFrom: first - from }
    return [{ piece, numbers: { rows, columns, ...place } }]
  })
}

const vectorGroups = (count: number, capacity: number, tokens: number): Groups => {
  const [x, y] = spread(Math.ceil(count / VECTOR_ROWS))
  return (rows) => [x, y, Math.ceil(Math.min(rows, capacity) / tokens)]
}

export const tileGroups =
  (count: number, capacity: number): Groups =>
  (rows) => [Math.ceil(count / TILE), Math.ceil(Math.min(rows, capacity) / TILE), 1]

export const linearWebGpu: WebGpuLoweringRule = (
  { inputs: [x, weight], outputs: [out], attributes },
  lower,
) => {
  const { rows, columns } = matrixSize(x!.shape)
  const dtype = weight!.dtype as WeightDtype
  const tokens = rows === 1 ? 1 : 4
  for (const { piece, numbers } of slicesOf(lower, weight!, {
    ...(attributes as { from: number; count: number }),
    rows,
  })) {
    const few = rows <= FEW_ROWS
    const groups = few ? vectorGroups(numbers.count, rows, tokens) : tileGroups(numbers.count, rows)
    if (isPacked(dtype)) {
      const { data, scales } = rounded(x!, lower)
      const packed = dtype as IntegerDtype
      const product = few ? integerVectorKernel(packed, tokens) : integerMatrixKernel(packed)
      lower.dispatch(product, { x: data, xScales: scales, ...partsOf(piece), out: out! }, numbers, groups)
    } else if (few) {
      const float = dtype as FloatDtype
      const product = floatVectorKernel(float, isWide(float, columns), tokens)
      lower.dispatch(product, { x: x!, weight: { piece, part: 'data' }, out: out! }, numbers, groups)
    } else {
      lower.dispatch(floatMatrixKernel(dtype), { x: x!, ...partsOf(piece), out: out! }, numbers, groups)
    }
  }
}
