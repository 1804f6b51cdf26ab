// The optimiser's step as ops on weights and what is kept beside them: sums of squares for the norm of the gradient,
// AdamW and Adafactor. All change their tensors in place and leave the gradient at zero.

import { elementCount, matrixSize, type Op, type Values } from '../../graph/tape.ts'
import { float, int, reads, updates, type WasmLowering, writes } from '../lowering.ts'

/** Elements whose squares are summed to one number: the division never depends on the number of threads. */
export const SQUARES_RUN = 16384

/** input x of any shape → [runs, 1] sums of squares of runs of SQUARES_RUN elements */
export const squaresOp: Op = {
  name: 'squares',
  shape: ([x]) => [{ shape: [Math.ceil(elementCount(x!.shape) / SQUARES_RUN), 1], dtype: 'f32' }],
  reference({ inputs, outputs }) {
    const x = inputs[0]!
    for (let run = 0; run * SQUARES_RUN < x.length; run++) {
      let sum = 0
      for (const value of x.subarray(run * SQUARES_RUN, (run + 1) * SQUARES_RUN)) sum += value ** 2
      outputs[0]![run] = sum
    }
  },
}

/** input x becomes zero */
export const zeroOp: Op = {
  name: 'zero',
  shape: () => [],
  reference: ({ inputs }) => void inputs[0]!.fill(0),
}

/** Places of the run's scalars. */
export const SCALAR = {
  learningRate: 0,
  /** Factor on the gradient. */
  gradientScale: 1,
  /** AdamW: 1 − β₁ᵗ and 1 − β₂ᵗ. */
  correction1: 2,
  correction2: 3,
  /** Adafactor: β₂ of this step. */
  beta2: 4,
} as const

export interface AdamwAttributes {
  readonly beta1: number
  readonly beta2: number
  readonly epsilon: number
  /** Decoupled weight decay; 0: none. */
  readonly decay: number
}

/**
 * inputs weight, gradient, m, v of one shape. With g = scale · gradient (Loshchilov & Hutter 2019, arXiv 1711.05101):
 * w ← w − lr · decay · w; m ← β₁ m + (1 − β₁) g; v ← β₂ v + (1 − β₂) g²; w ← w − lr · (m / c₁) / (√(v / c₂) + ε)
 */
export const adamwOp: Op = {
  name: 'adamw',
  shape: () => [],
  reference({ inputs, attributes, run }) {
    const [weight, gradient, m, v] = inputs as [Values, Values, Values, Values]
    const { beta1, beta2, epsilon, decay } = attributes as unknown as AdamwAttributes
    const scalars = run.scalars!
    const rate = scalars[SCALAR.learningRate]!
    const correction1 = scalars[SCALAR.correction1]!
    const correction2 = scalars[SCALAR.correction2]!
    for (let i = 0; i < weight.length; i++) {
      const g = scalars[SCALAR.gradientScale]! * gradient[i]!
      m[i] = beta1 * m[i]! + (1 - beta1) * g
      v[i] = beta2 * v[i]! + (1 - beta2) * g * g
      const update = m[i]! / correction1 / (Math.sqrt(v[i]! / correction2) + epsilon)
      weight[i] = weight[i]! * (1 - rate * decay) - rate * update
      gradient[i] = 0
    }
  },
}

export interface AdafactorAttributes {
  /** Added to squares of gradients. */
  readonly epsilon: number
  /** Largest root-mean-square of an update. */
  readonly clipThreshold: number
  readonly decay: number
}

/**
 * inputs weight, gradient [rows, columns], row means [rows], column means [columns] of squared gradients; or for a
 * vector weight, gradient [n], squares [n]. With g = scale · gradient (Shazeer & Stern 2018, arXiv 1804.04235, without
 * its relative step and its scaling by the parameter's size):
 * R ← β₂ R + (1 − β₂) mean over columns of (g² + ε); C likewise over rows; V = R · C / mean(R);
 * u = g / √V; u ← u / max(1, RMS(u) / threshold); w ← w − lr · decay · w − lr · u
 */
export const adafactorOp: Op = {
  name: 'adafactor',
  shape: () => [],
  reference({ inputs, inputTensors, attributes, run }) {
    const [weight, gradient, first, second] = inputs as [Values, Values, Values, Values | undefined]
    const { epsilon, clipThreshold, decay } = attributes as unknown as AdafactorAttributes
    const scalars = run.scalars!
    const rate = scalars[SCALAR.learningRate]!
    const beta = scalars[SCALAR.beta2]!
    const columns = inputTensors[0]!.shape.at(-1)!
    const rows = weight.length / columns
    const squares = Float64Array.from(gradient, (g) => (scalars[SCALAR.gradientScale]! * g) ** 2 + epsilon)
    const fold = (into: Values, i: number, mean: number): void => {
      into[i] = beta * into[i]! + (1 - beta) * mean
    }
    if (second) {
      for (let r = 0; r < rows; r++) {
        let sum = 0
        for (let i = 0; i < columns; i++) sum += squares[r * columns + i]!
        fold(first, r, sum / columns)
      }
      for (let i = 0; i < columns; i++) {
        let sum = 0
        for (let r = 0; r < rows; r++) sum += squares[r * columns + i]!
        fold(second, i, sum / rows)
      }
    } else squares.forEach((square, i) => void fold(first, i, square))
    let mean = 1
    if (second) mean = Float64Array.from(first).reduce((a, b) => a + b, 0) / rows
    const updates = Float64Array.from(gradient, (g, i) => {
      const v = second ? (first[Math.floor(i / columns)]! * second[i % columns]!) / mean : first[i]!
      return (scalars[SCALAR.gradientScale]! * g) / Math.sqrt(v)
    })
    const size = Math.sqrt(updates.reduce((sum, u) => sum + u * u, 0) / updates.length)
    const factor = rate / Math.max(1, size / clipThreshold)
    for (let i = 0; i < weight.length; i++) {
      weight[i] = weight[i]! * (1 - rate * decay) - factor * updates[i]!
      gradient[i] = 0
    }
  },
}

export const squaresWasm: WasmLowering = ({ inputs: [x], outputs: [out] }, lower) => {
  lower.call('squares', [reads(x!), writes(out!), int(elementCount(x!.shape)), int(SQUARES_RUN)])
}

export const zeroWasm: WasmLowering = ({ inputs: [x] }, lower) => {
  lower.call('zero', [updates(x!), int(elementCount(x!.shape))])
}

export const adamwWasm: WasmLowering = ({ inputs, attributes }, lower) => {
  const { beta1, beta2, epsilon, decay } = attributes as unknown as AdamwAttributes
  lower.call('adamw', [
    ...inputs.map((tensor) => updates(tensor)),
    int(elementCount(inputs[0]!.shape)),
    // 1 − β is rounded to float32 only here: taken of a rounded β it would be off by 5e-5 of itself.
    ...[beta1, 1 - beta1, beta2, 1 - beta2, epsilon, decay].map(float),
  ])
}

export const adafactorWasm: WasmLowering = ({ inputs, attributes }, lower) => {
  const [weight, gradient, first, second] = inputs
  const { epsilon, clipThreshold, decay } = attributes as unknown as AdafactorAttributes
  const { rows, columns } = matrixSize(weight!.shape)
  const size = [int(rows), int(columns)]
  if (second) {
    lower.call('adafactorRows', [reads(gradient!), updates(first!), ...size, float(epsilon)])
    lower.call('adafactorColumns', [reads(gradient!), updates(second), ...size, float(epsilon)])
  } else lower.call('adafactorVector', [reads(gradient!), updates(first!), int(columns), float(epsilon)])
  const sums = lower.scratch(rows * 8)
  const rowMeans = second ? reads(first!) : int(0)
  const columnMeans = reads(second ?? first!)
  lower.call('adafactorSizes', [reads(gradient!), writes(sums), columnMeans, ...size, rowMeans])
  lower.call('adafactorUpdate', [
    ...[updates(weight!), updates(gradient!), reads(sums), columnMeans, ...size],
    ...[float(clipThreshold), float(decay), rowMeans],
  ])
}
