// One file into the origin's private file system: copied from a picked file, or downloaded, going on where an earlier
// attempt ended. Knows no model.

import { abortedError, GemmaError } from '../../src/error.ts'
import { readSlice } from '../../src/weights/bytes-source.ts'

export interface Target {
  readonly name: string
  /** Bytes that the file is to have. */
  readonly size: number
  readonly access: FileSystemSyncAccessHandle
  readonly advance: (name: string, bytes: number) => void
}

const CHUNK_BYTES = 8 << 20
const ATTEMPTS = 5
const PAUSE_MS = 1000
/** A transfer that brings nothing for so long has failed. */
const SILENCE_MS = 30_000

export async function copyFile(
  file: Blob,
  { name, size, access, advance }: Target,
  signal: AbortSignal,
): Promise<void> {
  access.truncate(0)
  for (let at = 0; at < size; at += CHUNK_BYTES) {
    if (signal.aborted) throw abortedError(signal)
    const chunk = new Uint8Array(await readSlice(name, file.slice(at, Math.min(size, at + CHUNK_BYTES))))
    access.write(chunk, { at })
    advance(name, chunk.byteLength)
  }
}

export interface DownloadOptions {
  readonly headers?: Readonly<Record<string, string>>
  readonly signal: AbortSignal
}

/** Throws GemmaError 'network' when nothing comes any more, 'gated' when access is refused, 'aborted'. */
export async function downloadFile(url: URL, target: Target, options: DownloadOptions): Promise<void> {
  const { name, size, access, advance } = target
  let done = access.getSize()
  if (done > size) {
    access.truncate(0)
    done = 0
  }
  advance(name, done)
  for (let attempt = 1; done < size; attempt++) {
    const before = done
    try {
      await transfer(url, done, target, options, (bytes) => {
        done += bytes
      })
    } catch (cause) {
      if (options.signal.aborted) throw abortedError(options.signal)
      if (cause instanceof GemmaError && cause.code !== 'network') throw cause
      // What went wrong on the way is told below, once it went wrong often enough.
      if (attempt >= ATTEMPTS && done === before) throw networkError(url, done, size, cause)
    }
    if (done > before) attempt = 0
    else if (attempt >= ATTEMPTS) throw networkError(url, done, size)
    if (done < size) await pause(PAUSE_MS * Math.max(1, attempt), options.signal)
  }
}

async function transfer(
  url: URL,
  offset: number,
  { size, name, access, advance }: Target,
  { headers, signal }: DownloadOptions,
  wrote: (bytes: number) => void,
): Promise<void> {
  const silence = new AbortController()
  let timer = setTimeout(() => silence.abort(), SILENCE_MS)
  const range: Record<string, string> = offset === 0 ? {} : { Range: `bytes=${offset}-${size - 1}` }
  try {
    const response = await fetch(url, {
      headers: { ...headers, ...range },
      signal: AbortSignal.any([signal, silence.signal]),
    })
    check(response, url, offset, size)
    // By its reader: WebKit's streams cannot be iterated.
    const reader = response.body!.getReader()
    for (let at = offset; at < size; ) {
      const { value, done } = await reader.read()
      if (done) return
      clearTimeout(timer)
      timer = setTimeout(() => silence.abort(), SILENCE_MS)
      const bytes = value.subarray(0, size - at)
      access.write(bytes, { at })
      at += bytes.byteLength
      wrote(bytes.byteLength)
      advance(name, bytes.byteLength)
    }
    await reader.cancel()
  } finally {
    clearTimeout(timer)
  }
}

function check(response: Response, url: URL, offset: number, size: number): void {
  const { status } = response
  if (status === 401 || status === 403) {
    throw new GemmaError(
      'gated',
      `${url}: the server refuses access (${status}).`,
      'Accept the licence on the page of the model, and give an access token.',
    )
  }
  if (status === 404) throw new GemmaError('file', `${url} is no longer there.`)
  if (offset > 0 && status === 200) {
    throw new GemmaError(
      'unsupported',
      `${url}: the server sends the file only from its beginning.`,
      'Delete it and begin again.',
    )
  }
  // Where the server lets the page see it.
  const total = /\/(\d+)$/.exec(response.headers.get('Content-Range') ?? '')?.[1]
  if (total !== undefined && Number(total) !== size) {
    throw new GemmaError(
      'file',
      `${url} has changed: it has ${total} bytes, not ${size}.`,
      'Delete it and begin again.',
    )
  }
  if (!response.ok) throw new GemmaError('network', `${url}: the server answered ${status}.`)
}

function networkError(url: URL, done: number, size: number, cause?: unknown): GemmaError {
  const what = cause instanceof Error ? ` (${cause.message})` : ''
  return new GemmaError(
    'network',
    `${url}: the transfer broke off at ${done} of ${size} bytes${what}.`,
    'What is here is kept; try again to fetch the rest.',
    { cause },
  )
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', abort)
      resolve()
    }, milliseconds)
    const abort = (): void => {
      clearTimeout(timer)
      reject(abortedError(signal))
    }
    signal.addEventListener('abort', abort, { once: true })
  })
}
