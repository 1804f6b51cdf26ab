// Gemma.load in Node: finds the checkpoint (path, Hugging Face, Kaggle), opens it, loads the model and the
// tokenizer. Node only.

import { availableParallelism, freemem, totalmem } from 'node:os'
import { GemmaError } from './error.ts'
import { createGemma, type Gemma } from './gemma.ts'
import { type LoadProgress, loadModel, type WeightDtype } from './generate/load-model.ts'
import { samplingDefaults } from './generate/options.ts'
import { resolveModel } from './hub/resolve.node.ts'
import { parseConfig } from './model/config.ts'
import { createTokenizer } from './tokenizer/index.ts'
import { missingTokenizer } from './tokenizer/missing.ts'
import { openCheckpoint } from './weights/open.node.ts'

export interface LoadOptions {
  /** 'auto' and 'cpu' run on the CPU. */
  readonly device?: 'auto' | 'cpu' | 'webgpu'
  /** Precision of the weights in memory; 'auto' keeps what the file has. */
  readonly dtype?: WeightDtype
  /** Worker threads; default: as many as the machine has cores. 0 computes in the calling thread. */
  readonly threads?: number
  /** Tokens of prompt and answer together; default: the model's own, at most 8 192. */
  readonly contextLength?: number
  readonly onProgress?: (progress: LoadProgress) => void
  readonly signal?: AbortSignal
}

const DTYPES: readonly WeightDtype[] = ['auto', 'f32', 'bf16', 'int8', 'int4']
const MOST_THREADS = 256

/**
 * Loads a model. `source`: a directory, a .gguf, .ckpt, .bin or .safetensors file, a Hugging Face id
 * ('google/gemma-2b-it') or 'kaggle:google/gemma/pyTorch/2b-it'. Throws GemmaError.
 */
export async function load(source: string, options: LoadOptions = {}): Promise<Gemma> {
  const start = performance.now()
  checkOptions(source, options)
  const { onProgress, signal } = options
  const path = await resolveModel(source, {
    signal,
    onProgress: ({ file, bytes, totalBytes }) =>
      onProgress?.({ phase: 'download', bytes, totalBytes, name: file }),
  })
  const checkpoint = await openCheckpoint(path)
  try {
    const files = checkpoint.tokenizer
    const hasTokenizer = files.sentencePiece ?? files.tokenizerJson ?? files.gguf
    const { generation } = parseConfig(checkpoint.config)
    const tokenizer = hasTokenizer
      ? createTokenizer(files, { template: generation === 3 ? 'gemma3' : 'gemma' })
      : missingTokenizer(checkpoint.name)
    const engine = await loadModel(checkpoint, {
      dtype: options.dtype,
      pieces: hasTokenizer ? tokenizer.vocabSize : undefined,
      threads: options.threads ?? availableParallelism(),
      contextLength: options.contextLength,
      memoryBudget: memoryBudget(),
      onProgress,
      signal,
    })
    return createGemma({
      engine,
      tokenizer,
      defaults: samplingDefaults(checkpoint.generationConfig),
      loadMs: performance.now() - start,
      close: async () => {},
    })
  } finally {
    await checkpoint.close()
  }
}

/** Memory this process may still take: what is free now, and what the system would hand back (file caches). */
export function memoryBudget(): number {
  return Math.max(freemem(), process.availableMemory?.() ?? 0, totalmem() * 0.05)
}

function checkOptions(source: string, { device = 'auto', dtype = 'auto', threads }: LoadOptions): void {
  if (typeof source !== 'string' || source === '') {
    throw new GemmaError('usage', 'No model was named: expected a path, a Hugging Face id or kaggle:….')
  }
  if (device === 'webgpu') {
    throw new GemmaError('unsupported', "device 'webgpu' is not there yet.", "Use 'auto' or 'cpu'.")
  }
  if (device !== 'auto' && device !== 'cpu') {
    throw new GemmaError('usage', `device is ${JSON.stringify(device)}, expected 'auto', 'cpu' or 'webgpu'.`)
  }
  if (!DTYPES.includes(dtype)) {
    throw new GemmaError('usage', `dtype is ${JSON.stringify(dtype)}, expected one of ${DTYPES.join(', ')}.`)
  }
  if (threads !== undefined && !(Number.isSafeInteger(threads) && threads >= 0 && threads <= MOST_THREADS)) {
    throw new GemmaError('usage', `threads is ${threads}, expected a whole number from 0 to ${MOST_THREADS}.`)
  }
}
