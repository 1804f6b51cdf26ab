import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { GemmaError } from '../error.ts'
import type { Checkpoint, Encoding, StoredTensor } from './checkpoint.ts'
import {
  blockSizes,
  decodeRows,
  encodedBytes,
  encodeRows,
  readFloatRows,
  readFloats,
  rowsAndColumns,
  type WritableEncoding,
} from './encodings.ts'
import { float16ToFloat32 } from './float16.ts'
import { openCheckpoint } from './open.node.ts'

const models = new URL('../../test/data/models/gemma1-mqa/', import.meta.url).pathname
const open: Checkpoint[] = []
async function golden(path: string): Promise<Checkpoint> {
  const checkpoint = await openCheckpoint(models + path)
  open.push(checkpoint)
  return checkpoint
}
afterAll(() => Promise.all(open.map((checkpoint) => checkpoint.close())))

function decode(encoding: Encoding, bytes: Uint8Array, count: number): number[] {
  const into = new Float32Array(count)
  decodeRows(encoding, bytes, 1, count, into)
  return [...into]
}

function encode(encoding: WritableEncoding, values: Float32Array, name = 'w'): Uint8Array {
  const into = new Uint8Array(encodedBytes(encoding, values.length))
  encodeRows(encoding, values, 1, values.length, into, name)
  return into
}

function decoded(encoding: WritableEncoding, values: Float32Array): Float32Array {
  const into = new Float32Array(values.length)
  decodeRows(encoding, encode(encoding, values), 1, values.length, into)
  return into
}

/** Four bytes: bit i is the top bit of five-bit code i. */
function fifthBits(codes: readonly number[]): number[] {
  const bits = codes.reduce((sum, code, i) => sum + (code >= 16 ? 2 ** i : 0), 0)
  return [
    bits % 256,
    Math.floor(bits / 2 ** 8) % 256,
    Math.floor(bits / 2 ** 16) % 256,
    Math.floor(bits / 2 ** 24),
  ]
}

/** Sixteen bytes: value i in the low half, value i + 16 in the high half. */
function splitNibbles(codes: readonly number[]): number[] {
  return codes.slice(0, 16).map((code, i) => (code & 15) | ((codes[i + 16] & 15) << 4))
}

const half = (value: number): number[] => [value & 255, value >> 8]
const one = half(0x3c00)
const two = half(0x4000)
const quarter = half(0x3400)

describe('blocks made by hand', () => {
  test('Q8_0: scale times signed bytes', () => {
    const codes = Array.from({ length: 32 }, (_, i) => i * 8 - 128)
    const values = decode('Q8_0', new Uint8Array([...quarter, ...codes.map((code) => code & 255)]), 32)
    expect(values).toEqual(codes.map((code) => code / 4))
  })

  test('Q4_0: low nibbles first, minus eight', () => {
    const bytes = Array.from({ length: 16 }, (_, i) => i | ((15 - i) << 4))
    const values = decode('Q4_0', new Uint8Array([...two, ...bytes]), 32)
    const low = Array.from({ length: 16 }, (_, i) => 2 * (i - 8))
    expect(values).toEqual([...low, ...low.map((_, i) => 2 * (7 - i))])
  })

  test('Q4_1: scale and minimum', () => {
    const bytes = Array.from({ length: 16 }, (_, i) => i | ((15 - i) << 4))
    const values = decode('Q4_1', new Uint8Array([...two, ...quarter, ...bytes]), 32)
    expect(values).toEqual([
      ...Array.from({ length: 16 }, (_, i) => 2 * i + 0.25),
      ...Array.from({ length: 16 }, (_, i) => 2 * (15 - i) + 0.25),
    ])
  })

  test('Q5_0: a fifth bit per value, minus sixteen', () => {
    const codes = Array.from({ length: 32 }, (_, i) => (i * 11 + 3) & 31)
    const bytes = new Uint8Array([...two, ...fifthBits(codes), ...splitNibbles(codes)])
    expect(decode('Q5_0', bytes, 32)).toEqual(codes.map((code) => 2 * (code - 16)))
  })

  test('Q5_1: a fifth bit per value, scale and minimum; blocks follow each other', () => {
    const codes = Array.from({ length: 32 }, (_, i) => (i * 7 + 30) & 31)
    const block = [...two, ...quarter, ...fifthBits(codes), ...splitNibbles(codes)]
    const values = codes.map((code) => 2 * code + 0.25)
    expect(decode('Q5_1', new Uint8Array([...block, ...block]), 64)).toEqual([...values, ...values])
  })

  test('Q4_K: eight groups with six-bit scales and minima', () => {
    const scales = [1, 2, 63, 4, 5, 17, 40, 62]
    const minima = [3, 0, 1, 63, 33, 16, 2, 50]
    const codes = Array.from({ length: 256 }, (_, i) => (i * 7 + (i >> 5)) & 15)
    const bytes = new Uint8Array([...half(0x3800), ...two, ...packSixBits(scales, minima), ...pairs(codes)])
    const expected = codes.map((code, i) => 0.5 * scales[i >> 5] * code - 2 * minima[i >> 5])
    expect(decode('Q4_K', bytes, 256)).toEqual(expected)
  })

  test('Q5_K: the same with a fifth bit per value', () => {
    const scales = [1, 2, 63, 4, 5, 17, 40, 62]
    const minima = [3, 0, 1, 63, 33, 16, 2, 50]
    const codes = Array.from({ length: 256 }, (_, i) => (i * 11 + (i >> 5)) & 31)
    const high = Array.from({ length: 32 }, (_, i) =>
      scales.reduce((bits, _scale, group) => bits | ((codes[group * 32 + i] >> 4) << group), 0),
    )
    const bytes = new Uint8Array([
      ...half(0x3800),
      ...two,
      ...packSixBits(scales, minima),
      ...high,
      ...pairs(codes.map((code) => code & 15)),
    ])
    const expected = codes.map((code, i) => 0.5 * scales[i >> 5] * code - 2 * minima[i >> 5])
    expect(decode('Q5_K', bytes, 256)).toEqual(expected)
  })

  test('Q6_K: sixteen signed scales, codes of six bits minus 32', () => {
    const scales = Array.from({ length: 16 }, (_, i) => i * 16 - 128)
    const codes = Array.from({ length: 256 }, (_, i) => (i * 13 + (i >> 4)) & 63)
    const low = new Uint8Array(128)
    const top = new Uint8Array(64)
    codes.forEach((code, i) => {
      const halfBlock = i >> 7
      const k = (i >> 5) & 3
      low[halfBlock * 64 + (k & 1) * 32 + (i & 31)] |= (code & 15) << (k >= 2 ? 4 : 0)
      top[halfBlock * 32 + (i & 31)] |= (code >> 4) << (2 * k)
    })
    const bytes = new Uint8Array([...low, ...top, ...scales.map((scale) => scale & 255), ...quarter])
    const expected = codes.map((code, i) => (scales[i >> 4] * (code - 32)) / 4)
    expect(decode('Q6_K', bytes, 256)).toEqual(expected)
  })

  test('plain formats, from bytes at odd offsets too', () => {
    const floats = new Float32Array([1.5, -0.25])
    const shifted = new Uint8Array(9)
    shifted.set(new Uint8Array(floats.buffer), 1)
    expect(decode('F32', shifted.subarray(1), 2)).toEqual([1.5, -0.25])
    expect(decode('F16', new Uint8Array([0, ...one, ...two]).subarray(1), 2)).toEqual([1, 2])
    expect(decode('BF16', new Uint8Array([0, 0x80, 0x3f, 0x20, 0xc1]).subarray(1), 2)).toEqual([1, -10])
  })
})

// Two groups share 32 bytes: the first has the low nibbles.
function pairs(codes: readonly number[]): number[] {
  return Array.from({ length: 128 }, (_, i) => {
    const first = (i >> 5) * 64 + (i & 31)
    return codes[first] | (codes[first + 32] << 4)
  })
}

function packSixBits(scales: readonly number[], minima: readonly number[]): number[] {
  const packed = new Array<number>(12).fill(0)
  for (let i = 0; i < 4; i++) {
    packed[i] = scales[i] | ((scales[i + 4] >> 4) << 6)
    packed[i + 4] = minima[i] | ((minima[i + 4] >> 4) << 6)
    packed[i + 8] = (scales[i + 4] & 15) | ((minima[i + 4] & 15) << 4)
  }
  return packed
}

describe('bounds of rounding', () => {
  const weights = fc
    .array(fc.float({ noNaN: true, noDefaultInfinity: true, min: -1000, max: 1000 }), {
      minLength: 32,
      maxLength: 32,
    })
    .map((values) => new Float32Array(values))

  test('Q8_0 stays within half a step and the rounding of its scale', () => {
    fc.assert(
      fc.property(weights, (values) => {
        const largest = Math.max(...values.map(Math.abs))
        const bound = (largest / 127) * (0.5 + 0.07) + 2 ** -24 * 64 // float16 keeps 11 bits: 127 · 2^-11 = 0.062
        for (const [i, value] of decoded('Q8_0', values).entries()) {
          expect(Math.abs(value - values[i])).toBeLessThanOrEqual(bound)
        }
      }),
    )
  })

  test('int8 rows stay within half a step', () => {
    fc.assert(
      fc.property(weights, (values) => {
        const codes = new Uint8Array(32)
        const scales = new Float32Array(1)
        const back = new Float32Array(32)
        encodeRows('I8', values, 1, 32, codes, 'w', scales)
        decodeRows('I8', codes, 1, 32, back, scales)
        const largest = Math.max(...values.map(Math.abs))
        expect(scales[0]).toBe(Math.fround(largest / 127))
        for (const [i, value] of back.entries()) {
          expect(Math.abs(value - values[i])).toBeLessThanOrEqual(scales[0] * 0.5001 + 2 ** -140)
        }
      }),
    )
  })

  test("Q4_0 never leaves a larger squared error than llama.cpp's choice of scale", () => {
    fc.assert(
      fc.property(weights, (values) => {
        const error = squaredError(values, decoded('Q4_0', values))
        expect(error).toBeLessThanOrEqual(squaredError(values, llamaQ4_0(values)))
      }),
      { numRuns: 500 },
    )
  })

  test('zeros, and values float16 cannot scale', () => {
    const zeros = new Float32Array(32)
    for (const encoding of ['Q8_0', 'Q4_0'] as const) {
      expect([...decoded(encoding, zeros)].every((value) => value === 0)).toBe(true)
      const tiny = decoded(
        encoding,
        zeros.map(() => 1e-40),
      )
      expect([...tiny].every((value) => value === 0)).toBe(true)
      for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, 3e38]) {
        const values = Float32Array.from({ length: 32 }, (_, i) => (i === 7 ? bad : 1))
        expect(() => encode(encoding, values, 'model.norm.weight')).toThrow(/model\.norm\.weight holds/)
      }
    }
  })

  test('what does not fit is refused', () => {
    expect(() => encodedBytes('Q4_K', 128)).toThrow(GemmaError)
    expect(() => encodedBytes('F32', 2 ** 53)).toThrow(GemmaError)
    expect(() => decodeRows('Q8_0', new Uint8Array(33), 1, 32, new Float32Array(32))).toThrow(GemmaError)
    expect(() => decodeRows('F32', new Uint8Array(8), 1, 2, new Float32Array(1))).toThrow(GemmaError)
    expect(() => decodeRows('I8', new Uint8Array(8), 2, 4, new Float32Array(8), new Float32Array(1))).toThrow(
      GemmaError,
    )
    expect(() => encodeRows('F16', new Float32Array(1), 1, 2, new Uint8Array(4), 'w')).toThrow(GemmaError)
  })
})

function squaredError(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0)
}

/** What llama.cpp's quantize_row_q4_0_ref makes of one block, decoded again. */
function llamaQ4_0(values: Float32Array): Float32Array {
  let extreme = 0
  for (const value of values) if (Math.abs(value) > Math.abs(extreme)) extreme = value
  const scale = Math.fround(extreme / -8)
  const inverse = scale === 0 ? 0 : Math.fround(1 / scale)
  const bytes = new Uint8Array(2)
  encodeRows('F16', new Float32Array([scale]), 1, 1, bytes, 'scale')
  const stored = float16ToFloat32(bytes[0] | (bytes[1] << 8))
  return values.map((value) => {
    const code = Math.min(15, Math.trunc(Math.fround(Math.fround(value * inverse) + 8.5)))
    return stored * ((Number.isNaN(code) ? 8 : code) - 8)
  })
}

describe('golden files', () => {
  const bounds: ReadonlyArray<readonly [string, (largest: number) => number]> = [
    ['gguf/model-f32.gguf', () => 0],
    ['gguf/model-f16.gguf', (largest) => largest * 2 ** -11],
    ['gguf/model-q8_0.gguf', (largest) => (largest / 127) * 0.57],
    ['gguf/model-q4_0.gguf', (largest) => (largest / 8) * 1.01],
    ['official/model.ckpt', () => 0],
    ['official/model-quant.ckpt', (largest) => (largest / 127) * 0.51],
    ['sharded', () => 0],
  ]

  test.each(bounds)(
    '%s decodes to the weights of model.safetensors within its format',
    async (path, bound) => {
      const reference = await golden('')
      const checkpoint = await golden(path)
      expect([...checkpoint.tensors.keys()].sort()).toEqual([...reference.tensors.keys()].sort())
      expect(checkpoint.unknown).toEqual([])
      for (const [name, tensor] of reference.tensors) {
        const expected = await readFloats(tensor)
        const found = checkpoint.tensors.get(name)!
        expect(found.shape).toEqual(tensor.shape)
        const values = await readFloats(found)
        const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
        // Norms are stored as 1 + w in float32 (GGUF) or as float32: their rounding is 2^-24 of about 2.
        const allowed = tensor.shape.length === 1 ? 2 ** -23 : bound(largest)
        const worst = values.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i])), 0)
        expect(worst).toBeLessThanOrEqual(allowed)
      }
    },
  )

  test.each([
    ['gguf/model-q8_0.gguf', 'Q8_0'],
    ['gguf/model-f16.gguf', 'F16'],
    ['official/model-quant.ckpt', 'I8'],
  ] as const)('encoding the weights anew gives the very bytes of %s', async (path, encoding) => {
    const reference = await golden('')
    const checkpoint = await golden(path)
    for (const tensor of reference.tensors.values()) {
      if (tensor.shape.length === 1) continue
      const stored = checkpoint.tensors.get(tensor.name)!
      const { rows, columns } = rowsAndColumns(tensor.shape)
      const scales = new Float32Array(rows)
      const bytes = new Uint8Array(rows * encodedBytes(encoding, columns))
      encodeRows(encoding, await readFloats(tensor), rows, columns, bytes, tensor.name, scales)
      expect(bytes).toEqual(await allBytes(stored))
      if (stored.rowScales !== undefined) expect(scales).toEqual(await readFloats(stored.rowScales))
    }
  })

  test('Q4_0 leaves a tenth less squared error than the file of llama.cpp', async () => {
    const reference = await golden('')
    const checkpoint = await golden('gguf/model-q4_0.gguf')
    let ours = 0
    let theirs = 0
    for (const tensor of reference.tensors.values()) {
      if (tensor.shape.length === 1) continue
      const values = await readFloats(tensor)
      ours += squaredError(values, decoded('Q4_0', values))
      theirs += squaredError(values, await readFloats(checkpoint.tensors.get(tensor.name)!))
    }
    expect(ours).toBeLessThan(0.91 * theirs)
  })

  test('rows can be read one by one, also into shared memory', async () => {
    for (const path of ['', 'official/model-quant.ckpt', 'gguf/model-q4_0.gguf']) {
      const tensor = (await golden(path)).tensors.get('model.layers.1.self_attn.k_proj.weight')!
      const all = await readFloats(tensor)
      const { rows, columns } = rowsAndColumns(tensor.shape)
      const row = new Float32Array(columns)
      for (let i = 0; i < rows; i++) {
        await readFloatRows(tensor, i, 1, row)
        expect(row).toEqual(all.subarray(i * columns, (i + 1) * columns))
      }
      const shared = new Uint8Array(new SharedArrayBuffer(tensor.rowBytes * rows))
      await tensor.readRows(0, shared)
      expect(shared.slice()).toEqual(await allBytes(tensor))
      await expect(tensor.readRows(rows, new Uint8Array(tensor.rowBytes))).rejects.toThrow(GemmaError)
      await expect(tensor.readRows(0, new Uint8Array(tensor.rowBytes + 1))).rejects.toThrow(GemmaError)
      await expect(tensor.readRows(-1, new Uint8Array(tensor.rowBytes))).rejects.toThrow(GemmaError)
    }
  })
})

async function allBytes(tensor: StoredTensor): Promise<Uint8Array> {
  const bytes = new Uint8Array(rowsAndColumns(tensor.shape).rows * tensor.rowBytes)
  await tensor.readRows(0, bytes)
  return bytes
}

test('every encoding has a block size', () => {
  for (const [encoding, block] of Object.entries(blockSizes)) {
    expect(encodedBytes(encoding as Encoding, 2 * block.values)).toBe(2 * block.bytes)
  }
})
