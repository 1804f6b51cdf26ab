// One model that learns: its weights with gradients and optimiser state on one backend. It takes rows of tokens
// and gives losses; it knows no file, no schedule and no text.

import type { OpenDevice } from '../backends/webgpu/device.ts'
import type { TrainingRows } from '../data/training-rows.ts'
import type { ModelConfig } from '../model/config.ts'
import type { Encoding, StoredTensor } from '../weights/checkpoint.ts'

/** Low-rank adapters instead of full weights (Hu et al. 2021, arXiv 2106.09685). */
export interface LoraSettings {
  readonly rank: number
  readonly alpha: number
  readonly dropout: number
  /** alpha / √rank instead of alpha / rank (Kalajdzievski 2023, arXiv 2312.03732). */
  readonly rsLora: boolean
  /** Names of the linear layers within a layer: 'q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'. */
  readonly targets: readonly string[]
}

export type OptimizerSettings =
  | {
      readonly name: 'adamw'
      readonly beta1: number
      readonly beta2: number
      readonly epsilon: number
      readonly weightDecay: number
      /** Whether a parameter of this name and number of dimensions decays. */
      readonly decays: (name: string, dimensions: number) => boolean
    }
  | {
      readonly name: 'adafactor'
      /** β₂ at step t is 1 − t^−decayRate (Shazeer & Stern 2018, arXiv 1804.04235). */
      readonly decayRate: number
      readonly epsilon: number
      /** Largest root-mean-square of an update. */
      readonly clipThreshold: number
      readonly weightDecay: number
      readonly decays: (name: string, dimensions: number) => boolean
    }

export interface TrainingModelOptions {
  readonly config: ModelConfig
  /** Every weight of the model by its Hugging Face name. */
  readonly weights: ReadonlyMap<string, StoredTensor>
  /** Most rows of one run, at most MOST_TRAINING_ROWS. */
  readonly rows: number
  /** Longest document, in tokens. */
  readonly contextLength: number
  /** Worker threads; 0 computes in the calling thread. */
  readonly threads: number
  /** Without one there are gradients but no `update`. */
  readonly optimizer?: OptimizerSettings
  /** Without it all weights learn; with it only the adapters do, and the base stays as it is. */
  readonly lora?: LoraSettings
  /** Seed of the adapters' first values. */
  readonly seed?: number
  /** What the frozen base is held in; only with lora. */
  readonly baseDtype?: 'auto' | 'f32' | 'bf16' | 'int8' | 'int4'
  /** Recompute each layer's inner values in the backward pass instead of keeping them. */
  readonly checkpointing?: boolean
  readonly backend?: 'wasm' | 'reference'
  /** The GPU to learn on, instead of the CPU; closed with the model. */
  readonly gpu?: OpenDevice
  /** Bytes of stored weights loaded so far. */
  readonly onProgress?: (bytes: number, totalBytes: number) => void
  readonly signal?: AbortSignal
}

export interface RunLoss {
  /** Σ weight · −log p(target), natural logarithm, over the rows with a target. */
  readonly loss: number
  /** Rows with a target. */
  readonly targets: number
  /** Rows whose most likely token was the target. */
  readonly correct: number
}

export interface UpdateSettings {
  /** Steps taken so far, this one included: 1 for the first. */
  readonly step: number
  readonly learningRate: number
  /** Factor on every gradient (clipping); 1: none. */
  readonly gradientScale: number
}

/** One thing that learns. */
export interface TrainableTensor {
  /** Hugging Face's name of a weight, or PEFT's of an adapter matrix. */
  readonly name: string
  readonly shape: readonly number[]
}

export interface TrainingModel {
  readonly config: ModelConfig
  readonly rows: number
  readonly contextLength: number
  readonly lora: LoraSettings | undefined
  /** What learns, in a fixed order. */
  readonly trainable: readonly TrainableTensor[]
  readonly description: string
  /**
   * One forward and backward run: adds `scale` times the gradient of the loss to the accumulated gradients.
   * Throws GemmaError 'aborted'; the accumulated gradients are then undefined: call resetGradients.
   */
  accumulate(
    rows: TrainingRows,
    options: { readonly scale: number; readonly seed?: number; readonly signal?: AbortSignal },
  ): Promise<RunLoss>
  /** The forward run alone, without dropout. */
  evaluate(rows: TrainingRows, options?: { readonly signal?: AbortSignal }): Promise<RunLoss>
  /** Euclidean norm over all accumulated gradients. */
  gradientNorm(): Promise<number>
  /** One step of the optimiser on the accumulated gradients, which are zero afterwards. */
  update(settings: UpdateSettings): Promise<void>
  resetGradients(): Promise<void>
  /** A copy of the values of one trainable tensor. */
  read(name: string): Promise<Float32Array>
  write(name: string, values: Float32Array): Promise<void>
  readGradient(name: string): Promise<Float32Array>
  /** The optimiser's state by name (`<trainable>.m`, `.v`, …), what a checkpoint must hold besides the trainable. */
  readonly optimizerState: readonly TrainableTensor[]
  readState(name: string): Promise<Float32Array>
  writeState(name: string, values: Float32Array): Promise<void>
  memoryBytes(): { weights: number; gradients: number; optimizer: number; scratch: number }
  dispose(): Promise<void>
}

/** Most rows of one training run. */
export const MOST_TRAINING_ROWS = 4096

/** What is known of a training model before there is one. */
export type EstimateOptions = Omit<TrainingModelOptions, 'weights' | 'gpu' | 'onProgress' | 'signal'> & {
  /** How the weights are stored; default 'BF16'. */
  readonly stored?: Encoding
  /** On a GPU: the largest binding that it takes, in bytes. */
  readonly largestBinding?: number
}

/** Bytes that a training model will take, before anything is read or set aside. */
export interface TrainingMemory {
  readonly weights: number
  readonly gradients: number
  readonly optimizer: number
  readonly scratch: number
  readonly total: number
}
