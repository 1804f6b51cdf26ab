// The two branches of a feed-forward layer on the GPU: gelu(x · Gᵀ) · (x · Uᵀ) as one product for a few rows.

import { gegluOp } from '../geglu/geglu.ts'
import { linearOp } from '../linear/linear.ts'
import { lowerGated, weightRowsOf } from '../linear/linear.wgsl.ts'
import type { WebGpuFusion } from '../lowering-webgpu.ts'

export const gatedWebGpu: WebGpuFusion = (steps, at, lower) => {
  const [gate, up, geglu] = steps.slice(at, at + 3)
  if (gate?.op !== linearOp || up?.op !== linearOp || geglu?.op !== gegluOp) return 0
  const x = gate.inputs[0]!
  const [gateOut, upOut] = [gate.outputs[0]!, up.outputs[0]!]
  if (up.inputs[0] !== x || geglu.inputs[0] !== gateOut || geglu.inputs[1] !== upOut) return 0
  if (!lower.passesTo(gateOut, geglu) || !lower.passesTo(upOut, geglu)) return 0
  return lowerGated(x, [weightRowsOf(gate), weightRowsOf(up)], geglu.outputs[0]!, lower) ? 3 : 0
}
