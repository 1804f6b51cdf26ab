// The public surface of gemma-ts in a browser: as index.ts, with a Gemma.load that takes URLs, Blobs and Files.

import type { WebModelSource } from './files.web.ts'
import { load, type WebLoadOptions } from './load.web.ts'

export { type ErrorCode, GemmaError } from './error.ts'
export { addressBeside, addressOf, type WebModelSource } from './files.web.ts'
export type { ChatGenerateOptions, RunTextOptions, Score } from './gemma.ts'
export type { BatchOptions } from './generate/batch.ts'
export type { LoadProgress, WeightDtype } from './generate/load-choices.ts'
export type { FinishReason, GenerateOptions, Piece, Summary } from './generate/options.ts'
export type { Inspection } from './inspect.ts'
export { inspectWeb as inspect, type WebInspection, type WebInspectOptions } from './inspect.web.ts'
export type { WebLoadOptions } from './load.web.ts'
export { type WebMachine, webMachine } from './machine.web.ts'
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
