// s · x on the GPU.

import { elementwise, type WebGpuLoweringRule } from '../lowering-webgpu.ts'
import { kernel } from '../wgsl/kernel.ts'

const scaleKernel = kernel('scale', {
  reads: { x: 'f32' },
  writes: { out: 'f32' },
  numbers: { width: 'u32', scale: 'f32' },
  size: 64,
  main: /* wgsl */ `
  if (id.x >= numbers.width || id.y >= run.rows) { return; }
  let i = id.y * numbers.width + id.x;
  out[i] = numbers.scale * x[i];
`,
})

export const scaleWebGpu: WebGpuLoweringRule = ({ inputs: [x], outputs: [out], attributes }, lower) => {
  const width = x!.shape[1]!
  const numbers = { width, scale: attributes.scale as number }
  lower.dispatch(scaleKernel, { x: x!, out: out! }, numbers, elementwise(width))
}
