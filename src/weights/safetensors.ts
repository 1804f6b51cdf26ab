// Reads the header of a safetensors file: 8 bytes with the header's length (little-endian), a JSON object
// {name: {dtype, shape, data_offsets}}, then the data. Every number is checked before it is used; a file
// the reference implementation refuses is refused here too (https://github.com/huggingface/safetensors).
// Knows nothing about Gemma's names.

import { GemmaError } from '../error.ts'
import type { Encoding } from './checkpoint.ts'
import { readBytes, type Source } from './source.ts'

/** One tensor as the header describes it; the byte range has been checked against shape, dtype and file. */
export interface SafetensorsEntry {
  readonly name: string
  /** As written in the header: 'F32', 'BF16', 'I64', … */
  readonly dtype: string
  readonly shape: readonly number[]
  /** Where its bytes begin in the file. */
  readonly offset: number
  readonly bytes: number
}

export interface SafetensorsHeader {
  readonly entries: ReadonlyMap<string, SafetensorsEntry>
  /** The `__metadata__` strings. */
  readonly metadata: Readonly<Record<string, string>>
}

const dtypeBytes: Readonly<Record<string, number>> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E8M0: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
  C64: 8,
}

const encodings: Readonly<Record<string, Encoding>> = { F32: 'F32', F16: 'F16', BF16: 'BF16' }

/** The encoding of a safetensors dtype, or undefined for one that no Gemma weight has. */
export function safetensorsEncoding(dtype: string): Encoding | undefined {
  return Object.hasOwn(encodings, dtype) ? encodings[dtype] : undefined
}

const maximumHeader = 100_000_000 // the reference implementation's limit
const maximumRank = 8 // nothing in any Gemma checkpoint has more than 4 sides

/** Reads and checks the header. Throws GemmaError 'file' for anything that is not a whole, sound file. */
export async function readSafetensors(source: Source): Promise<SafetensorsHeader> {
  if (source.size < 10) throw damaged(source, `expected at least 10 bytes, but it has ${source.size}`)
  const lengthBytes = await readBytes(source, 0, 8)
  const length = Number(new DataView(lengthBytes.buffer).getBigUint64(0, true))
  if (length < 2 || length > source.size - 8) {
    throw damaged(source, `its header claims ${length} bytes, but the file has ${source.size}`)
  }
  if (length > maximumHeader) throw damaged(source, `its header of ${length} bytes passes ${maximumHeader}`)
  const json = parseHeader(source, await readBytes(source, 8, length))
  const entries = new Map<string, SafetensorsEntry>()
  let metadata: Record<string, string> = {}
  for (const [name, value] of Object.entries(json)) {
    if (name === '__metadata__') metadata = checkMetadata(source, value)
    else entries.set(name, checkEntry(source, name, value, 8 + length))
  }
  checkRanges(source, [...entries.values()], 8 + length)
  return { entries, metadata }
}

function parseHeader(source: Source, bytes: Uint8Array): object {
  if (bytes[0] !== 0x7b) throw damaged(source, 'its header does not begin with {')
  let text: string
  let json: unknown
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    json = JSON.parse(text)
  } catch (cause) {
    throw damaged(source, 'its header is not valid JSON', cause)
  }
  if (typeof json !== 'object' || json === null) throw damaged(source, 'its header is not a JSON object')
  const repeated = repeatedKey(text)
  if (repeated !== undefined) throw damaged(source, `it names ${repeated} twice`)
  return json
}

// JSON.parse keeps the last of two equal keys without a word, which would hide a tensor. Well-formed JSON
// is given, so strings and nesting are all that need following.
function repeatedKey(text: string): string | undefined {
  const seen = new Set<string>()
  let depth = 0
  for (let i = 0; i < text.length; i++) {
    const character = text[i]
    if (character === '{' || character === '[') depth++
    else if (character === '}' || character === ']') depth--
    else if (character === '"') {
      const start = i
      for (i++; text[i] !== '"'; i++) if (text[i] === '\\') i++
      if (depth !== 1 || !isKeyEnd(text, i + 1)) continue
      const key = JSON.parse(text.slice(start, i + 1)) as string
      if (seen.has(key)) return key
      seen.add(key)
    }
  }
  return undefined
}

function isKeyEnd(text: string, from: number): boolean {
  let i = from
  while (text[i] === ' ' || text[i] === '\t' || text[i] === '\n' || text[i] === '\r') i++
  return text[i] === ':'
}

function checkMetadata(source: Source, value: unknown): Record<string, string> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw damaged(source, '__metadata__ is not an object')
  }
  if (Object.values(value).some((text) => typeof text !== 'string')) {
    throw damaged(source, '__metadata__ holds something other than strings')
  }
  return value as Record<string, string>
}

function checkEntry(source: Source, name: string, value: unknown, dataStart: number): SafetensorsEntry {
  const { dtype, shape, data_offsets: offsets } = (value ?? {}) as Record<string, unknown>
  if (typeof dtype !== 'string' || !Object.hasOwn(dtypeBytes, dtype)) {
    throw damaged(source, `${name} has the unknown dtype ${JSON.stringify(dtype)}`)
  }
  if (!isSizes(shape) || shape.length > maximumRank) {
    throw damaged(source, `${name} has no proper shape (${JSON.stringify(shape)?.slice(0, 80)})`)
  }
  if (!isSizes(offsets) || offsets.length !== 2) {
    throw damaged(source, `${name} has no proper data_offsets (${JSON.stringify(offsets)?.slice(0, 80)})`)
  }
  const [begin, end] = offsets
  const needed = shape.reduce((product, side) => product * side, dtypeBytes[dtype])
  if (!Number.isSafeInteger(needed) || end - begin !== needed) {
    throw damaged(
      source,
      `${name} is ${dtype} [${shape.join(', ')}], ${needed} bytes, but has the range ${begin} to ${end}`,
    )
  }
  if (end > source.size - dataStart) {
    throw damaged(source, `${name} ends at byte ${dataStart + end}, but the file has ${source.size}`)
  }
  return { name, dtype, shape, offset: dataStart + begin, bytes: needed }
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0)
}

function checkRanges(source: Source, entries: SafetensorsEntry[], dataStart: number): void {
  entries.sort((a, b) => a.offset - b.offset || a.bytes - b.bytes)
  let end = dataStart
  let previous = 'the header'
  for (const entry of entries) {
    if (entry.offset < end) throw damaged(source, `${entry.name} overlaps ${previous}`)
    if (entry.offset > end)
      throw damaged(source, `between ${previous} and ${entry.name} are bytes of no tensor`)
    end = entry.offset + entry.bytes
    previous = entry.name
  }
  if (end !== source.size)
    throw damaged(source, `after ${previous} are ${source.size - end} bytes of no tensor`)
}

function damaged(source: Source, what: string, cause?: unknown): GemmaError {
  return new GemmaError(
    'file',
    `${source.name} is not a sound safetensors file: ${what}.`,
    'It is truncated, damaged or something else; fetch it again.',
    { cause },
  )
}
