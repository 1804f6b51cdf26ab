// One call's dealings with the Hugging Face Hub: endpoint, cache, token, and how its refusals read. Node
// only. Knows the environment variables of huggingface_hub; nothing about files of models.

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { GemmaError } from '../error.ts'
import type { Connection } from './download-http.node.ts'
import {
  type DownloadOptions,
  type DownloadTiming,
  defaultTiming,
  type Environment,
} from './download-options.ts'
import { expandHome, type HubFolder, hubCacheDirectory, hubFolder, hubHome } from './hub-cache.node.ts'

export interface HubModel {
  /** 'org/name' */
  readonly id: string
  readonly revision: string
}

/** Everything one call works with. */
export interface HubSession {
  readonly model: HubModel
  readonly options: DownloadOptions
  readonly env: Environment
  readonly timing: DownloadTiming
  readonly endpoint: string
  readonly cache: string
  readonly folder: HubFolder
}

export function startHubSession(model: HubModel, options: DownloadOptions): HubSession {
  const env = options.env ?? process.env
  const cache = hubCacheDirectory(env)
  const endpoint = (env.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, '')
  const scheme = URL.parse(endpoint)?.protocol
  if (scheme !== 'https:' && scheme !== 'http:') {
    throw new GemmaError(
      'usage',
      `HF_ENDPOINT: expected an http(s) address, got ${JSON.stringify(endpoint)}.`,
    )
  }
  const timing = { ...defaultTiming, ...options.timing }
  return { model, options, env, timing, endpoint, cache, folder: hubFolder(cache, model.id) }
}

/** As huggingface_hub reads its switches. */
export function isOffline(env: Environment): boolean {
  const value = env.HF_HUB_OFFLINE || env.TRANSFORMERS_OFFLINE || ''
  return ['1', 'ON', 'YES', 'TRUE'].includes(value.toUpperCase())
}

/** $HF_TOKEN, else the file that `hf auth login` writes. */
export async function readHubToken(env: Environment): Promise<string | undefined> {
  const token = (env.HF_TOKEN || env.HUGGING_FACE_HUB_TOKEN || '').trim()
  if (token !== '') return checkedToken(token, 'HF_TOKEN')
  const path = env.HF_TOKEN_PATH ? expandHome(env.HF_TOKEN_PATH, env) : join(hubHome(env), 'token')
  const stored = (await readFile(path, 'utf8').catch(() => '')).trim()
  return stored === '' ? undefined : checkedToken(stored, path)
}

function checkedToken(token: string, source: string): string {
  if (/^[\x21-\x7e]+$/.test(token)) return token
  throw new GemmaError(
    'usage',
    `${source}: expected a token (letters, digits, punctuation), got other characters.`,
  )
}

export function connectHub(session: HubSession, token: string | undefined): Connection {
  return {
    authorization: token === undefined ? undefined : `Bearer ${token}`,
    timing: session.timing,
    signal: session.options.signal,
    refuse: (status, headers) => refusal(session, token !== undefined, status, headers),
  }
}

function refusal(session: HubSession, hasToken: boolean, status: number, headers: Headers): GemmaError {
  const { id, revision } = session.model
  const page = `${session.endpoint}/${id}`
  const code = headers.get('x-error-code')
  if (status === 401 || status === 403) {
    const problem =
      code === 'RepoNotFound'
        ? `${id}: no such directory here, and on the Hub no such repository is visible ${hasToken ? 'with this token' : 'without a token'} (${status}).`
        : `${id}: the Hub refuses access (${status}); its licence must be accepted first.`
    const token = hasToken
      ? 'make sure that the token in HF_TOKEN belongs to that account'
      : 'set HF_TOKEN to a token of that account'
    return new GemmaError(
      'gated',
      problem,
      `Accept the licence at ${page} and ${token} (${session.endpoint}/settings/tokens).`,
    )
  }
  if (status === 404) {
    const what =
      code === 'RevisionNotFound' ? `the revision '${revision}'` : 'such a repository, revision or file'
    return new GemmaError(
      'network',
      `${id}: the Hub does not have ${what} (404).`,
      `Check the name at ${page}.`,
    )
  }
  return new GemmaError(
    'network',
    `${id}: the Hub answered ${status}.`,
    `Try again later, or look at ${page}.`,
  )
}

export function offlineError(session: HubSession, missing: readonly string[]): GemmaError {
  const { id, revision } = session.model
  const lacks = missing.length === 0 ? '' : ` (missing: ${missing.join(', ')})`
  return new GemmaError(
    'network',
    `${id}@${revision}: not complete in ${session.cache}${lacks}, and HF_HUB_OFFLINE forbids the network.`,
    'Unset HF_HUB_OFFLINE once to download it.',
  )
}
