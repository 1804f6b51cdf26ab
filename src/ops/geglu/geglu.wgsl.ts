// gelu(gate) · up on the GPU.

import { elementwise, type WebGpuLoweringRule } from '../lowering-webgpu.ts'
import { kernel } from '../wgsl/kernel.ts'
import { EXP } from '../wgsl/math.ts'

const gegluKernel = kernel('geglu', {
  reads: { gate: 'f32', up: 'f32' },
  writes: { out: 'f32' },
  numbers: { width: 'u32' },
  size: 64,
  functions: [
    EXP,
    /* wgsl */ `
// ½ (1 + tanh u) = 1 / (1 + e^−2u); past 15 that is 0 or 1, and the cube of more could overflow.
fn gelu(x: f32) -> f32 {
  let c = clamp(x, -15.0, 15.0);
  return x / (1.0 + exponential(-1.5957691216 * (c + 0.044715 * c * c * c)));
}`,
  ],
  main: /* wgsl */ `
  if (id.x >= numbers.width || id.y >= run.rows) { return; }
  let i = id.y * numbers.width + id.x;
  out[i] = gelu(gate[i]) * up[i];
`,
})

export const gegluWebGpu: WebGpuLoweringRule = ({ inputs: [gate, up], outputs: [out] }, lower) => {
  const width = gate!.shape[1]!
  lower.dispatch(gegluKernel, { gate: gate!, up: up!, out: out! }, { width }, elementwise(width))
}
