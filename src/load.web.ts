// Gemma.load in the browser: from the address of a .gguf file or of a folder in Hugging Face's layout, or from
// files that a person picked. Threads need a page that is isolated from other origins (the headers
// Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp); elsewhere the model
// runs in the calling thread.

import { builtInModel } from './built-in.ts'
import { GemmaError } from './error.ts'
import { filesOf, type WebModelSource } from './files.web.ts'
import type { Gemma } from './gemma.ts'
import { checkLoadOptions, closeAdapters, loadCheckpoint, openAdapters } from './load.ts'
import type { CommonLoadOptions } from './load-options.ts'
import { canShare, openGpu } from './machine.web.ts'
import type { Checkpoint } from './weights/checkpoint.ts'
import type { HttpOptions } from './weights/http-source.ts'
import { openAdapterFiles, openFiles } from './weights/open-files.ts'

export interface WebLoadOptions extends CommonLoadOptions {
  /**
   * Low-rank adapters (LoRA, in the form of PEFT) by the names that requests call them by: the address of a folder,
   * ending in /, a Hugging Face id, or the Files adapter_config.json and adapter_model.safetensors.
   */
  readonly adapters?: Readonly<Record<string, string | URL | readonly File[]>>
  /** Sent with every request, e.g. Authorization for a gated repository. */
  readonly headers?: HttpOptions['headers']
}

/** Loads a model in a browser; without a source the small one that ships with the package. Throws GemmaError. */
export async function load(
  source: WebModelSource = builtInModel(),
  options: WebLoadOptions = {},
): Promise<Gemma> {
  const start = performance.now()
  checkLoadOptions(options)
  if (!canShare() && (options.threads ?? 0) > 0) {
    if (globalThis.crossOriginIsolated) {
      throw new GemmaError('usage', 'This browser shares no memory between threads.', 'Pass threads: 0.')
    }
    throw new GemmaError(
      'usage',
      'This page cannot run threads: it is not isolated from other origins.',
      'Serve it with Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp, or pass threads: 0.',
    )
  }
  const adapters = await openAdapters(options.adapters, (adapter) =>
    openAdapterFiles(filesOf(adapter, options)),
  )
  let checkpoint: Checkpoint
  try {
    checkpoint = await openFiles(filesOf(source, options))
  } catch (error) {
    await closeAdapters(adapters)
    throw error
  }
  const host = { start, openGpu, threads: canShare() ? navigator.hardwareConcurrency : 0 }
  return loadCheckpoint(checkpoint, options, host, adapters)
}
