// How much memory a model takes in each precision, from its configuration alone: before it is loaded, and before it
// is downloaded. Knows no machine: what is free there is the caller's to say.

import { GemmaError } from '../error.ts'
import type { Dtype } from '../graph/dtype.ts'
import type { ModelConfig } from '../model/config.ts'
import type { ParameterSpec } from '../model/parameters.ts'
import type { WeightDtype } from './load-choices.ts'
import { DEFAULT_CONTEXT, dtypeFor, memoryNeeded, WORKING_BYTES } from './load-model.ts'

export interface Estimate {
  /** 'auto': as stored. */
  readonly dtype: Exclude<WeightDtype, 'f32'>
  /** Bytes. */
  readonly weights: number
  readonly kv: number
  /** Weights, caches and working memory. */
  readonly total: number
  /** null where nobody can tell how much memory there is. */
  readonly fits: boolean | null
}

export interface Estimates {
  readonly contextLength: number
  /** Bytes of keys and values for one token while it is in the context of every layer. */
  readonly kvPerToken: number
  /** As stored, bf16, int8, int4. */
  readonly precisions: readonly Estimate[]
}

/**
 * `stored`: the dtype that each weight has as stored, or, when only that is known, the bytes of all. `available`: bytes
 * that may still be taken, null where nobody can tell. Throws GemmaError 'usage' for a context that the model has not.
 */
export function estimateMemory(
  config: ModelConfig,
  stored: ((spec: ParameterSpec) => Dtype) | number,
  available: number | null,
  wantedContext?: number,
): Estimates {
  const contextLength = wantedContext ?? Math.min(config.maxPositionEmbeddings, DEFAULT_CONTEXT)
  if (contextLength > config.maxPositionEmbeddings) {
    throw new GemmaError(
      'usage',
      `The context is ${contextLength} tokens, expected at most ${config.maxPositionEmbeddings}.`,
    )
  }
  const need = (dtypeOf: (spec: ParameterSpec) => Dtype): ReturnType<typeof memoryNeeded> =>
    memoryNeeded(config, dtypeOf, contextLength)
  const row = (dtype: Estimate['dtype'], weights: number, kv: number): Estimate => {
    const total = weights + kv + WORKING_BYTES
    return { dtype, weights, kv, total, fits: available === null ? null : total <= available }
  }
  const narrow = (['bf16', 'int8', 'int4'] as const).map((dtype) => {
    const { weights, kv } = need(({ shape }) => dtypeFor(dtype, 'F32', shape.length))
    return row(dtype, weights, kv)
  })
  const { kvPerToken, kv } = need(() => 'f32')
  const asStored = typeof stored === 'number' ? stored : need(stored).weights
  return { contextLength, kvPerToken, precisions: [row('auto', asStored, kv), ...narrow] }
}
