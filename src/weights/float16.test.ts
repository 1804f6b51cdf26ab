import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { GemmaError } from '../error.ts'
import { encodeBfloat16, encodeFloat16, float16Table, float16ToFloat32, float32ToFloat16 } from './float16.ts'

/** The value of a half from the definition: (−1)^s · 2^(e−15) · (1 + f/1024), or · 2^−14 · f/1024. */
function definition(half: number): number {
  const sign = half & 0x8000 ? -1 : 1
  const exponent = (half >> 10) & 31
  const fraction = half & 1023
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
  return exponent === 0 ? sign * 2 ** -24 * fraction : sign * 2 ** (exponent - 15) * (1 + fraction / 1024)
}

describe('float16', () => {
  test('widens all 65,536 patterns to the value of the definition', () => {
    const table = float16Table()
    for (let half = 0; half < 65536; half++) {
      if (!Object.is(table[half], definition(half))) throw new Error(`${half}: ${table[half]}`)
    }
    expect(float16ToFloat32(0x3c00)).toBe(1)
  })

  test('every half survives the way to float32 and back', () => {
    for (let half = 0; half < 65536; half++) {
      const value = float16ToFloat32(half)
      if (!Number.isNaN(value) && float32ToFloat16(value) !== half) throw new Error(`${half}`)
    }
    expect(Number.isNaN(float16ToFloat32(float32ToFloat16(Number.NaN)))).toBe(true)
  })

  test('rounds to the nearest half, ties to the even one', () => {
    for (let half = 0; half < 0x7bff; half++) {
      const low = float16ToFloat32(half)
      const middle = (low + float16ToFloat32(half + 1)) / 2 // exact in float32
      const even = half + (half & 1)
      const step = Math.max(2 ** -26, middle * 2 ** -23)
      const found = [
        float32ToFloat16(middle),
        float32ToFloat16(middle - step),
        float32ToFloat16(middle + step),
      ]
      if (found.join() !== [even, half, half + 1].join()) throw new Error(`${half}: ${found}`)
      if (float32ToFloat16(-middle) !== even + 0x8000) throw new Error(`-${half}`)
    }
    expect(float32ToFloat16(65519.99)).toBe(0x7bff)
    expect(float32ToFloat16(65520)).toBe(0x7c00)
    expect(float32ToFloat16(2 ** -25)).toBe(0)
    expect(float32ToFloat16(2 ** -25 * 1.0001)).toBe(1)
  })

  test('refuses values beyond the range by the name of the tensor, keeps infinity', () => {
    const into = new Uint16Array(2)
    expect(() => encodeFloat16(new Float32Array([1, 70_000]), 2, into, 'model.norm.weight')).toThrow(
      /model\.norm\.weight holds 70000.*Convert to bf16/s,
    )
    expect(() => encodeFloat16(new Float32Array([-65_520]), 1, into, 'x')).toThrow(GemmaError)
    encodeFloat16(new Float32Array([Number.NEGATIVE_INFINITY, 65_504]), 2, into, 'x')
    expect([...into]).toEqual([0xfc00, 0x7bff])
  })
})

describe('bfloat16', () => {
  const round = (value: number): number => {
    const into = new Uint16Array(1)
    encodeBfloat16(new Float32Array([value]), 1, into)
    return into[0]
  }

  test('keeps NaN, infinity and ties to even', () => {
    const nan = new Float32Array(new Uint32Array([0x7f800001, 0xff800001]).buffer)
    const into = new Uint16Array(2)
    encodeBfloat16(nan, 2, into)
    expect([...into]).toEqual([0x7fc0, 0xffc0])
    expect(round(Number.POSITIVE_INFINITY)).toBe(0x7f80)
    expect(round(1 + 2 ** -8)).toBe(0x3f80) // a tie, down to even
    expect(round(1 + 3 * 2 ** -8)).toBe(0x3f82) // a tie, up to even
    expect(round(1 + 2 ** -8 + 2 ** -20)).toBe(0x3f81)
  })

  test('is never further than half a unit in the last place', () => {
    fc.assert(
      fc.property(
        fc.float({ noNaN: true, noDefaultInfinity: true, max: 2 ** 127, min: -(2 ** 127) }),
        (value) => {
          const back = new Float32Array(new Uint32Array([round(value) << 16]).buffer)[0]
          expect(Math.abs(back - value)).toBeLessThanOrEqual(Math.max(Math.abs(value) * 2 ** -8, 2 ** -134))
        },
      ),
    )
  })
})
