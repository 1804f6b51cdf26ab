// Reads the directory of a ZIP archive whose entries are stored without compression, as torch.save writes
// them, so that tensors can be read from the archive in place. Deflated entries are refused: torch writes
// none, and nothing here can then be made to grow. Format: PKWARE's APPNOTE.TXT 6.3. Knows nothing of torch.

import { GemmaError } from '../error.ts'
import { readBytes, type Source } from './source.ts'

export interface ZipEntry {
  readonly name: string
  /** Where the entry's bytes begin in the archive. */
  readonly offset: number
  readonly size: number
}

const maximumDirectory = 64 * 1024 * 1024 // the largest Gemma's has about 100 kB
const endSize = 22
const endZip64Size = 56
const locatorSize = 20

interface Listed extends ZipEntry {
  readonly headerOffset: number
}

/** Reads the directory. Throws GemmaError for anything but a sound archive of stored entries. */
export async function readZip(source: Source): Promise<ReadonlyMap<string, ZipEntry>> {
  const directory = await findDirectory(source)
  const bytes = await readBytes(source, directory.offset, directory.size)
  const listed = parseDirectory(bytes, directory.count, source)
  const entries = new Map<string, ZipEntry>()
  for (const entry of await placeEntries(listed, directory.offset, source)) {
    if (entries.has(entry.name)) throw damaged(source, `${entry.name} is there twice`)
    entries.set(entry.name, entry)
  }
  return entries
}

interface Directory {
  readonly offset: number
  readonly size: number
  readonly count: number
}

async function findDirectory(source: Source): Promise<Directory> {
  const tailSize = Math.min(source.size, endSize + 65_535 + locatorSize)
  const tailStart = source.size - tailSize
  const tail = await readBytes(source, tailStart, tailSize)
  const view = new DataView(tail.buffer)
  let at = tailSize - endSize
  while (
    at >= 0 &&
    !(view.getUint32(at, true) === 0x06054b50 && at + endSize + view.getUint16(at + 20, true) === tailSize)
  )
    at--
  if (at < 0) throw damaged(source, 'it has no end-of-directory record')
  let directory: Directory = {
    count: view.getUint16(at + 10, true),
    size: view.getUint32(at + 12, true),
    offset: view.getUint32(at + 16, true),
  }
  let end = tailStart + at
  const locator = at - locatorSize
  if (locator >= 0 && view.getUint32(locator, true) === 0x07064b50) {
    end = toNumber(view.getBigUint64(locator + 8, true), source)
    directory = await readZip64End(source, end)
  }
  const { count, size, offset } = directory
  if (offset + size > end || size > maximumDirectory || count * 46 > size) {
    throw damaged(source, `its directory of ${count} entries, ${size} bytes at ${offset}, cannot be`)
  }
  return directory
}

async function readZip64End(source: Source, offset: number): Promise<Directory> {
  const bytes = await readBytes(source, offset, endZip64Size)
  const view = new DataView(bytes.buffer)
  if (view.getUint32(0, true) !== 0x06064b50)
    throw damaged(source, 'its 64-bit end-of-directory record is missing')
  return {
    count: toNumber(view.getBigUint64(32, true), source),
    size: toNumber(view.getBigUint64(40, true), source),
    offset: toNumber(view.getBigUint64(48, true), source),
  }
}

function toNumber(value: bigint, source: Source): number {
  if (value > BigInt(source.size)) throw damaged(source, `it names byte ${value}, past its end`)
  return Number(value)
}

function parseDirectory(bytes: Uint8Array<ArrayBuffer>, count: number, source: Source): Listed[] {
  const view = new DataView(bytes.buffer)
  const decoder = new TextDecoder()
  const listed: Listed[] = []
  let at = 0
  for (let i = 0; i < count; i++) {
    if (at + 46 > bytes.length || view.getUint32(at, true) !== 0x02014b50) {
      throw damaged(source, `entry ${i} of its directory is missing`)
    }
    const nameLength = view.getUint16(at + 28, true)
    const extraLength = view.getUint16(at + 30, true)
    const next = at + 46 + nameLength + extraLength + view.getUint16(at + 32, true)
    if (next > bytes.length) throw damaged(source, `entry ${i} of its directory is cut off`)
    const name = decoder.decode(bytes.subarray(at + 46, at + 46 + nameLength))
    checkMethod(view, at, name, source)
    listed.push(readSizes(view, at, name, at + 46 + nameLength, extraLength, source))
    at = next
  }
  return listed
}

function checkMethod(view: DataView, at: number, name: string, source: Source): void {
  const flags = view.getUint16(at + 8, true)
  const method = view.getUint16(at + 10, true)
  if ((flags & 1) !== 0) throw new GemmaError('unsupported', `${source.name}: ${name} is encrypted.`)
  if (method !== 0) {
    throw new GemmaError(
      'unsupported',
      `${source.name}: ${name} is compressed (method ${method}); torch.save stores without compression.`,
      'Save the checkpoint again with torch.save.',
    )
  }
}

function readSizes(
  view: DataView,
  at: number,
  name: string,
  extra: number,
  extraLength: number,
  source: Source,
): Listed {
  const compressed = view.getUint32(at + 20, true)
  const size = view.getUint32(at + 24, true)
  const headerOffset = view.getUint32(at + 42, true)
  // A field of all ones stands in the 64-bit extra field, in the order size, compressed size, offset.
  const wide = [size, compressed, headerOffset].map((value) => value === 0xffffffff)
  const values = [size, compressed, headerOffset]
  if (wide.includes(true)) {
    let from = findZip64Extra(view, extra, extraLength, 8 * wide.filter(Boolean).length)
    if (from === -1) throw damaged(source, `${name} lacks its 64-bit sizes`)
    for (let i = 0; i < 3; i++) {
      if (!wide[i]) continue
      values[i] = toNumber(view.getBigUint64(from, true), source)
      from += 8
    }
  }
  if (values[0] !== values[1])
    throw damaged(source, `${name} is stored but has two sizes, ${values[0]} and ${values[1]}`)
  return { name, size: values[0], headerOffset: values[2], offset: 0 }
}

function findZip64Extra(view: DataView, start: number, length: number, needed: number): number {
  for (let at = start; at + 4 <= start + length; ) {
    const size = view.getUint16(at + 2, true)
    if (view.getUint16(at, true) === 1) return size >= needed && at + 4 + size <= start + length ? at + 4 : -1
    at += 4 + size
  }
  return -1
}

// The data begins behind the local header, whose own name and extra field (torch pads there so that the
// data is aligned) may have other lengths than in the directory.
async function placeEntries(listed: Listed[], directoryOffset: number, source: Source): Promise<ZipEntry[]> {
  const sorted = [...listed].sort((a, b) => a.headerOffset - b.headerOffset)
  const placed: ZipEntry[] = []
  let end = 0
  let previous = 'the beginning'
  for (const { name, size, headerOffset } of sorted) {
    if (headerOffset < end) throw damaged(source, `${name} overlaps ${previous}`)
    if (headerOffset + 30 > directoryOffset) throw damaged(source, `${name} begins inside the directory`)
    const header = new DataView((await readBytes(source, headerOffset, 30)).buffer)
    if (header.getUint32(0, true) !== 0x04034b50)
      throw damaged(source, `${name} is not where the directory says`)
    const offset = headerOffset + 30 + header.getUint16(26, true) + header.getUint16(28, true)
    end = offset + size
    if (end > directoryOffset) throw damaged(source, `${name} reaches into the directory`)
    previous = name
    placed.push({ name, offset, size })
  }
  return placed
}

function damaged(source: Source, what: string): GemmaError {
  return new GemmaError(
    'file',
    `${source.name} is not a sound torch (zip) file: ${what}.`,
    'It is truncated, damaged or something else; fetch it again.',
  )
}
