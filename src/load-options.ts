// The options of Gemma.load, wherever it runs. Types alone, see generate/load-choices.ts.

import type { DeviceChoice, LoadProgress, WeightDtype } from './generate/load-choices.ts'
import type { CacheDtype } from './graph/dtype.ts'

export interface LoadOptions extends CommonLoadOptions {
  /**
   * Low-rank adapters (LoRA, in the form of PEFT) by the names that requests call them by: a directory, or an id as
   * for models. They lie beside the weights, and each request may name one: nothing is loaded again.
   */
  readonly adapters?: Readonly<Record<string, string>>
}

/** What can be asked for wherever the model comes from. */
export interface CommonLoadOptions {
  /**
   * 'auto' takes the GPU where WebGPU finds one (in Node with the package webgpu installed) that has room, else the CPU;
   * also the CPU when `threads` is given. The model's description says what was taken.
   */
  readonly device?: DeviceChoice
  /** Precision of the weights in memory; 'auto' keeps what the file has. */
  readonly dtype?: WeightDtype
  /** Worker threads of the CPU; default: as many as the machine has cores. 0 computes in the calling thread. */
  readonly threads?: number
  /** Tokens of prompt and answer together; default: the model's own, at most 8 192. */
  readonly contextLength?: number
  /** Answers that can grow at the same time, 1 to 16; each takes the memory of a context. Default: 1. */
  readonly sequences?: number
  /** What keys and values of the context are kept in; 'f16' and 'int8' take a half and a quarter of the memory. Default: 'f32', or 'f16' where f32 would take more than 1 GB. */
  readonly cacheDtype?: CacheDtype
  readonly onProgress?: (progress: LoadProgress) => void
  readonly signal?: AbortSignal
}
