// Hugging Face: finds a model in the local cache, or lists it on the Hub, fetches what loading needs, and
// files it in the cache where Python's tools find it too. Node only. Knows the order of things; nothing
// about tensors.

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { GemmaError } from '../error.ts'
import { withLock } from './cache-lock.node.ts'
import { asObject, completeModel, describeLocal, type LocalModel, sizeOf } from './cache-model.node.ts'
import { downloadFile, onDisk, type RemoteFile } from './download.node.ts'
import { assertSpace } from './download-disk.node.ts'
import { type Connection, fetchJson, fetchText } from './download-http.node.ts'
import type { DownloadOptions, RemoteDescription } from './download-options.ts'
import { createMeter, type ProgressMeter } from './download-progress.ts'
import { cachedCommit, isPlainFile, linkBlob, pointsTo, writeRef } from './hub-cache.node.ts'
import {
  choose,
  type DescribedFile,
  fetchDescription,
  fileUrl,
  type HubListing,
  listedShards,
  listModel,
} from './hub-listing.node.ts'
import {
  connectHub,
  type HubModel,
  type HubSession,
  isOffline,
  offlineError,
  readHubToken,
  startHubSession,
} from './hub-session.node.ts'

/** The local path of a model, after downloading what is missing. */
export async function resolveHub(model: HubModel, options: DownloadOptions = {}): Promise<string> {
  const session = startHubSession(model, options)
  const cached = await findCached(session)
  if ('model' in cached && !(options.refresh && !isOffline(session.env))) return cached.model.path
  if (isOffline(session.env)) throw offlineError(session, 'model' in cached ? [] : cached.missing)
  const connection = connectHub(session, await readHubToken(session.env))
  try {
    return await fetchModel(session, connection)
  } catch (error) {
    const unreachable = error instanceof GemmaError && (error.code === 'network' || error.code === 'gated')
    if (!('model' in cached) || !unreachable) throw error
    createMeter(new Map(), options.onProgress).say(model.id, `using the copy in the cache: ${error.message}`)
    return cached.model.path
  }
}

/** Configuration, file names and sizes of a model, without its weights. Nothing is written to disk. */
export async function describeHub(
  model: HubModel,
  options: DownloadOptions = {},
): Promise<RemoteDescription> {
  const session = startHubSession(model, options)
  const cached = await findCached(session)
  if ('model' in cached) return describeLocal(cached.model)
  if (isOffline(session.env)) throw offlineError(session, cached.missing)
  const connection = connectHub(session, await readHubToken(session.env))
  const listing = await listModel(session, connection)
  const choice = choose(session, listing)
  const names = [...choice.metadata, ...choice.weights]
  if (choice.index !== undefined) {
    const { text } = await fetchText(
      choice.index,
      fileUrl(session, listing.commit, choice.index),
      connection,
      2 ** 26,
    )
    names.push(choice.index, ...listedShards(listing, text, choice.index))
  }
  const files: { name: string; size: number }[] = []
  for (const name of names) {
    const size =
      listing.files.get(name)?.size ??
      (await fetchDescription(session, connection, listing.commit, name)).size
    files.push({ name, size: size ?? 0 })
  }
  const totalBytes = files.reduce((sum, file) => sum + file.size, 0)
  if (!listing.files.has('config.json')) return { files, totalBytes }
  const config = await fetchJson('config.json', fileUrl(session, listing.commit, 'config.json'), connection)
  return { config: asObject(config.json, 'config.json'), files, totalBytes }
}

async function findCached(
  session: HubSession,
): Promise<{ model: LocalModel } | { missing: readonly string[] }> {
  const commit = await cachedCommit(session.folder, session.model.revision)
  if (commit === undefined) return { missing: ['every file'] }
  return completeModel(join(session.folder.snapshots, commit), session.options.files)
}

async function fetchModel(session: HubSession, connection: Connection): Promise<string> {
  const { folder, options, model } = session
  const listing = await listModel(session, connection)
  const choice = choose(session, listing)
  const snapshot = join(folder.snapshots, listing.commit)
  const fetchAll = async (names: readonly string[]): Promise<void> => {
    const meter = createMeter(
      new Map(names.map((name) => [name, listing.files.get(name)?.size ?? 0])),
      options.onProgress,
    )
    await assertSpace(session.cache, await bytesToFetch(session, listing, names), options.freeBytes)
    for (const name of names) await fetchFile(session, connection, listing, name, meter)
  }
  const names = [...choice.metadata, ...choice.weights]
  if (choice.index !== undefined) {
    await fetchAll([choice.index])
    names.push(
      choice.index,
      ...listedShards(listing, await readFile(join(snapshot, choice.index), 'utf8'), choice.index),
    )
  }
  await fetchAll(names)
  // last, so that a ref never points at a snapshot that is not complete
  await writeRef(folder, model.revision, listing.commit)
  return choice.entry === undefined ? snapshot : join(snapshot, choice.entry)
}

async function bytesToFetch(
  session: HubSession,
  listing: HubListing,
  names: readonly string[],
): Promise<number> {
  let needed = 0
  for (const name of names) {
    const { size = 0, etag } = listing.files.get(name)!
    const blob = etag === undefined ? undefined : join(session.folder.blobs, etag)
    const present =
      blob === undefined ? 0 : ((await sizeOf(blob)) ?? (await sizeOf(`${blob}.incomplete`)) ?? 0)
    needed += Math.max(0, size - present)
  }
  return needed
}

/** One file into the cache: blob, then link. A file that changes meanwhile is described and fetched anew. */
async function fetchFile(
  session: HubSession,
  connection: Connection,
  listing: HubListing,
  name: string,
  meter: ProgressMeter,
): Promise<void> {
  const { folder, timing, options } = session
  const pointer = join(folder.snapshots, listing.commit, ...name.split('/'))
  const listed = listing.files.get(name)!
  if (
    listed.size !== undefined &&
    listed.etag !== undefined &&
    (await sizeOf(pointer)) === listed.size &&
    (await pointsTo(pointer, listed.etag))
  ) {
    return meter.at(name, listed.size, false)
  }
  const speaking = { ...connection, onRetry: (message: string) => meter.say(name, message) }
  for (let tries = 0; tries < timing.attempts; tries++) {
    const file = await fetchDescription(session, speaking, listing.commit, name)
    if (file.size !== undefined) meter.expect(name, file.size)
    const onWait = (): void => meter.say(name, `waiting for another process that is fetching ${name}`)
    const lock = join(folder.locks, `${file.etag}.lock`)
    const outcome = await onDisk(lock, () =>
      withLock(lock, { timing, signal: options.signal, onWait }, () =>
        fetchBlob(session, speaking, listing.commit, file, pointer, meter),
      ),
    )
    if (outcome === 'downloaded') return
  }
  throw new GemmaError('network', `${name}: the file keeps changing on the Hub.`, 'Try again later.')
}

async function fetchBlob(
  session: HubSession,
  connection: Connection,
  commit: string,
  file: DescribedFile,
  pointer: string,
  meter: ProgressMeter,
): Promise<'downloaded' | 'changed'> {
  const { name, size, etag } = file
  const blob = join(session.folder.blobs, etag)
  const present = await sizeOf(blob)
  if (present !== undefined && (size === undefined || present === size)) {
    meter.at(name, present, false)
    if (!(await pointsTo(pointer, etag))) await linkBlob(blob, pointer, false)
    return 'downloaded'
  }
  // where links do not work, the snapshot holds the file itself
  if (
    present === undefined &&
    size !== undefined &&
    (await sizeOf(pointer)) === size &&
    (await isPlainFile(pointer))
  ) {
    meter.at(name, size, false)
    return 'downloaded'
  }
  const remote = {
    url: fileUrl(session, commit, name),
    name: `${session.model.id}: ${name}`,
    size,
    etag,
    digest: digestOf(etag),
  }
  const outcome = await downloadFile(remote, `${blob}.incomplete`, blob, connection, (position) =>
    meter.at(name, position),
  )
  if (outcome === 'downloaded') await linkBlob(blob, pointer, true)
  return outcome
}

/** The Hub names a large file by its SHA-256 and a small one by Git's SHA-1; a mirror may use other names. */
function digestOf(etag: string): RemoteFile['digest'] {
  if (/^[0-9a-f]{64}$/.test(etag)) return { algorithm: 'sha256', value: etag }
  return /^[0-9a-f]{40}$/.test(etag) ? { algorithm: 'git-sha1', value: etag } : undefined
}
