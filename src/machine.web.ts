// What a browser offers to models: threads, a GPU, memory. Knows no model.

import { findAdapter } from './backends/webgpu/device.ts'
import { GemmaError } from './error.ts'

export interface WebMachine {
  /** Threads that models can run on; 0: only the calling one. */
  readonly threads: number
  /** Whether the page is isolated from other origins, without which there are no threads. */
  readonly isolated: boolean
  /** null where WebGPU finds none. */
  readonly gpu: {
    readonly name: string
    /** Whether a program plays the GPU; 'auto' passes it by. */
    readonly software: boolean
    readonly features: readonly string[]
    /** Bytes of the largest single buffer; more than one can be had. */
    readonly largestBuffer: number
  } | null
  /** Bytes of memory of the machine, roughly and not above what the browser admits to; null where it says nothing. */
  readonly memory: number | null
}

/** Looks at the machine without taking anything of it. */
export async function webMachine(): Promise<WebMachine> {
  const { hardwareConcurrency = 1, deviceMemory } = navigator as Partial<Navigator> & {
    deviceMemory?: number
  }
  const gpu = (navigator as Partial<Navigator>).gpu
  const found = gpu && (await findAdapter(gpu))
  return {
    threads: canShare() ? hardwareConcurrency : 0,
    isolated: globalThis.crossOriginIsolated === true,
    gpu: found
      ? {
          name: found.name,
          software: found.software,
          features: [...found.adapter.features].sort(),
          largestBuffer: found.adapter.limits.maxBufferSize,
        }
      : null,
    memory: deviceMemory === undefined ? null : deviceMemory * 2 ** 30,
  }
}

/** The entry to WebGPU. Throws GemmaError 'unsupported' where there is none. */
export async function openGpu(): Promise<GPU> {
  // Absent in older browsers, and on pages that were not fetched by https.
  const gpu = (globalThis.navigator as Partial<Navigator> | undefined)?.gpu
  if (gpu) return gpu
  throw new GemmaError(
    'unsupported',
    'This browser offers no WebGPU here.',
    "Use a newer one, a page served by https or from localhost, or device 'cpu'.",
  )
}

/** Whether memory can be shared with workers here. */
export function canShare(): boolean {
  return typeof SharedArrayBuffer !== 'undefined' && globalThis.crossOriginIsolated !== false
}
