// Gemma.load in Node: finds the checkpoint (path, Hugging Face, Kaggle), opens it, loads the model and the
// tokenizer. Node only.

import { availableParallelism, freemem, totalmem } from 'node:os'
import { GemmaError } from './error.ts'
import type { Gemma } from './gemma.ts'
import { resolveModel } from './hub/resolve.node.ts'
import { checkLoadOptions, type LoadOptions, loadCheckpoint } from './load.ts'
import { openCheckpoint } from './weights/open.node.ts'

export type { LoadOptions } from './load.ts'

/**
 * Loads a model. `source`: a directory, a .gguf, .ckpt, .bin or .safetensors file, a Hugging Face id
 * ('google/gemma-2b-it') or 'kaggle:google/gemma/pyTorch/2b-it'. Throws GemmaError.
 */
export async function load(source: string, options: LoadOptions = {}): Promise<Gemma> {
  const start = performance.now()
  if (typeof source !== 'string' || source === '') {
    throw new GemmaError('usage', 'No model was named: expected a path, a Hugging Face id or kaggle:….')
  }
  checkLoadOptions(options)
  const { onProgress, signal } = options
  const path = await resolveModel(source, {
    signal,
    onProgress: ({ file, bytes, totalBytes }) =>
      onProgress?.({ phase: 'download', bytes, totalBytes, name: file }),
  })
  const host = { start, threads: availableParallelism(), memoryBudget: memoryBudget() }
  return loadCheckpoint(await openCheckpoint(path), options, host)
}

/** Memory this process may still take: what is free now, and what the system would hand back (file caches). */
export function memoryBudget(): number {
  return Math.max(freemem(), process.availableMemory?.() ?? 0, totalmem() * 0.05)
}
