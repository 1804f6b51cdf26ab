// How much memory a model takes in each precision, from its configuration alone: before it is loaded, and
// before it is downloaded. Node only (asks the machine what is free).

import { GemmaError } from '../error.ts'
import type { WeightDtype } from '../generate/load-choices.ts'
import { DEFAULT_CONTEXT, dtypeFor, memoryNeeded, WORKING_BYTES } from '../generate/load-model.ts'
import type { Dtype } from '../graph/dtype.ts'
import type { RemoteDescription } from '../hub/download-options.ts'
import { memoryBudget } from '../load.node.ts'
import { type ModelConfig, parseConfig } from '../model/config.ts'
import type { ParameterSpec } from '../model/parameters.ts'
import { formatBytes } from './style.ts'

export interface Estimate {
  /** 'auto': as stored. */
  readonly dtype: Exclude<WeightDtype, 'f32'>
  /** Bytes. */
  readonly weights: number
  readonly kv: number
  /** Weights, caches and working memory. */
  readonly total: number
  readonly fits: boolean
}

export interface Estimates {
  readonly contextLength: number
  /** Bytes of keys and values for one token while it is in the context of every layer. */
  readonly kvPerToken: number
  /** Bytes that this process may still take. */
  readonly available: number
  readonly precisions: readonly Estimate[]
}

/** `stored`: the dtype that each weight has as stored, or, when only that is known, the bytes of all. */
export function estimateMemory(
  config: ModelConfig,
  stored: ((spec: ParameterSpec) => Dtype) | number,
  wantedContext?: number,
): Estimates {
  const contextLength = wantedContext ?? Math.min(config.maxPositionEmbeddings, DEFAULT_CONTEXT)
  if (contextLength > config.maxPositionEmbeddings) {
    throw new GemmaError(
      'usage',
      `The context is ${contextLength} tokens, expected at most ${config.maxPositionEmbeddings}.`,
    )
  }
  const available = memoryBudget()
  const need = (dtypeOf: (spec: ParameterSpec) => Dtype): ReturnType<typeof memoryNeeded> =>
    memoryNeeded(config, dtypeOf, contextLength)
  const row = (dtype: Estimate['dtype'], weights: number, kv: number): Estimate => {
    const total = weights + kv + WORKING_BYTES
    return { dtype, weights, kv, total, fits: total <= available }
  }
  const narrow = (['bf16', 'int8', 'int4'] as const).map((dtype) => {
    const { weights, kv } = need(({ shape }) => dtypeFor(dtype, 'F32', shape.length))
    return row(dtype, weights, kv)
  })
  const { kvPerToken, kv } = need(() => 'f32')
  const asStored = typeof stored === 'number' ? stored : need(stored).weights
  return { contextLength, kvPerToken, available, precisions: [row('auto', asStored, kv), ...narrow] }
}

/** Bytes of the weight files of a model that is not here yet. */
export function remoteWeightBytes({ files }: RemoteDescription): number {
  return files
    .filter(({ name }) => /\.(safetensors|bin|ckpt|pth?|gguf)$/.test(name))
    .reduce((sum, { size }) => sum + size, 0)
}

/** Throws GemmaError 'memory' when a model that is about to be downloaded could not be loaded. */
export function assertFits(
  source: string,
  description: RemoteDescription,
  { dtype = 'auto', context }: { readonly dtype?: WeightDtype; readonly context?: number },
): void {
  if (description.config === undefined) return
  const config = parseConfig(description.config)
  const { available, precisions } = estimateMemory(config, remoteWeightBytes(description), context)
  const wanted = precisions.find((row) => row.dtype === dtype)
  if (wanted === undefined || wanted.fits) return
  const other = precisions.find((row) => row.dtype !== 'auto' && row.fits)
  throw new GemmaError(
    'memory',
    `${source} would need ${formatBytes(wanted.total)}, but ${formatBytes(available)} are free; nothing was downloaded.`,
    other === undefined
      ? 'No precision of it fits this machine; choose a smaller model or free memory.'
      : `Load it with --dtype ${other.dtype}.`,
  )
}
