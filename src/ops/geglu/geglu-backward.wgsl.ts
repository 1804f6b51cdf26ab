// Gradients of gelu(gate) · up on the GPU, by the formulas of geglu-backward.ts.

import { elementwise, type WebGpuLoweringRule } from '../lowering-webgpu.ts'
import { kernel } from '../wgsl/kernel.ts'
import { EXP } from '../wgsl/math.ts'

const gegluGradientKernel = kernel('geglu gradient', {
  reads: { gate: 'f32', up: 'f32', gradient: 'f32' },
  writes: { gateGradient: 'f32', upGradient: 'f32' },
  numbers: { width: 'u32' },
  size: 64,
  functions: [EXP],
  main: /* wgsl */ `
  if (id.x >= numbers.width || id.y >= run.rows) { return; }
  let i = id.y * numbers.width + id.x;
  let x = gate[i];
  // Past 15 the sigmoid is 0 or 1 and its slope 0; the cube of more could overflow.
  let c = clamp(x, -15.0, 15.0);
  let sigmoid = 1.0 / (1.0 + exponential(-1.5957691216 * (c + 0.044715 * c * c * c)));
  let slope = 1.5957691216 * (1.0 + 0.134145 * c * c);
  gateGradient[i] = gradient[i] * up[i] * (sigmoid + c * sigmoid * (1.0 - sigmoid) * slope);
  upGradient[i] = gradient[i] * x * sigmoid;
`,
})

export const gegluGradientWebGpu: WebGpuLoweringRule = ({ inputs, outputs }, lower) => {
  const [gate, up, gradient] = inputs
  const width = gate!.shape[1]!
  const made = { gateGradient: outputs[0]!, upGradient: outputs[1]! }
  const bindings = { gate: gate!, up: up!, gradient: gradient!, ...made }
  lower.dispatch(gegluGradientKernel, bindings, { width }, elementwise(width))
}
