// Fetches one file to disk: resumes what an earlier try left, tries again when the line fails, checks size
// and digest, and gives the file its final name only when it is whole. Node only. Knows HTTP and files,
// nothing about sites or caches.
//
// Bytes are written at their own offsets and a file is never truncated in place (starting again makes a
// new one), so a second writer of the same content can do no harm even if a lock fails.

import { createHash, type Hash } from 'node:crypto'
import { constants, createReadStream } from 'node:fs'
import { type FileHandle, mkdir, open, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { GemmaError, throwIfAborted } from '../error.ts'
import {
  type Attempt,
  type Connection,
  type Exchange,
  exchange,
  lineFailure,
  retry,
  startWatchdog,
  statusFailure,
  type TryAgain,
  type Watchdog,
} from './download-http.node.ts'

export interface RemoteFile {
  readonly url: string
  /** What to call it in messages. */
  readonly name: string
  /** Bytes, if known before the download. */
  readonly size: number | undefined
  /** When given, an answer with another ETag ends the download with 'changed'. */
  readonly etag?: string
  /** 'md5' is compared with the answer's `x-goog-hash`; the others with `value`, in hexadecimal. */
  readonly digest?: { readonly algorithm: 'sha256' | 'git-sha1' | 'md5'; readonly value?: string }
}

/** What is on disk so far, and its hash; one per download, kept over its tries. */
interface Progress {
  readonly file: RemoteFile
  readonly partial: string
  size: number | undefined
  position: number
  hash: Hash | undefined
  expected: string | undefined
  readonly onPosition: (position: number) => void
}

const writeSize = 2 ** 20

/**
 * Downloads `file` to `path` by way of `partial` (same directory), resuming `partial` if it exists.
 * `onPosition` hears how many bytes of the file are on disk. Throws GemmaError 'network', 'aborted', 'file'
 * (the disk), or what `connection.refuse` makes. On failure `partial` stays, unless its content was wrong.
 */
export async function downloadFile(
  file: RemoteFile,
  partial: string,
  path: string,
  connection: Connection,
  onPosition: (position: number) => void = () => undefined,
): Promise<'downloaded' | 'changed'> {
  const progress: Progress = {
    file,
    partial,
    size: file.size,
    position: 0,
    hash: undefined,
    expected: file.digest?.value,
    onPosition,
  }
  await onDisk(partial, () => mkdir(dirname(partial), { recursive: true }))
  await resume(progress, connection.signal)
  const outcome = await retry(file.name, connection, () => attempt(progress, connection))
  if (outcome === 'changed') return outcome
  await onDisk(path, () => rename(partial, path).catch((error: unknown) => unlessReplaced(error, path)))
  return outcome
}

/** The partial file may have been renamed by another process that finished the same download first. */
async function unlessReplaced(error: unknown, path: string): Promise<void> {
  const finished =
    (error as NodeJS.ErrnoException).code === 'ENOENT' && (await stat(path).catch(() => undefined))
  if (!finished) throw error
}

/** Takes over what an earlier run left: its length, and its hash as far as it goes. */
async function resume(progress: Progress, signal: AbortSignal | undefined): Promise<void> {
  const { file, partial } = progress
  progress.position = 0
  progress.hash = startHash(progress)
  const found = await stat(partial).catch(() => undefined)
  if (found === undefined || found.size === 0) return
  if (progress.size !== undefined && found.size > progress.size) return discard(progress)
  // a digest that comes with the answer needs an answer: fetch the last byte once more
  const needsAnswer = file.digest?.algorithm === 'md5' && found.size === progress.size
  const length = needsAnswer ? found.size - 1 : found.size
  if (progress.hash !== undefined && length > 0) await hashFile(partial, length, progress.hash, signal)
  progress.position = length
  progress.onPosition(length)
}

function startHash(progress: Progress): Hash | undefined {
  const algorithm = progress.file.digest?.algorithm
  if (algorithm === undefined) return undefined
  if (algorithm !== 'git-sha1') return createHash(algorithm)
  // Git's name of a blob is the SHA-1 of "blob <size>\0" and the content, so it needs the size first
  if (progress.size === undefined) return undefined
  return createHash('sha1').update(`blob ${progress.size}\0`)
}

async function hashFile(
  path: string,
  length: number,
  hash: Hash,
  signal: AbortSignal | undefined,
): Promise<void> {
  for await (const chunk of createReadStream(path, { end: length - 1, highWaterMark: writeSize })) {
    throwIfAborted(signal)
    hash.update(chunk)
  }
}

async function discard(progress: Progress): Promise<void> {
  await onDisk(progress.partial, () => rm(progress.partial, { force: true }))
  progress.position = 0
  progress.hash = startHash(progress)
  progress.onPosition(0)
}

async function attempt(
  progress: Progress,
  connection: Connection,
): Promise<Attempt<'downloaded' | 'changed'>> {
  const start = progress.position
  if (progress.size === undefined || start < progress.size) {
    const failure = await fetchRest(progress, connection)
    if (failure === 'changed') return { done: failure }
    if (failure !== undefined) {
      const enough = Math.min(writeSize, (progress.size ?? 0) / 100)
      return { ...failure, progressed: progress.position - start > enough }
    }
  }
  return finish(progress)
}

/** Checks the digest and makes the bytes durable. */
async function finish(progress: Progress): Promise<Attempt<'downloaded'>> {
  const { file, partial, size, expected } = progress
  const handle = await openPartial(partial)
  let length: number
  try {
    await onDisk(partial, () => handle.sync())
    length = (await handle.stat()).size
  } finally {
    await handle.close()
  }
  if (size !== undefined && length !== size) {
    await discard(progress)
    return { again: `expected ${size} bytes, got ${length}` }
  }
  const encoding = file.digest?.algorithm === 'md5' ? 'base64' : 'hex'
  const actual = progress.hash?.digest(encoding)
  if (actual === undefined || expected === undefined || actual === expected) return { done: 'downloaded' }
  await discard(progress)
  return { again: `arrived damaged: expected ${file.digest!.algorithm} ${expected}, got ${actual}` }
}

/** Fetches from `position` to the end; undefined when the end was reached. */
async function fetchRest(
  progress: Progress,
  connection: Connection,
): Promise<TryAgain | 'changed' | undefined> {
  const watchdog = startWatchdog(connection.signal, connection.timing.stall)
  try {
    const headers: Record<string, string> = {}
    if (progress.position > 0) headers.range = `bytes=${progress.position}-`
    const answer = await exchange(progress.file.url, connection, watchdog.signal, { headers })
    const problem = await acceptAnswer(progress, answer, connection)
    if (problem !== undefined) return problem
    return await writeBody(progress, answer.response, watchdog)
  } catch (error) {
    return lineFailure(error, watchdog, connection)
  } finally {
    watchdog.stop()
  }
}

/** Compares the answer with what was asked for; sets size and digest where only the answer tells them. */
async function acceptAnswer(
  progress: Progress,
  { response, hops }: Exchange,
  connection: Connection,
): Promise<TryAgain | 'changed' | undefined> {
  const { status, headers } = response
  const etag = describedEtag(hops[0])
  if (progress.file.etag !== undefined && etag !== undefined && etag !== progress.file.etag) {
    await response.body?.cancel()
    await discard(progress)
    return 'changed'
  }
  if (status === 416) {
    await response.body?.cancel()
    await discard(progress)
    return { again: 'the server has no such range' }
  }
  if (status !== 200 && status !== 206) return statusFailure(response, connection)
  if (status === 200 && progress.position > 0) await discard(progress) // it ignored the range
  const total = status === 206 ? rangeTotal(headers, progress.position) : contentLength(headers)
  const wrong =
    total === 'wrong' || (progress.size !== undefined && total !== undefined && total !== progress.size)
  if (wrong) {
    await response.body?.cancel()
    await discard(progress)
    return {
      again: `expected ${progress.size ?? 'the rest'} bytes, the server offers ${describeOffer(headers)}`,
    }
  }
  if (progress.size === undefined) await learnSize(progress, total as number | undefined)
  if (progress.file.digest?.algorithm === 'md5') progress.expected = googleMd5(hops) ?? progress.expected
  return undefined
}

async function learnSize(progress: Progress, size: number | undefined): Promise<void> {
  progress.size = size
  if (progress.hash === undefined) progress.hash = progress.position === 0 ? startHash(progress) : undefined
}

function describeOffer(headers: Headers): string {
  return headers.get('content-range') ?? headers.get('content-length') ?? 'no length'
}

function contentLength(headers: Headers): number | undefined {
  // a compressed body's length says nothing about the file
  if ((headers.get('content-encoding') ?? 'identity') !== 'identity') return undefined
  const value = headers.get('content-length')
  return value !== null && /^\d+$/.test(value) ? Number(value) : undefined
}

/** The full size from `Content-Range: bytes start-end/total`, or 'wrong' when the start is another one. */
function rangeTotal(headers: Headers, start: number): number | 'wrong' | undefined {
  const match = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(headers.get('content-range') ?? '')
  if (match === null || Number(match[1]) !== start) return 'wrong'
  return match[2] === '*' ? undefined : Number(match[2])
}

/** The ETag of the file itself: `x-linked-etag` where the answer only points at the content. */
export function describedEtag(headers: Headers): string | undefined {
  const redirects = headers.get('location') !== null
  const value = headers.get('x-linked-etag') ?? (redirects ? null : headers.get('etag'))
  return value?.replace(/^W\//, '').replace(/^"|"$/g, '')
}

/** md5 in base64 from `x-goog-hash: crc32c=…,md5=…`, Google Cloud Storage's header. */
function googleMd5(hops: readonly Headers[]): string | undefined {
  for (const headers of hops) {
    const match = /(?:^|,)\s*md5=([A-Za-z0-9+/]+=*)/.exec(headers.get('x-goog-hash') ?? '')
    if (match !== null) return match[1]
  }
  return undefined
}

/** Writes the body at `position` onwards in pieces of a MiB: network chunks are small, disks like large ones. */
async function writeBody(
  progress: Progress,
  response: Response,
  watchdog: Watchdog,
): Promise<TryAgain | undefined> {
  const handle = await openPartial(progress.partial)
  const buffer = new Uint8Array(writeSize)
  let held = 0
  const flush = async (): Promise<void> => {
    if (held === 0) return
    const piece = buffer.subarray(0, held)
    await writeAll(handle, piece, progress)
    held = 0
  }
  try {
    for await (const chunk of response.body ?? []) {
      watchdog.touch()
      if (progress.size !== undefined && progress.position + held + chunk.byteLength > progress.size) {
        held = 0
        await discard(progress)
        return { again: `the server sent more than ${progress.size} bytes` }
      }
      for (let from = 0; from < chunk.byteLength; ) {
        const count = Math.min(chunk.byteLength - from, writeSize - held)
        buffer.set(chunk.subarray(from, from + count), held)
        from += count
        held += count
        if (held === writeSize) await flush()
      }
    }
  } finally {
    // what came before a failure is good: keep it for the next try
    await flush().finally(() => handle.close())
  }
  if (progress.size !== undefined && progress.position < progress.size) {
    return { again: `the connection ended after ${progress.position} of ${progress.size} bytes` }
  }
  progress.size ??= progress.position
  return undefined
}

async function writeAll(handle: FileHandle, piece: Uint8Array, progress: Progress): Promise<void> {
  for (let written = 0; written < piece.byteLength; ) {
    const rest = piece.byteLength - written
    const { bytesWritten } = await onDisk(progress.partial, () =>
      handle.write(piece, written, rest, progress.position + written),
    )
    written += bytesWritten
  }
  progress.hash?.update(piece)
  progress.position += piece.byteLength
  progress.onPosition(progress.position)
}

function openPartial(path: string): Promise<FileHandle> {
  return onDisk(path, () => open(path, constants.O_RDWR | constants.O_CREAT))
}

/** Runs a file operation; what the system refuses becomes one GemmaError that names the path. */
export async function onDisk<T>(path: string, operation: () => Promise<T>): Promise<T> {
  try {
    return await operation()
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    if (cause instanceof GemmaError || code === undefined) throw cause
    if (code === 'ENOSPC' || code === 'EDQUOT') {
      throw new GemmaError(
        'file',
        `${path}: the disk is full.`,
        'Free some space and run it again; the download goes on from there.',
        { cause },
      )
    }
    throw new GemmaError(
      'file',
      `${path}: cannot write here (${message}).`,
      'Check the permissions, or set another cache directory.',
      { cause },
    )
  }
}
