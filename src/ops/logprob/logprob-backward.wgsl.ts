// The gradient of the loss with respect to a slice of logits on the GPU.

import { elementwise, type WebGpuLoweringRule } from '../lowering-webgpu.ts'
import { kernel } from '../wgsl/kernel.ts'
import { EXP } from '../wgsl/math.ts'

const logprobGradientKernel = kernel('logprob gradient', {
  reads: { logits: 'f32', state: 'f32' },
  writes: { out: 'f32' },
  numbers: { width: 'u32', first: 'u32' },
  size: 64,
  functions: [EXP],
  main: /* wgsl */ `
  if (id.x >= numbers.width || id.y >= run.rows) { return; }
  let i = id.y * numbers.width + id.x;
  let wanted = runRows[id.y].wanted;
  let probability = exponential(logits[i] - state[4u * id.y]) / state[4u * id.y + 1u];
  let hit = select(0.0, 1.0, wanted == i32(numbers.first + id.x));
  out[i] = select(0.0, runRows[id.y].weight * (probability - hit), wanted >= 0);
`,
})

export const logprobGradientWebGpu: WebGpuLoweringRule = (step, lower) => {
  const [logits, state] = step.inputs
  const width = logits!.shape[1]!
  const numbers = { width, first: step.attributes.from as number }
  const bindings = { logits: logits!, state: state!, out: step.outputs[0]! }
  lower.dispatch(logprobGradientKernel, bindings, numbers, elementwise(width))
}
