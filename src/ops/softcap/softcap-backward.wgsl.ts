// The gradient of the soft cap on the GPU.

import { elementwise, type WebGpuLoweringRule } from '../lowering-webgpu.ts'
import { kernel } from '../wgsl/kernel.ts'

const softcapGradientKernel = kernel('softcap gradient', {
  reads: { y: 'f32', gradient: 'f32' },
  writes: { out: 'f32' },
  numbers: { width: 'u32', cap: 'f32' },
  size: 64,
  main: /* wgsl */ `
  if (id.x >= numbers.width || id.y >= run.rows) { return; }
  let i = id.y * numbers.width + id.x;
  let ratio = y[i] / numbers.cap;
  out[i] = gradient[i] * (1.0 - ratio * ratio);
`,
})

export const softcapGradientWebGpu: WebGpuLoweringRule = (step, lower) => {
  const [y, gradient] = step.inputs
  const width = y!.shape[1]!
  const numbers = { width, cap: step.attributes.cap as number }
  const bindings = { y: y!, gradient: gradient!, out: step.outputs[0]! }
  lower.dispatch(softcapGradientKernel, bindings, numbers, elementwise(width))
}
