// Random weights of mean 0 and a given standard deviation, drawn directly in the encoding of a file: as
// fast as a disk takes them, since nothing is quantised. For files that stand in for the published ones in
// benchmarks and in tests of size. Knows no file format.

import { GemmaError } from '../error.ts'
import type { Encoding } from './checkpoint.ts'
import { blockSizes } from './encodings.ts'
import { encodeBfloat16, float32ToFloat16 } from './float16.ts'

/** Fills the bytes of whole blocks, each call going on where the last one ended. */
export type RandomFill = (into: Uint8Array) => void

/** Encodings that can be drawn. */
export type RandomEncoding = Extract<Encoding, 'F32' | 'F16' | 'BF16' | 'Q8_0' | 'Q4_0' | 'Q6_K'>

/** A source of random 32-bit words: sfc32 by Chris Doty-Humphrey (PractRand), seeded by a text. */
export function randomWords(seed: string): (into: Uint32Array) => void {
  let a = 0
  let b = 0
  let c = hashText(seed)
  let counter = 1
  const fill = (into: Uint32Array): void => {
    for (let i = 0; i < into.length; i++) {
      const word = (a + b + counter) | 0
      counter = (counter + 1) | 0
      a = b ^ (b >>> 9)
      b = (c + (c << 3)) | 0
      c = (((c << 21) | (c >>> 11)) + word) | 0
      into[i] = word
    }
  }
  fill(new Uint32Array(16)) // the seed must reach all of the state
  return fill
}

/** FNV-1a, 32 bits. */
function hashText(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return hash | 0
}

const tableSize = 65_536

/** 65,536 normally distributed numbers of standard deviation 1 (Box and Muller 1958). */
function normalTable(): Float32Array {
  const words = new Uint32Array(tableSize)
  randomWords('normal table')(words)
  const table = new Float32Array(tableSize)
  for (let i = 0; i < tableSize; i += 2) {
    const radius = Math.sqrt(-2 * Math.log((words[i] + 0.5) / 2 ** 32))
    const angle = (2 * Math.PI * words[i + 1]) / 2 ** 32
    table[i] = radius * Math.cos(angle)
    table[i + 1] = radius * Math.sin(angle)
  }
  return table
}

let normals: Float32Array | undefined

/** Draws values of mean `mean` and standard deviation `deviation` in `encoding`; the same for the same seed. */
export function randomBlocks(
  encoding: RandomEncoding,
  seed: string,
  deviation: number,
  mean = 0,
): RandomFill {
  const words = randomWords(seed)
  if (encoding === 'Q8_0' || encoding === 'Q4_0' || encoding === 'Q6_K') {
    if (mean !== 0) throw new GemmaError('usage', `Random ${encoding} blocks have mean 0.`)
    return blockFill(encoding, words, deviation)
  }
  normals ??= normalTable()
  const values = normals.map((value) => mean + deviation * value)
  return encoding === 'F32' ? tableFill32(values, words) : tableFill16(encoding, values, words)
}

function tableFill32(values: Float32Array, words: (into: Uint32Array) => void): RandomFill {
  return (into) => {
    const floats = new Float32Array(into.buffer, into.byteOffset, into.byteLength / 4)
    words(new Uint32Array(into.buffer, into.byteOffset, floats.length))
    const drawn = new Uint32Array(floats.buffer, floats.byteOffset, floats.length)
    for (let i = 0; i < floats.length; i++) floats[i] = values[drawn[i] >>> 16]
  }
}

function tableFill16(
  encoding: 'F16' | 'BF16',
  values: Float32Array,
  words: (into: Uint32Array) => void,
): RandomFill {
  const table = new Uint16Array(tableSize)
  if (encoding === 'BF16') encodeBfloat16(values, tableSize, table)
  else for (let i = 0; i < tableSize; i++) table[i] = float32ToFloat16(values[i])
  return (into) => {
    const count = into.byteLength / 2
    const drawn = new Uint32Array(Math.ceil(count / 2))
    words(drawn)
    const halves = new Uint16Array(into.buffer, into.byteOffset, count)
    const indices = new Uint16Array(drawn.buffer, 0, count)
    for (let i = 0; i < count; i++) halves[i] = table[indices[i]]
  }
}

// Uniform codes have these root mean squares: 8-bit (−127 … 127), 4-bit (−8 … 7), 6-bit times its scale
// (−32 … 31, scales 30 … 93). The sign of each block's scale is drawn too, so that the mean is 0.
const codeDeviation = {
  Q8_0: Math.sqrt((127 * 128) / 3),
  Q4_0: Math.sqrt(21.5),
  Q6_K: Math.sqrt(341.5) * Math.sqrt(61.5 ** 2 + (64 ** 2 - 1) / 12),
}

function blockFill(
  encoding: 'Q8_0' | 'Q4_0' | 'Q6_K',
  words: (into: Uint32Array) => void,
  deviation: number,
): RandomFill {
  const scale = float32ToFloat16(deviation / codeDeviation[encoding])
  const size = blockSizes[encoding].bytes
  const scaleAt = encoding === 'Q6_K' ? 208 : 0
  return (into) => {
    const drawn = new Uint32Array(Math.ceil(into.byteLength / 4))
    words(drawn)
    if (encoding === 'Q8_0') avoidLowest(drawn)
    into.set(new Uint8Array(drawn.buffer, 0, into.byteLength))
    for (let block = 0; block < into.byteLength; block += size) {
      const at = block + scaleAt
      const sign = into[at] & 0x80
      into[at] = scale
      into[at + 1] = (scale >> 8) | sign
      if (encoding === 'Q6_K') for (let i = 192; i < 208; i++) into[block + i] = 30 + (into[block + i] & 63)
    }
  }
}

// Q8_0 has no code −128. The known test for a zero byte in a word, after exclusive or with the byte looked
// for, may also mark the byte above a true one, which then only loses its lowest bit's freedom.
function avoidLowest(words: Uint32Array): void {
  for (let i = 0; i < words.length; i++) {
    const other = words[i] ^ 0x80808080
    words[i] |= ((other - 0x01010101) & ~other & 0x80808080) >>> 7
  }
}
