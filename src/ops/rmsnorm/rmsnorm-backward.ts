// Gradients of the root-mean-square norm y = x · f · (1 + w), f = (mean(x²) + ε)^−½, for each group of `width`:
//   dx = f · (g∘dy) − x · f³ · mean(g∘dy∘x) with g = 1 + w;   dw = Σ_groups dy · x · f

import type { BackwardRule } from '../../graph/gradient.ts'
import { matrixSize, type Op, record, type Values } from '../../graph/tape.ts'
import { float, int, reads, updates, type WasmLowering, writes } from '../lowering.ts'

/** inputs x [rows, n · width], weight [width], gradient [rows, n · width] → gradient of x */
export const rmsNormInputGradientOp: Op = {
  name: 'rmsNormInputGradient',
  shape: ([x]) => [{ shape: x!.shape, dtype: 'f32' }],
  reference({ inputs, outputs, inputTensors, attributes, run }) {
    const [x, weight, gradient] = inputs as [Values, Values, Values]
    const width = inputTensors[1]!.shape[0]!
    const groups = (run.rows * matrixSize(inputTensors[0]!.shape).columns) / width
    for (let g = 0; g < groups; g++) {
      const factor = factorOf(x, g * width, width, attributes.epsilon as number)
      let dot = 0
      for (let i = 0; i < width; i++) dot += (1 + weight[i]!) * gradient[g * width + i]! * x[g * width + i]!
      const pull = (factor ** 3 * dot) / width
      for (let i = 0; i < width; i++) {
        const at = g * width + i
        outputs[0]![at] = factor * (1 + weight[i]!) * gradient[at]! - pull * x[at]!
      }
    }
  },
}

/** inputs x, gradient [rows, n · width], accumulator [width], which gains the gradient of the weight */
export const rmsNormWeightGradientOp: Op = {
  name: 'rmsNormWeightGradient',
  shape: () => [],
  reference({ inputs, inputTensors, attributes, run }) {
    const [x, gradient, accumulator] = inputs as [Values, Values, Values]
    const width = inputTensors[2]!.shape[0]!
    const groups = (run.rows * matrixSize(inputTensors[0]!.shape).columns) / width
    for (let g = 0; g < groups; g++) {
      const factor = factorOf(x, g * width, width, attributes.epsilon as number)
      for (let i = 0; i < width; i++) {
        accumulator[i]! += gradient[g * width + i]! * x[g * width + i]! * factor
      }
    }
  },
}

function factorOf(x: Values, from: number, width: number, epsilon: number): number {
  let squares = 0
  for (let i = from; i < from + width; i++) squares += x[i]! ** 2
  return 1 / Math.sqrt(squares / width + epsilon)
}

export const rmsNormBackward: BackwardRule = ({ inputs: [x, weight], attributes }, [gradient], flow) => {
  if (flow.wants(x!)) {
    flow.give(x!, record(flow.tape, rmsNormInputGradientOp, [x!, weight!, gradient!], attributes)[0]!)
  }
  const accumulator = flow.accumulator(weight!)
  if (accumulator) record(flow.tape, rmsNormWeightGradientOp, [x!, gradient!, accumulator], attributes)
}

export const rmsNormInputGradientWasm: WasmLowering = (step, lower) => {
  const [x, weight, gradient] = step.inputs
  const width = weight!.shape[0]!
  lower.call('rmsNormInputGradient', [
    reads(x!),
    reads(weight!),
    reads(gradient!),
    writes(step.outputs[0]!),
    int(width),
    int(matrixSize(x!.shape).columns / width),
    float(step.attributes.epsilon as number),
  ])
}

export const rmsNormWeightGradientWasm: WasmLowering = ({ inputs, attributes }, lower) => {
  const [x, gradient, accumulator] = inputs
  const width = accumulator!.shape[0]!
  const groups = matrixSize(x!.shape).columns / width
  // One factor per group, made by the workers together before they share the columns.
  const factors = lower.scratch(lower.rows * groups * 4)
  const epsilon = float(attributes.epsilon as number)
  lower.call('rmsNormFactors', [reads(x!), writes(factors), int(width), int(groups), epsilon])
  lower.call('rmsNormWeightGradient', [
    reads(x!),
    reads(gradient!),
    reads(factors),
    updates(accumulator!),
    int(width),
    int(groups),
  ])
}
