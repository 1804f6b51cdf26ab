import { describe, expect, it } from 'vitest'
import { linearAxis, logarithmicAxis, smooth, smoothLogarithms, spread, thin } from './report-series.ts'

describe('smooth', () => {
  it('is the mean weighted by distance', () => {
    const values = [3, 1, 4, 1, 5, 9, 2, 6]
    const width = 2
    const expected = values.map((_, at) => {
      const weights = values.map((_, other) => Math.exp(-Math.abs(at - other) / width))
      const sum = values.reduce((total, value, other) => total + value * weights[other], 0)
      return sum / weights.reduce((total, weight) => total + weight, 0)
    })
    const found = smooth(values, width)
    found.forEach((value, at) => {
      expect(value).toBeCloseTo(expected[at], 12)
    })
  })

  it('leaves equal values and single ones as they are', () => {
    for (const value of smooth(new Float64Array(100).fill(2.5), 10)) expect(value).toBeCloseTo(2.5, 12)
    expect([...smooth([7], 3)]).toEqual([7])
    expect([...smooth([], 3)]).toEqual([])
    expect([...smooth([1, 2, 3], 0)]).toEqual([1, 2, 3])
  })

  it('is not touched by what is not finite', () => {
    const [first, hole, infinite, last] = smooth([1, Number.NaN, Number.POSITIVE_INFINITY, 1], 2)
    expect([first, hole, infinite, last]).toEqual([1, Number.NaN, Number.NaN, 1])
  })

  it('smooths ratios on a logarithmic scale', () => {
    const [middle] = smoothLogarithms([1, 100], 1e9)
    expect(middle).toBeCloseTo(10, 5)
    expect(smoothLogarithms([0, -1, 5], 1)[2]).toBeCloseTo(5, 12)
  })
})

describe('thin', () => {
  const x = Float64Array.from({ length: 100_000 }, (_, at) => at + 1)

  it('keeps every extreme of every column, and the ends', () => {
    const y = x.map((step) => Math.sin(step / 5000) + ((step * 7919) % 1000) / 1000)
    y[54_321] = 1000
    y[12_345] = -1000
    const chosen = thin(x, y, 300)
    expect(chosen.length).toBeLessThanOrEqual(4 * 301)
    for (const must of [0, 99_999, 54_321, 12_345]) expect(chosen).toContain(must)
    expect(chosen.every((at, place) => place === 0 || at > chosen[place - 1])).toBe(true)
    const wanted = new Set(chosen)
    for (let column = 0; column < 300; column++) {
      let [from, to] = [0, 0]
      for (let at = 0; at < x.length; at++) {
        const own = Math.floor(((x[at] - 1) * 300) / 99_999)
        if (own < column) from = at + 1
        if (own <= column) to = at + 1
      }
      const part = y.slice(from, to)
      expect(wanted.has(from + part.indexOf(Math.max(...part)))).toBe(true)
      expect(wanted.has(from + part.indexOf(Math.min(...part)))).toBe(true)
    }
  })

  it('takes all of what is little, and breaks where a column has no value', () => {
    expect(thin([1, 2, 3], [1, Number.NaN, 2], 10)).toEqual([0, 1, 2])
    const y = x.map((step) => (step > 45_000 && step < 65_000 ? Number.NaN : 1))
    const holes = thin(x, y, 10).filter((at) => Number.isNaN(y[at]))
    expect(holes.length).toBeGreaterThan(0)
    expect(thin(x, new Float64Array(100_000).fill(Number.NaN), 10)).toHaveLength(11)
    expect(thin([], [], 10)).toEqual([])
  })
})

describe('spread', () => {
  it('is even and has both ends', () => {
    expect(spread(3, 5)).toEqual([0, 1, 2])
    expect(spread(101, 5)).toEqual([0, 25, 50, 75, 100])
    expect(spread(0, 5)).toEqual([])
    expect(new Set(spread(1000, 999)).size).toBe(999)
  })
})

describe('axes', () => {
  it('mark round values within their range', () => {
    const axis = linearAxis([0.13, 7.2, Number.NaN, Number.POSITIVE_INFINITY])
    expect(axis.ticks).toEqual([0, 2, 4, 6])
    expect(axis.place(0.13)).toBeGreaterThan(0)
    expect(axis.place(7.2)).toBeLessThan(1)
    expect(linearAxis([0, 1000], { margin: 0, ticks: 4 }).ticks).toEqual([0, 250, 500, 750, 1000])
    expect(linearAxis([3e-4, 3e-3], { fromZero: true }).ticks).toEqual([0, 0.001, 0.002, 0.003])
  })

  it.each([
    ['nothing', []],
    ['zero', [0]],
    ['one value', [5, 5]],
    ['a negative one', [-3]],
    ['hardly a difference', [1, 1 + 1e-9]],
    ['the largest numbers', [-1e308, 1e308]],
    ['the smallest', [5e-324]],
  ])('have room for %s', (_, values) => {
    for (const axis of [linearAxis(values), linearAxis(values, { fromZero: true })]) {
      for (const value of [...values, ...axis.ticks]) {
        expect(axis.place(value)).toBeGreaterThanOrEqual(-1e-9)
        expect(axis.place(value)).toBeLessThanOrEqual(1 + 1e-9)
      }
      expect(axis.ticks.length).toBeLessThan(20)
    }
  })

  it('are logarithmic over positive values', () => {
    const axis = logarithmicAxis([0, -1, 0.01, 100, Number.NaN])!
    expect(axis.ticks).toEqual([0.01, 0.1, 1, 10, 100])
    expect(axis.place(1)).toBeCloseTo(0.5, 12)
    expect(axis.place(0)).toBe(Number.NEGATIVE_INFINITY)
    expect(logarithmicAxis([0, -1])).toBeUndefined()
    expect(logarithmicAxis([0.3, 30])!.ticks).toEqual([0.3, 1, 3, 10, 30])
    for (const values of [[1], [5e-324, 1e308], [1, 1.0001]]) {
      const { ticks, place } = logarithmicAxis(values)!
      expect(ticks.length).toBeGreaterThan(0)
      expect(ticks.length).toBeLessThan(20)
      for (const value of [...values, ...ticks]) {
        expect(place(value)).toBeGreaterThanOrEqual(-1e-9)
        expect(place(value)).toBeLessThanOrEqual(1 + 1e-9)
      }
    }
  })
})
