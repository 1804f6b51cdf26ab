// Writing keys and values into the cache on the GPU, in the cache's own form: f32 and f16 row by row, int8 as the bytes of
// a row in words, then the f32 scale of each 32 of them.

import { type CacheDtype, cacheRowBytes } from '../../graph/dtype.ts'
import { ROUND_BLOCK } from '../linear/quantize.wgsl.ts'
import { elementwise, type WebGpuLoweringRule } from '../lowering-webgpu.ts'
import { kernel, kernelOf } from '../wgsl/kernel.ts'
import { HALF_BITS } from '../wgsl/math.ts'

/**
 * fn slotOf: the word at which a row's place in the cache begins. Needs numbers.capacity, and numbers.stride, the words of a
 * row.
 */
export const SLOT: string = /* wgsl */ `
fn slotOf(row: u32) -> u32 {
  let slot = u32(runRows[row].sequence) * numbers.capacity + u32(runRows[row].position) % numbers.capacity;
  return slot * numbers.stride;
}`

/** Values that are written together: what fills a word, or shares a scale. */
export const UNIT: Readonly<Record<CacheDtype, number>> = { f32: 1, f16: 2, int8: 32 }

/** What appendUnit needs, once for all caches that get values of the same array. */
export function appendHelpers(dtype: CacheDtype, array: string): readonly string[] {
  if (dtype === 'f16') return [HALF_BITS]
  return dtype === 'int8' ? [ROUND_BLOCK(array)] : []
}

/**
 * fn NAME(slot, unit, at): writes a unit of the cache row that begins at word `slot`; its values begin at `at` of the array.
 * Needs numbers.width, the values of a row.
 */
export function appendUnit(
  dtype: CacheDtype,
  { name, array, cache }: Record<'name' | 'array' | 'cache', string>,
): string {
  const body: Readonly<Record<CacheDtype, string>> = {
    f32: `${cache}[slot + unit] = bitcast<u32>(${array}[at]);`,
    f16: /* wgsl */ `
  var word = halfBits(${array}[at]);
  if (2u * unit + 1u < numbers.width) { word |= halfBits(${array}[at + 1u]) << 16u; }
  ${cache}[slot + unit] = word;`,
    int8: /* wgsl */ `
  let count = min(32u, numbers.width - 32u * unit);
  let largest = largestIn(at, count);
  let inverse = inverseOf(largest);
  for (var word = 0u; 4u * word < count; word++) {
    ${cache}[slot + 8u * unit + word] = roundedWord(at, count, word, inverse);
  }
  ${cache}[slot + (numbers.width + 3u) / 4u + unit] = bitcast<u32>(largest / 127.0);`,
  }
  return /* wgsl */ `
fn ${name}(slot: u32, unit: u32, at: u32) { ${body[dtype]} }`
}

const appendKernel = kernelOf((dtype: CacheDtype) =>
  kernel(`append ${dtype}`, {
    reads: { values: 'f32' },
    writes: { cache: 'u32' },
    numbers: { width: 'u32', capacity: 'u32', stride: 'u32' },
    size: 64,
    functions: [
      SLOT,
      ...appendHelpers(dtype, 'values'),
      appendUnit(dtype, { name: 'appendUnit', array: 'values', cache: 'cache' }),
    ],
    main: /* wgsl */ `
  let first = ${UNIT[dtype]}u * id.x;
  if (first >= numbers.width || id.y >= run.rows) { return; }
  appendUnit(slotOf(id.y), id.x, id.y * numbers.width + first);
`,
  }),
)

export const appendWebGpu: WebGpuLoweringRule = ({ inputs: [values, cache], attributes }, lower) => {
  const width = cache!.shape[1]!
  const dtype = cache!.dtype as CacheDtype
  const numbers = { width, capacity: attributes.capacity as number, stride: cacheStride(dtype, width) }
  const groups = elementwise(Math.ceil(width / UNIT[dtype]))
  lower.dispatch(appendKernel(dtype), { values: values!, cache: cache! }, numbers, groups)
}

/** Words of one row of a cache. */
export function cacheStride(dtype: CacheDtype, width: number): number {
  return Math.ceil(cacheRowBytes(dtype, width) / 4)
}
