// What loading has in common in Node and in the browser: the options, their checks, and the way from an
// opened checkpoint to a Gemma. Knows neither paths nor downloads; runs everywhere.

import { GemmaError } from './error.ts'
import { createGemma, type Gemma } from './gemma.ts'
import { chooseDevice } from './generate/choose-device.ts'
import type { DeviceChoice, WeightDtype } from './generate/load-choices.ts'
import { loadModel } from './generate/load-model.ts'
import { samplingDefaults } from './generate/options.ts'
import type { CacheDtype } from './graph/dtype.ts'
import type { CommonLoadOptions } from './load-options.ts'
import { parseConfig } from './model/config.ts'
import { createTokenizer } from './tokenizer/index.ts'
import { missingTokenizer } from './tokenizer/missing.ts'
import type { Checkpoint, StoredAdapter } from './weights/checkpoint.ts'

const DEVICES: readonly DeviceChoice[] = ['auto', 'cpu', 'webgpu']
const DTYPES: readonly WeightDtype[] = ['auto', 'f32', 'bf16', 'int8', 'int8row', 'int4']
const CACHE_DTYPES: readonly CacheDtype[] = ['f32', 'f16', 'int8']
const MOST_THREADS = 256

/** Refuses options that make no sense, GemmaError 'usage' or 'unsupported'. */
export function checkLoadOptions({
  device = 'auto',
  dtype = 'auto',
  cacheDtype = 'f32',
  threads,
}: CommonLoadOptions): void {
  if (!CACHE_DTYPES.includes(cacheDtype)) {
    throw new GemmaError(
      'usage',
      `cacheDtype is ${JSON.stringify(cacheDtype)}, expected one of ${CACHE_DTYPES.join(', ')}.`,
    )
  }
  if (!DEVICES.includes(device)) {
    throw new GemmaError('usage', `device is ${JSON.stringify(device)}, expected 'auto', 'cpu' or 'webgpu'.`)
  }
  if (!DTYPES.includes(dtype)) {
    throw new GemmaError('usage', `dtype is ${JSON.stringify(dtype)}, expected one of ${DTYPES.join(', ')}.`)
  }
  if (threads !== undefined && !(Number.isSafeInteger(threads) && threads >= 0 && threads <= MOST_THREADS)) {
    throw new GemmaError('usage', `threads is ${threads}, expected a whole number from 0 to ${MOST_THREADS}.`)
  }
}

/** What the machine is like, found by the caller. */
export interface Host {
  /** Worker threads where the caller of load names none. */
  readonly threads: number
  /** Gives the entry to WebGPU, or throws GemmaError. */
  readonly openGpu: () => Promise<GPU>
  /** Bytes this process may still take; undefined where nobody can tell. */
  readonly memoryBudget?: number
  /** performance.now() when loading began. */
  readonly start: number
}

export type OpenAdapters = ReadonlyMap<string, StoredAdapter>

/** Opens adapters one after the other; when one cannot be opened, none stays open. Throws GemmaError. */
export async function openAdapters<Source>(
  sources: Readonly<Record<string, Source>> = {},
  open: (source: Source) => Promise<StoredAdapter>,
): Promise<OpenAdapters> {
  if (typeof sources !== 'object' || sources === null || Array.isArray(sources)) {
    throw new GemmaError('usage', 'adapters is no object: expected { name: source }.')
  }
  const adapters = new Map<string, StoredAdapter>()
  try {
    for (const [name, source] of Object.entries(sources)) adapters.set(name, await open(source))
  } catch (error) {
    await closeAdapters(adapters)
    throw error
  }
  return adapters
}

export async function closeAdapters(adapters: OpenAdapters): Promise<void> {
  await Promise.all([...adapters.values()].map((adapter) => adapter.close()))
}

/** Loads an opened checkpoint, with adapters beside it, and closes them all. */
export async function loadCheckpoint(
  checkpoint: Checkpoint,
  options: CommonLoadOptions,
  host: Host,
  adapters: OpenAdapters,
): Promise<Gemma> {
  try {
    const files = checkpoint.tokenizer
    const hasTokenizer = files.sentencePiece ?? files.tokenizerJson ?? files.gguf
    const { generation } = parseConfig(checkpoint.config)
    const tokenizer = hasTokenizer
      ? createTokenizer(files, { template: generation === 3 ? 'gemma3' : 'gemma' })
      : missingTokenizer(checkpoint.name)
    const wanted = options.device ?? 'auto'
    const device = wanted === 'auto' && options.threads !== undefined ? 'cpu' : wanted
    const engine = await loadModel(checkpoint, {
      device: await chooseDevice(device, host.openGpu),
      dtype: options.dtype,
      pieces: hasTokenizer ? tokenizer.vocabSize : undefined,
      threads: options.threads ?? host.threads,
      contextLength: options.contextLength,
      sequences: options.sequences,
      cacheDtype: options.cacheDtype,
      adapters,
      memoryBudget: host.memoryBudget,
      onProgress: options.onProgress,
      signal: options.signal,
    })
    return createGemma({
      engine,
      tokenizer,
      defaults: samplingDefaults(checkpoint.generationConfig),
      loadMs: performance.now() - host.start,
      close: async () => {},
    })
  } finally {
    await checkpoint.close()
    await closeAdapters(adapters)
  }
}
