// The WebAssembly memories of a model, and the constants that every kernel finds at fixed addresses in them.

import { GemmaError } from '../../error.ts'
import {
  EXP_CONSTANTS,
  F16_MASK,
  F16_POWER,
  GELU_CONSTANTS,
  HIGH_HALVES,
  NIBBLE_MASK,
  ONES,
} from './addresses.ts'

const PAGE = 65536
const MOST_PAGES = 65536
/** Bytes that addresses of 32 bits can reach. */
export const LARGEST_MEMORY: number = MOST_PAGES * PAGE

/** A shared memory of at least so many bytes with the kernels' constants in it. Throws GemmaError 'memory'. */
export function createMemory(bytes: number): WebAssembly.Memory {
  const initial = Math.ceil(bytes / PAGE)
  try {
    const memory = new WebAssembly.Memory({ initial, maximum: MOST_PAGES, shared: true })
    writeConstants(memory)
    return memory
  } catch (cause) {
    throw new GemmaError(
      'memory',
      `This engine could not set aside ${(bytes / 1e9).toFixed(2)} GB of memory.`,
      'Close other programs, choose a narrower dtype (int4), or a shorter contextLength.',
      { cause },
    )
  }
}

/** exp4's (runtime.wasm.ts): range, 1 / ln 2, −ln 2 in two parts, Cephes' polynomial, 1, and what rounds. */
const EXP_VALUES = [
  -87.3,
  88.3,
  Math.LOG2E,
  -0.693359375,
  2.1219444e-4,
  1.98756915e-4,
  1.3981999507e-3,
  8.3334519073e-3,
  4.1665795894e-2,
  1.6666665459e-1,
  5.0000001201e-1,
  1,
  1.5 * 2 ** 23,
]

/** Constants of the kernels' inner loops (addresses.ts). */
function writeConstants({ buffer }: WebAssembly.Memory): void {
  new Uint8Array(buffer, NIBBLE_MASK, 16).fill(0x0f)
  new Uint32Array(buffer, F16_MASK, 4).fill(0x8fffe000)
  new Float32Array(buffer, F16_POWER, 4).fill(2 ** 112)
  new Int16Array(buffer, ONES, 8).fill(1)
  EXP_VALUES.forEach((value, i) => {
    new Float32Array(buffer, EXP_CONSTANTS + 16 * i, 4).fill(value)
  })
  new Float32Array(buffer, GELU_CONSTANTS, 4).fill(0.044715)
  new Float32Array(buffer, GELU_CONSTANTS + 16, 4).fill(-2 * Math.sqrt(2 / Math.PI))
  new Uint32Array(buffer, HIGH_HALVES, 4).fill(0xffff0000)
}

/** Makes a memory at least so many bytes long. Throws GemmaError 'memory'. */
export function grow(memory: WebAssembly.Memory, bytes: number): void {
  const pages = Math.ceil((bytes - memory.buffer.byteLength) / PAGE)
  if (pages <= 0) return
  try {
    memory.grow(pages)
  } catch (cause) {
    throw new GemmaError(
      'memory',
      `A memory could not grow by ${pages * PAGE} bytes for this request.`,
      'Use a shorter prompt, or load the model with a shorter contextLength.',
      { cause },
    )
  }
}
