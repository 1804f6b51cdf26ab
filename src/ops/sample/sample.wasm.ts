// sampleScan: maxima and sums of chunks of 1 024 logits, shared among the workers. samplePick: one unit is
// one row; combines the chunks in a fixed order, so that the choice does not depend on the thread count.
import {
  RUN_TEMPERATURE, RUN_TOP_K, RUN_TOP_P, RUN_UNIFORM, exp4, integer, pointer, share, sum4, validRows, exp1,
} from '../../backends/wasm/runtime.wasm'
import { exponentialSum, largestOf } from '../logprob/logprob.wasm'

const CHUNK: i32 = 1024
const BINS: i32 = 1024
/** Bins per unit of (largest − logit) / temperature; the last bin holds all that lies beyond 32. */
const BINS_PER_UNIT: f32 = 32

export function sampleScan(args: usize, worker: i32, workers: i32): void {
  const logits = pointer(args, 0)
  const partial = pointer(args, 1)
  const rows = validRows(integer(args, 2))
  const width = integer(args, 3)
  const chunks = (width + CHUNK - 1) / CHUNK
  const units = rows * chunks
  const temperature = load<f32>(RUN_TEMPERATURE)
  const end = share(units, worker + 1, workers)
  for (let unit = share(units, worker, workers); unit < end; unit++) {
    const from = (unit % chunks) * CHUNK
    const count = min(CHUNK, width - from)
    const row = logits + ((<usize>(unit / chunks) * <usize>width + <usize>from) << 2)
    const index = largestOf(row, count)
    const largest = load<f32>(row + (<usize>index << 2))
    const to = partial + (<usize>unit << 4)
    store<f32>(to, largest)
    store<i32>(to, from + index, 4)
    store<f32>(to, exponentialSum(row, count, largest), 8)
    store<f32>(to, temperature > 0 ? temperedSum(row, count, largest, <f32>1 / temperature) : 0, 12)
  }
}

/** Σ exp((value − largest) / temperature) */
function temperedSum(row: usize, width: i32, largest: f32, inverse: f32): f32 {
  let sums = f32x4.splat(0)
  const quads = width & ~3
  for (let i = 0; i < quads; i += 4) {
    const shifted = f32x4.sub(v128.load(row + (<usize>i << 2)), f32x4.splat(largest))
    sums = f32x4.add(sums, exp4(f32x4.mul(shifted, f32x4.splat(inverse))))
  }
  let sum = sum4(sums)
  for (let i = quads; i < width; i++) sum += exp1((load<f32>(row + (<usize>i << 2)) - largest) * inverse)
  return sum
}

export function samplePick(args: usize, worker: i32, workers: i32): void {
  const logits = pointer(args, 0)
  const partial = pointer(args, 1)
  const work = pointer(args, 2)
  const out = pointer(args, 3)
  const rows = validRows(integer(args, 4))
  const width = integer(args, 5)
  const chunks = (width + CHUNK - 1) / CHUNK
  for (let t = worker; t < rows; t += workers) {
    const row = logits + <usize>t * (<usize>width << 2)
    const parts = partial + <usize>t * (<usize>chunks << 4)
    const scratch = work + <usize>t * ((<usize>width << 4) + <usize>BINS * 16)
    let largest: f32 = -3.4e38
    let token = 0
    for (let c = 0; c < chunks; c++) {
      const value = load<f32>(parts + (<usize>c << 4))
      if (value > largest) {
        largest = value
        token = load<i32>(parts + (<usize>c << 4), 4)
      }
    }
    let total: f64 = 0
    for (let c = 0; c < chunks; c++) {
      const part = parts + (<usize>c << 4)
      total += <f64>load<f32>(part, 8) * NativeMath.exp(<f64>load<f32>(part) - <f64>largest)
    }
    const temperature = load<f32>(RUN_TEMPERATURE)
    if (temperature > 0) token = draw(row, parts, scratch, width, chunks, largest, temperature, t)
    const logit = <f64>load<f32>(row + (<usize>token << 2))
    store<f32>(out + (<usize>t << 3), <f32>token)
    store<f32>(out + (<usize>t << 3), <f32>(logit - <f64>largest - NativeMath.log(total)), 4)
  }
}

function weightOf(row: usize, token: i32, largest: f32, temperature: f32): f64 {
  return NativeMath.exp((<f64>load<f32>(row + (<usize>token << 2)) - <f64>largest) / <f64>temperature)
}

function draw(
  row: usize, parts: usize, scratch: usize, width: i32, chunks: i32, largest: f32, temperature: f32, t: i32,
): i32 {
  let total: f64 = 0
  for (let c = 0; c < chunks; c++) total += chunkWeight(parts, c, largest, temperature)
  const uniform = load<f64>(RUN_UNIFORM + (<usize>t << 3))
  const topK = load<i32>(RUN_TOP_K)
  const topP = load<f64>(RUN_TOP_P)
  if (topK >= width && topP >= 1) return drawFromAll(row, parts, width, chunks, largest, temperature, total, uniform)
  const mass: f64 = topP >= 1 ? Infinity : topP * total
  const candidates = gather(row, scratch, width, largest, temperature, topK, mass)
  const sorted = sortFalling(scratch, scratch + (<usize>width << 3), candidates)
  // The rule: a token goes when its rank is topK or more, or when more than topP lies before it.
  let kept = 0
  let before: f64 = 0
  while (kept < candidates && kept < topK && before <= mass) {
    before += weightOf(row, load<i32>(sorted + (<usize>kept << 3), 4), largest, temperature)
    kept++
  }
  const wanted = uniform * before
  let sum: f64 = 0
  for (let i = 0; i < kept; i++) {
    const token = load<i32>(sorted + (<usize>i << 3), 4)
    sum += weightOf(row, token, largest, temperature)
    if (sum > wanted) return token
  }
  return load<i32>(sorted + (<usize>(kept - 1) << 3), 4)
}

function chunkWeight(parts: usize, chunk: i32, largest: f32, temperature: f32): f64 {
  const part = parts + (<usize>chunk << 4)
  return <f64>load<f32>(part, 12) * NativeMath.exp((<f64>load<f32>(part) - <f64>largest) / <f64>temperature)
}

/**
 * With nothing dropped, ids are walked as they come: first chunks, then the tokens of one chunk. Chunks were
 * summed in float32, so a chunk may end a little short of its sum: then its last token of some weight is taken.
 */
function drawFromAll(
  row: usize, parts: usize, width: i32, chunks: i32, largest: f32, temperature: f32, total: f64, uniform: f64,
): i32 {
  const wanted = total * uniform
  let sum: f64 = 0
  let chunk = 0
  for (; chunk < chunks - 1; chunk++) {
    const next = sum + chunkWeight(parts, chunk, largest, temperature)
    if (next > wanted) break
    sum = next
  }
  const end = min(width, (chunk + 1) * CHUNK)
  let fallback = load<i32>(parts + (<usize>chunk << 4), 4)
  for (let token = chunk * CHUNK; token < end; token++) {
    const weight = weightOf(row, token, largest, temperature)
    sum += weight
    if (sum > wanted) return token
    if (weight > total * 1e-9) fallback = token
  }
  return fallback
}

/**
 * Writes (logit, id) of all tokens that may survive into scratch: those in the bins of a histogram over
 * (largest − logit) / temperature down to the bin where the count reaches topK or the mass passes topP.
 */
function gather(
  row: usize, scratch: usize, width: i32, largest: f32, temperature: f32, topK: i32, mass: f64,
): i32 {
  const bins = scratch + (<usize>width << 4)
  memory.fill(bins, 0, <usize>BINS * 16)
  const factor: f32 = BINS_PER_UNIT / temperature
  for (let i = 0; i < width; i++) {
    const distance = (largest - load<f32>(row + (<usize>i << 2))) * factor
    const bin = bins + (<usize>min(BINS - 1, <i32>min(distance, <f32>BINS)) << 4)
    store<i32>(bin, load<i32>(bin) + 1)
    store<f64>(bin, load<f64>(bin, 8) + <f64>exp1(distance * (<f32>-1 / BINS_PER_UNIT)), 8)
  }
  let count = 0
  let sum: f64 = 0
  let lastBin = 0
  for (; lastBin < BINS - 1; lastBin++) {
    count += load<i32>(bins + (<usize>lastBin << 4))
    sum += load<f64>(bins + (<usize>lastBin << 4), 8)
    // A little more than the mass, because these sums are float32 exponentials.
    if (count >= topK || sum > mass * 1.0001) break
  }
  let found = 0
  for (let i = 0; i < width; i++) {
    const value = load<f32>(row + (<usize>i << 2))
    const bin = min(BINS - 1, <i32>min((largest - value) * factor, <f32>BINS))
    if (bin > lastBin) continue
    store<f32>(scratch + (<usize>found << 3), value)
    store<i32>(scratch + (<usize>found << 3), i, 4)
    found++
  }
  return found
}

/** Stable merge sort by falling logit; returns whichever of the two buffers holds the result. */
function sortFalling(first: usize, second: usize, count: i32): usize {
  let from = first
  let to = second
  for (let run = 1; run < count; run <<= 1) {
    for (let start = 0; start < count; start += run << 1) {
      const middle = min(start + run, count)
      const end = min(start + (run << 1), count)
      let a = start
      let b = middle
      for (let i = start; i < end; i++) {
        const left = a < middle && (b >= end || load<f32>(from + (<usize>a << 3)) >= load<f32>(from + (<usize>b << 3)))
        const source = left ? a++ : b++
        store<u64>(to + (<usize>i << 3), load<u64>(from + (<usize>source << 3)))
      }
    }
    const swap = from
    from = to
    to = swap
  }
  return from
}
