// Attention of the run's rows over each other on the GPU, and its gradients. One workgroup is one head of one row; keys come
// 64 at a time: an invocation scores one key, then each takes columns of the mix. For keys and values one workgroup is one
// key head of one row, and what comes 64 at a time are the (row, head) pairs that see it. No sum crosses workgroups.

import type { WebGpuLowering, WebGpuLoweringRule } from '../lowering-webgpu.ts'
import { kernel } from '../wgsl/kernel.ts'
import { EXP, sumOver, TANH } from '../wgsl/math.ts'
import type { RowAttentionOptions } from './row-attention.ts'

const NUMBERS = {
  heads: 'u32',
  kvHeads: 'u32',
  headDim: 'u32',
  window: 'u32',
  scale: 'f32',
  softcap: 'f32',
} as const

/** A score that must not count: far below any other, yet finite. */
const HIDDEN = '-3e38'

const COMMON = /* wgsl */ `
var<workgroup> chances: array<f32, 64>;
// The first row that a row sees.
fn firstSeen(row: u32) -> u32 {
  let start = row - u32(runRows[row].position);
  return select(start, max(start, u32(max(0, i32(row) - i32(numbers.window) + 1))), numbers.window > 0u);
}
fn scoreOf(row: u32, head: u32, key: u32) -> f32 {
  let q = (row * numbers.heads + head) * numbers.headDim;
  let k = (key * numbers.kvHeads + head / (numbers.heads / numbers.kvHeads)) * numbers.headDim;
  var sum = 0.0;
  for (var i = 0u; i < numbers.headDim; i++) { sum += query[q + i] * keys[k + i]; }
  sum *= numbers.scale;
  if (numbers.softcap > 0.0) { sum = numbers.softcap * hyperbolicTangent(sum / numbers.softcap); }
  return sum;
}`

/** Four columns an invocation: heads of at most 256 values. */
const WIDEST_HEAD = 256

const forwardKernel = kernel('rowAttention', {
  reads: { query: 'f32', keys: 'f32', values: 'f32' },
  writes: { out: 'f32', logs: 'f32' },
  numbers: NUMBERS,
  size: 64,
  functions: [EXP, TANH, sumOver(64), COMMON],
  main: /* wgsl */ `
  if (group.y >= run.rows) { return; }
  let head = group.x;
  let kvHead = head / (numbers.heads / numbers.kvHeads);
  var largest = ${HIDDEN};
  var total = 0.0;
  var mixed: vec4f;
  let seen = firstSeen(group.y);
  for (var base = seen; base <= group.y; base += 64u) {
    let own = base + lane;
    let count = min(64u, group.y + 1u - base);
    var score = ${HIDDEN};
    if (lane < count) { score = scoreOf(group.y, head, own); }
    chances[lane] = score;
    workgroupBarrier();
    var next = largest;
    for (var i = 0u; i < count; i++) { next = max(next, chances[i]); }
    workgroupBarrier();
    let factor = exponential(largest - next);
    largest = next;
    var chance = 0.0;
    if (lane < count) { chance = exponential(score - next); }
    chances[lane] = chance;
    total = total * factor + sumOver(lane, chance);
    mixed *= factor;
    for (var i = 0u; i < count; i++) {
      let v = ((base + i) * numbers.kvHeads + kvHead) * numbers.headDim;
      for (var j = 0u; j < 4u; j++) {
        let column = lane + 64u * j;
        if (column < numbers.headDim) { mixed[j] += chances[i] * values[v + column]; }
      }
    }
    workgroupBarrier();
  }
  let at = group.y * numbers.heads + head;
  if (lane == 0u) { logs[at] = largest + log(total); }
  for (var j = 0u; j < 4u; j++) {
    let column = lane + 64u * j;
    if (column < numbers.headDim) { out[at * numbers.headDim + column] = mixed[j] / total; }
  }
`,
})

/** ds · scale of a pair, from its probability; and the cap's slope. */
const PULL = /* wgsl */ `
fn pullOf(score: f32, chance: f32, dot: f32, along: f32) -> f32 {
  let ratio = select(0.0, score / numbers.softcap, numbers.softcap > 0.0);
  return numbers.scale * chance * (dot - along) * (1.0 - ratio * ratio);
}
fn valueDot(row: u32, head: u32, key: u32) -> f32 {
  let g = (row * numbers.heads + head) * numbers.headDim;
  let v = (key * numbers.kvHeads + head / (numbers.heads / numbers.kvHeads)) * numbers.headDim;
  var sum = 0.0;
  for (var i = 0u; i < numbers.headDim; i++) { sum += gradient[g + i] * values[v + i]; }
  return sum;
}`

const alongKernel = kernel('rowAttention, along', {
  reads: { mixed: 'f32', gradient: 'f32' },
  writes: { along: 'f32' },
  numbers: { heads: 'u32', headDim: 'u32' },
  size: 64,
  main: /* wgsl */ `
  if (id.x >= numbers.heads || id.y >= run.rows) { return; }
  let at = id.y * numbers.heads + id.x;
  var sum = 0.0;
  for (var i = 0u; i < numbers.headDim; i++) {
    sum += mixed[at * numbers.headDim + i] * gradient[at * numbers.headDim + i];
  }
  along[at] = sum;
`,
})

const queryGradientKernel = kernel('rowAttention, query gradient', {
  reads: { query: 'f32', keys: 'f32', values: 'f32', logs: 'f32', gradient: 'f32', along: 'f32' },
  writes: { out: 'f32' },
  numbers: NUMBERS,
  size: 64,
  functions: [EXP, TANH, COMMON, PULL],
  main: /* wgsl */ `
  if (group.y >= run.rows) { return; }
  let head = group.x;
  let at = group.y * numbers.heads + head;
  let kvHead = head / (numbers.heads / numbers.kvHeads);
  var sums: vec4f;
  for (var base = firstSeen(group.y); base <= group.y; base += 64u) {
    let count = min(64u, group.y + 1u - base);
    if (lane < count) {
      let key = base + lane;
      let score = scoreOf(group.y, head, key);
      chances[lane] = pullOf(score, exponential(score - logs[at]), valueDot(group.y, head, key), along[at]);
    }
    workgroupBarrier();
    for (var i = 0u; i < count; i++) {
      let k = ((base + i) * numbers.kvHeads + kvHead) * numbers.headDim;
      for (var j = 0u; j < 4u; j++) {
        let column = lane + 64u * j;
        if (column < numbers.headDim) { sums[j] += chances[i] * keys[k + column]; }
      }
    }
    workgroupBarrier();
  }
  for (var j = 0u; j < 4u; j++) {
    let column = lane + 64u * j;
    if (column < numbers.headDim) { out[at * numbers.headDim + column] = sums[j]; }
  }
`,
})

/** For keys, or for values: with both, one kernel would bind more buffers than every device allows. */
const keyGradientKernel = (what: 'key' | 'value') =>
  kernel(`rowAttention, ${what} gradient`, {
    reads: { query: 'f32', keys: 'f32', values: 'f32', logs: 'f32', gradient: 'f32', along: 'f32' },
    writes: { out: 'f32' },
    numbers: NUMBERS,
    size: 64,
    functions: [EXP, TANH, COMMON, PULL],
    main: /* wgsl */ `
  if (group.y >= run.rows) { return; }
  let groupSize = numbers.heads / numbers.kvHeads;
  let pairs = (run.rows - group.y) * groupSize;
  var sums: vec4f;
  for (var base = 0u; base < pairs; base += 64u) {
    let own = base + lane;
    var share = 0.0;
    if (own < pairs) {
      let row = group.y + own / groupSize;
      let head = group.x * groupSize + own % groupSize;
      if (firstSeen(row) <= group.y) {
        let at = row * numbers.heads + head;
        let score = scoreOf(row, head, group.y);
        let chance = exponential(score - logs[at]);
        share = ${what === 'value' ? 'chance' : 'pullOf(score, chance, valueDot(row, head, group.y), along[at])'};
      }
    }
    chances[lane] = share;
    workgroupBarrier();
    for (var i = 0u; i < min(64u, pairs - base); i++) {
      let pair = base + i;
      let head = group.x * groupSize + pair % groupSize;
      let from_ = ((group.y + pair / groupSize) * numbers.heads + head) * numbers.headDim;
      for (var j = 0u; j < 4u; j++) {
        let column = lane + 64u * j;
        if (column < numbers.headDim) { sums[j] += chances[i] * ${what === 'value' ? 'gradient' : 'query'}[from_ + column]; }
      }
    }
    workgroupBarrier();
  }
  let to = (group.y * numbers.kvHeads + group.x) * numbers.headDim;
  for (var j = 0u; j < 4u; j++) {
    let column = lane + 64u * j;
    if (column < numbers.headDim) { out[to + column] = sums[j]; }
  }
`,
  })

const keyGradient = keyGradientKernel('key')
const valueGradient = keyGradientKernel('value')

type Numbers = Readonly<Record<keyof typeof NUMBERS, number>>

function numbersOf({ heads, kvHeads, headDim, window, scale, softcap }: RowAttentionOptions): Numbers {
  if (headDim > WIDEST_HEAD)
    throw new Error(`rowAttention on WebGPU takes heads of at most ${WIDEST_HEAD} values`)
  return { heads, kvHeads, headDim, window, scale, softcap }
}

export const rowAttentionWebGpu: WebGpuLoweringRule = ({ inputs, outputs, attributes }, lower) => {
  const [query, keys, values] = inputs
  const numbers = numbersOf(attributes as unknown as RowAttentionOptions)
  const bindings = { query: query!, keys: keys!, values: values!, out: outputs[0]!, logs: outputs[1]! }
  lower.dispatch(forwardKernel, bindings, numbers, (rows) => [numbers.heads, rows, 1])
}

export const rowAttentionGradientWebGpu: WebGpuLoweringRule = (
  { inputs, outputs, attributes },
  lower: WebGpuLowering,
) => {
  const [query, keys, values, mixed, logs, gradient] = inputs
  const numbers = numbersOf(attributes as unknown as RowAttentionOptions)
  const { heads, kvHeads, headDim } = numbers
  const along = lower.scratch(lower.rows * heads * 4)
  const dot = { mixed: mixed!, gradient: gradient!, along }
  lower.dispatch(alongKernel, dot, { heads, headDim }, (rows) => [Math.ceil(heads / 64), rows, 1])
  const read = { query: query!, keys: keys!, values: values!, logs: logs!, gradient: gradient!, along }
  lower.dispatch(queryGradientKernel, { ...read, out: outputs[0]! }, numbers, (rows) => [heads, rows, 1])
  lower.dispatch(keyGradient, { ...read, out: outputs[1]! }, numbers, (rows) => [kvHeads, rows, 1])
  lower.dispatch(valueGradient, { ...read, out: outputs[2]! }, numbers, (rows) => [kvHeads, rows, 1])
}
