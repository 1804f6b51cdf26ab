// Where a model runs: on the GPU where there is one, unless the caller says otherwise, and why not where not. Knows no
// model.

import { type FoundAdapter, findAdapter } from '../backends/webgpu/device.ts'
import { GemmaError } from '../error.ts'
import type { DeviceChoice } from './load-choices.ts'

export interface ChosenDevice {
  /** The GPU to run on; without it, the CPU. */
  readonly gpu?: FoundAdapter
  /** Whether the CPU may serve where the GPU turns out to have no room. */
  readonly mayFallBack: boolean
  /** For people: why no GPU was taken, where there might have been one. */
  readonly remark?: string
}

/**
 * 'auto' takes a GPU that is one, not a program that plays one. `openGpu` gives the entry to WebGPU or throws a GemmaError
 * that says why there is none; for 'webgpu' that is thrown on.
 */
export async function chooseDevice(wanted: DeviceChoice, openGpu: () => Promise<GPU>): Promise<ChosenDevice> {
  if (wanted === 'cpu') return { mayFallBack: true }
  if (wanted === 'webgpu') {
    const gpu = await findAdapter(await openGpu())
    if (gpu) return { gpu, mayFallBack: false }
    throw new GemmaError(
      'unsupported',
      'WebGPU finds no GPU here.',
      "Install the GPU's driver (on Linux one for Vulkan), or use device 'cpu'.",
    )
  }
  try {
    const gpu = await findAdapter(await openGpu())
    if (!gpu) return { mayFallBack: true }
    if (gpu.software) return { mayFallBack: true, remark: `${gpu.name} is no GPU but a program` }
    return { gpu, mayFallBack: true }
  } catch (error) {
    if (!(error instanceof GemmaError)) throw error
    // Without WebGPU at all there is nothing to remark.
    return { mayFallBack: true, remark: error.code === 'unsupported' ? undefined : error.message }
  }
}
