// The soft cap on the GPU.

import { elementwise, type WebGpuLoweringRule } from '../lowering-webgpu.ts'
import { kernel } from '../wgsl/kernel.ts'
import { EXP, TANH } from '../wgsl/math.ts'

const softcapKernel = kernel('softcap', {
  reads: { x: 'f32' },
  writes: { out: 'f32' },
  numbers: { rows: 'u32', width: 'u32', cap: 'f32' },
  size: 64,
  functions: [EXP, TANH],
  main: /* wgsl */ `
  if (id.x >= numbers.width || id.y >= min(numbers.rows, run.rows)) { return; }
  let i = id.y * numbers.width + id.x;
  out[i] = numbers.cap * hyperbolicTangent(x[i] / numbers.cap);
`,
})

export const softcapWebGpu: WebGpuLoweringRule = ({ inputs: [x], outputs: [out], attributes }, lower) => {
  const [rows, width] = x!.shape as [number, number]
  const { cap } = attributes as { cap: number }
  lower.dispatch(softcapKernel, { x: x!, out: out! }, { rows, width, cap }, elementwise(width, rows))
}
