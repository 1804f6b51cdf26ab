// What a caller may choose when loading, and what it hears meanwhile. Types alone, and none of WebGPU's: declarations of the
// package reach this file, and the library of TypeScript 5.9 does not know those.

/**
 * 'auto' keeps what the file has; 'f32' widens weights and keeps activations in float32 too. 'int8' has a scale for
 * each 32 values, 'int8row' one for each row, as Google's quantised checkpoints.
 */
export type WeightDtype = 'auto' | 'f32' | 'bf16' | 'int8' | 'int8row' | 'int4'

export interface LoadProgress {
  readonly phase: 'download' | 'load'
  /** Bytes done and in all. */
  readonly bytes: number
  readonly totalBytes: number
  /** The file being fetched, or the tensor being loaded. */
  readonly name: string
}

/** Where a model runs; 'auto': see choose-device.ts. */
export type DeviceChoice = 'auto' | 'cpu' | 'webgpu'
