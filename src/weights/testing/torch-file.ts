// Pickles and torch files made byte by byte, for tests of their readers: sound ones and broken ones.

export const text = (value: string): number[] => [...new TextEncoder().encode(value)]
export const word = (value: number): number[] => [
  value & 255,
  (value >> 8) & 255,
  (value >> 16) & 255,
  (value >>> 24) & 255,
]
export const unicode = (value: string): number[] => [0x58, ...word(text(value).length), ...text(value)]
export const integer = (value: number): number[] => [0x4a, ...word(value)]
export const global = (module: string, name: string): number[] => [0x63, ...text(`${module}\n${name}\n`)]
export const tuple = (...items: number[][]): number[] => [0x28, ...items.flat(), 0x74]
export const reduce = (callee: number[], ...args: number[][]): number[] => [
  ...callee,
  ...tuple(...args),
  0x52,
]
export const dict = (...entries: Array<[string, number[]]>): number[] => [
  0x7d,
  0x28,
  ...entries.flatMap(([key, value]) => [...unicode(key), ...value]),
  0x75,
]
export const pickle = (...body: number[][]): Uint8Array => new Uint8Array([0x80, 2, ...body.flat(), 0x2e])
export const orderedDict: number[] = reduce(global('collections', 'OrderedDict'))

export interface TensorOptions {
  type?: string
  key?: string
  count?: number
  first?: number
  shape?: number[]
  strides?: number[]
}

export function tensor(options: TensorOptions = {}): number[] {
  const { type = 'FloatStorage', key = '0', count = 4, first = 0, shape = [4], strides = [1] } = options
  const id = tuple(unicode('storage'), global('torch', type), unicode(key), unicode('cpu'), integer(count))
  const args = [
    [...id, 0x51],
    integer(first),
    tuple(...shape.map(integer)),
    tuple(...strides.map(integer)),
    [0x89],
    orderedDict,
  ]
  return reduce(global('torch._utils', '_rebuild_tensor_v2'), ...args)
}

export interface Entry {
  name: string
  bytes: Uint8Array
  method?: number
}

/** A stored zip; `zip64` writes the sizes and the directory in the 64-bit form. */
export function zip(entries: Entry[], zip64 = false): Uint8Array {
  const chunks: number[][] = []
  const directory: number[][] = []
  let offset = 0
  for (const { name, bytes, method = 0 } of entries) {
    const sizes = zip64
      ? [...word(0xffffffff), ...word(0xffffffff)]
      : [...word(bytes.length), ...word(bytes.length)]
    const wide = zip64 ? [1, 0, 24, 0, ...long(bytes.length), ...long(bytes.length), ...long(offset)] : []
    const rest = [...word(0), ...sizes, name.length, 0]
    const local = [0x50, 0x4b, 3, 4, 45, 0, 0, 0, method, 0, ...word(0), ...rest, 0, 0, ...text(name)]
    directory.push([
      ...[0x50, 0x4b, 1, 2, 45, 0, 45, 0, 0, 0, method, 0, ...word(0), ...rest, wide.length, 0],
      ...[0, 0, 0, 0, 0, 0, ...word(0), ...word(zip64 ? 0xffffffff : offset), ...text(name), ...wide],
    ])
    chunks.push(local, [...bytes])
    offset += local.length + bytes.length
  }
  const size = directory.reduce((sum, each) => sum + each.length, 0)
  const count = entries.length
  const end64 = [
    0x50,
    0x4b,
    6,
    6,
    ...long(44),
    45,
    0,
    45,
    0,
    ...word(0),
    ...word(0),
    ...long(count),
    ...long(count),
    ...long(size),
    ...long(offset),
  ]
  const locator = [0x50, 0x4b, 6, 7, ...word(0), ...long(offset + size), ...word(1)]
  const counts = zip64
    ? [0xff, 0xff, 0xff, 0xff, ...word(0xffffffff), ...word(0xffffffff)]
    : [count, 0, count, 0, ...word(size), ...word(offset)]
  const end = [0x50, 0x4b, 5, 6, 0, 0, 0, 0, ...counts, 0, 0]
  return new Uint8Array([
    ...chunks.flat(),
    ...directory.flat(),
    ...(zip64 ? [...end64, ...locator] : []),
    ...end,
  ])
}

export const long = (value: number): number[] => [
  ...word(value % 2 ** 32),
  ...word(Math.floor(value / 2 ** 32)),
]
export const floats: Float32Array<ArrayBuffer> = new Float32Array([1, 2, 3, 4])
export const storage: Entry = { name: 'a/data/0', bytes: new Uint8Array(floats.buffer) }
