// The root-mean-square norm on the GPU: one workgroup normalises one group of one row. What stands around a norm in a layer is
// done in the same kernel where it follows: the residual sum before it, the norm of what that sum adds (Gemma 2 and 3), and
// the rounding to 8 bits after it.

import { matrixSize, type Tensor } from '../../graph/tape.ts'
import { addOp } from '../add/add.ts'
import { ROUND_TO, ROUNDED_WRITES, roundsToo } from '../linear/quantize.wgsl.ts'
import type { Binding, WebGpuFusion, WebGpuLowering, WebGpuLoweringRule } from '../lowering-webgpu.ts'
import { type Kernel, kernel, kernelOf, NONE, type TwoForms } from '../wgsl/kernel.ts'
import { sumOver } from '../wgsl/math.ts'
import { rmsNormOp } from './rmsnorm.ts'

/** What the norm is of: x, or total = residual + scale · x, or the same with x normalised first. */
type Form = 'x' | 'sum' | 'sum of norm'

/** fn factorOf: what a group's values are multiplied with, from each invocation's sum of squares. */
export const normFactor = (size: number): readonly (string | TwoForms)[] => [
  sumOver(size),
  /* wgsl */ `
fn factorOf(lane: u32, squares: f32, width: u32, epsilon: f32) -> f32 {
  return 1.0 / sqrt(sumOver(lane, squares) / f32(width) + epsilon);
}`,
]

const NUMBERS = { width: 'u32', groups: 'u32', epsilon: 'f32', scale: 'f32', innerEpsilon: 'f32' } as const

const normKernel = kernelOf((form: Form, rounds: boolean): Kernel<string, keyof typeof NUMBERS> => {
  const inner = form === 'sum of norm'
  const summed = form !== 'x'
  return kernel<string, string, keyof typeof NUMBERS>(`rmsNorm of ${form}${rounds ? ', rounded' : ''}`, {
    reads: {
      ...{ x: 'f32', weight: 'f32' },
      ...(summed ? { residual: 'f32' } : NONE),
      ...(inner ? { innerWeight: 'f32' } : NONE),
    },
    writes: { out: 'f32', ...(summed ? { total: 'f32' } : NONE), ...(rounds ? ROUNDED_WRITES : NONE) },
    numbers: NUMBERS,
    size: 128,
    functions: [...normFactor(128), ...(rounds ? [ROUND_TO('out')] : [])],
    main: /* wgsl */ `
  if (group.y >= run.rows) { return; }
  let base = (group.y * numbers.groups + group.x) * numbers.width;
  ${inner ? INNER_FACTOR : ''}
  var squares = 0.0;
  for (var i = lane; i < numbers.width; i += 128u) {
    let value = ${inner ? 'x[base + i] * innerFactor * (1.0 + innerWeight[i])' : 'x[base + i]'};
    ${summed ? 'total[base + i] = residual[base + i] + numbers.scale * value;' : ''}
    let normed = ${summed ? 'total[base + i]' : 'value'};
    squares += normed * normed;
  }
  let factor = factorOf(lane, squares, numbers.width, numbers.epsilon);
  for (var i = lane; i < numbers.width; i += 128u) {
    out[base + i] = ${summed ? 'total' : 'x'}[base + i] * factor * (1.0 + weight[i]);
  }
  ${rounds ? ROUND_ROW : ''}
`,
  })
})

const INNER_FACTOR = /* wgsl */ `
  var innerSquares = 0.0;
  for (var i = lane; i < numbers.width; i += 128u) { innerSquares += x[base + i] * x[base + i]; }
  let innerFactor = factorOf(lane, innerSquares, numbers.width, numbers.innerEpsilon);`

/** What other invocations of the workgroup wrote is rounded: a block by each. */
const ROUND_ROW = /* wgsl */ `
  storageBarrier();
  let blocks = (numbers.width + 31u) / 32u;
  for (var i = lane; i < blocks; i += 128u) {
    roundBlock(base + 32u * i, min(32u, numbers.width - 32u * i), group.y * blocks + i);
  }`

interface Norm {
  readonly form: Form
  readonly bindings: Readonly<Record<string, Binding>>
  readonly weight: Tensor
  readonly out: Tensor
  readonly epsilon: number
  readonly scale?: number
  readonly innerEpsilon?: number
}

function dispatchNorm({ form, bindings, weight, out, ...given }: Norm, lower: WebGpuLowering): void {
  const width = weight.shape[0]!
  const groups = matrixSize(out.shape).columns / width
  const made = groups === 1 ? roundsToo(out, lower) : undefined
  lower.dispatch(
    normKernel(form, made !== undefined),
    { ...bindings, weight, out, ...made },
    { width, groups, scale: 1, innerEpsilon: 0, ...given },
    (rows) => [groups, rows, 1],
  )
}

export const rmsNormWebGpu: WebGpuLoweringRule = (
  { inputs: [x, weight], outputs: [out], attributes },
  lower,
) => {
  const epsilon = attributes.epsilon as number
  dispatchNorm({ form: 'x', bindings: { x: x! }, weight: weight!, out: out!, epsilon }, lower)
}

/** total = residual + scale · x, then norm(total). */
export const addNormWebGpu: WebGpuFusion = (steps, at, lower) => {
  const [add, norm] = steps.slice(at, at + 2)
  if (add?.op !== addOp || norm?.op !== rmsNormOp) return 0
  const [residual, x] = add.inputs as [Tensor, Tensor]
  const [total] = add.outputs as [Tensor]
  const [normed, weight] = norm.inputs as [Tensor, Tensor]
  if (normed !== total || weight.shape[0] !== total.shape[1] || total.shape[0] !== lower.rows) return 0
  const { scale } = add.attributes as { scale: number }
  const bindings = { x, residual, total }
  const epsilon = norm.attributes.epsilon as number
  dispatchNorm({ form: 'sum', bindings, weight, out: norm.outputs[0]!, epsilon, scale }, lower)
  return 2
}

/** Buffers of the kernel that normalises on both sides of the sum and rounds. */
const BUFFERS_OF_BOTH = 8

/** total = residual + scale · norm(x), then norm(total). */
export const normAddNormWebGpu: WebGpuFusion = (steps, at, lower) => {
  const [inner, add, norm] = steps.slice(at, at + 3)
  if (inner?.op !== rmsNormOp || add?.op !== addOp || norm?.op !== rmsNormOp) return 0
  const [x, innerWeight] = inner.inputs as [Tensor, Tensor]
  const [residual, added] = add.inputs as [Tensor, Tensor]
  const [total] = add.outputs as [Tensor]
  const [normed, weight] = norm.inputs as [Tensor, Tensor]
  const width = total.shape[1]
  if (added !== inner.outputs[0] || normed !== total || !lower.passesTo(added, add)) return 0
  if (weight.shape[0] !== width || innerWeight.shape[0] !== width || total.shape[0] !== lower.rows) return 0
  if (lower.mostBuffers < BUFFERS_OF_BOTH) return 0
  const { scale } = add.attributes as { scale: number }
  dispatchNorm(
    {
      form: 'sum of norm',
      bindings: { x, innerWeight, residual, total },
      ...{ weight, out: norm.outputs[0]!, scale },
      epsilon: norm.attributes.epsilon as number,
      innerEpsilon: inner.attributes.epsilon as number,
    },
    lower,
  )
  return 3
}
