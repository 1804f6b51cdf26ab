// The matrix product of every layer: y = x · Wᵀ. The weight's dtype picks the kernel. Against integer
// weights the activations are rounded to 8 bits too, in blocks of 32 with one scale each, so that the inner
// products are integer arithmetic; against f32, bf16 and f16 weights they stay float32.

import { BLOCK, DTYPE_CODE, isPacked, layoutOf } from '../../graph/dtype.ts'
import {
  expectShape,
  matrixSize,
  type Op,
  type ReferenceStep,
  record,
  type Tape,
  type Tensor,
  type Values,
} from '../../graph/tape.ts'
import { add } from '../add/add.ts'
import { dropout } from '../dropout/dropout.ts'
import {
  type Argument,
  type IntegerVariant,
  int,
  type Lowering,
  reads,
  type ScratchBuffer,
  type WasmLowering,
  writes,
} from '../lowering.ts'

export const linearOp: Op = {
  name: 'linear',
  shape(inputs, { from, count }) {
    const [x, weight] = inputs
    const [rows, columns] = weight!.shape as [number, number]
    expectShape(x!.shape[1] === columns, 'linear', inputs, 'x is [rows, columns of the weight]')
    expectShape(
      (from as number) % 8 === 0 && (from as number) + (count as number) <= rows,
      'linear',
      inputs,
      `the slice ${from} + ${count} lies inside the weight and starts at a multiple of 8`,
    )
    return [{ shape: [x!.shape[0]!, count as number], dtype: 'f32' }]
  },
  reference(step) {
    const { inputs, outputs, attributes } = step
    const [rows, columns] = [validRows(step), step.inputTensors[0]!.shape[1]!]
    const { from, count } = attributes as { from: number; count: number }
    const integers = isPacked(step.inputTensors[1]!.dtype)
    for (let t = 0; t < rows; t++) {
      const plain = inputs[0]!.subarray(t * columns, (t + 1) * columns)
      const x = integers ? roundToBlocks(plain) : plain
      for (let r = 0; r < count; r++) {
        let sum = 0
        const w = (from + r) * columns
        for (let i = 0; i < columns; i++) sum += x[i]! * inputs[1]![w + i]!
        outputs[0]![t * count + r] = sum
      }
    }
  },
}

function validRows(step: ReferenceStep): number {
  return Math.min(step.run.rows, step.inputTensors[0]!.shape[0]!)
}

/** A block with nothing larger counts as zero: the inverse of its scale would overflow. The kernel has it too. */
const SMALLEST = 1e-30

/** What quantisation to 8 bits in blocks of 32 leaves of a row; the kernel rounds in the same float32 steps. */
export function roundToBlocks(x: Values): Float32Array {
  const rounded = new Float32Array(x.length)
  for (let from = 0; from < x.length; from += BLOCK) {
    const to = Math.min(from + BLOCK, x.length)
    let largest = 0
    for (let i = from; i < to; i++) largest = Math.max(largest, Math.abs(x[i]!))
    const scale = Math.fround(largest / 127)
    const inverse = largest > SMALLEST ? Math.fround(127 / largest) : 0
    for (let i = from; i < to; i++) rounded[i] = roundHalfEven(Math.fround(x[i]! * inverse)) * scale
  }
  return rounded
}

/** To the nearest whole number, ties to even. */
export function roundHalfEven(x: number): number {
  const floor = Math.floor(x)
  const rest = x - floor
  if (rest !== 0.5) return Math.round(x)
  return floor % 2 === 0 ? floor : floor + 1
}

/**
 * x [rows, columns] · weight[from … from + count)ᵀ → [rows, count]; without a slice the whole weight.
 * Slices let a head of 256 000 rows be taken in parts. Where the tape has an adapter for the weight, its
 * low-rank product is added.
 */
export function linear(
  tape: Tape,
  x: Tensor,
  weight: Tensor,
  slice: { from: number; count: number } = { from: 0, count: weight.shape[0]! },
): Tensor {
  const y = record(tape, linearOp, [x, weight], slice)[0]!
  const adapter = tape.adapters.get(weight)
  if (!adapter) return y
  const { down, up, scale, dropout: rate } = adapter
  return add(tape, y, linear(tape, linear(tape, rate > 0 ? dropout(tape, x, rate) : x, down), up), scale)
}

/** Up to so many rows float weights are widened where they are multiplied, above that once for all rows. */
const FEW = 8

/** Tokens whose activations lie interleaved, so that the matrix kernels read them in one stream. */
const TOKENS_PER_TILE = 4

/** For tiles whose size goes by the rows of each run (tileOf in quantize.wasm.ts): at most six tokens. */
const EVEN_TILES = 0
const LARGEST_EVEN_TILE = 6

interface QuantisedActivations {
  readonly data: ScratchBuffer
  readonly scales: ScratchBuffer
  readonly tile: number
}

type Variant = IntegerVariant['int4'] | IntegerVariant['int8']

/** Rounds x to 8 bits once for all the products that read it, in the form that the variant's kernels take. */
function quantised(x: Tensor, variant: Variant, lower: Lowering): QuantisedActivations {
  const width = variant === 'dot16' ? 2 : 1
  const paired = variant === 'pairs8'
  const even = width === 1 && !paired
  return lower.shared(`quantised ${x.id} ${width} ${paired}`, () => {
    const { rows, columns } = matrixSize(x.shape)
    const tile = rows === 1 ? 1 : even ? EVEN_TILES : TOKENS_PER_TILE
    // The last tile may be filled up with a token for each of the others, or with three.
    const paddedRows = rows === 1 ? 1 : rows + (even ? Math.ceil(rows / LARGEST_EVEN_TILE) : TOKENS_PER_TILE)
    const blocks = Math.ceil(columns / BLOCK)
    const data = lower.scratch(paddedRows * blocks * BLOCK * width)
    const scales = lower.scratch(paddedRows * blocks * 8)
    lower.call('quantizeActivations', [
      reads(x),
      writes(data),
      writes(scales),
      int(rows),
      int(columns),
      int(tile),
      int(width),
      int(paired ? 1 : 0),
    ])
    return { data, scales, tile }
  })
}

export const linearWasm: WasmLowering = ({ inputs: [x, weight], outputs: [out], attributes }, lower) => {
  const { rows: capacity } = matrixSize(x!.shape)
  const [weightRows, columns] = weight!.shape as [number, number]
  const { from, count } = attributes as { from: number; count: number }
  const dtype = weight!.dtype
  if (!isPacked(dtype)) {
    const size = dtype === 'f32' ? 4 : 2
    const args: Argument[] = [
      reads(x!),
      reads(weight!, from * columns * size),
      writes(out!),
      int(capacity),
      int(columns),
      int(count),
      int(DTYPE_CODE[dtype]),
    ]
    if (capacity <= FEW) {
      if (dtype !== 'f32') {
        const bytes = capacity * columns * 4
        args.push(writes(lower.scratch(bytes * lower.threads)), int(bytes))
      }
      return lower.call('linearFew', args)
    }
    const work = lower.scratch(MATRIX_WORK_BYTES * lower.threads)
    return lower.call('linearMatrix', [...args, writes(work), int(MATRIX_WORK_BYTES)])
  }
  const narrow = dtype === 'int4' || dtype === 'int4min'
  const variant = narrow ? lower.integers.int4 : lower.integers.int8
  const activations = quantised(x!, variant, lower)
  const layout = layoutOf(dtype, weightRows, columns)
  const perRowScale = dtype === 'int8row' ? 4 : Math.ceil(columns / BLOCK) * 2
  const perRowData = Math.ceil(columns / BLOCK) * (narrow ? BLOCK / 2 : BLOCK)
  const args: Argument[] = [
    reads(activations.data),
    reads(activations.scales),
    reads(weight!, from * perRowData),
    reads(weight!, layout.scales + from * perRowScale),
    reads(weight!, layout.minima + from * perRowScale),
    writes(out!),
    int(capacity),
    int(columns),
    int(count),
    int(variant === 'dot8u' ? 128 : 0),
  ]
  const shape = activations.tile === 1 ? 'Vector' : 'Matrix'
  const width = { dot8: '8', dot8u: '8', dot8s: '8', pairs8: 'P', dot16: '16' }[variant]
  if (shape === 'Matrix') {
    const bytes = width === '8' ? PANEL_BYTES : INTEGER_SUMS_BYTES
    args.push(writes(lower.scratch(bytes * lower.threads)), int(bytes))
  }
  lower.call(`${dtype}${shape}${width}`, args)
}

/** Per worker: f32 sums of four tokens by eight rows. */
const INTEGER_SUMS_BYTES = 128

/**
 * Per worker (integer-tiles.wasm.ts): sums of six tokens by eight rows, then for 32 rows by 64 blocks the scales and
 * minima as f32 and the weights as bytes.
 */
const PANEL_BYTES = 6 * 8 * 4 + 32 * 64 * (4 + 4 + 32)

/** Per worker: 48 rows of 1 024 widened weights. The kernel (float.wasm.ts) holds the same numbers. */
const MATRIX_WORK_BYTES = 96 * 1024 * 4
