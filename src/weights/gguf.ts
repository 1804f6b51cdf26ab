// Reads the header of a GGUF file: metadata and where each tensor lies. Format as specified in ggml's
// docs/gguf.md (https://github.com/ggml-org/ggml). Knows nothing about Gemma: names and configuration are
// the business of gguf-config.ts and names.ts.

import { GemmaError } from '../error.ts'
import type { Encoding } from './checkpoint.ts'
import { type Cursor, openCursor } from './cursor.ts'
import { encodedBytes, fitsBlocks } from './encodings.ts'
import type { Source } from './source.ts'

/** Integers past 2^53 stay bigint. Arrays of numbers are typed arrays, of booleans Uint8Array (0 or 1). */
export type GgufValue = number | bigint | boolean | string | readonly string[] | GgufNumbers
export type GgufNumbers =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | BigUint64Array
  | BigInt64Array
  | Float64Array

export interface GgufTensor {
  readonly name: string
  /** Row-major, outermost side first: the reverse of the order in the file. */
  readonly shape: readonly number[]
  /** undefined for a type that is not read here. */
  readonly encoding: Encoding | undefined
  /** The type's name for messages. */
  readonly type: string
  /** Where its bytes begin in the file. */
  readonly offset: number
}

export interface GgufHeader {
  readonly version: number
  readonly metadata: ReadonlyMap<string, GgufValue>
  readonly tensors: readonly GgufTensor[]
}

/** ggml's numbers of the types that are read here. */
export const ggmlTypes: Readonly<Record<Exclude<Encoding, 'I8'>, number>> = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q5_0: 6,
  Q5_1: 7,
  Q8_0: 8,
  Q4_K: 12,
  Q5_K: 13,
  Q6_K: 14,
  BF16: 30,
}
const encodingOfType = new Map(Object.entries(ggmlTypes).map(([name, type]) => [type, name as Encoding]))
const otherTypeNames: Readonly<Record<number, string>> = {
  9: 'Q8_1',
  10: 'Q2_K',
  11: 'Q3_K',
  15: 'Q8_K',
  16: 'IQ2_XXS',
  17: 'IQ2_XS',
  18: 'IQ3_XXS',
  19: 'IQ1_S',
  20: 'IQ4_NL',
  21: 'IQ3_S',
  22: 'IQ2_S',
  23: 'IQ4_XS',
  24: 'I8',
  25: 'I16',
  26: 'I32',
  27: 'I64',
  28: 'F64',
  29: 'IQ1_M',
  34: 'TQ1_0',
  35: 'TQ2_0',
  39: 'MXFP4',
}

/** Value types of metadata, in the order of their numbers in the file. */
export const ggufValueTypes = [
  'u8',
  'i8',
  'u16',
  'i16',
  'u32',
  'i32',
  'f32',
  'bool',
  'string',
  'array',
  'u64',
  'i64',
  'f64',
] as const
export type GgufValueType = (typeof ggufValueTypes)[number]

const valueBytes: Readonly<Record<GgufValueType, number>> = {
  u8: 1,
  i8: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  bool: 1,
  string: 8, // at least its length
  array: 12, // at least its type and length
  u64: 8,
  i64: 8,
  f64: 8,
}

const maximumHeader = 256 * 1024 * 1024 // a header with a 262,144-piece tokenizer has about 8 MB
const maximumEntries = 65_536 // the largest Gemma has about 1,300 tensors
const maximumRank = 4 // ggml's GGML_MAX_DIMS

/** Reads and checks the header of GGUF version 2 or 3. */
export async function readGguf(source: Source): Promise<GgufHeader> {
  const cursor = openCursor(source, maximumHeader)
  await cursor.fill(24)
  const { version, tensorCount, valueCount } = readPreamble(cursor, source)
  const metadata = new Map<string, GgufValue>()
  for (let i = 0; i < valueCount; i++) {
    const key = await readString(cursor, source)
    if (metadata.has(key)) throw damaged(source, `the metadata key ${key.slice(0, 100)} is there twice`)
    metadata.set(key, await readValue(cursor, source, key.slice(0, 100)))
  }
  const alignment = readAlignment(metadata, source)
  const infos: TensorInfo[] = []
  for (let i = 0; i < tensorCount; i++) infos.push(await readTensorInfo(cursor, source))
  const dataStart = Math.ceil(cursor.position() / alignment) * alignment
  return { version, metadata, tensors: placeTensors(infos, dataStart, alignment, source) }
}

function readPreamble(
  cursor: Cursor,
  source: Source,
): { version: number; tensorCount: number; valueCount: number } {
  const magic = cursor.u32()
  if (magic !== 0x46554747) throw damaged(source, 'it does not begin with the letters GGUF')
  const version = cursor.u32()
  if (version >>> 16 !== 0 && (version & 0xffff) === 0) {
    throw new GemmaError(
      'unsupported',
      `${source.name} is a big-endian GGUF file.`,
      'Use a little-endian one.',
    )
  }
  if (version !== 2 && version !== 3) {
    throw new GemmaError(
      'unsupported',
      `${source.name} is GGUF version ${version}; versions 2 and 3 can be read.`,
      'Convert the model again with a current converter.',
    )
  }
  const tensorCount = checkCount(cursor.u64(), 24, 'tensors', cursor, source)
  const valueCount = checkCount(cursor.u64(), 13, 'metadata values', cursor, source)
  if (tensorCount > maximumEntries || valueCount > maximumEntries) {
    throw damaged(source, `it claims ${tensorCount} tensors and ${valueCount} metadata values`)
  }
  return { version, tensorCount, valueCount }
}

/** A count whose elements take at least `each` bytes must fit into the rest of the file. */
function checkCount(count: bigint, each: number, what: string, cursor: Cursor, source: Source): number {
  const rest = Math.min(source.size, maximumHeader) - cursor.position()
  if (count * BigInt(each) > BigInt(Math.max(rest, 0))) {
    throw damaged(source, `it claims ${count} ${what}, more than its ${source.size} bytes can hold`)
  }
  return Number(count)
}

const decoder = new TextDecoder()

async function readString(cursor: Cursor, source: Source): Promise<string> {
  if (!cursor.has(8)) await cursor.fill(8)
  const length = checkCount(cursor.u64(), 1, 'bytes of text', cursor, source)
  if (!cursor.has(length)) await cursor.fill(length)
  return decoder.decode(cursor.bytes(length))
}

function valueType(code: number, key: string, source: Source): GgufValueType {
  const type = ggufValueTypes[code]
  if (type === undefined) throw damaged(source, `the metadata key ${key} has the unknown type ${code}`)
  return type
}

async function readValue(cursor: Cursor, source: Source, key: string): Promise<GgufValue> {
  await cursor.fill(4)
  const type = valueType(cursor.u32(), key, source)
  if (type === 'array') return readArray(cursor, source, key)
  if (type === 'string') return readString(cursor, source)
  await cursor.fill(valueBytes[type])
  if (type === 'bool') return cursor.u8() !== 0
  const value = cursor[type]()
  return typeof value === 'bigint' && Number.isSafeInteger(Number(value)) ? Number(value) : value
}

async function readArray(cursor: Cursor, source: Source, key: string): Promise<GgufValue> {
  await cursor.fill(12)
  const type = valueType(cursor.u32(), key, source)
  if (type === 'array') throw damaged(source, `the metadata key ${key} holds an array of arrays`)
  const count = checkCount(cursor.u64(), valueBytes[type], `values of ${key}`, cursor, source)
  if (type === 'string') return readStrings(cursor, source, count)
  const length = count * valueBytes[type]
  await cursor.fill(length)
  const { buffer } = cursor.bytes(length).slice()
  switch (type) {
    case 'u8':
    case 'bool':
      return new Uint8Array(buffer)
    case 'i8':
      return new Int8Array(buffer)
    case 'u16':
      return new Uint16Array(buffer)
    case 'i16':
      return new Int16Array(buffer)
    case 'u32':
      return new Uint32Array(buffer)
    case 'i32':
      return new Int32Array(buffer)
    case 'f32':
      return new Float32Array(buffer)
    case 'u64':
      return new BigUint64Array(buffer)
    case 'i64':
      return new BigInt64Array(buffer)
    case 'f64':
      return new Float64Array(buffer)
  }
}

// A tokenizer has 256,000 strings: awaiting only when the window runs out keeps this quick.
async function readStrings(cursor: Cursor, source: Source, count: number): Promise<string[]> {
  const strings: string[] = []
  for (let i = 0; i < count; i++) {
    if (!cursor.has(8)) await cursor.fill(8)
    const length = checkCount(cursor.u64(), 1, 'bytes of text', cursor, source)
    if (!cursor.has(length)) await cursor.fill(length)
    strings.push(decoder.decode(cursor.bytes(length)))
  }
  return strings
}

function readAlignment(metadata: ReadonlyMap<string, GgufValue>, source: Source): number {
  const alignment = metadata.get('general.alignment') ?? 32
  if (
    typeof alignment !== 'number' ||
    !Number.isInteger(Math.log2(alignment)) ||
    alignment < 1 ||
    alignment > 65536
  ) {
    throw damaged(source, `general.alignment is ${alignment}; expected a power of two`)
  }
  return alignment
}

interface TensorInfo {
  readonly name: string
  readonly shape: number[]
  readonly type: number
  readonly relative: bigint
}

async function readTensorInfo(cursor: Cursor, source: Source): Promise<TensorInfo> {
  const name = await readString(cursor, source)
  if (name.length > 256) throw damaged(source, `a tensor has a name of ${name.length} characters`)
  await cursor.fill(4)
  const rank = cursor.u32()
  if (rank < 1 || rank > maximumRank) throw damaged(source, `${name} has ${rank} sides`)
  await cursor.fill(8 * rank + 12)
  const shape: number[] = []
  for (let i = 0; i < rank; i++) {
    const side = Number(cursor.u64())
    if (!Number.isSafeInteger(side) || side < 1) throw damaged(source, `${name} has a side of ${side}`)
    shape.unshift(side)
  }
  // A vector may be written as [1, n]: trailing sides of 1 are not kept.
  while (shape.length > 1 && shape[0] === 1 && name.endsWith('norm.weight')) shape.shift()
  return { name, shape, type: cursor.u32(), relative: cursor.u64() }
}

function placeTensors(
  infos: TensorInfo[],
  dataStart: number,
  alignment: number,
  source: Source,
): GgufTensor[] {
  const names = new Set<string>()
  const placed = infos.map((info) => {
    if (names.has(info.name)) throw damaged(source, `${info.name} is there twice`)
    names.add(info.name)
    return placeTensor(info, dataStart, alignment, source)
  })
  let end = dataStart
  let previous = 'the header'
  for (const { tensor, bytes } of [...placed].sort((a, b) => a.tensor.offset - b.tensor.offset)) {
    if (tensor.offset < end) throw damaged(source, `${tensor.name} overlaps ${previous}`)
    end = tensor.offset + bytes
    previous = tensor.name
  }
  return placed.map(({ tensor }) => tensor)
}

function placeTensor(
  info: TensorInfo,
  dataStart: number,
  alignment: number,
  source: Source,
): { tensor: GgufTensor; bytes: number } {
  const { name, shape } = info
  const encoding = encodingOfType.get(info.type)
  const offset = dataStart + Number(info.relative)
  if (info.relative % BigInt(alignment) !== 0n) {
    throw damaged(source, `${name} begins at ${info.relative}, not at a multiple of ${alignment}`)
  }
  const values = shape.reduce((product, side) => product * side, 1)
  if (!Number.isSafeInteger(values) || !Number.isSafeInteger(offset)) {
    throw damaged(source, `${name} with shape [${shape.join(', ')}] at ${offset} passes what a file can hold`)
  }
  // The size of a type that is not read here is not known; such a tensor is refused when it is needed.
  let bytes = 0
  if (encoding !== undefined) {
    if (!fitsBlocks(encoding, shape[shape.length - 1])) {
      throw damaged(
        source,
        `${name} has rows of ${shape[shape.length - 1]} values, not whole ${encoding} blocks`,
      )
    }
    bytes = encodedBytes(encoding, values)
  }
  if (offset + bytes > source.size) {
    throw damaged(source, `${name} ends at byte ${offset + bytes}, but the file has ${source.size}`)
  }
  const type = encoding ?? otherTypeNames[info.type] ?? `type ${info.type}`
  return { tensor: { name, shape, encoding, type, offset }, bytes }
}

function damaged(source: Source, what: string): GemmaError {
  return new GemmaError(
    'file',
    `${source.name} is not a sound GGUF file: ${what}.`,
    'It is truncated, damaged or something else; fetch it again.',
  )
}
