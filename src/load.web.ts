// Gemma.load in the browser: from the address of a .gguf file or of a folder in Hugging Face's layout, or from
// files that a person picked. Threads need a page that is isolated from other origins (the headers
// Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp); elsewhere the model
// runs in the calling thread.

import { builtInModel } from './built-in.ts'
import { GemmaError } from './error.ts'
import type { Gemma } from './gemma.ts'
import { checkLoadOptions, closeAdapters, loadCheckpoint, openAdapters } from './load.ts'
import type { CommonLoadOptions } from './load-options.ts'
import { blobSource } from './weights/bytes-source.ts'
import type { Checkpoint } from './weights/checkpoint.ts'
import { type HttpOptions, httpSource } from './weights/http-source.ts'
import { type FileSet, openAdapterFiles, openFiles } from './weights/open-files.ts'

export interface WebLoadOptions extends CommonLoadOptions {
  /**
   * Low-rank adapters (LoRA, in the form of PEFT) by the names that requests call them by: the address of a folder,
   * ending in /, a Hugging Face id, or the Files adapter_config.json and adapter_model.safetensors.
   */
  readonly adapters?: Readonly<Record<string, string | URL | readonly File[]>>
  /** Sent with every request, e.g. Authorization for a gated repository. */
  readonly headers?: HttpOptions['headers']
}

/**
 * A URL (relative ones count from the page) of a .gguf or .safetensors file or of a folder, ending in /, with
 * config.json, model.safetensors and the tokenizer; a Hugging Face id ('google/gemma-2b-it'); one Blob of a
 * GGUF file; or several Files: a split GGUF, or weights, config.json and tokenizer.
 */
export type WebModelSource = string | URL | Blob | readonly File[]

/** Loads a model in a browser; without a source the small one that ships with the package. Throws GemmaError. */
export async function load(
  source: WebModelSource = builtInModel(),
  options: WebLoadOptions = {},
): Promise<Gemma> {
  const start = performance.now()
  checkLoadOptions(options)
  if (!canShare() && (options.threads ?? 0) > 0) {
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

async function openGpu(): Promise<GPU> {
  // Absent in older browsers, and on pages that were not fetched by https.
  const gpu = (globalThis.navigator as Partial<Navigator> | undefined)?.gpu
  if (gpu) return gpu
  throw new GemmaError(
    'unsupported',
    'This browser offers no WebGPU here.',
    "Use a newer one, a page served by https or from localhost, or device 'cpu'.",
  )
}

/** Whether memory can be shared with workers here. */
function canShare(): boolean {
  return typeof SharedArrayBuffer !== 'undefined' && globalThis.crossOriginIsolated !== false
}

function filesOf(source: WebModelSource, options: WebLoadOptions): FileSet {
  if (source instanceof Blob) return picked([source])
  if (Array.isArray(source) && source.length > 0 && source.every((file) => file instanceof Blob)) {
    return picked(source)
  }
  if ((typeof source === 'string' && source !== '') || source instanceof URL) return served(source, options)
  throw new GemmaError('usage', 'No model was given: expected a URL, a Hugging Face id, a Blob or Files.')
}

function picked(blobs: readonly Blob[]): FileSet {
  const files = new Map(blobs.map((blob) => [blob instanceof File ? blob.name : 'model', blob]))
  const names = [...files.keys()]
  return {
    name: names.length === 1 ? names[0]! : `${names.length} files`,
    names,
    async open(name) {
      const blob = files.get(name)
      return blob === undefined ? undefined : blobSource(name, blob)
    },
  }
}

/** What a Hugging Face id looks like; a relative address begins with a dot or a slash, or ends in a file type. */
const HUB_ID = /^[\w-]+\/(?!.*\.(gguf|safetensors|ckpt)$)[\w.-]+$/

function served(source: string | URL, { headers, signal }: HttpOptions): FileSet {
  const hub = typeof source === 'string' && HUB_ID.test(source)
  const url = hub ? new URL(`https://huggingface.co/${source}/resolve/main/`) : absolute(source)
  const slash = url.pathname.lastIndexOf('/') + 1
  const weights = decodeURIComponent(url.pathname.slice(slash))
  return {
    name: String(source),
    weights: weights === '' ? undefined : weights,
    open(name) {
      const address = new URL(url)
      address.pathname = url.pathname.slice(0, slash) + encodeURIComponent(name)
      return httpSource(address.href, { headers, signal })
    },
  }
}

function absolute(source: string | URL): URL {
  const base = globalThis.document?.baseURI ?? globalThis.location?.href
  const url = URL.parse(source, base)
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return url
  throw new GemmaError('usage', `${source} is no address of a model.`, 'Expected an http(s) URL.')
}
