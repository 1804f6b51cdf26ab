// The matrix product as training needs it, and its gradients. Training takes no liberties: activations stay float32
// whatever the weight is held in, because gradients are those of the exact product. For y = x · Wᵀ:
//   dx = dy · W,   dW = dyᵀ · x

import { DTYPE_CODE, layoutOf } from '../../graph/dtype.ts'
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

export const exactLinearWasm: WasmLowering = ({ inputs: [x, weight], outputs: [out], attributes }, lower) => {
  const { rows, columns } = matrixSize(x!.shape)
  const count = attributes.count as number
  const work = lower.scratch(24 * 2048 * 4 * lower.threads)
  const widened = widenedRows(weight!, attributes, lower)
  lower.call('linearMatrix', [
    reads(x!),
    widened,
    writes(out!),
    int(rows),
    int(columns),
    int(count),
    int(DTYPE_CODE.f32),
    writes(work),
    int(24 * 2048 * 4),
  ])
}

/** Rows from … from + count of a weight as f32: as they lie, or widened for the next call. */
function widenedRows(weight: Tensor, attributes: Step['attributes'], lower: Lowering): Argument {
  const { from, count } = attributes as { from: number; count: number }
  const { dtype } = weight
  const { rows, columns } = matrixSize(weight.shape)
  if (dtype === 'f32') return reads(weight, from * columns * 4)
  const layout = layoutOf(dtype, rows, columns)
  const widened = lower.scratch(count * columns * 4)
  lower.call('widenWeights', [
    reads(weight),
    reads(weight, layout.scales),
    reads(weight, layout.minima),
    writes(widened),
    int(DTYPE_CODE[dtype]),
    int(from),
    int(count),
    int(columns),
    int(packingOrder(dtype, lower.integers)),
  ])
  return reads(widened)
}

export const linearInputGradientWasm: WasmLowering = ({ inputs, outputs: [out], attributes }, lower) => {
  const [gradient, weight, base] = inputs
  const { rows, columns } = matrixSize(out!.shape)
  const widened = widenedRows(weight!, attributes, lower)
  lower.call('linearInputGradient', [
    reads(gradient!),
    widened,
    base ? reads(base) : int(0),
    writes(out!),
    int(rows),
    int(columns),
    int(attributes.count as number),
  ])
}

export const linearWeightGradientWasm: WasmLowering = ({ inputs, attributes }, lower) => {
  const [x, gradient, accumulator] = inputs
  const { rows, columns } = matrixSize(x!.shape)
  const { from, count } = attributes as { from: number; count: number }
  lower.call('linearWeightGradient', [
    reads(x!),
    reads(gradient!),
    updates(accumulator!, from * columns * 4),
    int(rows),
    int(columns),
    int(count),
  ])
}
