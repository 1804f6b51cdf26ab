// Reads little-endian fields one after another from a Source through a window in memory, so that a header
// of unknown length is read without reading the data behind it. Knows no format.

import { GemmaError } from '../error.ts'
import type { Source } from './source.ts'

export interface Cursor {
  /** Offset of the next field in the file. */
  position(): number
  /** Whether the next `count` bytes are in the window; if not, `fill` first. */
  has(count: number): boolean
  /** Brings at least the next `count` bytes into the window; throws when the file or the limit ends before. */
  fill(count: number): Promise<void>
  u8(): number
  i8(): number
  u16(): number
  i16(): number
  u32(): number
  i32(): number
  u64(): bigint
  i64(): bigint
  f32(): number
  f64(): number
  /** The next `count` bytes, a view into the window that holds until the next `fill`. */
  bytes(count: number): Uint8Array
}

/** A cursor from `start`; it never reads past `limit` bytes from the start of the file. */
export function openCursor(source: Source, limit: number, windowBytes: number = 1 << 20): Cursor {
  const end = Math.min(source.size, limit)
  let bytes = new Uint8Array(0)
  let view = new DataView(bytes.buffer)
  let base = 0 // file offset of the window
  let at = 0 // position in the window

  async function fill(count: number): Promise<void> {
    if (bytes.length - at >= count) return
    const position = base + at
    if (!Number.isSafeInteger(count) || count > end - position) {
      throw new GemmaError(
        'file',
        end < source.size
          ? `${source.name}: its header does not end within ${limit} bytes.`
          : `${source.name} ends at byte ${source.size}, inside its header: ${count} bytes were expected at ${position}.`,
        'The file is truncated or damaged; fetch it again.',
      )
    }
    const next = new Uint8Array(Math.min(Math.max(count, windowBytes), end - position))
    const kept = bytes.subarray(at)
    next.set(kept)
    await source.read(position + kept.length, next.subarray(kept.length))
    bytes = next
    view = new DataView(bytes.buffer)
    base = position
    at = 0
  }

  const take = (count: number): number => {
    at += count
    return at - count
  }
  return {
    position: () => base + at,
    has: (count) => bytes.length - at >= count,
    fill,
    u8: () => view.getUint8(take(1)),
    i8: () => view.getInt8(take(1)),
    u16: () => view.getUint16(take(2), true),
    i16: () => view.getInt16(take(2), true),
    u32: () => view.getUint32(take(4), true),
    i32: () => view.getInt32(take(4), true),
    u64: () => view.getBigUint64(take(8), true),
    i64: () => view.getBigInt64(take(8), true),
    f32: () => view.getFloat32(take(4), true),
    f64: () => view.getFloat64(take(8), true),
    bytes: (count) => {
      const from = take(count)
      return bytes.subarray(from, from + count)
    },
  }
}
