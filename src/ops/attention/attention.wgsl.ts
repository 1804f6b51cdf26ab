// Attention over the cache on the GPU. One workgroup takes up to eight query vectors that share a key head (the heads of a
// group, and where they are few the heads of neighbouring rows) over one stretch of the keys. Keys come 64 at a time: an
// invocation scores one key against all queries, then mixes four columns of all 64 values; running maxima and sums fold the
// runs together (Milakov & Gimelshein 2018, arXiv 1805.02867; Dao et al. 2022, arXiv 2205.14135). A second kernel joins the
// stretches of a long context, and rounds what products with packed weights read.

import { BLOCK, type CacheDtype } from '../../graph/dtype.ts'
import { cacheStride } from '../append/append.wgsl.ts'
import { ROUND_TO, ROUNDED_WRITES, roundsToo } from '../linear/quantize.wgsl.ts'
import type { WebGpuLoweringRule } from '../lowering-webgpu.ts'
import { type Kernel, kernel, kernelOf, NONE } from '../wgsl/kernel.ts'
import { EXP, TANH } from '../wgsl/math.ts'
import type { AttentionOptions } from './attention.ts'

/** Query vectors of one workgroup. */
type Queries = 1 | 4 | 8

/** How a cache is bound, and four values of it from a column on (a multiple of four). */
interface Cached {
  readonly element: string
  readonly read: (cache: string) => string
}

const CACHED: Readonly<Record<CacheDtype, Cached>> = {
  f32: { element: 'vec4f', read: (cache) => `return ${cache}[(slot * numbers.stride + column) / 4u];` },
  f16: {
    element: 'vec2u',
    read: (cache) => `let words = ${cache}[(slot * numbers.stride + column / 2u) / 2u];
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));`,
  },
  int8: {
    element: 'u32',
    read: (cache) => `let row = slot * numbers.stride;
  let scale = bitcast<f32>(${cache}[row + numbers.kvHeads * numbers.headDim / 4u + column / 32u]);
  return vec4f(unpack4xI8(${cache}[row + column / 4u])) * scale;`,
  },
}

/** fn shareOf: how many of the keys that there are by now each stretch has; whole runs of 64, so that the last may be empty. */
const SHARE = /* wgsl */ `
fn shareOf(keys: i32) -> i32 { return (keys - 1) / i32(numbers.splits * 64u) * 64 + 64; }`

/** A score that must not count: far below any other, yet finite. */
const HIDDEN = '-3e38'

const attentionKernel = kernelOf((dtype: CacheDtype, queries: Queries) => {
  const { element, read } = CACHED[dtype]
  return kernel(`attention ${dtype}, ${queries}`, {
    reads: { query: 'vec4f', keys: element, values: element },
    writes: { out: 'f32' },
    numbers: {
      heads: 'u32',
      kvHeads: 'u32',
      headDim: 'u32',
      capacity: 'u32',
      stride: 'u32',
      window: 'u32',
      splits: 'u32',
      rowsPerTile: 'u32',
      headsPerTile: 'u32',
      scale: 'f32',
      softcap: 'f32',
    },
    size: 64,
    functions: [
      EXP,
      TANH,
      SHARE,
      /* wgsl */ `
fn keyAt(slot: u32, column: u32) -> vec4f {
  ${read('keys')}
}
fn valueAt(slot: u32, column: u32) -> vec4f {
  ${read('values')}
}
const QUERIES = ${queries}u;
var<workgroup> scores: array<f32, ${queries * 64}>;
var<workgroup> maxima: array<f32, ${queries * 8}>;`,
    ],
    main: /* wgsl */ `
  let groupSize = numbers.heads / numbers.kvHeads;
  let chunks = (groupSize + numbers.headsPerTile - 1u) / numbers.headsPerTile;
  let kvHead = group.y / chunks;
  let firstHead = kvHead * groupSize + (group.y % chunks) * numbers.headsPerTile;
  let headCount = min(numbers.headsPerTile, (kvHead + 1u) * groupSize - firstHead);
  let columns = numbers.headDim / 4u;
  let row0 = group.x * numbers.rowsPerTile;
  let rowEnd = min(row0 + numbers.rowsPerTile, run.rows);
  var row = row0;
  while (row < rowEnd) {
    // Rows of one sequence are taken together.
    let sequence = runRows[row].sequence;
    let segment = row;
    var nearest = runRows[row].position;
    var farthest = nearest;
    for (row++; row < rowEnd; row++) {
      if (runRows[row].sequence != sequence) { break; }
      nearest = min(nearest, runRows[row].position);
      farthest = max(farthest, runRows[row].position);
    }
    let count = (row - segment) * headCount;
    var at = array<u32, ${queries}>();
    var position = array<i32, ${queries}>();
    for (var j = 0u; j < QUERIES; j++) {
      let own = min(j, count - 1u);
      at[j] = ((segment + own / headCount) * numbers.heads + firstHead + own % headCount) * columns;
      position[j] = runRows[segment + own / headCount].position;
    }
    let window = select(0x7fffffff, i32(numbers.window), numbers.window > 0u);
    let earliest = max(0, nearest - window + 1);
    let share = shareOf(farthest - earliest + 1);
    let first = earliest + i32(group.z) * share;
    let end = min(farthest + 1, first + share);
    if (first >= end) { continue; }
    let slot0 = u32(sequence) * numbers.capacity;
    var largest = array<f32, ${queries}>();
    var total = array<f32, ${queries}>();
    var mixed = array<vec4f, ${queries}>();
    for (var j = 0u; j < QUERIES; j++) { largest[j] = ${HIDDEN}; }
    for (var key = first; key < end; key += 64) {
      let own = key + i32(lane);
      if (own < end) {
        let slot = slot0 + u32(own) % numbers.capacity;
        var dots = array<f32, ${queries}>();
        for (var i = 0u; i < columns; i++) {
          let k = keyAt(slot, kvHead * numbers.headDim + 4u * i);
          for (var j = 0u; j < QUERIES; j++) { dots[j] += dot(query[at[j] + i], k); }
        }
        for (var j = 0u; j < QUERIES; j++) {
          var score = dots[j] * numbers.scale;
          if (numbers.softcap > 0.0) { score = numbers.softcap * hyperbolicTangent(score / numbers.softcap); }
          let visible = own <= position[j] && own > position[j] - window;
          scores[j * 64u + lane] = select(${HIDDEN}, score, visible);
        }
      } else {
        for (var j = 0u; j < QUERIES; j++) { scores[j * 64u + lane] = ${HIDDEN}; }
      }
      workgroupBarrier();
      if (lane < QUERIES * 8u) {
        var value = ${HIDDEN};
        for (var i = 0u; i < 8u; i++) { value = max(value, scores[lane * 8u + i]); }
        maxima[lane] = value;
      }
      workgroupBarrier();
      for (var j = 0u; j < QUERIES; j++) {
        var next = largest[j];
        for (var i = 0u; i < 8u; i++) { next = max(next, maxima[j * 8u + i]); }
        let factor = exponential(largest[j] - next);
        largest[j] = next;
        total[j] *= factor;
        mixed[j] *= factor;
        // Where nothing is visible yet the maximum is HIDDEN itself.
        let score = scores[j * 64u + lane];
        scores[j * 64u + lane] = select(0.0, exponential(score - next), score > -1e38);
      }
      workgroupBarrier();
      let keys = min(64, end - key);
      for (var i = 0; i < keys; i++) {
        let slot = slot0 + u32(key + i) % numbers.capacity;
        let value = valueAt(slot, kvHead * numbers.headDim + 4u * min(lane, columns - 1u));
        for (var j = 0u; j < QUERIES; j++) {
          let weight = scores[j * 64u + u32(i)];
          total[j] += weight;
          mixed[j] += weight * value;
        }
      }
      workgroupBarrier();
    }
    if (lane < columns) {
      for (var j = 0u; j < min(count, QUERIES); j++) {
        if (numbers.splits == 1u) {
          let to = 4u * (at[j] + lane);
          let value = mixed[j] / total[j];
          for (var i = 0u; i < 4u; i++) { out[to + i] = value[i]; }
        } else {
          let to = (at[j] / columns * numbers.splits + group.z) * (numbers.headDim + 2u);
          for (var i = 0u; i < 4u; i++) { out[to + 4u * lane + i] = mixed[j][i]; }
          if (lane == 0u) {
            out[to + numbers.headDim] = largest[j];
            out[to + numbers.headDim + 1u] = total[j];
          }
        }
      }
    }
  }
`,
  })
})

const joinKernel = kernelOf(
  (rounds: boolean): Kernel<string, 'heads' | 'headDim' | 'splits' | 'window'> =>
    kernel<string, string, 'heads' | 'headDim' | 'splits' | 'window'>(
      `attention, join${rounds ? ', rounded' : ''}`,
      {
        reads: { parts: 'f32' },
        writes: { out: 'f32', ...(rounds ? ROUNDED_WRITES : NONE) },
        numbers: { heads: 'u32', headDim: 'u32', splits: 'u32', window: 'u32' },
        size: 64,
        functions: [EXP, SHARE, ...(rounds ? [ROUND_TO('out')] : [])],
        main: /* wgsl */ `
  if (group.y >= run.rows) { return; }
  let head = group.y * numbers.heads + group.x;
  let size = numbers.headDim + 2u;
  let base = head * numbers.splits * size;
  let window = select(0x7fffffff, i32(numbers.window), numbers.window > 0u);
  let keys = min(runRows[group.y].position + 1, window);
  let used = u32((keys - 1) / shareOf(keys) + 1);
  var largest = ${HIDDEN};
  for (var i = 0u; i < used; i++) { largest = max(largest, parts[base + i * size + numbers.headDim]); }
  for (var column = lane; column < numbers.headDim; column += 64u) {
    var total = 0.0;
    var mixed = 0.0;
    for (var i = 0u; i < used; i++) {
      let part = base + i * size;
      let factor = exponential(parts[part + numbers.headDim] - largest);
      total += factor * parts[part + numbers.headDim + 1u];
      mixed += factor * parts[part + column];
    }
    out[head * numbers.headDim + column] = mixed / total;
  }
  ${rounds ? ROUND_HEAD : ''}
`,
      },
    ),
)

const ROUND_HEAD = /* wgsl */ `
  storageBarrier();
  let blocks = numbers.headDim / 32u;
  if (lane < blocks) { roundBlock(head * numbers.headDim + 32u * lane, 32u, head * blocks + lane); }`

/** With few rows, longer contexts than this are taken in stretches: one for every so many slots, but not more than that. */
const UNSPLIT = 256
const SLOTS_PER_SPLIT = 64
const MOST_SPLITS = 32
const FEW_ROWS = 8
const MOST_QUERIES = 8
/** One invocation mixes four columns, and a workgroup has 64. */
const WIDEST_HEAD = 256

export const attentionWebGpu: WebGpuLoweringRule = ({ inputs, outputs: [out], attributes }, lower) => {
  const [query, keys, values] = inputs
  const options = attributes as unknown as AttentionOptions
  const { heads, kvHeads, headDim, scale, capacity, window, softcap } = options
  if (headDim % 4 !== 0 || headDim > WIDEST_HEAD) {
    throw new Error(`attention on WebGPU takes heads of 4, 8, … ${WIDEST_HEAD} values, not ${headDim}`)
  }
  const few = lower.rows <= FEW_ROWS
  const visible = window > 0 ? Math.min(window, capacity) : capacity
  const splits = few && visible > UNSPLIT ? Math.min(MOST_SPLITS, Math.ceil(visible / SLOTS_PER_SPLIT)) : 1
  const group = heads / kvHeads
  const headsPerTile = Math.min(group, MOST_QUERIES)
  const rowsPerTile = few ? 1 : Math.floor(MOST_QUERIES / headsPerTile)
  const queries = headsPerTile * rowsPerTile
  const numbers = {
    ...{ heads, kvHeads, headDim, capacity, window, splits, rowsPerTile, headsPerTile, scale, softcap },
    stride: cacheStride(keys!.dtype as CacheDtype, kvHeads * headDim),
  }
  const tiles = kvHeads * Math.ceil(group / headsPerTile)
  const parts = splits === 1 ? out! : lower.scratch(lower.rows * heads * splits * (headDim + 2) * 4)
  lower.dispatch(
    attentionKernel(keys!.dtype as CacheDtype, queries === 1 ? 1 : queries <= 4 ? 4 : 8),
    { query: query!, keys: keys!, values: values!, out: parts },
    numbers,
    (rows) => [Math.ceil(rows / rowsPerTile), tiles, splits],
  )
  if (splits > 1) {
    const made = headDim % BLOCK === 0 ? roundsToo(out!, lower) : undefined
    const bindings = { parts, out: out!, ...made }
    const groups = (rows: number) => [heads, rows, 1] as const
    lower.dispatch(joinKernel(made !== undefined), bindings, { heads, headDim, splits, window }, groups)
  }
}
