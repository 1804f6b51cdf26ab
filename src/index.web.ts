// The public surface of gemma-ts in a browser: as index.ts, with a Gemma.load that takes URLs, Blobs and Files.

import { load, type WebLoadOptions, type WebModelSource } from './load.web.ts'

export { type ErrorCode, GemmaError } from './error.ts'
export type { ChatGenerateOptions, RunTextOptions, Score } from './gemma.ts'
export type { BatchOptions } from './generate/batch.ts'
export type { LoadProgress, WeightDtype } from './generate/load-choices.ts'
export type { FinishReason, GenerateOptions, Piece, Summary } from './generate/options.ts'
export type { WebLoadOptions, WebModelSource } from './load.web.ts'
export type { ModelConfig } from './model/config.ts'
export { modelSizes } from './model/configs.ts'
export type { ChatMessage, Tokenizer } from './tokenizer/index.ts'

import type { Gemma as GemmaModel } from './gemma.ts'

/** A loaded model. */
export type Gemma = GemmaModel

/** Loads models: `await Gemma.load('https://example.org/gemma-2b-it.gguf')`; without a source, the one that ships with the package. */
export const Gemma: {
  readonly load: (source?: WebModelSource, options?: WebLoadOptions) => Promise<GemmaModel>
} = { load }
