// Valid files of every container, damaged in thousands of ways: each must either be read or be refused
// with a GemmaError, without reading more than the file holds.

import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { GemmaError } from '../error.ts'
import { bytesSource } from './bytes-source.ts'
import { type Contents, ggufContents, safetensorsContents, torchContents } from './containers.ts'
import { readFloats } from './encodings.ts'
import type { Source } from './source.ts'

const models = new URL('../../test/data/models/', import.meta.url).pathname
const config = JSON.parse(readFileSync(`${models}gemma1-mqa/config.json`, 'utf8')) as Record<string, unknown>
const damages = 2500

/** One change; positions are fractions so that they fit files of any length. */
type Damage =
  | { readonly kind: 'flip'; readonly at: number; readonly bit: number }
  | { readonly kind: 'byte'; readonly at: number; readonly value: number }
  | { readonly kind: 'number'; readonly at: number; readonly value: bigint }
  | { readonly kind: 'insert'; readonly at: number; readonly bytes: Uint8Array }
  | { readonly kind: 'remove'; readonly at: number; readonly count: number }
  | { readonly kind: 'copy'; readonly at: number; readonly from: number; readonly count: number }
  | { readonly kind: 'truncate'; readonly at: number }

const position = fc.double({ min: 0, max: 1, noNaN: true })
const telling = fc.oneof(
  fc.constantFrom(
    0n,
    1n,
    0x7fffffffn,
    0x80000000n,
    0xffffffffn,
    1n << 40n,
    1n << 53n,
    (1n << 63n) - 1n,
    (1n << 64n) - 1n,
  ),
  fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
  fc.bigInt({ min: 0n, max: 70_000n }),
)
const damage: fc.Arbitrary<Damage> = fc.oneof(
  fc.record({ kind: fc.constant('flip' as const), at: position, bit: fc.nat(7) }),
  fc.record({ kind: fc.constant('byte' as const), at: position, value: fc.nat(255) }),
  fc.record({ kind: fc.constant('number' as const), at: position, value: telling }),
  fc.record({
    kind: fc.constant('insert' as const),
    at: position,
    bytes: fc.uint8Array({ minLength: 1, maxLength: 9 }),
  }),
  fc.record({ kind: fc.constant('remove' as const), at: position, count: fc.integer({ min: 1, max: 40 }) }),
  fc.record({
    kind: fc.constant('copy' as const),
    at: position,
    from: position,
    count: fc.integer({ min: 1, max: 60 }),
  }),
  fc.record({ kind: fc.constant('truncate' as const), at: position }),
)

/** Applies a change inside bytes [from, to), where the file's structure is. */
function applyDamage(bytes: Uint8Array, change: Damage, from: number, to: number): Uint8Array {
  const at = Math.min(bytes.length - 1, from + Math.floor(change.at * (to - from)))
  if (change.kind === 'truncate') return bytes.slice(0, at)
  if (change.kind === 'insert') return joined(bytes.subarray(0, at), change.bytes, bytes.subarray(at))
  if (change.kind === 'remove') return joined(bytes.subarray(0, at), bytes.subarray(at + change.count))
  const changed = bytes.slice()
  if (change.kind === 'flip') changed[at] ^= 1 << change.bit
  else if (change.kind === 'byte') changed[at] = change.value
  else if (change.kind === 'copy') {
    const source = from + Math.floor(change.from * (to - from))
    changed.copyWithin(at, source, source + change.count)
  } else {
    for (let i = 0; i < 8 && at + i < changed.length; i++)
      changed[at + i] = Number((change.value >> BigInt(8 * i)) & 255n)
  }
  return changed
}

function joined(...parts: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

/** A source that counts; a reader may look at a place more than once, but not without end. */
function countingSource(bytes: Uint8Array): Source & { reads: number; bytesRead: number } {
  const inner = bytesSource('damaged', bytes)
  const source = {
    ...inner,
    reads: 0,
    bytesRead: 0,
    async read(offset: number, into: Uint8Array): Promise<void> {
      source.reads++
      source.bytesRead += into.byteLength
      await inner.read(offset, into)
    },
  }
  return source
}

async function outcome(
  bytes: Uint8Array,
  open: (source: Source) => Promise<Contents>,
): Promise<'read' | 'refused'> {
  const source = countingSource(bytes)
  try {
    const { tensors } = await open(source)
    for (const tensor of tensors.values()) await readFloats(tensor)
    return 'read'
  } catch (cause) {
    if (!(cause instanceof GemmaError)) throw cause
    expect(cause.message.length).toBeLessThan(1200)
    return 'refused'
  } finally {
    expect(source.bytesRead).toBeLessThanOrEqual(8 * bytes.length + 100_000)
    expect(source.reads).toBeLessThanOrEqual(10_000)
  }
}

const containers: ReadonlyArray<{
  readonly file: string
  readonly regions: (size: number) => ReadonlyArray<readonly [number, number]>
  readonly open: (source: Source) => Promise<Contents>
}> = [
  {
    file: 'gemma1-mqa/model.safetensors',
    regions: (size) => [
      [0, 2088],
      [0, 16],
      [0, size],
    ],
    open: (source) => safetensorsContents([{ source }], config),
  },
  {
    file: 'gemma1-mqa/official/model-quant.ckpt',
    regions: (size) => [
      [0, 3000],
      [size - 2600, size],
      [size - 120, size],
      [0, size],
    ],
    open: (source) => torchContents([{ source }], undefined, 'damaged'),
  },
  {
    file: 'gemma1-mqa/gguf/model-q4_0.gguf',
    regions: (size) => [
      [0, 1000],
      [26_000, 28_000],
      [0, 28_000],
      [0, size],
    ],
    open: (source) => ggufContents([source]),
  },
]

describe.each(containers)('$file, damaged', ({ file, regions, open }) => {
  const bytes = new Uint8Array(readFileSync(models + file))
  const places = regions(bytes.length)

  test('is read when whole', async () => {
    expect(await outcome(bytes, open)).toBe('read')
  })

  test(`is read or refused with one clear error, ${damages} times`, async () => {
    const count = { read: 0, refused: 0 }
    await fc.assert(
      fc.asyncProperty(
        fc.array(damage, { minLength: 1, maxLength: 3 }),
        fc.nat(places.length - 1),
        async (changes, place) => {
          let changed: Uint8Array = bytes
          for (const change of changes) changed = applyDamage(changed, change, ...places[place])
          if (changed.length > 0) count[await outcome(changed, open)]++
        },
      ),
      { numRuns: damages },
    )
    // Otherwise the damage would be too mild, or too coarse, to test anything.
    expect(count.refused).toBeGreaterThan(damages / 4)
    expect(count.read).toBeGreaterThan(damages / 50)
  })

  test('is refused at every length shorter than whole', async () => {
    const step = Math.max(1, Math.floor(bytes.length / 300))
    for (let length = 1; length < bytes.length; length += step) {
      expect(await outcome(bytes.subarray(0, length), open)).toBe('refused')
    }
  })
})
