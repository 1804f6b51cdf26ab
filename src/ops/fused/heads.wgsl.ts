// Queries, keys and values of a layer on the GPU: their products are taken as one, side by side, and one kernel brings the
// heads where attention reads them. A workgroup takes one head of one row: normalises it (Gemma 3), turns it by its position,
// and writes it out as a query or into the cache; values go there as they are.

import type { CacheDtype } from '../../graph/dtype.ts'
import type { Step, Tensor } from '../../graph/tape.ts'
import { appendOp } from '../append/append.ts'
import { appendHelpers, appendUnit, cacheStride, SLOT, UNIT } from '../append/append.wgsl.ts'
import { linearOp } from '../linear/linear.ts'
import { lowerProducts, weightRowsOf } from '../linear/linear.wgsl.ts'
import type { WebGpuFusion, WebGpuLowering } from '../lowering-webgpu.ts'
import { rmsNormOp } from '../rmsnorm/rmsnorm.ts'
import { normFactor } from '../rmsnorm/rmsnorm.wgsl.ts'
import { ropeOp } from '../rope/rope.ts'
import { TURNED } from '../rope/rope.wgsl.ts'
import { type Kernel, kernel, kernelOf, NONE } from '../wgsl/kernel.ts'

/** A head lies in the memory of a workgroup. */
const WIDEST_HEAD = 256

const NUMBERS = {
  heads: 'u32',
  kvHeads: 'u32',
  headDim: 'u32',
  width: 'u32',
  capacity: 'u32',
  stride: 'u32',
  epsilon: 'f32',
} as const

const headsKernel = kernelOf((dtype: CacheDtype, norms: boolean): Kernel<string, keyof typeof NUMBERS> => {
  const unit = UNIT[dtype]
  return kernel<string, string, keyof typeof NUMBERS>(`heads into ${dtype}${norms ? ', normalised' : ''}`, {
    reads: {
      ...{ products: 'f32', table: 'f32' },
      ...(norms ? { queryWeight: 'f32', keyWeight: 'f32' } : NONE),
    },
    writes: { query: 'f32', keys: 'u32', values: 'u32' },
    numbers: NUMBERS,
    size: 128,
    functions: [
      `var<workgroup> own: array<f32, ${WIDEST_HEAD}>;`,
      TURNED,
      SLOT,
      ...appendHelpers(dtype, 'own'),
      appendUnit(dtype, { name: 'appendKeys', array: 'own', cache: 'keys' }),
      appendUnit(dtype, { name: 'appendValues', array: 'own', cache: 'values' }),
      ...(norms ? normFactor(128) : []),
    ],
    main: /* wgsl */ `
  let row = group.y;
  if (row >= run.rows) { return; }
  let isQuery = group.x < numbers.heads;
  let isValue = group.x >= numbers.heads + numbers.kvHeads;
  let base = row * (numbers.heads + 2u * numbers.kvHeads) * numbers.headDim + group.x * numbers.headDim;
  if (isValue) {
    for (var i = lane; i < numbers.headDim; i += 128u) { own[i] = products[base + i]; }
  } else {
    ${norms ? FACTOR : ''}
    let half = numbers.headDim / 2u;
    for (var i = lane; i < half; i += 128u) {
      var pair = vec2f(products[base + i], products[base + half + i]);
      ${norms ? NORMALISE : ''}
      pair = turned(pair, runRows[row].position, i, numbers.headDim, 1.0);
      own[i] = pair.x;
      own[half + i] = pair.y;
    }
  }
  workgroupBarrier();
  if (isQuery) {
    let to = (row * numbers.heads + group.x) * numbers.headDim;
    for (var i = lane; i < numbers.headDim; i += 128u) { query[to + i] = own[i]; }
    return;
  }
  let units = numbers.headDim / ${unit}u;
  let first = (group.x - numbers.heads) % numbers.kvHeads * units;
  for (var i = lane; i < units; i += 128u) {
    if (isValue) { appendValues(slotOf(row), first + i, ${unit}u * i); }
    else { appendKeys(slotOf(row), first + i, ${unit}u * i); }
  }
`,
  })
})

const FACTOR = /* wgsl */ `
    var squares = 0.0;
    for (var i = lane; i < numbers.headDim; i += 128u) { squares += products[base + i] * products[base + i]; }
    let factor = factorOf(lane, squares, numbers.headDim, numbers.epsilon);`

const NORMALISE = /* wgsl */ `
      let gain = select(vec2f(keyWeight[i], keyWeight[half + i]), vec2f(queryWeight[i], queryWeight[half + i]), isQuery);
      pair = pair * factor * (1.0 + gain);`

/** A product whose heads are turned, and normalised before where there is a norm. */
interface Turned {
  readonly linear: Step
  readonly norm: Step | undefined
  readonly rope: Step
  /** Index of the step after these. */
  readonly end: number
}

function turnedAt(steps: readonly Step[], at: number, lower: WebGpuLowering): Turned | undefined {
  const linear = steps[at]
  const norm = steps[at + 1]?.op === rmsNormOp ? steps[at + 1] : undefined
  const end = at + (norm ? 3 : 2)
  const rope = steps[end - 1]
  if (linear?.op !== linearOp || rope?.op !== ropeOp || rope.attributes.inverse === true) return undefined
  if (norm && (!passes(linear, norm, lower) || norm.inputs[1]!.shape[0] !== headDimOf(rope))) return undefined
  return passes(norm ?? linear, rope, lower) ? { linear, norm, rope, end } : undefined
}

function headDimOf(rope: Step): number {
  return rope.inputs[1]!.shape[1]!
}

/** Whether a step's result is the first input of another and goes nowhere else. */
function passes(from: Step, to: Step, lower: WebGpuLowering): boolean {
  return to.inputs[0] === from.outputs[0] && lower.passesTo(from.outputs[0]!, to)
}

/** query = rope(norm(x · Wᵀ)), the same for keys, values = x · Wᵀ, and keys and values into the cache. */
export const headsWebGpu: WebGpuFusion = (steps, at, lower) => {
  const query = turnedAt(steps, at, lower)
  const key = query && turnedAt(steps, query.end, lower)
  if (!key) return 0
  const [linear, appendKeys, appendValues] = steps.slice(key.end, key.end + 3)
  if (linear?.op !== linearOp || appendKeys?.op !== appendOp || appendValues?.op !== appendOp) return 0
  if (!passes(key.rope, appendKeys, lower) || !passes(linear, appendValues, lower)) return 0
  const [x] = query.linear.inputs as [Tensor]
  const [keys, values] = [appendKeys.inputs[1]!, appendValues.inputs[1]!]
  const [dtype, headDim] = [keys.dtype as CacheDtype, headDimOf(query.rope)]
  const epsilon = query.norm?.attributes.epsilon as number | undefined
  const alike =
    key.linear.inputs[0] === x &&
    linear.inputs[0] === x &&
    x.shape[0] === lower.rows &&
    key.rope.inputs[1] === query.rope.inputs[1] &&
    epsilon === key.norm?.attributes.epsilon &&
    values.dtype === dtype &&
    values.shape[1] === keys.shape[1] &&
    appendKeys.attributes.capacity === appendValues.attributes.capacity
  if (!alike || headDim > WIDEST_HEAD || headDim % UNIT[dtype] !== 0) return 0
  const weights = [query.linear, key.linear, linear].map(weightRowsOf)
  const columns = weights.reduce((sum, { count }) => sum + count, 0)
  const products = lower.scratch(lower.rows * columns * 4)
  lowerProducts(x, weights, products, lower)
  const width = keys.shape[1]!
  const norms = query.norm && { queryWeight: query.norm.inputs[1]!, keyWeight: key.norm!.inputs[1]! }
  lower.dispatch(
    headsKernel(dtype, norms !== undefined),
    { products, table: query.rope.inputs[1]!, ...norms, query: query.rope.outputs[0]!, keys, values },
    {
      ...{ heads: weights[0]!.count / headDim, kvHeads: width / headDim, headDim, width },
      ...{ capacity: appendKeys.attributes.capacity as number, stride: cacheStride(dtype, width) },
      epsilon: epsilon ?? 0,
    },
    (rows) => [columns / headDim, rows, 1],
  )
  return key.end + 3 - at
}
