// Writing keys and values into the cache on the GPU, in the cache's own form: f32 and f16 row by row, int8 as the bytes of
// a row in words, then the f32 scale of each 32 of them.

import { type CacheDtype, cacheRowBytes } from '../../graph/dtype.ts'
import { ROUND_BLOCK } from '../linear/quantize.wgsl.ts'
import { elementwise, type WebGpuLoweringRule } from '../lowering-webgpu.ts'
import { type Kernel, type KernelParts, kernel } from '../wgsl/kernel.ts'
import { HALF_BITS } from '../wgsl/math.ts'

const PARTS = {
  reads: { values: 'f32' },
  writes: { cache: 'u32' },
  numbers: { width: 'u32', capacity: 'u32', stride: 'u32' },
  size: 64,
} as const satisfies Partial<KernelParts<string, string, string>>

const SLOT = /* wgsl */ `
// The word at which a row's place in the cache begins.
fn slotOf(row: u32) -> u32 {
  let slot = u32(runRows[row].sequence) * numbers.capacity + u32(runRows[row].position) % numbers.capacity;
  return slot * numbers.stride;
}`

type AppendKernel = Kernel<'values' | 'cache', 'width' | 'capacity' | 'stride'>

/** Each with the values that one invocation writes. */
const KERNELS: Readonly<Record<CacheDtype, readonly [AppendKernel, number]>> = {
  f32: [
    kernel('append f32', {
      ...PARTS,
      functions: [SLOT],
      main: /* wgsl */ `
  if (id.x >= numbers.width || id.y >= run.rows) { return; }
  cache[slotOf(id.y) + id.x] = bitcast<u32>(values[id.y * numbers.width + id.x]);
`,
    }),
    1,
  ],
  f16: [
    kernel('append f16', {
      ...PARTS,
      functions: [SLOT, HALF_BITS],
      main: /* wgsl */ `
  let i = 2u * id.x;
  if (i >= numbers.width || id.y >= run.rows) { return; }
  let at = id.y * numbers.width + i;
  var word = halfBits(values[at]);
  if (i + 1u < numbers.width) { word |= halfBits(values[at + 1u]) << 16u; }
  cache[slotOf(id.y) + id.x] = word;
`,
    }),
    2,
  ],
  int8: [
    kernel('append int8', {
      ...PARTS,
      functions: [SLOT, ROUND_BLOCK('values')],
      main: /* wgsl */ `
  let base = 32u * id.x;
  if (base >= numbers.width || id.y >= run.rows) { return; }
  let count = min(32u, numbers.width - base);
  let at = id.y * numbers.width + base;
  let largest = largestIn(at, count);
  let inverse = inverseOf(largest);
  let row = slotOf(id.y);
  for (var word = 0u; 4u * word < count; word++) {
    cache[row + 8u * id.x + word] = roundedWord(at, count, word, inverse);
  }
  cache[row + (numbers.width + 3u) / 4u + id.x] = bitcast<u32>(largest / 127.0);
`,
    }),
    32,
  ],
}

export const appendWebGpu: WebGpuLoweringRule = ({ inputs: [values, cache], attributes }, lower) => {
  const width = cache!.shape[1]!
  const dtype = cache!.dtype as CacheDtype
  const [append, perInvocation] = KERNELS[dtype]
  const numbers = { width, capacity: attributes.capacity as number, stride: cacheStride(dtype, width) }
  const groups = elementwise(Math.ceil(width / perInvocation))
  lower.dispatch(append, { values: values!, cache: cache! }, numbers, groups)
}

/** Words of one row of a cache. */
export function cacheStride(dtype: CacheDtype, width: number): number {
  return Math.ceil(cacheRowBytes(dtype, width) / 4)
}
