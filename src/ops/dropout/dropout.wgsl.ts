// Dropout on the GPU: the same hash of seed, salt and place as dropout.ts, so that the same values are left out.

import { elementwise, type WebGpuLoweringRule } from '../lowering-webgpu.ts'
import { kernel } from '../wgsl/kernel.ts'

const dropoutKernel = kernel('dropout', {
  reads: { x: 'f32' },
  writes: { out: 'f32' },
  numbers: { width: 'u32', salt: 'u32', rate: 'f32' },
  size: 64,
  functions: [
    /* wgsl */ `
fn mix(value: u32) -> u32 {
  var h = value;
  h = (h ^ (h >> 16u)) * 0x85ebca6bu;
  h = (h ^ (h >> 13u)) * 0xc2b2ae35u;
  return h ^ (h >> 16u);
}`,
  ],
  main: /* wgsl */ `
  if (id.x >= numbers.width || id.y >= run.rows) { return; }
  let i = id.y * numbers.width + id.x;
  let chance = f32(mix(mix(run.seed + numbers.salt) + i * 0x9e3779b9u) >> 8u) / 16777216.0;
  out[i] = select(x[i] * (1.0 / (1.0 - numbers.rate)), 0.0, chance < numbers.rate);
`,
})

export const dropoutWebGpu: WebGpuLoweringRule = ({ inputs: [x], outputs: [out], attributes }, lower) => {
  const width = x!.shape[1]!
  const { rate, salt } = attributes as { rate: number; salt: number }
  lower.dispatch(dropoutKernel, { x: x!, out: out! }, { width, salt, rate }, elementwise(width))
}
