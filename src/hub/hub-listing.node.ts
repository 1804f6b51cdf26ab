// What the Hugging Face Hub says of a model before its content: commit, file names, sizes, blob names.
// Node only. Knows the Hub's API and headers; nothing about the cache.
//
// API: https://huggingface.co/docs/hub/api; the headers of /resolve/ (x-linked-etag, x-linked-size) and
// ETags as names of blobs: https://huggingface.co/docs/hub/local-cache.

import { GemmaError } from '../error.ts'
import { describedEtag } from './download.node.ts'
import {
  type Connection,
  exchange,
  fetchJson,
  lineFailure,
  retry,
  startWatchdog,
  statusFailure,
} from './download-http.node.ts'
import { type Choice, chooseFiles, isSafeName, shardsOf } from './download-select.ts'
import type { HubSession } from './hub-session.node.ts'

/** A file as the Hub lists it. `etag` is the blob's name: SHA-256 for large files, Git's SHA-1 for small ones. */
export interface HubFile {
  readonly name: string
  readonly size?: number
  readonly etag?: string
}

export interface HubListing {
  readonly commit: string
  readonly files: ReadonlyMap<string, HubFile>
}

export type DescribedFile = HubFile & { readonly etag: string }

export async function listModel(session: HubSession, connection: Connection): Promise<HubListing> {
  const { id, revision } = session.model
  const address = `${session.endpoint}/api/models/${id}`
  const { json } = await fetchJson(id, `${address}/revision/${encodeURIComponent(revision)}`, connection)
  const info = json as { sha?: unknown; siblings?: unknown } | null
  const commit = info?.sha
  if (
    typeof commit !== 'string' ||
    !/^[\w.-]+$/.test(commit) ||
    !isSafeName(commit) ||
    !Array.isArray(info?.siblings)
  ) {
    throw new GemmaError('network', `${id}: the Hub's answer has no commit or no list of files.`)
  }
  const files = new Map<string, HubFile>()
  for (const sibling of info.siblings as unknown[]) {
    const name = (sibling as { rfilename?: unknown } | null)?.rfilename
    if (typeof name === 'string' && isSafeName(name)) files.set(name, { name })
  }
  await addSizes(session, connection, `${address}/tree/${commit}?recursive=true`, files)
  return { commit, files }
}

/** Sizes and blob names come from another call; without it (a mirror may lack it) each file is asked later. */
async function addSizes(
  session: HubSession,
  connection: Connection,
  first: string,
  files: Map<string, HubFile>,
): Promise<void> {
  let url: string | undefined = first
  for (let page = 0; url !== undefined && page < 100; page++) {
    let answer: { json: unknown; headers: Headers }
    try {
      answer = await fetchJson(session.model.id, url, connection)
    } catch (error) {
      if (error instanceof GemmaError && error.code === 'network' && page === 0) return
      throw error
    }
    for (const entry of Array.isArray(answer.json) ? answer.json : []) {
      const file = readTreeEntry(entry)
      if (file !== undefined && files.has(file.name)) files.set(file.name, file)
    }
    const next: string | undefined = /<([^>]+)>;\s*rel="next"/.exec(answer.headers.get('link') ?? '')?.[1]
    url =
      next !== undefined && URL.parse(next, first)?.origin === new URL(first).origin
        ? new URL(next, first).href
        : undefined
  }
}

function readTreeEntry(entry: unknown): HubFile | undefined {
  const { type, path, size, oid, lfs } = (entry ?? {}) as Record<string, unknown>
  if (type !== 'file' || typeof path !== 'string') return undefined
  const large = (lfs ?? {}) as Record<string, unknown>
  const bytes = typeof large.size === 'number' ? large.size : size
  const etag = typeof large.oid === 'string' ? large.oid : oid
  return {
    name: path,
    size: Number.isSafeInteger(bytes) && (bytes as number) >= 0 ? (bytes as number) : undefined,
    etag: typeof etag === 'string' && isBlobName(etag) ? etag : undefined,
  }
}

/** An ETag becomes a file name, so it may hold nothing that leads elsewhere. */
function isBlobName(etag: string): boolean {
  return /^[\w.-]{1,200}$/.test(etag) && isSafeName(etag)
}

export function choose(session: HubSession, listing: HubListing): Choice {
  const choice = chooseFiles([...listing.files.keys()], session.options.files)
  const nothing = choice.weights.length === 0 && choice.index === undefined
  // a repository without configuration or tokenizer may still be wanted for its weights
  if (!nothing && session.options.files === undefined) return choice
  if (choice.missing.length === 0) return choice
  const names = [...listing.files.keys()].slice(0, 20).join(', ')
  throw new GemmaError(
    'file',
    `${session.model.id}: missing ${choice.missing.join(', ')}.`,
    `The repository has: ${names}.`,
  )
}

export function listedShards(listing: HubListing, text: string, index: string): string[] {
  const shards = shardsOf(text, index)
  const absent = shards.filter((name) => !listing.files.has(name))
  if (absent.length > 0)
    throw new GemmaError('file', `${index} names files that the repository lacks: ${absent.join(', ')}.`)
  return shards
}

export function fileUrl(session: HubSession, commit: string, name: string): string {
  const path = name.split('/').map(encodeURIComponent).join('/')
  return `${session.endpoint}/${session.model.id}/resolve/${commit}/${path}`
}

/** ETag and size of a file, from the headers that the Hub sends before it redirects to the content. */
export async function fetchDescription(
  session: HubSession,
  connection: Connection,
  commit: string,
  name: string,
): Promise<DescribedFile> {
  const what = `${session.model.id}: ${name}`
  return retry(what, connection, async () => {
    const watchdog = startWatchdog(connection.signal, connection.timing.stall)
    try {
      const url = fileUrl(session, commit, name)
      const { response } = await exchange(url, connection, watchdog.signal, {
        method: 'HEAD',
        stayOnHost: true,
      })
      if (response.status >= 400) return await statusFailure(response, connection)
      const etag = describedEtag(response.headers)
      if (etag === undefined || !isBlobName(etag)) {
        throw new GemmaError('network', `${what}: the Hub sent no usable ETag.`, 'Is HF_ENDPOINT a Hub?')
      }
      return { done: { name, etag, size: describedSize(response) } }
    } catch (error) {
      return lineFailure(error, watchdog, connection)
    } finally {
      watchdog.stop()
    }
  })
}

function describedSize({ status, headers }: Response): number | undefined {
  const value = headers.get('x-linked-size') ?? (status < 300 ? headers.get('content-length') : null)
  return value !== null && /^\d+$/.test(value) && Number.isSafeInteger(Number(value))
    ? Number(value)
    : undefined
}
