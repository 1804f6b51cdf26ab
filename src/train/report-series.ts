// Mathematics of the report's curves: smoothing, thinning that loses no spike, ranges and ticks of axes. Knows
// neither runs nor pictures.

/**
 * A mean weighted by e^(−distance/width), looking both ways so that the curve does not lag behind what it smooths.
 * Values that are not finite are left out, and stay NaN where they were. O(length).
 */
export function smooth(values: ArrayLike<number>, width: number): Float64Array {
  const keep = width > 0 ? Math.exp(-1 / width) : 0
  const { length } = values
  const sums = new Float64Array(length)
  const weights = new Float64Array(length)
  const sweep = (from: number, by: 1 | -1): void => {
    let sum = 0
    let weight = 0
    for (let at = from, left = length; left > 0; at += by, left--) {
      // What came before this value; the value itself is added once, below.
      sums[at] += sum
      weights[at] += weight
      const finite = Number.isFinite(values[at])
      sum = keep * (sum + (finite ? values[at] : 0))
      weight = keep * (weight + (finite ? 1 : 0))
    }
  }
  sweep(0, 1)
  sweep(length - 1, -1)
  return Float64Array.from({ length }, (_, at) =>
    Number.isFinite(values[at]) ? (sums[at] + values[at]) / (weights[at] + 1) : Number.NaN,
  )
}

/** Spikes of a value on a logarithmic scale do not pull a curve that is smoothed there. */
export function smoothLogarithms(values: ArrayLike<number>, width: number): Float64Array {
  const logarithms = Float64Array.from(values, (value) => (value > 0 ? Math.log(value) : Number.NaN))
  return smooth(logarithms, width).map(Math.exp)
}

/**
 * Indices of the points that draw the same picture as all of them on `columns` columns: of each column the first,
 * the lowest, the highest and the last (M4: Jugel et al. 2014, VLDB 7(10)). A column without a finite value gives
 * one index, at which the curve is broken. `x` rises.
 */
export function thin(x: ArrayLike<number>, y: ArrayLike<number>, columns: number): number[] {
  const { length } = x
  if (length <= 4 * columns) return Array.from({ length }, (_, at) => at)
  const start = x[0]
  const scale = columns / (x[length - 1] - start || 1)
  const chosen: number[] = []
  for (let from = 0; from < length; ) {
    const column = Math.floor((x[from] - start) * scale)
    let to = from
    while (to < length && Math.floor((x[to] - start) * scale) === column) to++
    chosen.push(...outline(y, from, to))
    from = to
  }
  return chosen
}

function outline(y: ArrayLike<number>, from: number, to: number): number[] {
  let [first, last, lowest, highest] = [-1, -1, -1, -1]
  for (let at = from; at < to; at++) {
    if (!Number.isFinite(y[at])) continue
    if (first < 0) first = lowest = highest = at
    if (y[at] < y[lowest]) lowest = at
    if (y[at] > y[highest]) highest = at
    last = at
  }
  if (first < 0) return [from]
  return [...new Set([first, lowest, highest, last])].sort((one, other) => one - other)
}

/** At most `most` (2 or more) indices below `length`, evenly spread, the first and the last among them. */
export function spread(length: number, most: number): number[] {
  if (length <= most) return Array.from({ length }, (_, at) => at)
  return Array.from({ length: most }, (_, at) => Math.round((at * (length - 1)) / (most - 1)))
}

/** An axis: where a value lies between 0 and 1, and the values that are marked. */
export interface Axis {
  readonly logarithmic: boolean
  readonly ticks: readonly number[]
  place(value: number): number
}

/** Beyond these an axis would leave what 64-bit numbers can hold; nothing that is measured comes near. */
const LARGEST = 1e300
const SMALLEST = 1e-300

/** Over the finite values given; wider when they are all equal. Without any: from 0 to 1. */
export function linearAxis(
  values: Iterable<number>,
  options: { readonly fromZero?: boolean; readonly margin?: number; readonly ticks?: number } = {},
): Axis {
  const { fromZero = false, margin = 0.04, ticks = 5 } = options
  let [low, high] = extent(values)
  if (low > high) [low, high] = [0, 1]
  if (fromZero) [low, high] = [Math.min(0, low), Math.max(0, high)]
  const bounded = (value: number): number => Math.max(-LARGEST, Math.min(LARGEST, value))
  ;[low, high] = [bounded(low), bounded(high)]
  const size = Math.max(Math.abs(low), Math.abs(high))
  if (high - low <= Math.max(SMALLEST, size * 1e-12)) {
    const room = size <= SMALLEST ? 1 : size * 0.1
    ;[low, high] = low === 0 ? [0, 1] : [low - room, high + room]
  }
  const pad = (high - low) * margin
  const bottom = fromZero && low === 0 ? 0 : low - pad
  const top = high + pad
  return {
    logarithmic: false,
    ticks: linearTicks(bottom, top, ticks),
    place: (value) => (bounded(value) - bottom) / (top - bottom),
  }
}

/** Over the positive values given; undefined when there are none. */
export function logarithmicAxis(values: Iterable<number>): Axis | undefined {
  const [low, high] = extent(positive(values))
  if (low > high) return undefined
  const logarithm = (value: number): number =>
    value > 0 ? Math.log10(Math.max(SMALLEST, Math.min(LARGEST, value))) : Number.NEGATIVE_INFINITY
  let [bottom, top] = [logarithm(low), logarithm(high)]
  const least = Math.log10(1.5) // so that what hardly changes does not look as if it did
  const pad = Math.max(least - (top - bottom), 0) / 2 + (top - bottom) * 0.04
  ;[bottom, top] = [bottom - pad, top + pad]
  return {
    logarithmic: true,
    ticks: logarithmicTicks(bottom, top),
    place: (value) => (logarithm(value) - bottom) / (top - bottom),
  }
}

function* positive(values: Iterable<number>): Generator<number> {
  for (const value of values) if (value > 0) yield value
}

/** Lowest and highest finite value; the other way round (∞, −∞) when there is none. */
export function extent(values: Iterable<number>): [number, number] {
  let low = Number.POSITIVE_INFINITY
  let high = Number.NEGATIVE_INFINITY
  for (const value of values) {
    if (!Number.isFinite(value)) continue
    if (value < low) low = value
    if (value > high) high = value
  }
  return [low, high]
}

function linearTicks(low: number, high: number, count: number): number[] {
  const rough = (high - low) / count
  const power = 10 ** Math.floor(Math.log10(rough))
  const stride = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough * 0.999) ?? rough
  const ticks: number[] = []
  const first = Math.ceil(low / stride - 1e-9)
  for (let at = first; at * stride <= high + stride * 1e-9 && ticks.length < 50; at++) {
    ticks.push(Number((at * stride).toPrecision(12)))
  }
  return ticks
}

/** Between 10^bottom and 10^top. */
function logarithmicTicks(bottom: number, top: number): number[] {
  const decades = top - bottom
  const stride = Math.max(1, Math.ceil(decades / 6))
  const digits = decades > 3 ? [1] : decades > 1.3 ? [1, 3] : [1, 2, 5]
  const ticks: number[] = []
  for (let power = Math.floor(bottom); power <= top; power += stride) {
    ticks.push(...digits.map((digit) => Number(`${digit}e${power}`)))
  }
  const [low, high] = [10 ** bottom, 10 ** top]
  const within = ticks.filter((tick) => tick > 0 && tick >= low && tick <= high)
  return within.length >= 3 ? within : linearTicks(low, high, 4).filter((tick) => tick > 0)
}
