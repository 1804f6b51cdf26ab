// What a user calls a model becomes a path on this machine: a directory or file that is there already, a
// Hugging Face id, or a Kaggle handle, the last two downloaded into the caches that Python's tools share.
// Node only. Knows the forms of names; nothing about sites or tensors.

import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { GemmaError } from '../error.ts'
import { completeModel, describeLocal } from './cache-model.node.ts'
import type { DownloadOptions, RemoteDescription } from './download-options.ts'
import { adapterFiles } from './download-select.ts'
import { describeHub, resolveHub } from './hub.node.ts'
import type { HubModel } from './hub-session.node.ts'
import { describeKaggle, type KaggleModel, resolveKaggle } from './kaggle.node.ts'

export type ModelSource =
  | { readonly kind: 'path'; readonly path: string; readonly isDirectory: boolean; readonly size: number }
  | { readonly kind: 'hub'; readonly model: HubModel }
  | { readonly kind: 'kaggle'; readonly model: KaggleModel }

const forms =
  'Expected a directory, a .gguf, .safetensors or .ckpt file, a Hugging Face id (google/gemma-2b-it, or with ' +
  '@revision) or a Kaggle handle (kaggle:google/gemma/pyTorch/2b-it, or with /version).'

/**
 * The local path of a model: `source` itself if it exists here, else the model downloaded into the cache of
 * huggingface_hub or kagglehub. A complete model in the cache is used without touching the network.
 * Throws GemmaError 'usage' (no form of a name), 'file' (no such file, no space), 'gated', 'network', 'aborted'.
 */
export async function resolveModel(source: string, options: DownloadOptions = {}): Promise<string> {
  const parsed = await parseSource(source, options.revision)
  if (parsed.kind === 'path') return parsed.path
  return parsed.kind === 'hub' ? resolveHub(parsed.model, options) : resolveKaggle(parsed.model, options)
}

/** The local directory of an adapter, by the same forms of names; throws as `resolveModel` does. */
export async function resolveAdapter(source: string, options: DownloadOptions = {}): Promise<string> {
  return resolveModel(source, { ...options, files: adapterFiles })
}

/**
 * What is known of a model without downloading its weights: configuration, the files that loading needs,
 * their sizes; `path` if it is already here. Throws as `resolveModel` does.
 */
export async function describeRemote(
  source: string,
  options: DownloadOptions = {},
): Promise<RemoteDescription> {
  const parsed = await parseSource(source, options.revision)
  if (parsed.kind === 'hub') return describeHub(parsed.model, options)
  if (parsed.kind === 'kaggle') return describeKaggle(parsed.model, options)
  const { path, size } = parsed
  if (!parsed.isDirectory) return { path, files: [{ name: basename(path), size }], totalBytes: size }
  const found = await completeModel(path, options.files)
  if ('model' in found) return { ...(await describeLocal(found.model)), path }
  throw new GemmaError(
    'file',
    `${path}: missing ${found.missing.join(', ')}.`,
    'Is this the directory of a model?',
  )
}

/** Which of the forms a text is. What exists on this machine wins over an id of the same text. */
export async function parseSource(source: string, revision?: string): Promise<ModelSource> {
  const found = source === '' ? undefined : await stat(source).catch(() => undefined)
  if (found !== undefined)
    return { kind: 'path', path: source, isDirectory: found.isDirectory(), size: found.size }
  if (source.startsWith('kaggle:')) return { kind: 'kaggle', model: parseKaggle(source) }
  if (looksLikePath(source)) throw new GemmaError('file', `${source}: no such file or directory.`, forms)
  return { kind: 'hub', model: parseHub(source, revision) }
}

/** Whether a text is meant as the name of a model, where it might also be a text for one. */
export async function namesModel(text: string): Promise<boolean> {
  const found = text === '' ? undefined : await stat(text).catch(() => undefined)
  if (found !== undefined) return true
  if (text === '' || /\s/.test(text)) return false
  return text.startsWith('kaggle:') || looksLikePath(text) || /^[\w-]+\/[\w.-]+(@.+)?$/.test(text)
}

function looksLikePath(source: string): boolean {
  if (/^([./~\\]|[A-Za-z]:)/.test(source) || /[\\/]$/.test(source) || source.includes('\\')) return true
  if (/\.(gguf|ckpt|safetensors|bin|pth?|json|model)$/i.test(source)) return true
  return !source.includes('@') && source.split('/').length > 2
}

function parseHub(source: string, revision: string | undefined): HubModel {
  const at = source.indexOf('@')
  const id = at < 0 ? source : source.slice(0, at)
  const wanted = at < 0 ? (revision ?? 'main') : source.slice(at + 1)
  // the Hub's rule for names: https://huggingface.co/docs/huggingface_hub/package_reference/utilities
  const isId = /^[A-Za-z0-9_][\w.-]{0,95}\/[A-Za-z0-9_][\w.-]{0,95}$/.test(id) && !/--|\.\./.test(id)
  if (!isId) throw new GemmaError('usage', `${JSON.stringify(source)} names no model.`, forms)
  const isRevision =
    /^[\w.-]+(\/[\w.-]+)*$/.test(wanted) && !wanted.split('/').some((part) => /^\.+$/.test(part))
  if (!isRevision) {
    throw new GemmaError(
      'usage',
      `${JSON.stringify(wanted)} is no revision.`,
      'Expected a branch, a tag or a commit.',
    )
  }
  if (at >= 0 && revision !== undefined && revision !== wanted) {
    throw new GemmaError(
      'usage',
      `${source} and the option revision '${revision}' contradict each other.`,
      'Give one of them.',
    )
  }
  return { id, revision: wanted }
}

function parseKaggle(source: string): KaggleModel {
  const parts = source.slice('kaggle:'.length).split('/')
  const [owner, model, framework, variation, version] = parts
  const areNames = parts.slice(0, 4).every((part) => /^[A-Za-z0-9_][\w.-]*$/.test(part))
  const isVersion = version === undefined || /^[1-9]\d{0,8}$/.test(version)
  if (parts.length >= 4 && parts.length <= 5 && areNames && isVersion) {
    return {
      owner,
      model,
      framework,
      variation,
      version: version === undefined ? undefined : Number(version),
    }
  }
  throw new GemmaError(
    'usage',
    `${JSON.stringify(source)} is no Kaggle handle.`,
    'Expected kaggle:owner/model/framework/variation, or with /version.',
  )
}
