// Gemma.load in Node: finds the checkpoint (path, Hugging Face, Kaggle), opens it, loads the model and the
// tokenizer. Node only.

import { availableParallelism, freemem, totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'
import { openGpu } from './backends/webgpu/open.node.ts'
import { builtInModel } from './built-in.ts'
import { GemmaError } from './error.ts'
import type { Gemma } from './gemma.ts'
import type { DownloadOptions } from './hub/download-options.ts'
import { resolveAdapter, resolveModel } from './hub/resolve.node.ts'
import { checkLoadOptions, closeAdapters, loadCheckpoint, openAdapters } from './load.ts'
import type { LoadOptions } from './load-options.ts'
import type { Checkpoint } from './weights/checkpoint.ts'
import { openCheckpoint } from './weights/open.node.ts'
import { openAdapter } from './weights/peft.node.ts'

export type { LoadOptions } from './load-options.ts'

/**
 * Loads a model. `source`: a directory, a .gguf, .ckpt, .bin or .safetensors file, a Hugging Face id
 * ('google/gemma-2b-it') or 'kaggle:google/gemma/pyTorch/2b-it'; without one, the small model that ships with the package.
 * Throws GemmaError.
 */
export async function load(
  source: string = fileURLToPath(builtInModel()),
  options: LoadOptions = {},
): Promise<Gemma> {
  const start = performance.now()
  if (typeof source !== 'string' || source === '') {
    throw new GemmaError('usage', 'No model was named: expected a path, a Hugging Face id or kaggle:….')
  }
  checkLoadOptions(options)
  const { onProgress, signal } = options
  const download: DownloadOptions = {
    signal,
    onProgress: ({ file, bytes, totalBytes }) =>
      onProgress?.({ phase: 'download', bytes, totalBytes, name: file }),
  }
  // Before the model: what is wrong with an adapter shows before gigabytes are fetched.
  const adapters = await openAdapters(options.adapters, async (adapter) => {
    if (typeof adapter === 'string' && adapter !== '')
      return openAdapter(await resolveAdapter(adapter, download))
    throw new GemmaError('usage', `An adapter is ${JSON.stringify(adapter)}: expected a directory or an id.`)
  })
  let checkpoint: Checkpoint
  try {
    checkpoint = await openCheckpoint(await resolveModel(source, download))
  } catch (error) {
    await closeAdapters(adapters)
    throw error
  }
  const host = { start, openGpu, threads: availableParallelism(), memoryBudget: memoryBudget() }
  return loadCheckpoint(checkpoint, options, host, adapters)
}

/** Memory this process may still take: what is free now, and what the system would hand back (file caches). */
export function memoryBudget(): number {
  return Math.max(freemem(), process.availableMemory?.() ?? 0, totalmem() * 0.05)
}
