// Where the files of a model are in a browser: behind an address, or in the hands of the person who picked them. Knows
// nothing about what is in them.

import { GemmaError } from './error.ts'
import { blobSource } from './weights/bytes-source.ts'
import { type HttpOptions, httpSource } from './weights/http-source.ts'
import type { FileSet } from './weights/open-files.ts'

/**
 * A URL (relative ones count from the page) of a .gguf or .safetensors file or of a folder, ending in /, with
 * config.json, model.safetensors and the tokenizer; a Hugging Face id ('google/gemma-2b-it'); one Blob of a
 * GGUF file; or several Files: a split GGUF, or weights, config.json and tokenizer.
 */
export type WebModelSource = string | URL | Blob | readonly File[]

/** The files behind a source. Throws GemmaError 'usage' for what is none. */
export function filesOf(source: WebModelSource, options: HttpOptions): FileSet {
  if (source instanceof Blob) return picked([source])
  if (Array.isArray(source) && source.length > 0 && source.every((file) => file instanceof Blob)) {
    return picked(source)
  }
  if ((typeof source === 'string' && source !== '') || source instanceof URL) return served(source, options)
  throw new GemmaError('usage', 'No model was given: expected a URL, a Hugging Face id, a Blob or Files.')
}

/** The address of a file, a folder or a Hugging Face repository. Throws GemmaError 'usage' for what is none. */
export function addressOf(source: string | URL): URL {
  const hub = typeof source === 'string' && HUB_ID.test(source)
  return hub ? new URL(`https://huggingface.co/${source}/resolve/main/`) : absolute(source)
}

/** The address of a file that lies beside another, or in a folder. */
export function addressBeside(url: URL, name: string): URL {
  const address = new URL(url)
  address.pathname = url.pathname.slice(0, url.pathname.lastIndexOf('/') + 1) + encodeURIComponent(name)
  return address
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
  const url = addressOf(source)
  const weights = decodeURIComponent(url.pathname.slice(url.pathname.lastIndexOf('/') + 1))
  return {
    name: String(source),
    weights: weights === '' ? undefined : weights,
    open: (name) => httpSource(addressBeside(url, name).href, { headers, signal }),
  }
}

function absolute(source: string | URL): URL {
  const base = globalThis.document?.baseURI ?? globalThis.location?.href
  const url = URL.parse(source, base)
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return url
  throw new GemmaError('usage', `${source} is no address of a model.`, 'Expected an http(s) URL.')
}
