// y = x · Wᵀ for one row or a few: what decoding does. Reading the weights is all the work, so each invocation takes 16
// bytes of a weight row at a time (32 integers of 8 bits: twice that) and its neighbours the next; a workgroup sums the
// products of a few weight rows at once, so that each load of x serves them all. A gated product takes two halves of a weight,
// gate above up, and gives gelu(gate) · up: a workgroup has the rows of both that belong together.

import { GELU } from '../geglu/geglu.wgsl.ts'
import { type Kernel, kernel, kernelOf, type TwoForms } from '../wgsl/kernel.ts'
import { EXP } from '../wgsl/math.ts'
import { HALF } from '../wgsl/weight.ts'

export type FloatDtype = 'f32' | 'bf16' | 'f16'
export type IntegerDtype = 'int8' | 'int8row' | 'int4' | 'int4min'
/** Rows of x that one workgroup takes. */
export type Tokens = 1 | 4

const LANES = 64
/** Weight rows of one workgroup. */
export const VECTOR_ROWS = 4

/** What every kernel of a product is told; `begin` counts within the piece, `outFrom` within a row of the result. */
export const PRODUCT_NUMBERS = {
  rows: 'u32',
  columns: 'u32',
  begin: 'u32',
  count: 'u32',
  outColumns: 'u32',
  outFrom: 'u32',
} as const

export type ProductNumber = keyof typeof PRODUCT_NUMBERS
export type FloatVectorKernel = Kernel<'x' | 'weight' | 'out', ProductNumber>
export type IntegerKernel = Kernel<'x' | 'xScales' | 'weight' | 'scales' | 'minima' | 'out', ProductNumber>

/** Code for each row of x that a workgroup takes. */
function each(tokens: Tokens, code: (t: number) => string): string {
  return Array.from({ length: tokens }, (_, t) => code(t)).join('\n    ')
}

/** Numbers of a row that one workgroup gives. */
export function vectorOutputs(gated: boolean): number {
  return gated ? VECTOR_ROWS / 2 : VECTOR_ROWS
}

/** Weight row of sum `r`: gated, every other one lies as many rows below as there are results. */
const weightRow = (gated: boolean, r: string): string =>
  gated
    ? `(min(first + ${r} / 2u, numbers.count - 1u) + ${r} % 2u * numbers.count)`
    : `min(first + ${r}, numbers.count - 1u)`

const start = (tokens: Tokens, gated: boolean): string => /* wgsl */ `
  let rows = min(numbers.rows, run.rows);
  let first = (group.x + group.y * groups.x) * ${vectorOutputs(gated)}u;
  let token0 = group.z * ${tokens}u;
  if (first >= numbers.count || token0 >= rows) { return; }
  var sums: array<f32, ${VECTOR_ROWS * tokens}>;`

/** gatherSums brings the lanes' sums together; then wholeSum gives each in full. */
const shared = (tokens: Tokens, gated: boolean): (string | TwoForms)[] => {
  const sums = VECTOR_ROWS * tokens
  const plain = /* wgsl */ `
var<workgroup> partial: array<f32, ${LANES * sums}>;
var<workgroup> eighths: array<f32, ${8 * sums}>;
fn gatherSums(lane: u32, sums: ptr<function, array<f32, ${sums}>>) {
  for (var i = 0u; i < ${sums}u; i++) { partial[i * ${LANES}u + lane] = (*sums)[i]; }
  workgroupBarrier();
  for (var i = lane / 8u; i < ${sums}u; i += ${LANES / 8}u) {
    var sum = 0.0;
    for (var j = 0u; j < ${LANES / 8}u; j++) { sum += partial[i * ${LANES}u + j * 8u + lane % 8u]; }
    eighths[i * 8u + lane % 8u] = sum;
  }
  workgroupBarrier();
}
fn wholeSum(i: u32) -> f32 {
  var sum = 0.0;
  for (var j = 0u; j < 8u; j++) { sum += eighths[i * 8u + j]; }
  return sum;
}`
  const subgroups = /* wgsl */ `
var<workgroup> partial: array<f32, ${(LANES / 4) * sums}>;
fn gatherSums(lane: u32, sums: ptr<function, array<f32, ${sums}>>) {
  for (var i = 0u; i < ${sums}u; i++) {
    let sum = subgroupAdd((*sums)[i]);
    if (subgroupLane == 0u) { partial[subgroupIndex * ${sums}u + i] = sum; }
  }
  workgroupBarrier();
}
fn wholeSum(i: u32) -> f32 {
  var sum = 0.0;
  for (var j = 0u; j < (${LANES}u + subgroupLanes - 1u) / subgroupLanes; j++) { sum += partial[j * ${sums}u + i]; }
  return sum;
}`
  return [{ plain, subgroups }, ...(gated ? [EXP, GELU] : [])]
}

/** One invocation per result writes it. `factor`: of a weight row. */
const finish = (
  tokens: Tokens,
  gated: boolean,
  factor: (row: string) => string = () => '',
): string => /* wgsl */ `
  gatherSums(lane, &sums);
  if (lane >= ${vectorOutputs(gated) * tokens}u) { return; }
  let row = first + lane % ${vectorOutputs(gated)}u;
  let token = token0 + lane / ${vectorOutputs(gated)}u;
  if (row < numbers.count && token < rows) {
    ${
      gated
        ? `let gate = wholeSum(2u * lane)${factor('row')};
    let up = wholeSum(2u * lane + 1u)${factor('numbers.count + row')};
    let value = gelu(gate) * up;`
        : `let value = wholeSum(lane)${factor('row')};`
    }
    out[token * numbers.outColumns + numbers.outFrom + row] = value;
  }`

/** How one load of a weight row is read, and multiplied with what stands beside it in x. */
interface Load {
  readonly values: number
  readonly element: string
  readonly x: (at: string, t: number) => string
  readonly weight: string
  readonly product: (t: number) => string
}

/** Eight 16-bit values; of each word the low half is the earlier column. */
function eight(low: (word: string) => string, high: (word: string) => string): Load {
  const pair = (word: string): string => `${low(word)}, ${high(word)}`
  return {
    values: 8,
    element: 'vec4u',
    x: (at, t) => `let i${t} = 2u * (${at}); let a${t} = x[i${t}]; let b${t} = x[i${t} + 1u];`,
    weight: `let w = weight[i];
      let a = vec4f(${pair('w.x')}, ${pair('w.y')});
      let b = vec4f(${pair('w.z')}, ${pair('w.w')});`,
    product: (t) => `dot(a, a${t}) + dot(b, b${t})`,
  }
}

const WIDE: Readonly<Record<FloatDtype, Load>> = {
  f32: {
    values: 4,
    element: 'vec4f',
    x: (at, t) => `let a${t} = x[${at}];`,
    weight: 'let a = weight[i];',
    product: (t) => `dot(a, a${t})`,
  },
  bf16: eight(
    (word) => `bitcast<f32>(${word} << 16u)`,
    (word) => `bitcast<f32>(${word} & 0xffff0000u)`,
  ),
  f16: eight(
    (word) => `unpack2x16float(${word}).x`,
    (word) => `unpack2x16float(${word}).y`,
  ),
}

function one(weight: string): Load {
  const x = (at: string, t: number): string => `let a${t} = x[${at}];`
  return { values: 1, element: 'u32', x, weight: `let a = ${weight};`, product: (t) => `a * a${t}` }
}

/** For rows that are not whole loads: value by value. */
const NARROW: Readonly<Record<FloatDtype, Load>> = {
  f32: one('bitcast<f32>(weight[i])'),
  bf16: one('bitcast<f32>((weight[i / 2u] << (16u * (1u - (i & 1u)))) & 0xffff0000u)'),
  f16: one('unpack2x16float(weight[i / 2u])[i & 1u]'),
}

/** Whether rows of so many columns are whole loads. */
export function isWide(dtype: FloatDtype, columns: number): boolean {
  return columns % WIDE[dtype].values === 0
}

export const floatVectorKernel: (
  dtype: FloatDtype,
  wide: boolean,
  tokens: Tokens,
  gated: boolean,
) => FloatVectorKernel = kernelOf(
  (dtype: FloatDtype, wide: boolean, tokens: Tokens, gated: boolean): FloatVectorKernel => {
    const load = wide ? WIDE[dtype] : NARROW[dtype]
    return kernel(`linear ${dtype}, ${wide ? 'wide' : 'narrow'}, ${tokens}${gated ? ', gated' : ''}`, {
      reads: { x: wide ? 'vec4f' : 'f32', weight: load.element },
      writes: { out: 'f32' },
      numbers: PRODUCT_NUMBERS,
      size: LANES,
      functions: shared(tokens, gated),
      main: /* wgsl */ `${start(tokens, gated)}
  let loads = numbers.columns / ${load.values}u;
  for (var k = lane; k < loads; k += ${LANES}u) {
    ${each(tokens, (t) => load.x(`min(token0 + ${t}u, rows - 1u) * loads + k`, t))}
    for (var r = 0u; r < ${VECTOR_ROWS}u; r++) {
      let i = (numbers.begin + ${weightRow(gated, 'r')}) * loads + k;
      ${load.weight}
      ${each(tokens, (t) => `sums[${t * VECTOR_ROWS}u + r] += ${load.product(t)};`)}
    }
  }
  ${finish(tokens, gated)}
`,
    })
  },
)

const FOUR_BITS = /* wgsl */ `let w = weight[i];
      let a = w & vec4u(0x0f0f0f0fu);
      let b = (w >> vec4u(4u)) & vec4u(0x0f0f0f0fu);`
const EIGHT_BITS = 'let a = weight[2u * i]; let b = weight[2u * i + 1u];'

/** Products of rounded rows with packed weights: an invocation takes a block of 32 at a time. */
export const integerVectorKernel: (dtype: IntegerDtype, tokens: Tokens, gated: boolean) => IntegerKernel =
  kernelOf((dtype: IntegerDtype, tokens: Tokens, gated: boolean): IntegerKernel => {
    const dot = (a: string, x: string): string =>
      ['x', 'y', 'z', 'w'].map((c) => `dot4I8Packed(${a}.${c}, ${x}.${c})`).join(' + ')
    const term = (t: number): string => {
      const product = `s${t}.x * f32(${dot('a', `a${t}`)} + ${dot('b', `b${t}`)})`
      if (dtype === 'int8row') return product
      if (dtype === 'int8') return `scale * (${product})`
      if (dtype === 'int4') return `scale * (${product} - 8.0 * s${t}.y)`
      return `scale * (${product}) + half(minima[i / 2u], i) * s${t}.y`
    }
    return kernel(`linear ${dtype}, ${tokens}${gated ? ', gated' : ''}`, {
      reads: { x: 'vec4u', xScales: 'vec2f', weight: 'vec4u', scales: 'u32', minima: 'u32' },
      writes: { out: 'f32' },
      numbers: PRODUCT_NUMBERS,
      size: LANES,
      functions: [...shared(tokens, gated), HALF],
      main: /* wgsl */ `${start(tokens, gated)}
  let blocks = (numbers.columns + 31u) / 32u;
  for (var k = lane; k < blocks; k += ${LANES}u) {
    ${each(
      tokens,
      (t) => `let i${t} = min(token0 + ${t}u, rows - 1u) * blocks + k;
    let a${t} = x[2u * i${t}]; let b${t} = x[2u * i${t} + 1u]; let s${t} = xScales[i${t}];`,
    )}
    for (var r = 0u; r < ${VECTOR_ROWS}u; r++) {
      let i = (numbers.begin + ${weightRow(gated, 'r')}) * blocks + k;
      ${dtype === 'int4' || dtype === 'int4min' ? FOUR_BITS : EIGHT_BITS}
      ${dtype === 'int8row' ? '' : 'let scale = half(scales[i / 2u], i);'}
      ${each(tokens, (t) => `sums[${t * VECTOR_ROWS}u + r] += ${term(t)};`)}
    }
  }
  ${finish(tokens, gated, (row) => (dtype === 'int8row' ? ` * bitcast<f32>(scales[numbers.begin + ${row}])` : ''))}
`,
    })
  })
