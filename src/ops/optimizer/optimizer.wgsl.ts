// The optimiser's step on the GPU. Whole tensors, whatever the rows of the run; a tensor in several pieces is taken piece
// by piece. There are no numbers of 64 bits: long sums are taken in stretches, and of small squares only roots are multiplied.

import { elementCount, matrixSize, type Tensor } from '../../graph/tape.ts'
import {
  type Groups,
  type Piece,
  spread,
  type WebGpuLowering,
  type WebGpuLoweringRule,
} from '../lowering-webgpu.ts'
import { kernel } from '../wgsl/kernel.ts'
import { sumOver } from '../wgsl/math.ts'
import { type AdafactorAttributes, type AdamwAttributes, SQUARES_RUN } from './optimizer.ts'

/** The run's scalars by the names that optimizer.ts gives their places. */
const SCALARS = /* wgsl */ `
fn learningRate() -> f32 { return run.scalars[0].x; }
fn gradientScale() -> f32 { return run.scalars[0].y; }
fn correction1() -> f32 { return run.scalars[0].z; }
fn correction2() -> f32 { return run.scalars[0].w; }
// into ← β₂ · into + (1 − β₂) · mean
fn folded(into: f32, mean: f32) -> f32 {
  let beta = run.scalars[1].x;
  return beta * into + (1.0 - beta) * mean;
}`

/** let own: the number of the workgroup; let i: that of the invocation. */
const COUNTED = /* wgsl */ `
  let own = group.y * groups.x + group.x;
  let i = own * 256u + lane;`

/** So many workgroups, whatever the rows of the run. */
function workgroups(count: number): Groups {
  return () => [...spread(count), 1]
}

/** One invocation per element of a piece. */
function perElement(count: number): Groups {
  return workgroups(Math.ceil(count / 256))
}

const columnsOf = ({ shape }: Tensor): number => matrixSize(shape).columns
const elementsOf = (piece: Piece): number => piece.rows * columnsOf(piece.tensor)

/** The pieces of tensors of one shape, side by side: they are cut at the same rows. */
function piecesOf(lower: WebGpuLowering, tensors: readonly Tensor[]): (readonly Piece[])[] {
  const lists = tensors.map((tensor) => lower.pieces(tensor))
  return lists[0]!.map((_, i) => lists.map((list) => list[i]!))
}

const data = (piece: Piece): { readonly piece: Piece; readonly part: 'data' } => ({ piece, part: 'data' })

/** One workgroup per run; of a run that began in the piece before, the rest is added. `offset`: of the piece in its first run. */
const squaresKernel = kernel('squares', {
  reads: { x: 'f32' },
  writes: { out: 'f32' },
  numbers: { count: 'u32', offset: 'u32', firstRun: 'u32' },
  size: 256,
  functions: [sumOver(256)],
  main: /* wgsl */ `${COUNTED}
  let start = own * ${SQUARES_RUN}u;
  if (start >= numbers.count + numbers.offset) { return; }
  let begin = max(start, numbers.offset) - numbers.offset;
  let end = min(start + ${SQUARES_RUN}u - numbers.offset, numbers.count);
  var squares = 0.0;
  for (var at = begin + lane; at < end; at += 256u) { squares += x[at] * x[at]; }
  let sum = sumOver(lane, squares);
  if (lane == 0u) {
    let to = numbers.firstRun + own;
    out[to] = select(0.0, out[to], own == 0u && numbers.offset > 0u) + sum;
  }
`,
})

export const squaresWebGpu: WebGpuLoweringRule = ({ inputs: [x], outputs: [out] }, lower) => {
  for (const piece of lower.pieces(x!)) {
    const first = piece.first * columnsOf(x!)
    const count = elementsOf(piece)
    const offset = first % SQUARES_RUN
    const numbers = { count, offset, firstRun: (first - offset) / SQUARES_RUN }
    const runs = Math.ceil((offset + count) / SQUARES_RUN)
    lower.dispatch(squaresKernel, { x: data(piece), out: out! }, numbers, workgroups(runs))
  }
}

const zeroKernel = kernel('zero', {
  reads: {},
  writes: { x: 'f32' },
  numbers: { count: 'u32' },
  size: 256,
  main: /* wgsl */ `${COUNTED}
  if (i < numbers.count) { x[i] = 0.0; }
`,
})

export const zeroWebGpu: WebGpuLoweringRule = ({ inputs: [x] }, lower) => {
  for (const piece of lower.pieces(x!)) {
    const count = elementsOf(piece)
    lower.dispatch(zeroKernel, { x: data(piece) }, { count }, perElement(count))
  }
}

const adamwKernel = kernel('adamw', {
  reads: {},
  writes: { weight: 'f32', gradient: 'f32', first: 'f32', second: 'f32' },
  numbers: {
    count: 'u32',
    beta1: 'f32',
    rest1: 'f32',
    beta2: 'f32',
    rest2: 'f32',
    epsilon: 'f32',
    decay: 'f32',
  },
  size: 256,
  functions: [SCALARS],
  main: /* wgsl */ `${COUNTED}
  if (i >= numbers.count) { return; }
  let g = gradientScale() * gradient[i];
  let m = numbers.beta1 * first[i] + numbers.rest1 * g;
  let v = numbers.beta2 * second[i] + numbers.rest2 * g * g;
  first[i] = m;
  second[i] = v;
  let update = m / correction1() / (sqrt(v / correction2()) + numbers.epsilon);
  weight[i] = weight[i] * (1.0 - learningRate() * numbers.decay) - learningRate() * update;
  gradient[i] = 0.0;
`,
})

export const adamwWebGpu: WebGpuLoweringRule = ({ inputs, attributes }, lower) => {
  const { beta1, beta2, epsilon, decay } = attributes as unknown as AdamwAttributes
  const numbers = { beta1, rest1: 1 - beta1, beta2, rest2: 1 - beta2, epsilon, decay }
  for (const [weight, gradient, first, second] of piecesOf(lower, inputs)) {
    const count = elementsOf(weight!)
    const bindings = {
      ...{ weight: data(weight!), gradient: data(gradient!) },
      ...{ first: data(first!), second: data(second!) },
    }
    lower.dispatch(adamwKernel, bindings, { count, ...numbers }, perElement(count))
  }
}

/** R: one workgroup per row. */
const rowMeansKernel = kernel('adafactor, rows', {
  reads: { gradient: 'f32' },
  writes: { means: 'f32' },
  numbers: { first: 'u32', rows: 'u32', columns: 'u32', epsilon: 'f32' },
  size: 256,
  functions: [SCALARS, sumOver(256)],
  main: /* wgsl */ `${COUNTED}
  if (own >= numbers.rows) { return; }
  var squares = 0.0;
  for (var c = lane; c < numbers.columns; c += 256u) {
    let g = gradientScale() * gradient[own * numbers.columns + c];
    squares += g * g;
  }
  let mean = sumOver(lane, squares) / f32(numbers.columns) + numbers.epsilon;
  if (lane == 0u) { means[numbers.first + own] = folded(means[numbers.first + own], mean); }
`,
})

/** What R says of the update: 1 / √(R / mean R) of each row. One workgroup. */
const rowFactorsKernel = kernel('adafactor, row factors', {
  reads: { means: 'f32' },
  writes: { factors: 'f32' },
  numbers: { rows: 'u32' },
  size: 256,
  functions: [sumOver(256)],
  main: /* wgsl */ `
  var sum = 0.0;
  for (var r = lane; r < numbers.rows; r += 256u) { sum += means[r]; }
  let mean = sumOver(lane, sum) / f32(numbers.rows);
  for (var r = lane; r < numbers.rows; r += 256u) { factors[r] = 1.0 / sqrt(means[r] / mean); }
`,
})

/** Rows whose squares are added to one part of a column's sum. */
const PART_ROWS = 256

/** One invocation per column of PART_ROWS rows. */
const columnPartsKernel = kernel('adafactor, column parts', {
  reads: { gradient: 'f32' },
  writes: { parts: 'f32' },
  numbers: { firstPart: 'u32', rows: 'u32', columns: 'u32' },
  size: 64,
  functions: [SCALARS],
  main: /* wgsl */ `
  if (id.x >= numbers.columns) { return; }
  let begin = group.y * ${PART_ROWS}u;
  var sum = 0.0;
  for (var r = begin; r < min(begin + ${PART_ROWS}u, numbers.rows); r++) {
    let g = gradientScale() * gradient[r * numbers.columns + id.x];
    sum += g * g;
  }
  parts[(numbers.firstPart + group.y) * numbers.columns + id.x] = sum;
`,
})

/** C, and what it says of the update: 1 / √C of each column. */
const columnFactorsKernel = kernel('adafactor, column factors', {
  reads: { parts: 'f32' },
  writes: { means: 'f32', factors: 'f32' },
  numbers: { parts: 'u32', rows: 'u32', columns: 'u32', epsilon: 'f32' },
  size: 256,
  functions: [SCALARS],
  main: /* wgsl */ `${COUNTED}
  if (i >= numbers.columns) { return; }
  var sum = 0.0;
  for (var part = 0u; part < numbers.parts; part++) { sum += parts[part * numbers.columns + i]; }
  let mean = folded(means[i], sum / f32(numbers.rows) + numbers.epsilon);
  means[i] = mean;
  factors[i] = 1.0 / sqrt(mean);
`,
})

/** A vector is one row whose squares are kept as they are. */
const vectorKernel = kernel('adafactor, vector', {
  reads: { gradient: 'f32' },
  writes: { squares: 'f32', factors: 'f32', rowFactors: 'f32' },
  numbers: { count: 'u32', epsilon: 'f32' },
  size: 256,
  functions: [SCALARS],
  main: /* wgsl */ `${COUNTED}
  if (i == 0u) { rowFactors[0] = 1.0; }
  if (i >= numbers.count) { return; }
  let g = gradientScale() * gradient[i];
  let square = folded(squares[i], g * g + numbers.epsilon);
  squares[i] = square;
  factors[i] = 1.0 / sqrt(square);
`,
})

/** u of a value before it is made smaller. Row by column first could leave the range of float32. */
const UPDATE_OF = /* wgsl */ `
fn updateOf(gradient: f32, row: f32, column: f32) -> f32 { return gradientScale() * gradient * row * column; }`

/** Σ u² of each row: one workgroup each. */
const sizesKernel = kernel('adafactor, sizes', {
  reads: { gradient: 'f32', rowFactors: 'f32', factors: 'f32' },
  writes: { sums: 'f32' },
  numbers: { first: 'u32', rows: 'u32', columns: 'u32' },
  size: 256,
  functions: [SCALARS, UPDATE_OF, sumOver(256)],
  main: /* wgsl */ `${COUNTED}
  if (own >= numbers.rows) { return; }
  var squares = 0.0;
  for (var c = lane; c < numbers.columns; c += 256u) {
    let u = updateOf(gradient[own * numbers.columns + c], rowFactors[numbers.first + own], factors[c]);
    squares += u * u;
  }
  let sum = sumOver(lane, squares);
  if (lane == 0u) { sums[numbers.first + own] = sum; }
`,
})

/** The learning rate, made smaller where the update is larger than it may be. One workgroup. */
const rateKernel = kernel('adafactor, rate', {
  reads: { sums: 'f32' },
  writes: { rate: 'f32' },
  numbers: { rows: 'u32', columns: 'u32', clipThreshold: 'f32' },
  size: 256,
  functions: [SCALARS, sumOver(256)],
  main: /* wgsl */ `
  var sum = 0.0;
  for (var r = lane; r < numbers.rows; r += 256u) { sum += sums[r]; }
  let size = sqrt(sumOver(lane, sum) / f32(numbers.rows) / f32(numbers.columns));
  if (lane == 0u) { rate[0] = learningRate() / max(1.0, size / numbers.clipThreshold); }
`,
})

const updateKernel = kernel('adafactor, update', {
  reads: { rate: 'f32', rowFactors: 'f32', factors: 'f32' },
  writes: { weight: 'f32', gradient: 'f32' },
  numbers: { first: 'u32', count: 'u32', columns: 'u32', decay: 'f32' },
  size: 256,
  functions: [SCALARS, UPDATE_OF],
  main: /* wgsl */ `${COUNTED}
  if (i >= numbers.count) { return; }
  let u = updateOf(gradient[i], rowFactors[numbers.first + i / numbers.columns], factors[i % numbers.columns]);
  weight[i] = weight[i] * (1.0 - learningRate() * numbers.decay) - rate[0] * u;
  gradient[i] = 0.0;
`,
})

export const adafactorWebGpu: WebGpuLoweringRule = ({ inputs, attributes }, lower) => {
  const [weight, gradient, first, second] = inputs
  const { epsilon, clipThreshold, decay } = attributes as unknown as AdafactorAttributes
  const { rows, columns } = matrixSize(weight!.shape)
  const rowFactors = lower.scratch(rows * 4)
  const factors = lower.scratch(columns * 4)
  const gradients = lower.pieces(gradient!)
  if (second) {
    for (const piece of gradients) {
      const numbers = { first: piece.first, rows: piece.rows, columns, epsilon }
      const bindings = { gradient: data(piece), means: first! }
      lower.dispatch(rowMeansKernel, bindings, numbers, workgroups(piece.rows))
    }
    lower.dispatch(rowFactorsKernel, { means: first!, factors: rowFactors }, { rows }, workgroups(1))
    const parts = addColumns(lower, gradients)
    const bindings = { parts: parts.sums, means: second, factors }
    const numbers = { parts: parts.count, rows, columns, epsilon }
    lower.dispatch(columnFactorsKernel, bindings, numbers, perElement(columns))
  } else {
    const bindings = { gradient: gradient!, squares: first!, factors, rowFactors }
    lower.dispatch(
      vectorKernel,
      bindings,
      { count: elementCount(weight!.shape), epsilon },
      perElement(columns),
    )
  }
  const sums = lower.scratch(rows * 4)
  for (const piece of gradients) {
    const numbers = { first: piece.first, rows: piece.rows, columns }
    lower.dispatch(
      sizesKernel,
      { gradient: data(piece), rowFactors, factors, sums },
      numbers,
      workgroups(piece.rows),
    )
  }
  const rate = lower.scratch(4)
  lower.dispatch(rateKernel, { sums, rate }, { rows, columns, clipThreshold }, workgroups(1))
  for (const [own, ownGradient] of piecesOf(lower, [weight!, gradient!])) {
    const count = elementsOf(own!)
    const bindings = { rate, rowFactors, factors, weight: data(own!), gradient: data(ownGradient!) }
    lower.dispatch(updateKernel, bindings, { first: own!.first, count, columns, decay }, perElement(count))
  }
}

/** Sums of squares of each column, in parts of PART_ROWS rows. */
function addColumns(
  lower: WebGpuLowering,
  gradients: readonly Piece[],
): { readonly sums: ReturnType<WebGpuLowering['scratch']>; readonly count: number } {
  const columns = columnsOf(gradients[0]!.tensor)
  const partsIn = ({ rows }: Piece): number => Math.ceil(rows / PART_ROWS)
  const count = gradients.reduce((sum, piece) => sum + partsIn(piece), 0)
  const sums = lower.scratch(count * columns * 4)
  let firstPart = 0
  for (const piece of gradients) {
    lower.dispatch(
      columnPartsKernel,
      { gradient: data(piece), parts: sums },
      { firstPart, rows: piece.rows, columns },
      () => [Math.ceil(columns / 64), partsIn(piece), 1],
    )
    firstPart += partsIn(piece)
  }
  return { sums, count }
}
