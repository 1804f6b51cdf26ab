// a + scale · b on the GPU.

import { elementwise, type WebGpuLoweringRule } from '../lowering-webgpu.ts'
import { kernel } from '../wgsl/kernel.ts'

const addKernel = kernel('add', {
  reads: { a: 'f32', b: 'f32' },
  writes: { out: 'f32' },
  numbers: { rows: 'u32', width: 'u32', scale: 'f32' },
  size: 64,
  main: /* wgsl */ `
  if (id.x >= numbers.width || id.y >= min(numbers.rows, run.rows)) { return; }
  let i = id.y * numbers.width + id.x;
  out[i] = a[i] + numbers.scale * b[i];
`,
})

export const addWebGpu: WebGpuLoweringRule = ({ inputs: [a, b], outputs: [out], attributes }, lower) => {
  const [rows, width] = a!.shape as [number, number]
  const { scale } = attributes as { scale: number }
  lower.dispatch(addKernel, { a: a!, b: b!, out: out! }, { rows, width, scale }, elementwise(width, rows))
}
