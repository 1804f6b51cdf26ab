// y = x · Wᵀ for many rows (prompts, training): tiles of 64 rows by 64 weight rows, brought into workgroup memory 16
// columns (or one block of 32 integers) at a time; each of 256 invocations sums 4 × 4 products.

import { type Kernel, kernel, kernelOf } from '../wgsl/kernel.ts'
import { decoder, HALF, type WeightDtype } from '../wgsl/weight.ts'
import { type IntegerDtype, type IntegerKernel, PRODUCT_NUMBERS, type ProductNumber } from './vector.wgsl.ts'

/** Rows of a tile, both ways. */
export const TILE = 64

const START = /* wgsl */ `
  let rows = min(numbers.rows, run.rows);
  let row0 = group.y * 64u;
  let first = group.x * 64u;
  if (row0 >= rows) { return; }
  let tx = lane % 16u;
  let ty = lane / 16u;
  var sums: array<vec4f, 4>;`

const finish = (factor = ''): string => /* wgsl */ `
  for (var i = 0u; i < 4u; i++) {
    let row = row0 + 4u * ty + i;
    for (var j = 0u; j < 4u; j++) {
      let column = first + 4u * tx + j;
      if (row < rows && column < numbers.count) {
        out[row * numbers.outColumns + numbers.outFrom + column] = sums[i][j]${factor};
      }
    }
  }
`

/** A step of 16 columns: xs and ws hold, column by column, quads of rows. */
export const TILE_PRODUCT: string = /* wgsl */ `
var<workgroup> xs: array<vec4f, 256>;
var<workgroup> ws: array<vec4f, 256>;
fn multiplyTiles(sums: ptr<function, array<vec4f, 4>>, tx: u32, ty: u32) {
  workgroupBarrier();
  for (var i = 0u; i < 16u; i++) {
    let a = xs[i * 16u + ty];
    let b = ws[i * 16u + tx];
    (*sums)[0] += a.x * b;
    (*sums)[1] += a.y * b;
    (*sums)[2] += a.z * b;
    (*sums)[3] += a.w * b;
  }
  workgroupBarrier();
}`

/** With x as it is and the weight decoded: exact products, whatever the weight is held in. */
export type MatrixKernel = Kernel<'x' | 'weight' | 'scales' | 'minima' | 'out', ProductNumber>
export const floatMatrixKernel: (dtype: WeightDtype) => MatrixKernel = kernelOf((dtype: WeightDtype) =>
  kernel(`linear ${dtype}, matrix`, {
    reads: { x: 'f32', weight: 'u32', scales: 'u32', minima: 'u32' },
    writes: { out: 'f32' },
    numbers: PRODUCT_NUMBERS,
    size: 256,
    functions: [
      decoder(dtype),
      TILE_PRODUCT,
      /* wgsl */ `
fn xAt(row: u32, column: u32, rows: u32) -> f32 {
  if (row >= rows || column >= numbers.columns) { return 0.0; }
  return x[row * numbers.columns + column];
}
fn weightAt(row: u32, column: u32) -> f32 {
  if (row >= numbers.count || column >= numbers.columns) { return 0.0; }
  return decode(numbers.begin + row, column);
}`,
    ],
    main: /* wgsl */ `${START}
  // Each invocation brings the same column of four rows; its neighbours bring the next columns.
  let k = lane % 16u;
  let quad = lane / 16u;
  let r = row0 + 4u * quad;
  let w = first + 4u * quad;
  for (var base = 0u; base < numbers.columns; base += 16u) {
    let c = base + k;
    xs[k * 16u + quad] = vec4f(xAt(r, c, rows), xAt(r + 1u, c, rows), xAt(r + 2u, c, rows), xAt(r + 3u, c, rows));
    ws[k * 16u + quad] = vec4f(weightAt(w, c), weightAt(w + 1u, c), weightAt(w + 2u, c), weightAt(w + 3u, c));
    multiplyTiles(&sums, tx, ty);
  }
  ${finish()}`,
  }),
)

/** Of rounded rows and packed weights: a word (four columns) of all 64 rows lies side by side in workgroup memory. */
export const integerMatrixKernel: (dtype: IntegerDtype) => IntegerKernel = kernelOf((dtype: IntegerDtype) => {
  const narrow = dtype === 'int4' || dtype === 'int4min'
  const scale = dtype === 'int8row' ? '1.0' : 'half(scales[w / 2u], w)'
  const minimum = dtype === 'int4min' ? 'half(minima[w / 2u], w)' : '0.0'
  const centre = dtype === 'int4' ? ' - 8.0 * own.y' : ''
  return kernel(`linear ${dtype}, matrix of integers`, {
    reads: { x: 'u32', xScales: 'vec2f', weight: 'u32', scales: 'u32', minima: 'u32' },
    writes: { out: 'f32' },
    numbers: PRODUCT_NUMBERS,
    size: 256,
    functions: [
      HALF,
      /* wgsl */ `
var<workgroup> xs: array<u32, 512>;
var<workgroup> ws: array<u32, 512>;
var<workgroup> xOwn: array<vec2f, 64>;
var<workgroup> wScales: array<vec4f, 16>;
var<workgroup> wMinima: array<vec4f, 16>;
fn word(at: u32) -> vec4u { return vec4u(ws[at], ws[at + 1u], ws[at + 2u], ws[at + 3u]); }
fn scaleOf(w: u32) -> f32 { return ${scale}; }
fn minimumOf(w: u32) -> f32 { return ${minimum}; }
fn weightRow(first: u32, r: u32) -> u32 { return numbers.begin + min(first + r, numbers.count - 1u); }`,
    ],
    main: /* wgsl */ `${START}
  let blocks = (numbers.columns + 31u) / 32u;
  for (var block = 0u; block < blocks; block++) {
    for (var i = lane; i < 512u; i += 256u) {
      let own = i / 8u;
      let part = i % 8u;
      xs[part * 64u + own] = x[(min(row0 + own, rows - 1u) * blocks + block) * 8u + part];
      let w = weightRow(first, own) * blocks + block;
      ws[part * 64u + own] = ${
        narrow ? '(weight[w * 4u + part % 4u] >> (4u * (part / 4u))) & 0x0f0f0f0fu' : 'weight[w * 8u + part]'
      };
    }
    if (lane < 64u) { xOwn[lane] = xScales[min(row0 + lane, rows - 1u) * blocks + block]; }
    if (lane >= 64u && lane < 80u) {
      let quad = lane - 64u;
      let w = vec4u(weightRow(first, 4u * quad), weightRow(first, 4u * quad + 1u),
        weightRow(first, 4u * quad + 2u), weightRow(first, 4u * quad + 3u)) * blocks + block;
      wScales[quad] = vec4f(scaleOf(w.x), scaleOf(w.y), scaleOf(w.z), scaleOf(w.w));
      wMinima[quad] = vec4f(minimumOf(w.x), minimumOf(w.y), minimumOf(w.z), minimumOf(w.w));
    }
    workgroupBarrier();
    var dots = array<vec4i, 4>();
    for (var part = 0u; part < 8u; part++) {
      let b = word(part * 64u + 4u * tx);
      for (var i = 0u; i < 4u; i++) {
        let a = xs[part * 64u + 4u * ty + i];
        dots[i] += vec4i(dot4I8Packed(a, b.x), dot4I8Packed(a, b.y), dot4I8Packed(a, b.z), dot4I8Packed(a, b.w));
      }
    }
    for (var i = 0u; i < 4u; i++) {
      let own = xOwn[4u * ty + i];
      sums[i] += wScales[tx] * (own.x * vec4f(dots[i])${centre}) + wMinima[tx] * own.y;
    }
    workgroupBarrier();
  }
  ${finish(dtype === 'int8row' ? ' * bitcast<f32>(scales[numbers.begin + column])' : '')}`,
  })
})
