// Functions that WGSL leaves imprecise: its exp may err by 3 + 2|x| units, tanh overflows in places, and a conversion to
// f16 may round either way. These are the same on every device, to about one unit in 24 bits. No kernel may rely on
// infinities or NaNs: a compiler of WGSL may assume that there are none.

import type { TwoForms } from './kernel.ts'

/** e^x for x ≤ 88; below −87 it is 0. Cody and Waite's reduction by ln 2 in two parts, then a polynomial (Cephes expf). */
export const EXP: string = /* wgsl */ `
fn exponential(x: f32) -> f32 {
  let clamped = clamp(x, -87.0, 88.0);
  let n = round(clamped * 1.44269504);
  // 0.693359375 has nine bits: its product with n is exact.
  let r = (clamped - n * 0.693359375) + n * 2.12194440e-4;
  var p = 1.9875691500e-4;
  p = p * r + 1.3981999507e-3;
  p = p * r + 8.3334519073e-3;
  p = p * r + 4.1665795894e-2;
  p = p * r + 1.6666665459e-1;
  p = p * r + 5.0000001201e-1;
  let value = (p * r * r + r) + 1.0;
  return select(value * bitcast<f32>((i32(n) + 127) << 23u), 0.0, x < -87.0);
}`

/** tanh: an odd polynomial near zero, where 1 − 2 / (e²ˣ + 1) would lose digits (Cephes tanhf). Needs EXP. */
export const TANH: string = /* wgsl */ `
fn hyperbolicTangent(x: f32) -> f32 {
  let magnitude = abs(x);
  let near = min(magnitude, 0.625);
  let square = near * near;
  var p = -5.70498872745e-3;
  p = p * square + 2.06390887954e-2;
  p = p * square - 5.37397155531e-2;
  p = p * square + 1.33314422036e-1;
  p = p * square - 3.33332819422e-1;
  let far = 1.0 - 2.0 / (exponential(2.0 * min(magnitude, 10.0)) + 1.0);
  let value = select(far, near + near * square * p, magnitude < 0.625);
  return select(value, -value, x < 0.0);
}`

/** The bits of the nearest f16, ties to even; past the largest it saturates. */
export const HALF_BITS: string = /* wgsl */ `
fn halfBits(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  let sign = (bits >> 16u) & 0x8000u;
  let magnitude = min(bits & 0x7fffffffu, 0x477fe000u);
  if (magnitude < 0x38800000u) {
    // Below 2⁻¹⁴ the step is 2⁻²⁴, which is that of float32 between a half and one.
    return sign | (bitcast<u32>(bitcast<f32>(magnitude) + 0.5) - 0x3f000000u);
  }
  let odd = (magnitude >> 13u) & 1u;
  return sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13u);
}`

/**
 * For workgroups of `size` invocations, a multiple of 16: the sum of what they hold, known to all afterwards. Two levels: a tree
 * of halves has three times the barriers (LOG.md, 2026-11-26).
 */
export function sumOver(size: number): TwoForms {
  const plain = /* wgsl */ `
var<workgroup> addends: array<f32, ${size}>;
var<workgroup> sixteenths: array<f32, 16>;
fn sumOver(lane: u32, value: f32) -> f32 {
  addends[lane] = value;
  workgroupBarrier();
  if (lane < 16u) {
    var part = 0.0;
    for (var i = lane; i < ${size}u; i += 16u) { part += addends[i]; }
    sixteenths[lane] = part;
  }
  workgroupBarrier();
  var sum = 0.0;
  for (var i = 0u; i < 16u; i++) { sum += sixteenths[i]; }
  workgroupBarrier();
  return sum;
}`
  const subgroups = /* wgsl */ `
var<workgroup> addends: array<f32, ${size / 4}>;
fn sumOver(lane: u32, value: f32) -> f32 {
  let own = subgroupAdd(value);
  if (subgroupLane == 0u) { addends[subgroupIndex] = own; }
  workgroupBarrier();
  var sum = 0.0;
  for (var i = 0u; i < (${size}u + subgroupLanes - 1u) / subgroupLanes; i++) { sum += addends[i]; }
  workgroupBarrier();
  return sum;
}`
  return { plain, subgroups }
}

/** For workgroups of 256: the largest value, and of equal ones the lowest place, in bestValue[0] and bestPlace[0]. */
export const LARGEST: TwoForms = {
  plain: largest(/* wgsl */ `
  bestValue[lane] = value;
  bestPlace[lane] = place;
  workgroupBarrier();
  if (lane < 16u) { for (var i = lane + 16u; i < 256u; i += 16u) { takeLarger(lane, i); } }
  workgroupBarrier();
  if (lane == 0u) { for (var i = 1u; i < 16u; i++) { takeLarger(0u, i); } }
  workgroupBarrier();`),
  subgroups: largest(/* wgsl */ `
  let most = subgroupMax(value);
  let nearest = subgroupMin(select(place, 0xffffffffu, value < most));
  if (subgroupLane == 0u) {
    bestValue[subgroupIndex] = most;
    bestPlace[subgroupIndex] = nearest;
  }
  workgroupBarrier();
  if (lane == 0u) { for (var i = 1u; i < 256u / subgroupLanes; i++) { takeLarger(0u, i); } }
  workgroupBarrier();`),
}

function largest(body: string): string {
  return /* wgsl */ `
var<workgroup> bestValue: array<f32, 256>;
var<workgroup> bestPlace: array<u32, 256>;
fn takeLarger(own: u32, other: u32) {
  let value = bestValue[other];
  if (value > bestValue[own] || (value == bestValue[own] && bestPlace[other] < bestPlace[own])) {
    bestValue[own] = value;
    bestPlace[own] = bestPlace[other];
  }
}
fn findLargest(lane: u32, value: f32, place: u32) {${body}
}`
}
