// Kaggle: finds a model in kagglehub's cache, or downloads its files there the way kagglehub lays them out:
// models/owner/model/framework/variation/version/, with `version.complete` beside it when all files are
// there, or `.complete/version/file.complete` for single files. Node only. Knows Kaggle's API
// (https://www.kaggle.com/docs/api); nothing about tensors.

import { mkdir, readdir, stat, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { GemmaError } from '../error.ts'
import { withLock } from './cache-lock.node.ts'
import { asObject, completeModel, describeLocal, type LocalModel, sizeOf } from './cache-model.node.ts'
import { downloadFile, onDisk } from './download.node.ts'
import { assertSpace } from './download-disk.node.ts'
import { type Connection, fetchJson, fetchText } from './download-http.node.ts'
import {
  type DownloadOptions,
  type DownloadTiming,
  defaultTiming,
  type Environment,
  type RemoteDescription,
} from './download-options.ts'
import { createMeter, type ProgressMeter } from './download-progress.ts'
import { type Choice, chooseFiles, isSafeName, shardsOf } from './download-select.ts'
import { kaggleAuthorization } from './kaggle-credentials.node.ts'

export interface KaggleModel {
  readonly owner: string
  readonly model: string
  readonly framework: string
  readonly variation: string
  /** Undefined: the newest, or the newest in the cache. */
  readonly version: number | undefined
}

interface KaggleSession {
  readonly model: KaggleModel
  readonly options: DownloadOptions
  readonly timing: DownloadTiming
  readonly endpoint: string
  /** Directory of the variation; versions lie in it. */
  readonly base: string
  readonly connection: Connection
}

/** Name to size; undefined when Kaggle does not say. */
type KaggleListing = ReadonlyMap<string, number | undefined>

/** The local path of a model, after downloading what is missing. */
export async function resolveKaggle(model: KaggleModel, options: DownloadOptions = {}): Promise<string> {
  const session = await startSession(model, options)
  const cached = await findCached(session)
  if (cached !== undefined && !options.refresh) return cached.path
  try {
    return await fetchModel(session)
  } catch (error) {
    const unreachable = error instanceof GemmaError && (error.code === 'network' || error.code === 'gated')
    if (cached === undefined || !unreachable) throw error
    createMeter(new Map(), options.onProgress).say(
      handle(model),
      `using the copy in the cache: ${error.message}`,
    )
    return cached.path
  }
}

/** Configuration, file names and sizes of a model, without its weights. Nothing is written to disk. */
export async function describeKaggle(
  model: KaggleModel,
  options: DownloadOptions = {},
): Promise<RemoteDescription> {
  const session = await startSession(model, options)
  const cached = await findCached(session)
  if (cached !== undefined) return describeLocal(cached)
  const { connection } = session
  const version = await findVersion(session)
  const listing = await listFiles(session, version)
  const choice = choose(session, listing)
  const names = [...choice.metadata, ...choice.weights]
  if (choice.index !== undefined) {
    const { text } = await fetchText(
      choice.index,
      fileUrl(session, version, choice.index),
      connection,
      2 ** 26,
    )
    names.push(choice.index, ...listedShards(listing, text, choice.index))
  }
  const files = names.map((name) => ({ name, size: listing.get(name) ?? 0 }))
  const totalBytes = files.reduce((sum, file) => sum + file.size, 0)
  if (!listing.has('config.json')) return { files, totalBytes }
  const config = await fetchJson('config.json', fileUrl(session, version, 'config.json'), connection)
  return { config: asObject(config.json, 'config.json'), files, totalBytes }
}

/** $KAGGLEHUB_CACHE, else ~/.cache/kagglehub. */
export function kaggleCacheDirectory(env: Environment): string {
  return env.KAGGLEHUB_CACHE || join(env.HOME || homedir(), '.cache', 'kagglehub')
}

function handle({ owner, model, framework, variation, version }: KaggleModel): string {
  return [owner, model, framework, variation, version].filter((part) => part !== undefined).join('/')
}

async function startSession(model: KaggleModel, options: DownloadOptions): Promise<KaggleSession> {
  const env = options.env ?? process.env
  const endpoint = (env.KAGGLE_API_ENDPOINT || 'https://www.kaggle.com').replace(/\/+(api\/v1\/?)?$/, '')
  const scheme = URL.parse(endpoint)?.protocol
  if (scheme !== 'https:' && scheme !== 'http:') {
    throw new GemmaError(
      'usage',
      `KAGGLE_API_ENDPOINT: expected an http(s) address, got ${JSON.stringify(endpoint)}.`,
    )
  }
  const timing = { ...defaultTiming, ...options.timing }
  const authorization = await kaggleAuthorization(env)
  const refuse = (status: number): GemmaError => refusal(model, endpoint, authorization !== undefined, status)
  const connection = { authorization, timing, signal: options.signal, refuse }
  const { owner, model: name, framework, variation } = model
  const base = join(kaggleCacheDirectory(env), 'models', owner, name, framework, variation)
  return { model, options, timing, endpoint, base, connection }
}

function refusal(model: KaggleModel, endpoint: string, known: boolean, status: number): GemmaError {
  const page = `${endpoint}/models/${model.owner}/${model.model}`
  if (status === 401 || status === 403) {
    const credentials = known
      ? 'make sure that your Kaggle credentials belong to that account'
      : 'set KAGGLE_USERNAME and KAGGLE_KEY, or KAGGLE_API_TOKEN'
    return new GemmaError(
      'gated',
      `${handle(model)}: Kaggle refuses access (${status}); its licence must be accepted first.`,
      `Accept the licence at ${page} and ${credentials} (${endpoint}/settings).`,
    )
  }
  const problem = status === 404 ? 'does not have such a model, version or file (404)' : `answered ${status}`
  return new GemmaError('network', `${handle(model)}: Kaggle ${problem}.`, `Check the name at ${page}.`)
}

/** The wanted version in the cache, or the newest one there, if whole. */
async function findCached(session: KaggleSession): Promise<LocalModel | undefined> {
  const { base, model } = session
  const entries = model.version === undefined ? await readdir(base).catch(() => []) : [`${model.version}`]
  const versions = entries.filter((name) => /^\d+$/.test(name)).map(Number)
  for (const version of versions.sort((a, b) => b - a)) {
    const whole = await isFile(join(base, `${version}.complete`))
    const present = async (name: string): Promise<boolean> => whole || isFile(fileMarker(base, version, name))
    const found = await completeModel(join(base, `${version}`), session.options.files, present)
    if ('model' in found) return found.model
  }
  return undefined
}

async function isFile(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isFile() ?? false
}

function fileMarker(base: string, version: number, name: string): string {
  return join(base, '.complete', `${version}`, `${name}.complete`)
}

function apiUrl({ endpoint, model }: KaggleSession, ...rest: string[]): string {
  const parts = [model.owner, model.model, model.framework, model.variation, ...rest]
  return `${endpoint}/api/v1/models/${parts.map(encodeURIComponent).join('/')}`
}

function fileUrl(session: KaggleSession, version: number, name: string): string {
  return apiUrl(session, `${version}`, 'download', ...name.split('/'))
}

async function findVersion(session: KaggleSession): Promise<number> {
  if (session.model.version !== undefined) return session.model.version
  const { json } = await fetchJson(handle(session.model), apiUrl(session, 'get'), session.connection)
  const version = (json as { versionNumber?: unknown } | null)?.versionNumber
  if (Number.isSafeInteger(version) && (version as number) > 0) return version as number
  throw new GemmaError('network', `${handle(session.model)}: Kaggle's answer has no version number.`)
}

async function listFiles(session: KaggleSession, version: number): Promise<KaggleListing> {
  const files = new Map<string, number | undefined>()
  let token = ''
  for (let page = 0; page < 100; page++) {
    const query =
      token === '' ? '' : `&page_token=${encodeURIComponent(token)}&pageToken=${encodeURIComponent(token)}`
    const url = `${apiUrl(session, `${version}`, 'files')}?page_size=100${query}`
    const { json } = await fetchJson(handle(session.model), url, session.connection)
    const answer = (json ?? {}) as { files?: unknown; nextPageToken?: unknown }
    if (!Array.isArray(answer.files)) {
      throw new GemmaError('network', `${handle(session.model)}: Kaggle's answer has no list of files.`)
    }
    for (const { name, size } of answer.files as { name?: unknown; size?: unknown }[]) {
      if (typeof name !== 'string' || !isSafeName(name)) continue
      const known = Number.isSafeInteger(size) && (size as number) > 0
      files.set(name, known ? (size as number) : undefined)
    }
    const next = typeof answer.nextPageToken === 'string' ? answer.nextPageToken : ''
    if (next === '' || next === token) break
    token = next
  }
  return files
}

function choose(session: KaggleSession, listing: KaggleListing): Choice {
  const choice = chooseFiles([...listing.keys()], session.options.files)
  const usable = choice.weights.length > 0 || choice.index !== undefined
  if (choice.missing.length === 0 || (usable && session.options.files === undefined)) return choice
  const names = [...listing.keys()].slice(0, 20).join(', ')
  throw new GemmaError(
    'file',
    `${handle(session.model)}: missing ${choice.missing.join(', ')}.`,
    `Kaggle has: ${names}.`,
  )
}

function listedShards(listing: KaggleListing, text: string, index: string): string[] {
  const shards = shardsOf(text, index)
  const absent = shards.filter((name) => !listing.has(name))
  if (absent.length > 0)
    throw new GemmaError('file', `${index} names files that Kaggle lacks: ${absent.join(', ')}.`)
  return shards
}

async function fetchModel(session: KaggleSession): Promise<string> {
  const { base, timing, options } = session
  const version = await findVersion(session)
  const listing = await listFiles(session, version)
  const choice = choose(session, listing)
  const directory = join(base, `${version}`)
  const onWait = (): void =>
    createMeter(new Map(), options.onProgress).say(
      handle(session.model),
      'waiting for another process that is fetching it',
    )
  const lock = join(base, '.locks', `${version}.lock`)
  await onDisk(lock, () =>
    withLock(lock, { timing, signal: options.signal, onWait }, async () => {
      const fetched = await fetchFiles(session, version, listing, choice)
      // kagglehub's mark for a whole bundle
      if (fetched.length === listing.size) await mark(join(base, `${version}.complete`))
    }),
  )
  return choice.entry === undefined ? directory : join(directory, choice.entry)
}

async function fetchFiles(
  session: KaggleSession,
  version: number,
  listing: KaggleListing,
  choice: Choice,
): Promise<string[]> {
  const fetchAll = async (names: readonly string[]): Promise<void> => {
    const meter = createMeter(
      new Map(names.map((name) => [name, listing.get(name) ?? 0])),
      session.options.onProgress,
    )
    await assertSpace(
      session.base,
      await bytesToFetch(session, version, listing, names),
      session.options.freeBytes,
    )
    for (const name of names) await fetchFile(session, version, name, listing.get(name), meter)
  }
  const names = [...choice.metadata, ...choice.weights]
  if (choice.index !== undefined) {
    const { text } = await fetchText(
      choice.index,
      fileUrl(session, version, choice.index),
      session.connection,
      2 ** 26,
    )
    names.push(choice.index, ...listedShards(listing, text, choice.index))
  }
  await fetchAll(names)
  return names
}

async function bytesToFetch(
  session: KaggleSession,
  version: number,
  listing: KaggleListing,
  names: readonly string[],
): Promise<number> {
  let needed = 0
  for (const name of names) {
    const path = join(session.base, `${version}`, ...name.split('/'))
    const present = (await isFile(fileMarker(session.base, version, name)))
      ? await sizeOf(path)
      : await sizeOf(`${path}.incomplete`)
    needed += Math.max(0, (listing.get(name) ?? 0) - (present ?? 0))
  }
  return needed
}

async function fetchFile(
  session: KaggleSession,
  version: number,
  name: string,
  size: number | undefined,
  meter: ProgressMeter,
): Promise<void> {
  const path = join(session.base, `${version}`, ...name.split('/'))
  const marker = fileMarker(session.base, version, name)
  const present = (await isFile(marker)) ? await sizeOf(path) : undefined
  if (present !== undefined && (size === undefined || present === size)) return meter.at(name, present, false)
  const connection = { ...session.connection, onRetry: (message: string) => meter.say(name, message) }
  const file = {
    url: fileUrl(session, version, name),
    name: `${handle(session.model)}: ${name}`,
    size,
    digest: { algorithm: 'md5' as const },
  }
  await downloadFile(file, `${path}.incomplete`, path, connection, (position) => meter.at(name, position))
  await mark(marker)
}

async function mark(path: string): Promise<void> {
  await onDisk(path, async () => {
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, '')
  })
}
