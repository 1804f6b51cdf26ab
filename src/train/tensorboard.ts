// The bytes of TensorBoard's event files, so that the curves of a run can be looked at with the tool that people
// have: TFRecord framing around protobuf messages, both written by hand because only four messages are needed.
// Knows no file and no training.
//
// Sources: the framing in TensorFlow's tensorflow/core/lib/io/record_writer.h, the messages in
// tensorflow/core/util/event.proto and tensorflow/core/framework/summary.proto (field numbers stand below).

/** One number on one curve. */
export interface Scalar {
  /** The curve's name; TensorBoard groups by what stands before the first slash. */
  readonly tag: string
  /** Written as a 32-bit float. NaN and infinities are allowed. */
  readonly value: number
}

/** The first event of every file, without which TensorBoard guesses at the format. */
export const FILE_VERSION = 'brain.Event:2'

const CRC_TABLE = crcTable()

/** Polynomial 0x1EDC6F41 (Castagnoli), reflected. */
function crcTable(): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, byte) => {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
    return crc
  })
}

/** CRC-32C (RFC 3720, appendix B.4) as an unsigned number. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8)
  return (crc ^ 0xffffffff) >>> 0
}

/** TFRecord's disguise of a checksum: rotated right by 15 bits, plus a constant. */
export function maskedCrc32c(bytes: Uint8Array): number {
  const crc = crc32c(bytes)
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0
}

/** One record: its length (64 bits), the length's checksum, the bytes, their checksum; all little-endian. */
export function frameRecord(data: Uint8Array): Uint8Array {
  const record = new Uint8Array(12 + data.byteLength + 4)
  const view = new DataView(record.buffer)
  view.setBigUint64(0, BigInt(data.byteLength), true)
  view.setUint32(8, maskedCrc32c(record.subarray(0, 8)), true)
  record.set(data, 12)
  view.setUint32(12 + data.byteLength, maskedCrc32c(data), true)
  return record
}

/** Event { wall_time = 1; file_version = 3 }. `time`: seconds since 1970. */
export function fileVersionEvent(time: number): Uint8Array {
  return concatenate([double(1, time), text(3, FILE_VERSION)])
}

/**
 * Event { wall_time = 1; step = 2; session_log = 7 { status = 1 (START = 1) } }: makes a TensorBoard that is
 * already showing the run forget what it knows from `step` on.
 */
export function sessionStartEvent(time: number, step: number): Uint8Array {
  return concatenate([double(1, time), integer(2, step), message(7, [integer(1, 1)])])
}

/** Event { wall_time = 1; step = 2; summary = 5 { value = 1 { tag = 1; simple_value = 2 } … } }. */
export function scalarsEvent(time: number, step: number, scalars: readonly Scalar[]): Uint8Array {
  const values = scalars.map(({ tag, value }) => message(1, [text(1, tag), float(2, value)]))
  return concatenate([double(1, time), integer(2, step), message(5, values)])
}

// Protobuf's wire types: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.

function key(field: number, wireType: number): Uint8Array {
  return Uint8Array.of((field << 3) | wireType) // fields below 16 take one byte
}

function varint(value: number): Uint8Array {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${value} is not a step or length.`)
  const bytes: number[] = []
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Uint8Array.from([...bytes, rest])
    bytes.push((rest % 128) | 0x80)
  }
}

function integer(field: number, value: number): Uint8Array {
  return concatenate([key(field, 0), varint(value)])
}

function double(field: number, value: number): Uint8Array {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setFloat64(0, value, true)
  return concatenate([key(field, 1), bytes])
}

function float(field: number, value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setFloat32(0, value, true)
  return concatenate([key(field, 5), bytes])
}

function text(field: number, value: string): Uint8Array {
  return delimited(field, new TextEncoder().encode(value))
}

function message(field: number, parts: readonly Uint8Array[]): Uint8Array {
  return delimited(field, concatenate(parts))
}

function delimited(field: number, bytes: Uint8Array): Uint8Array {
  return concatenate([key(field, 2), varint(bytes.byteLength), bytes])
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0))
  let offset = 0
  for (const part of parts) {
    whole.set(part, offset)
    offset += part.byteLength
  }
  return whole
}
