// Log-probabilities on the GPU: one workgroup folds one row of a slice of logits into the running softmax.

import type { WebGpuLoweringRule } from '../lowering-webgpu.ts'
import { kernel } from '../wgsl/kernel.ts'
import { EXP, LARGEST, sumOver } from '../wgsl/math.ts'

/** The state of a row: maximum, Σ e^(logit − maximum), the target's logit, the best token. */
const logprobKernel = kernel('logprob', {
  reads: { logits: 'f32', before: 'f32' },
  writes: { out: 'f32' },
  numbers: { width: 'u32', begin: 'u32', starts: 'u32' },
  size: 256,
  functions: [EXP, LARGEST, sumOver(256)],
  main: /* wgsl */ `
  if (group.x >= run.rows) { return; }
  let row = group.x * numbers.width;
  var value = -3.4e38;
  var place = 0xffffffffu;
  for (var i = lane; i < numbers.width; i += 256u) {
    if (logits[row + i] > value || place == 0xffffffffu) { value = logits[row + i]; place = i; }
  }
  findLargest(lane, value, place);
  let largest = bestValue[0];
  let best = bestPlace[0];
  var sum = 0.0;
  for (var i = lane; i < numbers.width; i += 256u) { sum += exponential(logits[row + i] - largest); }
  let total = sumOver(lane, sum);
  if (lane > 0u) { return; }
  var state = vec4f(largest, total, 0.0, f32(numbers.begin + best));
  if (numbers.starts == 0u) {
    let old = vec4f(before[4u * group.x], before[4u * group.x + 1u], before[4u * group.x + 2u], before[4u * group.x + 3u]);
    let next = max(old.x, largest);
    state = vec4f(next, old.y * exponential(old.x - next) + total * exponential(largest - next), old.z, select(old.w, state.w, largest > old.x));
  }
  let place_ = runRows[group.x].wanted - i32(numbers.begin);
  if (place_ >= 0 && place_ < i32(numbers.width)) { state.z = logits[row + u32(place_)]; }
  for (var i = 0u; i < 4u; i++) { out[4u * group.x + i] = state[i]; }
`,
})

export const logprobWebGpu: WebGpuLoweringRule = (
  { inputs: [logits, before], outputs: [out], attributes },
  lower,
) => {
  const width = logits!.shape[1]!
  const numbers = { width, begin: attributes.from as number, starts: before ? 0 : 1 }
  // The first slice has no state to read; its flag tells the kernel so.
  const bindings = { logits: logits!, before: before ?? logits!, out: out! }
  lower.dispatch(logprobKernel, bindings, numbers, (rows) => [rows, 1, 1])
}
