// Decoders of llama.cpp's block formats. One block is 32 values (256 for the K formats) with their own
// scale. Layouts: ggml's ggml-common.h and ggml-quants.c (https://github.com/ggml-org/llama.cpp, MIT), told
// in our own words above each decoder. Knows nothing about files or tensors.
//
// The products below are exact in float32 (an 11-bit scale times a 6-bit scale times a 6-bit code), so the
// order of the multiplications does not matter and the results are llama.cpp's to the bit.

import { float16Table } from './float16.ts'

export type BlockDecoder = (
  bytes: Uint8Array,
  from: number,
  blocks: number,
  into: Float32Array,
  at: number,
) => void

/** 34 bytes: f16 scale d; 32 int8 codes q. value = d·q */
export const decodeQ8_0: BlockDecoder = (bytes, from, blocks, into, at) => {
  const halves = float16Table()
  let p = from
  let o = at
  for (let b = 0; b < blocks; b++) {
    const scale = halves[bytes[p] | (bytes[p + 1] << 8)]
    p += 2
    for (let i = 0; i < 32; i++) into[o++] = scale * ((bytes[p++] << 24) >> 24)
  }
}

/** 18 bytes: f16 scale d; 16 bytes whose low nibbles are values 0–15 and high nibbles 16–31. value = d·(q − 8) */
export const decodeQ4_0: BlockDecoder = (bytes, from, blocks, into, at) => {
  const halves = float16Table()
  let p = from
  let o = at
  for (let b = 0; b < blocks; b++) {
    const scale = halves[bytes[p] | (bytes[p + 1] << 8)]
    p += 2
    for (let i = 0; i < 16; i++) {
      const pair = bytes[p++]
      into[o + i] = scale * ((pair & 15) - 8)
      into[o + i + 16] = scale * ((pair >> 4) - 8)
    }
    o += 32
  }
}

/** 20 bytes: f16 scale d, f16 minimum m, nibbles as in Q4_0. value = d·q + m */
export const decodeQ4_1: BlockDecoder = (bytes, from, blocks, into, at) => {
  const halves = float16Table()
  let p = from
  let o = at
  for (let b = 0; b < blocks; b++) {
    const scale = halves[bytes[p] | (bytes[p + 1] << 8)]
    const minimum = halves[bytes[p + 2] | (bytes[p + 3] << 8)]
    p += 4
    for (let i = 0; i < 16; i++) {
      const pair = bytes[p++]
      into[o + i] = scale * (pair & 15) + minimum
      into[o + i + 16] = scale * (pair >> 4) + minimum
    }
    o += 32
  }
}

/** 22 bytes: f16 scale d; 4 bytes whose bit i is the fifth bit of value i; nibbles as in Q4_0. value = d·(q − 16) */
export const decodeQ5_0: BlockDecoder = (bytes, from, blocks, into, at) => {
  const halves = float16Table()
  for (let b = 0, p = from, o = at; b < blocks; b++, p += 22, o += 32) {
    const scale = halves[bytes[p] | (bytes[p + 1] << 8)]
    for (let i = 0; i < 32; i++) into[o + i] = scale * (fiveBits(bytes, p + 2, i) - 16)
  }
}

/** 24 bytes: f16 scale d, f16 minimum m, fifth bits and nibbles as in Q5_0. value = d·q + m */
export const decodeQ5_1: BlockDecoder = (bytes, from, blocks, into, at) => {
  const halves = float16Table()
  for (let b = 0, p = from, o = at; b < blocks; b++, p += 24, o += 32) {
    const scale = halves[bytes[p] | (bytes[p + 1] << 8)]
    const minimum = halves[bytes[p + 2] | (bytes[p + 3] << 8)]
    for (let i = 0; i < 32; i++) into[o + i] = scale * fiveBits(bytes, p + 4, i) + minimum
  }
}

/** Code i of a Q5_0 or Q5_1 block whose fifth bits begin at `top`. */
function fiveBits(bytes: Uint8Array, top: number, i: number): number {
  const nibble = (bytes[top + 4 + (i & 15)] >> (i >> 4 ? 4 : 0)) & 15
  return nibble | (((bytes[top + (i >> 3)] >> (i & 7)) & 1) << 4)
}

/**
 * Q4_K, 144 bytes: f16 d, f16 dmin, 12 bytes with eight 6-bit scales and eight 6-bit minima, 128 bytes of
 * nibbles. Each 32 bytes hold two groups of 32 values: low nibbles, then high nibbles.
 * value of group g = d·scale[g]·q − dmin·minimum[g]
 */
export const decodeQ4_K: BlockDecoder = (bytes, from, blocks, into, at) => {
  decodeTwoLevel(bytes, from, blocks, into, at, false)
}

/** Q5_K, 176 bytes: as Q4_K with 32 more bytes before the nibbles: bit g of byte i is the fifth bit of value i of group g. */
export const decodeQ5_K: BlockDecoder = (bytes, from, blocks, into, at) => {
  decodeTwoLevel(bytes, from, blocks, into, at, true)
}

function decodeTwoLevel(
  bytes: Uint8Array,
  from: number,
  blocks: number,
  into: Float32Array,
  at: number,
  fifth: boolean,
): void {
  const halves = float16Table()
  let p = from
  let o = at
  for (let b = 0; b < blocks; b++) {
    const d = halves[bytes[p] | (bytes[p + 1] << 8)]
    const dmin = halves[bytes[p + 2] | (bytes[p + 3] << 8)]
    const packed = p + 4
    const high = p + 16
    const codes = fifth ? p + 48 : p + 16
    for (let group = 0; group < 8; group++) {
      const scale = d * sixBitScale(bytes, packed, group)
      const minimum = dmin * sixBitMinimum(bytes, packed, group)
      const first = codes + (group >> 1) * 32
      const shift = (group & 1) * 4
      for (let i = 0; i < 32; i++) {
        let code = (bytes[first + i] >> shift) & 15
        if (fifth) code |= ((bytes[high + i] >> group) & 1) << 4
        into[o++] = scale * code - minimum
      }
    }
    p = codes + 128
  }
}

// The 12 bytes: 0–3 low six bits are scales 0–3, 4–7 low six bits are minima 0–3; 8–11 hold the low nibbles
// of scales 4–7 (low) and minima 4–7 (high), whose top two bits are the top bits of bytes 0–3 and 4–7.
export function sixBitScale(bytes: Uint8Array, packed: number, group: number): number {
  if (group < 4) return bytes[packed + group] & 63
  return (bytes[packed + group + 4] & 15) | ((bytes[packed + group - 4] >> 6) << 4)
}

export function sixBitMinimum(bytes: Uint8Array, packed: number, group: number): number {
  if (group < 4) return bytes[packed + group + 4] & 63
  return (bytes[packed + group + 4] >> 4) | ((bytes[packed + group] >> 6) << 4)
}

/**
 * Q6_K, 210 bytes: 128 bytes of low nibbles, 64 bytes of two-bit tops, 16 int8 scales (one per 16 values),
 * f16 d. Each half of the block (128 values) has 64 + 32 bytes: value 32·k + i of it (k = 0..3) takes the
 * nibble (k ≥ 2: the high one) of byte (k odd: 32 +) i and bits 2k, 2k + 1 of top byte i.
 * value = d·scale·(q − 32)
 */
export const decodeQ6_K: BlockDecoder = (bytes, from, blocks, into, at) => {
  const halves = float16Table()
  let p = from
  let o = at
  for (let b = 0; b < blocks; b++) {
    const d = halves[bytes[p + 208] | (bytes[p + 209] << 8)]
    for (let half = 0; half < 2; half++) {
      for (let k = 0; k < 4; k++) {
        const low = p + half * 64 + (k & 1) * 32
        const top = p + 128 + half * 32
        const scales = p + 192 + half * 8 + k * 2
        const shift = (k >> 1) * 4
        for (let i = 0; i < 32; i++) {
          const code = ((bytes[low + i] >> shift) & 15) | (((bytes[top + i] >> (2 * k)) & 3) << 4)
          into[o++] = d * ((bytes[scales + (i >> 4)] << 24) >> 24) * (code - 32)
        }
      }
    }
    p += 210
  }
}
