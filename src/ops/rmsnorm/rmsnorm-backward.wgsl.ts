// Gradients of the root-mean-square norm on the GPU: one workgroup per group of a row for x; for the weight first a factor
// per group, then one invocation per column, which adds all groups in their order.

import { matrixSize } from '../../graph/tape.ts'
import type { WebGpuLoweringRule } from '../lowering-webgpu.ts'
import { kernel } from '../wgsl/kernel.ts'
import { sumOver } from '../wgsl/math.ts'

const FACTOR = /* wgsl */ `
fn factorOf(at: u32, lane: u32) -> f32 {
  var squares = 0.0;
  for (var i = lane; i < numbers.width; i += 128u) { squares += x[at + i] * x[at + i]; }
  return 1.0 / sqrt(sumOver(lane, squares) / f32(numbers.width) + numbers.epsilon);
}`

const inputGradientKernel = kernel('rmsNorm input gradient', {
  reads: { x: 'f32', weight: 'f32', gradient: 'f32' },
  writes: { out: 'f32' },
  numbers: { width: 'u32', groups: 'u32', epsilon: 'f32' },
  size: 128,
  functions: [sumOver(128), FACTOR],
  main: /* wgsl */ `
  if (group.y >= run.rows) { return; }
  let at = (group.y * numbers.groups + group.x) * numbers.width;
  let factor = factorOf(at, lane);
  var products = 0.0;
  for (var i = lane; i < numbers.width; i += 128u) {
    products += (1.0 + weight[i]) * gradient[at + i] * (x[at + i] * factor);
  }
  let pull = factor * (sumOver(lane, products) / f32(numbers.width));
  for (var i = lane; i < numbers.width; i += 128u) {
    out[at + i] = factor * (1.0 + weight[i]) * gradient[at + i] - pull * (x[at + i] * factor);
  }
`,
})

const factorsKernel = kernel('rmsNorm factors', {
  reads: { x: 'f32' },
  writes: { factors: 'f32' },
  numbers: { width: 'u32', groups: 'u32', epsilon: 'f32' },
  size: 128,
  functions: [sumOver(128), FACTOR],
  main: /* wgsl */ `
  if (group.y >= run.rows) { return; }
  let own = group.y * numbers.groups + group.x;
  let factor = factorOf(own * numbers.width, lane);
  if (lane == 0u) { factors[own] = factor; }
`,
})

const weightGradientKernel = kernel('rmsNorm weight gradient', {
  reads: { x: 'f32', gradient: 'f32', factors: 'f32' },
  writes: { accumulator: 'f32' },
  numbers: { width: 'u32', groups: 'u32' },
  size: 64,
  main: /* wgsl */ `
  if (id.x >= numbers.width) { return; }
  var sum = 0.0;
  for (var own = 0u; own < run.rows * numbers.groups; own++) {
    let i = own * numbers.width + id.x;
    sum += gradient[i] * x[i] * factors[own];
  }
  accumulator[id.x] += sum;
`,
})

export const rmsNormInputGradientWebGpu: WebGpuLoweringRule = (step, lower) => {
  const [x, weight, gradient] = step.inputs
  const width = weight!.shape[0]!
  const groups = matrixSize(x!.shape).columns / width
  const numbers = { width, groups, epsilon: step.attributes.epsilon as number }
  const bindings = { x: x!, weight: weight!, gradient: gradient!, out: step.outputs[0]! }
  lower.dispatch(inputGradientKernel, bindings, numbers, (rows) => [groups, rows, 1])
}

export const rmsNormWeightGradientWebGpu: WebGpuLoweringRule = ({ inputs, attributes }, lower) => {
  const [x, gradient, accumulator] = inputs
  const width = accumulator!.shape[0]!
  const groups = matrixSize(x!.shape).columns / width
  const factors = lower.scratch(lower.rows * groups * 4)
  const numbers = { width, groups, epsilon: attributes.epsilon as number }
  lower.dispatch(factorsKernel, { x: x!, factors }, numbers, (rows) => [groups, rows, 1])
  const bindings = { x: x!, gradient: gradient!, factors, accumulator: accumulator! }
  lower.dispatch(weightGradientKernel, bindings, { width, groups }, () => [Math.ceil(width / 64), 1, 1])
}
