import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Backend } from '../../backends/backend.ts'
import { createReferenceBackend } from '../../backends/reference.ts'
import { GemmaError } from '../../error.ts'
import type { WeightDtype } from '../../generate/load-choices.ts'
import { dtypeFor } from '../../generate/load-model.ts'
import type { Dtype } from '../../graph/dtype.ts'
import { createTape, keep, persistentTensor, type Tensor } from '../../graph/tape.ts'
import type { Encoding, StoredTensor } from '../../weights/checkpoint.ts'
import { blockSizes, encodedBytes, encodeRows, type WritableEncoding } from '../../weights/encodings.ts'
import { embed } from '../embed/embed.ts'
import { INLINE, runOf, VARIANTS, type Variant, wasmFor } from '../testing/harness.ts'
import { decoded, normals, randomStored, seeded, storedTensor, storedValues } from '../testing/stored.ts'

const ENCODINGS = Object.keys(blockSizes) as Encoding[]
const WANTED: readonly WeightDtype[] = ['auto', 'f32', 'bf16', 'int8', 'int8row', 'int4']

/** Loads a matrix into a dtype and reads rows back through embed. */
async function loaded(
  dtype: Dtype,
  stored: StoredTensor,
  rows: readonly number[] | 'all' = 'all',
  variant: Variant = INLINE[0]!,
): Promise<Float32Array> {
  const tensor = persistentTensor('weight', 'matrix', stored.shape, dtype)
  const backend = await wasmFor(variant, [tensor], new Map())
  try {
    await backend.load(tensor, stored)
    return await rowsOf(
      backend,
      tensor,
      rows === 'all' ? Array.from({ length: stored.shape[0]! }, (_, i) => i) : rows,
    )
  } finally {
    await backend.dispose()
  }
}

async function rowsOf(backend: Backend, tensor: Tensor, rows: readonly number[]): Promise<Float32Array> {
  const columns = tensor.shape[1]!
  const tape = createTape(512)
  const value = keep(tape, embed(tape, tensor, 1))
  const plan = backend.compile(tape)
  const all = new Float32Array(rows.length * columns)
  for (let from = 0; from < rows.length; from += 512) {
    const tokens = rows.slice(from, from + 512)
    await backend.run(plan, runOf(tokens.length, { tokens }))
    all.set(backend.read(plan, value, tokens.length), from * columns)
  }
  return all
}

async function referenceLoaded(dtype: Dtype, stored: StoredTensor): Promise<Float32Array> {
  const tensor = persistentTensor('weight', 'matrix', stored.shape, dtype)
  const reference = createReferenceBackend({ tensors: [tensor], constants: new Map() })
  await reference.load(tensor, stored)
  return Float32Array.from(reference.held(tensor))
}

/** What the TypeScript encoder leaves of values. */
function encodedAndBack(
  encoding: WritableEncoding,
  values: Float32Array,
  columns: number,
): Promise<Float32Array> {
  return decoded(storedValues(encoding, [values.length / columns, columns], values))
}

function squaredError(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, i) => sum + (value - b[i]!) ** 2, 0)
}

const ENCODER: Partial<Record<Dtype, WritableEncoding>> = {
  bf16: 'BF16',
  int8: 'Q8_0',
  int8row: 'I8',
  int4: 'Q4_0',
}

describe('every encoding comes into every dtype it may have', () => {
  const pairs = new Map(
    ENCODINGS.flatMap((encoding) =>
      WANTED.map((wanted) => dtypeFor(wanted, encoding, 2)).map((dtype) => [
        `${encoding} → ${dtype}`,
        [encoding, dtype] as const,
      ]),
    ),
  )

  test.each([...pairs])('%s', async (_, [encoding, dtype]) => {
    // Rows that end inside a group of four and of eight.
    for (const rows of [1, 4, 6, 13]) {
      const stored = randomStored(encoding, rows, 512, rows)
      const plain = await decoded(stored)
      const outcomes = await Promise.all(INLINE.map((variant) => loaded(dtype, stored, 'all', variant)))
      for (const values of outcomes) expect(values).toEqual(outcomes[0])
      const values = outcomes[0]!
      const encoder = ENCODER[dtype]
      if (dtype === 'f32' || encoder === encoding || (dtype === 'f16' && encoding === 'F16')) {
        expect(values).toEqual(plain)
      } else if (dtype === 'bf16') {
        expect(values).toEqual(await encodedAndBack('BF16', plain, 512))
      } else if (dtype === 'int4min') {
        // Q4_1: the product and the sum are rounded apart. Q4_K: scales and minima are rounded to float16.
        const allowed = encoding === 'Q4_1' ? 1e-7 : 2e-3
        const largest = plain.reduce((a, b) => Math.max(a, Math.abs(b)), 0)
        plain.forEach(
          (value, i) => void expect(Math.abs(values[i]! - value)).toBeLessThanOrEqual(allowed * largest),
        )
      } else {
        const error = squaredError(values, plain)
        const usual = squaredError(await encodedAndBack(encoder!, plain, 512), plain)
        expect(error).toBeLessThanOrEqual(usual * 1.01 + 1e-12)
      }
    }
  })
})

describe('packing', () => {
  test('values at the ends of every integer range', async () => {
    for (const [encoding, dtype] of [
      ['Q4_0', 'int4'],
      ['Q4_1', 'int4min'],
      ['Q8_0', 'int8'],
      ['I8', 'int8row'],
    ] as const) {
      for (const byte of [0x00, 0x0f, 0xf0, 0xff, 0x80, 0x7f]) {
        const bytes = new Uint8Array(5 * encodedBytes(encoding, 64)).fill(byte)
        const view = new DataView(bytes.buffer)
        for (let at = 0; encoding !== 'I8' && at < bytes.length; at += blockSizes[encoding].bytes) {
          view.setUint16(at, 0x3555, true) // about a third
          if (encoding === 'Q4_1') view.setUint16(at + 2, 0x0001, true) // the smallest float16
        }
        const rowScales =
          encoding === 'I8' ? storedValues('F32', [5], Float32Array.of(1, -1, 1e-8, 3, 0)) : undefined
        const stored = storedTensor(encoding, [5, 64], bytes, { rowScales })
        const plain = await decoded(stored)
        const values = await loaded(dtype, stored)
        plain.forEach((value, i) => void expect(values[i]).toBeCloseTo(value, 6))
      }
    }
  })

  test('every float16 bit pattern but infinities and NaN widens exactly', async () => {
    const bits = Uint16Array.from({ length: 65536 }, (_, i) => (((i >> 10) & 31) === 31 ? 0 : i))
    const stored = storedTensor('F16', [128, 512], new Uint8Array(bits.buffer))
    const plain = await decoded(stored)
    expect(await loaded('f16', stored)).toEqual(plain)
    expect(await loaded('f32', stored)).toEqual(plain)
    expect(await loaded('f32', stored, 'all', { name: 'baseline', threads: 2, build: 'baseline' })).toEqual(
      plain,
    )
  })

  test('bf16 is rounded to the nearest, ties to even, as the TypeScript encoder does', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.float({ noNaN: true }), { minLength: 64, maxLength: 64 }),
        async (list) => {
          const values = Float32Array.from(list)
          const stored = storedValues('F32', [2, 32], values)
          expect(await loaded('bf16', stored)).toEqual(await encodedAndBack('BF16', values, 32))
        },
      ),
      { numRuns: 60 },
    ))

  const kinds: readonly (readonly [string, (i: number, random: () => number) => number])[] = [
    ['normal', (_, r) => Math.sqrt(-2 * Math.log(1 - r())) * Math.cos(2 * Math.PI * r()) * 0.02],
    ['long-tailed', (_, r) => Math.tan((r() - 0.5) * 3) * 0.02],
    ['even', (_, r) => r() - 0.5],
    ['positive', (_, r) => r()],
    ['negative', (_, r) => -r()],
    ['with one outlier a block', (i, r) => (i % 32 === 7 ? 5 : (r() - 0.5) * 0.1)],
    ['two values', (i) => (i % 3 ? 0.25 : -0.25)],
    ['huge', (_, r) => (r() - 0.5) * 1e6],
  ]

  test.each(kinds)(
    '%s values are rounded as the reference rounds them, and no worse than the encoders of files do',
    async (_, value) => {
      const random = seeded(5)
      const values = Float32Array.from({ length: 64 * 256 }, (_, i) => value(i, random))
      const stored = storedValues('F32', [64, 256], values)
      for (const dtype of ['int8', 'int8row', 'int4'] as const) {
        const rounded = await loaded(dtype, stored)
        expect(rounded).toEqual(await referenceLoaded(dtype, stored))
        const error = squaredError(rounded, values)
        const usual = squaredError(await encodedAndBack(ENCODER[dtype]!, values, 256), values)
        expect(error, dtype).toBeLessThanOrEqual(usual * 1.01 + 1e-20)
      }
    },
  )

  test('zero blocks stay zero, and values too small for a float16 scale become zero, not noise', async () => {
    const values = normals(8 * 96, 3, 0.1)
    values.fill(0, 0, 32)
    values.fill(-0, 96, 128)
    values.fill(1e-9, 192, 224)
    values.fill(1e-40, 288, 320)
    for (const dtype of ['int8', 'int4', 'int8row'] as const) {
      const stored = storedValues('F32', [8, 96], values)
      const got = await loaded(dtype, stored)
      expect(got).toEqual(await referenceLoaded(dtype, stored))
      for (let i = 0; i < 32; i++) {
        expect(Math.abs(got[i]!) + Math.abs(got[96 + i]!)).toBe(0)
        expect(Math.abs(got[192 + i]!)).toBeLessThanOrEqual(1e-7)
        expect(Math.abs(got[288 + i]!)).toBeLessThanOrEqual(1e-30)
      }
    }
  })

  test('rows that end inside a block: the last block is rounded by its own values alone', () =>
    fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 100 }),
        fc.integer(),
        async (rows, columns, seed) => {
          const values = normals(rows * columns, seed)
          const padded = Math.ceil(columns / 32) * 32
          const wide = new Float32Array(rows * padded)
          for (let r = 0; r < rows; r++) wide.set(values.subarray(r * columns, (r + 1) * columns), r * padded)
          for (const dtype of ['int8', 'int4'] as const) {
            const stored = storedValues('F32', [rows, columns], values)
            const ragged = await loaded(dtype, stored)
            expect(ragged).toEqual(await referenceLoaded(dtype, stored))
            // Of scales for 4 bits that are as good as each other, the order of additions decides: it is the same in fours.
            if (dtype === 'int4' && columns % 4 > 0) continue
            const whole = await loaded(dtype, storedValues('F32', [rows, padded], wide))
            for (let r = 0; r < rows; r++) {
              const cut = whole.subarray(r * padded, r * padded + columns)
              expect(ragged.subarray(r * columns, (r + 1) * columns)).toEqual(cut)
            }
          }
        },
      ),
      { numRuns: 15 },
    ))

  test('what is subtracted is subtracted: matrices and vectors of every float encoding', async () => {
    for (const encoding of ['F32', 'F16', 'BF16'] as const) {
      const stored = storedValues(encoding, [3, 40], normals(120, 1), 1)
      expect(await loaded('f32', stored)).toEqual(await decoded(stored))
    }
  })

  test('matrices of several stretches, by any number of threads', async () => {
    // Eight megabytes of stored rows, or sixteen of widened ones, are taken at a time.
    const columns = 1056
    const rows = 5003
    const stored = randomStored('Q8_0', rows, columns, 8)
    const probes = [0, 1, 7, 8, 3967, 3968, 3971, 3972, 3975, 3976, 3977, 4000, 4999, 5000, 5001, 5002]
    const plain = await decoded(stored)
    const expected = Float32Array.from(
      probes.flatMap((row) => [...plain.subarray(row * columns, (row + 1) * columns)]),
    )
    const wide = storedValues('F32', [rows, columns], plain)
    for (const variant of VARIANTS.filter(({ split, integers }) => !split && !integers)) {
      expect(await loaded('int8', stored, probes, variant)).toEqual(expected)
      expect(await loaded('f32', stored, probes, variant)).toEqual(expected)
      expect(await loaded('f32', wide, probes, variant)).toEqual(expected)
      const rounded = await loaded('int8', wide, probes, variant)
      // The scale is one over 127 of a code that may be 128: nearly, not exactly, the same integers.
      expect(squaredError(rounded, expected)).toBeLessThanOrEqual(
        1e-4 * squaredError(expected, new Float32Array(expected.length)),
      )
    }
  })

  test('rows so long that eight of them pass a stretch', async () => {
    const columns = 1 << 20
    const rows = 9
    const values = normals(rows * columns, 4)
    const stored = storedValues('F32', [rows, columns], values)
    expect(await loaded('f32', stored)).toEqual(values)
    const narrow = await encodedAndBack('BF16', values, columns)
    expect(await loaded('bf16', stored)).toEqual(narrow)
    expect(await loaded('f32', storedValues('BF16', [rows, columns], values))).toEqual(narrow)
    const error = squaredError(await loaded('int8', stored), values)
    expect(error).toBeLessThanOrEqual(
      1.01 * squaredError(await encodedAndBack('Q8_0', values, columns), values),
    )
  })

  test('an aborted or failing load ends with that error, and the backend can be let go', async () => {
    const stored = randomStored('BF16', 3000, 2048, 1)
    const tensor = persistentTensor('weight', 'matrix', stored.shape, 'int8')
    for (const threads of [0, 2]) {
      const backend = await wasmFor({ name: '', threads, build: 'auto' }, [tensor], new Map())
      const controller = new AbortController()
      const loading = backend.load(tensor, stored, () => controller.abort(), controller.signal)
      await expect(loading).rejects.toMatchObject({ code: 'aborted' })
      const broken: StoredTensor = {
        ...stored,
        async readRows(from, into) {
          if (from > 0) throw new GemmaError('file', 'the file ends here')
          return stored.readRows(from, into)
        },
      }
      await expect(backend.load(tensor, broken)).rejects.toMatchObject({ code: 'file' })
      await backend.load(tensor, stored)
      const plain = (await decoded(stored)).subarray(0, 2048)
      const [row, usual] = [await rowsOf(backend, tensor, [0]), new Uint8Array(encodedBytes('Q8_0', 2048))]
      encodeRows('Q8_0', plain, 1, 2048, usual, 'row')
      expect(squaredError(row, plain)).toBeLessThan(1e-4 * squaredError(plain, new Float32Array(2048)))
      await backend.dispose()
    }
  })
})
