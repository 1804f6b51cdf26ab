// Drawing a token on the GPU without sorting. A logit's bits, turned so that they order as unsigned integers (a key), are
// looked at eight at a time: a histogram of how many tokens, and how much probability, lie in each of 256 ranges tells in
// which range the cut of top-k and top-p lies, and then the token that the uniform number picks. Probabilities are summed as
// 64-bit integers in units of 2⁻⁴⁴ of the largest: exactly, so that neither order nor device matters.

import type { WebGpuLoweringRule } from '../lowering-webgpu.ts'
import { kernel } from '../wgsl/kernel.ts'
import { EXP, LARGEST, sumOver } from '../wgsl/math.ts'
import { WIDE } from './wide.ts'

/** Logits that one partial maximum and sum cover. */
const CHUNK = 1024

/** Of each chunk: the largest logit, its place, and Σ e^(logit − largest). */
const scanKernel = kernel('sample, scan', {
  reads: { logits: 'f32' },
  writes: { parts: 'f32' },
  numbers: { rows: 'u32', width: 'u32' },
  size: 256,
  functions: [EXP, LARGEST, sumOver(256)],
  main: /* wgsl */ `
  if (group.y >= min(numbers.rows, run.rows)) { return; }
  let row = group.y * numbers.width;
  let base = group.x * ${CHUNK}u;
  let end = min(base + ${CHUNK}u, numbers.width);
  var value = -3.4e38;
  var place = 0xffffffffu;
  for (var i = base + lane; i < end; i += 256u) {
    if (logits[row + i] > value || place == 0xffffffffu) { value = logits[row + i]; place = i; }
  }
  findLargest(lane, value, place);
  let largest = bestValue[0];
  var sum = 0.0;
  for (var i = base + lane; i < end; i += 256u) { sum += exponential(logits[row + i] - largest); }
  let total = sumOver(lane, sum);
  if (lane == 0u) {
    let to = 4u * (group.y * groups.x + group.x);
    parts[to] = largest;
    parts[to + 1u] = f32(bestPlace[0]);
    parts[to + 2u] = total;
  }
`,
})

const TALLY = /* wgsl */ `
var<workgroup> counts: array<atomic<u32>, 256>;
var<workgroup> lows: array<atomic<u32>, 256>;
var<workgroup> highs: array<atomic<u32>, 256>;
var<workgroup> found: atomic<u32>;
// What lane 0 tells all: a range of keys, what lies above it, and what in it.
struct Place { prefix: u32, all: u32, countAbove: u32, countIn: u32, massAbove: vec2u, massIn: vec2u }
var<workgroup> place: Place;
var<workgroup> token: u32;

fn keyOf(logit: f32) -> u32 {
  let bits = select(bitcast<u32>(logit), 0u, logit == 0.0);
  return bits ^ select(0x80000000u, 0xffffffffu, bits >= 0x80000000u);
}
fn logitOf(key: u32) -> f32 { return bitcast<f32>(key ^ select(0xffffffffu, 0x80000000u, key >= 0x80000000u)); }
// e^((logit − largest) / temperature) in units of 2⁻⁴⁴
fn massOf(logit: f32, largest: f32) -> vec2u {
  let scaled = exponential((logit - largest) / run.temperature) * 4096.0;
  let high = floor(scaled);
  return vec2u(u32((scaled - high) * 4294967296.0), u32(high));
}
fn tally(key: u32, shift: u32, largest: f32) {
  let bin = (key >> shift) & 255u;
  let mass = massOf(logitOf(key), largest);
  atomicAdd(&counts[bin], 1u);
  let before = atomicAdd(&lows[bin], mass.x);
  let high = mass.y + select(0u, 1u, before + mass.x < before);
  if (high > 0u) { atomicAdd(&highs[bin], high); }
}
fn clear(lane: u32) {
  workgroupBarrier();
  atomicStore(&counts[lane], 0u);
  atomicStore(&lows[lane], 0u);
  atomicStore(&highs[lane], 0u);
  workgroupBarrier();
}
// Goes down the ranges of one level until so many tokens, or more than so much, lie above the end of one.
fn narrow(lane: u32, level: u32, most: u32, limit: vec2u) {
  workgroupBarrier();
  if (lane == 0u) {
    var countAbove = place.countAbove;
    var massAbove = place.massAbove;
    var all = 1u;
    var bin = 256u;
    while (bin > 0u && all == 1u) {
      bin--;
      let count = atomicLoad(&counts[bin]);
      if (count > 0u) {
        let mass = vec2u(atomicLoad(&lows[bin]), atomicLoad(&highs[bin]));
        // A range that is left over when nothing cuts is the last one.
        if (countAbove + count >= most || above(plus(massAbove, mass), limit)) {
          all = 0u;
          place.countIn = count;
          place.massIn = mass;
        } else {
          countAbove += count;
          massAbove = plus(massAbove, mass);
        }
      }
    }
    place.all = all;
    place.countAbove = countAbove;
    place.massAbove = massAbove;
    place.prefix = (place.prefix << 8u) | bin;
  }
  workgroupBarrier();
}
`

const DRAWS = /* wgsl */ `
// With nothing dropped, ids are walked as they come: stretches of them first.
fn drawFromAll(lane: u32, row: u32, largest: f32, chance: u32) {
  let length = (numbers.width + 255u) / 256u;
  let end = min((lane + 1u) * length, numbers.width);
  var mass = vec2u(0u);
  for (var i = lane * length; i < end; i++) { mass = plus(mass, massOf(logits[row + i], largest)); }
  atomicStore(&lows[lane], mass.x);
  atomicStore(&highs[lane], mass.y);
  workgroupBarrier();
  if (lane == 0u) {
    var all = vec2u(0u);
    for (var i = 0u; i < 256u; i++) { all = plus(all, vec2u(atomicLoad(&lows[i]), atomicLoad(&highs[i]))); }
    let wanted = fraction(all, chance);
    var before = vec2u(0u);
    var stretch = 0u;
    for (; stretch < 255u; stretch++) {
      let next = plus(before, vec2u(atomicLoad(&lows[stretch]), atomicLoad(&highs[stretch])));
      if (above(next, wanted)) { break; }
      before = next;
    }
    for (var i = stretch * length; i < min((stretch + 1u) * length, numbers.width); i++) {
      before = plus(before, massOf(logits[row + i], largest));
      if (above(before, wanted)) { token = i; break; }
    }
  }
}

fn drawFromLikeliest(lane: u32, row: u32, list: u32, largest: f32, chance: u32) {
  // Which tokens stay: all above a cut, and the first of those at it.
  if (lane == 0u) { place = Place(0u, 0u, 0u, 0u, vec2u(0u), vec2u(0u)); }
  clear(lane);
  for (var i = lane; i < numbers.width; i += 256u) { tally(keyOf(logits[row + i]), 24u, largest); }
  workgroupBarrier();
  if (lane == 0u) {
    var all = vec2u(0u);
    for (var i = 0u; i < 256u; i++) { all = plus(all, vec2u(atomicLoad(&lows[i]), atomicLoad(&highs[i]))); }
    place.massIn = all;
  }
  workgroupBarrier();
  var limit = vec2u(0xffffffffu);
  if (run.limited == 1u) { limit = fraction(place.massIn, run.topP); }
  narrow(lane, 0u, run.topK, limit);
  // From here on only the tokens of that range and of those above matter.
  let lowest = select(place.prefix << 24u, 0u, workgroupUniformLoad(&place.all) == 1u);
  if (lane == 0u) { atomicStore(&found, 0u); }
  workgroupBarrier();
  for (var i = lane; i < numbers.width; i += 256u) {
    let key = keyOf(logits[row + i]);
    if (key >= lowest) { candidates[list + atomicAdd(&found, 1u)] = key; }
  }
  storageBarrier();
  workgroupBarrier();
  if (lane == 0u) { bestPlace[0] = atomicLoad(&found); }
  let count = workgroupUniformLoad(&bestPlace[0]);
  for (var level = 1u; level < 4u; level++) {
    if (workgroupUniformLoad(&place.all) == 1u) { break; }
    clear(lane);
    let shift = 24u - 8u * level;
    for (var i = lane; i < count; i += 256u) {
      let key = candidates[list + i];
      if (key >> (shift + 8u) == place.prefix) { tally(key, shift, largest); }
    }
    narrow(lane, level, run.topK, limit);
  }
  if (lane == 0u) {
    var kept = place.massAbove;
    if (place.all == 0u) {
      let mass = massOf(logitOf(place.prefix), largest);
      let most = min(place.countIn, run.topK - place.countAbove);
      var ties = most;
      if (run.limited == 1u) { ties = min(most, timesWithin(mass, minus(limit, place.massAbove), most) + 1u); }
      kept = plus(kept, times(mass, ties));
    }
    limit = fraction(kept, chance);
    bestPlace[1] = limit.x;
    bestPlace[2] = limit.y;
    place = Place(0u, 0u, 0u, 0u, vec2u(0u), vec2u(0u));
  }
  workgroupBarrier();
  let wanted = vec2u(bestPlace[1], bestPlace[2]);
  // The token that the number picks, in falling order.
  for (var level = 0u; level < 4u; level++) {
    clear(lane);
    let shift = 24u - 8u * level;
    for (var i = lane; i < count; i += 256u) {
      let key = candidates[list + i];
      if (level == 0u || key >> (shift + 8u) == place.prefix) { tally(key, shift, largest); }
    }
    narrow(lane, level, 0xffffffffu, wanted);
  }
  // Of equal logits, the one in whose part it lies, by id.
  let key = place.prefix;
  let length = (numbers.width + 255u) / 256u;
  let end = min((lane + 1u) * length, numbers.width);
  var own = 0u;
  for (var i = lane * length; i < end; i++) { own += select(0u, 1u, keyOf(logits[row + i]) == key); }
  atomicStore(&counts[lane], own);
  workgroupBarrier();
  if (lane == 0u) {
    var left = timesWithin(massOf(logitOf(key), largest), minus(wanted, place.massAbove), 0xffffffu);
    var stretch = 0u;
    while (stretch < 255u && left >= atomicLoad(&counts[stretch])) {
      left -= atomicLoad(&counts[stretch]);
      stretch++;
    }
    for (var i = stretch * length; i < min((stretch + 1u) * length, numbers.width); i++) {
      if (keyOf(logits[row + i]) == key) {
        if (left == 0u) { token = i; break; }
        left--;
      }
    }
  }
}
`

/** One workgroup draws for one row. */
const pickKernel = kernel('sample, pick', {
  reads: { logits: 'f32', parts: 'f32' },
  writes: { candidates: 'u32', out: 'f32' },
  numbers: { rows: 'u32', width: 'u32' },
  size: 256,
  functions: [EXP, LARGEST, sumOver(256), WIDE, TALLY, DRAWS],
  main: /* wgsl */ `
  if (group.x >= min(numbers.rows, run.rows)) { return; }
  let row = group.x * numbers.width;
  let chunks = (numbers.width + ${CHUNK - 1}u) / ${CHUNK}u;
  let chunk0 = group.x * chunks;
  var value = -3.4e38;
  var best = 0xffffffffu;
  for (var i = lane; i < chunks; i += 256u) {
    let part = 4u * (chunk0 + i);
    if (parts[part] > value || best == 0xffffffffu) { value = parts[part]; best = u32(parts[part + 1u]); }
  }
  findLargest(lane, value, best);
  let largest = bestValue[0];
  var sum = 0.0;
  for (var i = lane; i < chunks; i += 256u) {
    let part = 4u * (chunk0 + i);
    sum += parts[part + 2u] * exponential(parts[part] - largest);
  }
  let total = sumOver(lane, sum);
  if (lane == 0u) { token = bestPlace[0]; }
  workgroupBarrier();
  if (run.temperature > 0.0) {
    if (run.topK >= numbers.width && run.limited == 0u) { drawFromAll(lane, row, largest, runRows[group.x].uniformBits); }
    else { drawFromLikeliest(lane, row, group.x * numbers.width, largest, runRows[group.x].uniformBits); }
  }
  workgroupBarrier();
  if (lane == 0u) {
    out[2u * group.x] = f32(token);
    out[2u * group.x + 1u] = logits[row + token] - largest - log(total);
  }
`,
})

export const sampleWebGpu: WebGpuLoweringRule = ({ inputs: [logits], outputs: [out] }, lower) => {
  const [rows, width] = logits!.shape as [number, number]
  const chunks = Math.ceil(width / CHUNK)
  const parts = lower.scratch(rows * chunks * 16)
  const candidates = lower.scratch(rows * width * 4)
  const numbers = { rows, width }
  const valid = (count: number): number => Math.min(rows, count)
  lower.dispatch(scanKernel, { logits: logits!, parts }, numbers, (count) => [chunks, valid(count), 1])
  const bindings = { logits: logits!, parts, candidates, out: out! }
  lower.dispatch(pickKernel, bindings, numbers, (count) => [valid(count), 1, 1])
}
