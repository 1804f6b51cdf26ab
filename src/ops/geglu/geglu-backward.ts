// Gradients of gelu(gate) · up. With u = √(2/π)(x + 0.044715 x³) and σ = 1 / (1 + e^−2u):
//   gelu(x) = x σ,   gelu′(x) = σ + 2 x σ (1 − σ) u′,   u′ = √(2/π)(1 + 3 · 0.044715 x²)

import type { BackwardRule } from '../../graph/gradient.ts'
import { type Op, record, type Values } from '../../graph/tape.ts'
import { int, reads, type WasmLowering, writes } from '../lowering.ts'

/** inputs gate, up, gradient [rows, width] → gradients of gate and up */
export const gegluGradientOp: Op = {
  name: 'gegluGradient',
  shape: ([gate]) => [
    { shape: gate!.shape, dtype: 'f32' },
    { shape: gate!.shape, dtype: 'f32' },
  ],
  reference({ inputs, outputs, inputTensors, run }) {
    const [gate, up, gradient] = inputs as [Values, Values, Values]
    const count = run.rows * inputTensors[0]!.shape[1]!
    const factor = Math.sqrt(2 / Math.PI)
    for (let i = 0; i < count; i++) {
      const x = gate[i]!
      const tanh = Math.tanh(factor * (x + 0.044715 * x ** 3))
      const slope = factor * (1 + 3 * 0.044715 * x * x)
      outputs[0]![i] = gradient[i]! * up[i]! * (0.5 * (1 + tanh) + 0.5 * x * (1 - tanh * tanh) * slope)
      outputs[1]![i] = gradient[i]! * 0.5 * x * (1 + tanh)
    }
  },
}

export const gegluBackward: BackwardRule = ({ inputs: [gate, up] }, [gradient], flow) => {
  const made = record(flow.tape, gegluGradientOp, [gate!, up!, gradient!])
  flow.give(gate!, made[0]!)
  flow.give(up!, made[1]!)
}

export const gegluGradientWasm: WasmLowering = ({ inputs, outputs }, lower) => {
  const [gate, up, gradient] = inputs
  lower.call('gegluGradient', [
    reads(gate!),
    reads(up!),
    reads(gradient!),
    writes(outputs[0]!),
    writes(outputs[1]!),
    int(gate!.shape[1]!),
  ])
}
