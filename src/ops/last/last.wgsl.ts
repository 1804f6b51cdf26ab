// The last valid row on the GPU.

import type { WebGpuLoweringRule } from '../lowering-webgpu.ts'
import { kernel } from '../wgsl/kernel.ts'

const lastKernel = kernel('last', {
  reads: { x: 'f32' },
  writes: { out: 'f32' },
  numbers: { width: 'u32' },
  size: 64,
  main: /* wgsl */ `
  if (id.x < numbers.width) { out[id.x] = x[(run.rows - 1u) * numbers.width + id.x]; }
`,
})

export const lastWebGpu: WebGpuLoweringRule = ({ inputs: [x], outputs: [out] }, lower) => {
  const width = x!.shape[1]!
  lower.dispatch(lastKernel, { x: x!, out: out! }, { width }, () => [Math.ceil(width / 64), 1, 1])
}
