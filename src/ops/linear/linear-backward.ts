// The matrix product as training needs it, and its gradients. Training takes no liberties: activations stay float32
// whatever the weight is held in, because gradients are those of the exact product. For y = x · Wᵀ:
//   dx = dy · W,   dW = dyᵀ · x

import { DTYPE_CODE, isPacked, layoutOf } from '../../graph/dtype.ts'
import type { BackwardRule } from '../../graph/gradient.ts'
import {
  expectShape,
  matrixSize,
  type Op,
  record,
  type Step,
  type Tensor,
  type Values,
} from '../../graph/tape.ts'
import {
  type Argument,
  int,
  type Lowering,
  packingOrder,
  reads,
  updates,
  type WasmLowering,
  writes,
} from '../lowering.ts'
import { linearOp } from './linear.ts'

/** `linear` without rounding of activations. */
export const exactLinearOp: Op = {
  name: 'exactLinear',
  shape: linearOp.shape,
  reference({ inputs, outputs, inputTensors, attributes, run }) {
    const [x, weight] = inputs as [Values, Values]
    const columns = inputTensors[0]!.shape[1]!
    const { from, count } = attributes as { from: number; count: number }
    for (let t = 0; t < run.rows; t++) {
      for (let r = 0; r < count; r++) {
        let sum = 0
        for (let i = 0; i < columns; i++) sum += x[t * columns + i]! * weight[(from + r) * columns + i]!
        outputs[0]![t * count + r] = sum
      }
    }
  },
}

/** A step of inference as training takes it. */
export function exactStep(step: Step): Step {
  return step.op === linearOp ? { ...step, op: exactLinearOp } : step
}

/** inputs gradient [rows, count], weight [·, columns], and perhaps a base [rows, columns] to add to → [rows, columns] */
export const linearInputGradientOp: Op = {
  name: 'linearInputGradient',
  shape(inputs, { count }) {
    const [gradient, weight] = inputs
    expectShape(gradient!.shape[1] === count, 'linearInputGradient', inputs, 'the gradient is [rows, count]')
    return [{ shape: [gradient!.shape[0]!, weight!.shape[1]!], dtype: 'f32' }]
  },
  reference({ inputs, outputs, inputTensors, attributes, run }) {
    const [gradient, weight, base] = inputs as [Values, Values, Values | undefined]
    const columns = inputTensors[1]!.shape[1]!
    const { from, count } = attributes as { from: number; count: number }
    for (let t = 0; t < run.rows; t++) {
      for (let i = 0; i < columns; i++) {
        let sum = base?.[t * columns + i] ?? 0
        for (let r = 0; r < count; r++) sum += gradient[t * count + r]! * weight[(from + r) * columns + i]!
        outputs[0]![t * columns + i] = sum
      }
    }
  },
}

/** inputs x [rows, columns], gradient [rows, count], accumulator [·, columns], whose rows from … gain dyᵀ · x */
export const linearWeightGradientOp: Op = {
  name: 'linearWeightGradient',
  shape(inputs, { count }) {
    const [x, gradient, accumulator] = inputs
    expectShape(
      gradient!.shape[1] === count && x!.shape[1] === accumulator!.shape[1],
      'linearWeightGradient',
      inputs,
      'x is [rows, columns], the gradient [rows, count]',
    )
    return []
  },
  reference({ inputs, inputTensors, attributes, run }) {
    const [x, gradient, accumulator] = inputs as [Values, Values, Values]
    const columns = inputTensors[0]!.shape[1]!
    const { from, count } = attributes as { from: number; count: number }
    for (let r = 0; r < count; r++) {
      for (let i = 0; i < columns; i++) {
        let sum = 0
        for (let t = 0; t < run.rows; t++) sum += gradient[t * count + r]! * x[t * columns + i]!
        accumulator[(from + r) * columns + i]! += sum
      }
    }
  },
}

export const exactLinearBackward: BackwardRule = ({ inputs: [x, weight], attributes }, [gradient], flow) => {
  const accumulator = flow.accumulator(weight!)
  if (accumulator) record(flow.tape, linearWeightGradientOp, [x!, gradient!, accumulator], attributes)
  if (!flow.wants(x!)) return
  const base = flow.take(x!)
  const inputs = base ? [gradient!, weight!, base] : [gradient!, weight!]
  flow.give(x!, record(flow.tape, linearInputGradientOp, inputs, attributes)[0]!)
}

/**
 * Per worker: panels of 65 536 values and 64 bytes for each eight of at most 512 columns, eight tiles of 6 × 256 values
 * and 64 bytes, eight rows of 512 decoded values. The kernel (linear-backward.wasm.ts) holds the same numbers.
 */
const WORK_BYTES = 65536 * 4 + 64 * 64 + 8 * (6 * 256 * 4 + 64) + 8 * 512 * 4

/** What all three kernels take: A, B with scales and minima, what the product is added to, the product, and sizes. */
function callProduct(
  lower: Lowering,
  kernel: 'exactLinear' | 'linearInputGradient' | 'linearWeightGradient',
  { a, b, initial, product, count, from }: Product,
): void {
  const { rows } = matrixSize(a.shape)
  const { rows: height, columns } = matrixSize(b.shape)
  const { scales, minima } = layoutOf(b.dtype, height, columns)
  lower.call(kernel, [
    reads(a),
    reads(b),
    reads(b, scales),
    reads(b, minima),
    initial,
    product,
    int(rows),
    int(columns),
    int(count),
    int(DTYPE_CODE[b.dtype]),
    int(from),
    int(isPacked(b.dtype) ? packingOrder(b.dtype, lower.integers) : 0),
    writes(lower.scratch(WORK_BYTES * lower.threads)),
    int(WORK_BYTES),
  ])
}

interface Product {
  readonly a: Tensor
  readonly b: Tensor
  readonly initial: Argument
  readonly product: Argument
  readonly count: number
  /** First row of b. */
  readonly from: number
}

export const exactLinearWasm: WasmLowering = ({ inputs: [x, weight], outputs: [out], attributes }, lower) => {
  const { from, count } = attributes as { from: number; count: number }
  const product = writes(out!)
  callProduct(lower, 'exactLinear', { a: x!, b: weight!, initial: int(0), product, count, from })
}

export const linearInputGradientWasm: WasmLowering = ({ inputs, outputs: [out], attributes }, lower) => {
  const [gradient, weight, base] = inputs
  const { from, count } = attributes as { from: number; count: number }
  const initial = base ? reads(base) : int(0)
  const product = writes(out!)
  callProduct(lower, 'linearInputGradient', { a: gradient!, b: weight!, initial, product, count, from })
}

export const linearWeightGradientWasm: WasmLowering = ({ inputs, attributes }, lower) => {
  const [x, gradient, accumulator] = inputs
  const { from, count } = attributes as { from: number; count: number }
  const product = updates(accumulator!, from * matrixSize(x!.shape).columns * 4)
  callProduct(lower, 'linearWeightGradient', {
    ...{ a: gradient!, b: x!, initial: product, product },
    ...{ count, from: 0 },
  })
}
