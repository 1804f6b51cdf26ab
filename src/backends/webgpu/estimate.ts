// What tapes would take on a GPU beside weights and state, before anything is made there. Knows no device.

import type { Tape, Tensor } from '../../graph/tape.ts'
import type { WebGpuLowerings } from '../../ops/lowering-webgpu.ts'
import { webGpuFusions } from '../../ops/webgpu.ts'
import { checkSizes, compileProgram } from './program.ts'
import { cutTensors } from './store.ts'

export interface EstimateOptions {
  /** Weights, states and constants. */
  readonly tensors: readonly Tensor[]
  /** Tapes that will run; values take turns in the same buffers. */
  readonly tapes: readonly Tape[]
  readonly lowerings: WebGpuLowerings
  /** Largest binding of the GPU in bytes. */
  readonly largestBinding: number
}

/** Storage buffers that every device gives a kernel. */
const BUFFERS_EVERYWHERE = 8

/** Bytes of values and scratch. Throws GemmaError 'unsupported' where a step makes more than one binding may be. */
export function estimateScratch({ tensors, tapes, lowerings, largestBinding }: EstimateOptions): number {
  const cuts = cutTensors(tensors, largestBinding)
  const sizes: number[] = []
  for (const tape of tapes) {
    const kernels = { lowerings, fusions: webGpuFusions, mostBuffers: BUFFERS_EVERYWHERE }
    const program = compileProgram(tape, kernels, cuts)
    checkSizes(program, largestBinding)
    program.sizes.forEach((bytes, i) => {
      sizes[i] = Math.max(sizes[i] ?? 0, bytes)
    })
  }
  return sizes.reduce((sum, bytes) => sum + bytes, 0)
}
