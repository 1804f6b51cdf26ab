// The public surface of gemma-ts.

import { load } from './load.node.ts'
import type { LoadOptions } from './load-options.ts'

export { type ErrorCode, GemmaError } from './error.ts'
export type { ChatGenerateOptions, RunTextOptions, Score } from './gemma.ts'
export type { BatchOptions } from './generate/batch.ts'
export type { LoadProgress, WeightDtype } from './generate/load-choices.ts'
export type { FinishReason, GenerateOptions, Piece, Summary } from './generate/options.ts'
export type { LoadOptions } from './load-options.ts'
export type { ModelConfig } from './model/config.ts'
export { modelSizes } from './model/configs.ts'
export type { ChatMessage, Tokenizer } from './tokenizer/index.ts'

import type { Gemma as GemmaModel } from './gemma.ts'

/** A loaded model. */
export type Gemma = GemmaModel

/** Loads models: `await Gemma.load('google/gemma-2b-it')`; `Gemma.load()` is the small one that ships with the package. */
export const Gemma: { readonly load: (source?: string, options?: LoadOptions) => Promise<GemmaModel> } = {
  load,
}
