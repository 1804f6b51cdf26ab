// The root-mean-square norm on the GPU: one workgroup normalises one group of one row.

import { matrixSize } from '../../graph/tape.ts'
import type { WebGpuLoweringRule } from '../lowering-webgpu.ts'
import { kernel } from '../wgsl/kernel.ts'
import { sumOver } from '../wgsl/math.ts'

const rmsNormKernel = kernel('rmsNorm', {
  reads: { x: 'f32', weight: 'f32' },
  writes: { out: 'f32' },
  numbers: { width: 'u32', groups: 'u32', epsilon: 'f32' },
  size: 128,
  functions: [sumOver(128)],
  main: /* wgsl */ `
  if (group.y >= run.rows) { return; }
  let base = (group.y * numbers.groups + group.x) * numbers.width;
  var squares = 0.0;
  for (var i = lane; i < numbers.width; i += 128u) {
    let value = x[base + i];
    squares += value * value;
  }
  let factor = 1.0 / sqrt(sumOver(lane, squares) / f32(numbers.width) + numbers.epsilon);
  for (var i = lane; i < numbers.width; i += 128u) {
    out[base + i] = x[base + i] * factor * (1.0 + weight[i]);
  }
`,
})

export const rmsNormWebGpu: WebGpuLoweringRule = (
  { inputs: [x, weight], outputs: [out], attributes },
  lower,
) => {
  const width = weight!.shape[0]!
  const groups = matrixSize(x!.shape).columns / width
  const numbers = { width, groups, epsilon: attributes.epsilon as number }
  lower.dispatch(rmsNormKernel, { x: x!, weight: weight!, out: out! }, numbers, (rows) => [groups, rows, 1])
}
