// The exact product and its gradients on the GPU: tiles as for prompts (matrix.wgsl.ts), with the weight decoded whatever it
// is held in. Where a weight lies in several pieces, the gradient of x is summed over them one after the other.

import { matrixSize } from '../../graph/tape.ts'
import type { WebGpuLoweringRule } from '../lowering-webgpu.ts'
import { type Kernel, kernel, kernelOf } from '../wgsl/kernel.ts'
import { decoder, partsOf, type WeightDtype } from '../wgsl/weight.ts'
import { slicesOf, tileGroups } from './linear.wgsl.ts'
import { floatMatrixKernel, TILE, TILE_PRODUCT } from './matrix.wgsl.ts'

export const exactLinearWebGpu: WebGpuLoweringRule = (step, lower) => {
  const [x, weight] = step.inputs
  const { rows } = matrixSize(x!.shape)
  const slice = step.attributes as { from: number; count: number }
  const product = floatMatrixKernel(weight!.dtype as WeightDtype)
  for (const { piece, numbers } of slicesOf(lower, weight!, { ...slice, rows })) {
    const bindings = { x: x!, ...partsOf(piece), out: step.outputs[0]! }
    lower.dispatch(product, bindings, numbers, tileGroups(numbers.count, rows))
  }
}

const TILES = /* wgsl */ `
  let row0 = group.y * 64u;
  let first = group.x * 64u;
  let tx = lane % 16u;
  let ty = lane / 16u;
  let k = lane % 16u;
  let quad = lane / 16u;
  let r = row0 + 4u * quad;
  let c = first + 4u * quad;
  var sums: array<vec4f, 4>;`

const GRADIENT_AT = /* wgsl */ `
fn gradientAt(row: u32, own: u32) -> f32 {
  if (row >= run.rows || own >= numbers.count) { return 0.0; }
  return gradient[row * numbers.gradientColumns + numbers.gradientFrom + own];
}`

type GradientBuffer = 'gradient' | 'weight' | 'scales' | 'minima' | 'before' | 'out'
type GradientNumber = 'columns' | 'begin' | 'count' | 'gradientColumns' | 'gradientFrom' | 'adds'

/** dx = dy · W; `adds`: 1 to what `before` holds, 2 to what `out` holds already. */
const inputGradientKernel: (dtype: WeightDtype) => Kernel<GradientBuffer, GradientNumber> = kernelOf(
  (dtype: WeightDtype) =>
    kernel(`linear ${dtype}, input gradient`, {
      reads: { gradient: 'f32', weight: 'u32', scales: 'u32', minima: 'u32', before: 'f32' },
      writes: { out: 'f32' },
      numbers: {
        columns: 'u32',
        begin: 'u32',
        count: 'u32',
        gradientColumns: 'u32',
        gradientFrom: 'u32',
        adds: 'u32',
      },
      size: 256,
      functions: [
        decoder(dtype),
        TILE_PRODUCT,
        GRADIENT_AT,
        /* wgsl */ `
fn weightAt(own: u32, column: u32) -> f32 {
  if (own >= numbers.count || column >= numbers.columns) { return 0.0; }
  return decode(numbers.begin + own, column);
}`,
      ],
      main: /* wgsl */ `
  if (group.y * 64u >= run.rows) { return; }
  ${TILES}
  for (var base = 0u; base < numbers.count; base += 16u) {
    let o = base + k;
    xs[k * 16u + quad] = vec4f(gradientAt(r, o), gradientAt(r + 1u, o), gradientAt(r + 2u, o), gradientAt(r + 3u, o));
    ws[k * 16u + quad] = vec4f(weightAt(o, c), weightAt(o, c + 1u), weightAt(o, c + 2u), weightAt(o, c + 3u));
    multiplyTiles(&sums, tx, ty);
  }
  for (var i = 0u; i < 4u; i++) {
    let row = row0 + 4u * ty + i;
    for (var j = 0u; j < 4u; j++) {
      let column = first + 4u * tx + j;
      if (row < run.rows && column < numbers.columns) {
        let at = row * numbers.columns + column;
        var sum = sums[i][j];
        if (numbers.adds == 1u) { sum += before[at]; }
        if (numbers.adds == 2u) { sum += out[at]; }
        out[at] = sum;
      }
    }
  }
`,
    }),
)

export const linearInputGradientWebGpu: WebGpuLoweringRule = (
  { inputs, outputs: [out], attributes },
  lower,
) => {
  const [gradient, weight, base] = inputs
  const { columns } = matrixSize(weight!.shape)
  const { from, count } = attributes as { from: number; count: number }
  const slices = slicesOf(lower, weight!, { from, count, rows: lower.rows })
  slices.forEach(({ piece, numbers }, i) => {
    lower.dispatch(
      inputGradientKernel(weight!.dtype as WeightDtype),
      { gradient: gradient!, ...partsOf(piece), before: base ?? gradient!, out: out! },
      {
        ...{ columns, begin: numbers.begin, count: numbers.count },
        ...{ gradientColumns: count, gradientFrom: numbers.outFrom, adds: i > 0 ? 2 : base ? 1 : 0 },
      },
      tileGroups(columns, lower.rows),
    )
  })
}

/** dW = dyᵀ · x, added to what is there. */
const weightGradientKernel = kernel('linear weight gradient', {
  reads: { x: 'f32', gradient: 'f32' },
  writes: { accumulator: 'f32' },
  numbers: { columns: 'u32', begin: 'u32', count: 'u32', gradientColumns: 'u32', gradientFrom: 'u32' },
  size: 256,
  functions: [
    TILE_PRODUCT,
    GRADIENT_AT,
    /* wgsl */ `
fn xAt(row: u32, column: u32) -> f32 {
  if (row >= run.rows || column >= numbers.columns) { return 0.0; }
  return x[row * numbers.columns + column];
}`,
  ],
  main: /* wgsl */ `
  ${TILES}
  for (var base = 0u; base < run.rows; base += 16u) {
    let t = base + k;
    xs[k * 16u + quad] = vec4f(gradientAt(t, r), gradientAt(t, r + 1u), gradientAt(t, r + 2u), gradientAt(t, r + 3u));
    ws[k * 16u + quad] = vec4f(xAt(t, c), xAt(t, c + 1u), xAt(t, c + 2u), xAt(t, c + 3u));
    multiplyTiles(&sums, tx, ty);
  }
  for (var i = 0u; i < 4u; i++) {
    let own = row0 + 4u * ty + i;
    for (var j = 0u; j < 4u; j++) {
      let column = first + 4u * tx + j;
      if (own < numbers.count && column < numbers.columns) {
        accumulator[(numbers.begin + own) * numbers.columns + column] += sums[i][j];
      }
    }
  }
`,
})

export const linearWeightGradientWebGpu: WebGpuLoweringRule = ({ inputs, attributes }, lower) => {
  const [x, gradient, accumulator] = inputs
  const { columns } = matrixSize(x!.shape)
  const { from, count } = attributes as { from: number; count: number }
  for (const { piece, numbers } of slicesOf(lower, accumulator!, { from, count, rows: lower.rows })) {
    const place = { gradientColumns: count, gradientFrom: numbers.outFrom }
    lower.dispatch(
      weightGradientKernel,
      { x: x!, gradient: gradient!, accumulator: { piece, part: 'data' } },
      { columns, begin: numbers.begin, count: numbers.count, ...place },
      () => [Math.ceil(columns / TILE), Math.ceil(numbers.count / TILE), 1],
    )
  }
}
