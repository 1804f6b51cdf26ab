// A source over a file on a web server, read by ranges: only what is asked for is fetched. For browsers, where
// there is no disk to download to; in Node, src/hub downloads instead. Knows no format.

import { abortedError, GemmaError } from '../error.ts'
import { assertRange, type Source } from './source.ts'

export interface HttpOptions {
  /** Sent with every request, e.g. Authorization for a gated repository. */
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
}

/** Readers begin with the header; what the first request brings is kept for them. */
const FIRST_BYTES = 1 << 20
const ATTEMPTS = 4
const PAUSE_MS = 500

/**
 * Opens a file by URL; undefined when the server says that it does not exist. Throws GemmaError 'network',
 * 'gated' or 'aborted'; 'unsupported' when the server does not serve ranges.
 */
export async function httpSource(url: string, options: HttpOptions = {}): Promise<Source | undefined> {
  const response = await request(url, 0, FIRST_BYTES, options)
  if (response.status === 404) {
    await response.body?.cancel()
    return undefined
  }
  const first = await body(response, url, FIRST_BYTES, options)
  const size = response.status === 416 ? 0 : totalSize(response, first, url)
  const source: Source = {
    name: url,
    size,
    async read(offset, into) {
      assertRange(source, offset, into.byteLength)
      const known = first.subarray(offset, Math.min(first.byteLength, offset + into.byteLength))
      into.set(known)
      await readRange(url, offset + known.byteLength, into.subarray(known.byteLength), options)
    },
    async close() {},
  }
  return source
}

function totalSize(response: Response, first: Uint8Array, url: string): number {
  const total = Number(/\/(\d+)$/.exec(response.headers.get('content-range') ?? '')?.[1] ?? Number.NaN)
  if (response.status === 206 && Number.isSafeInteger(total)) return total
  // A whole answer that is no longer than the range is the whole file.
  if (first.byteLength < FIRST_BYTES) return first.byteLength
  throw new GemmaError(
    'unsupported',
    `The server of ${url} does not serve parts of files.`,
    'Use a server that honours Range requests (and exposes Content-Range), or fetch the file and give its Blob.',
  )
}

/** Reads one range, taking up a broken transfer where it ended. */
async function readRange(url: string, offset: number, into: Uint8Array, options: HttpOptions): Promise<void> {
  let done = 0
  for (let attempt = 1; done < into.byteLength; attempt++) {
    const before = done
    try {
      const response = await request(url, offset + done, into.byteLength - done, options)
      const from = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1]
      if (response.status !== 206 || (from !== undefined && Number(from) !== offset + done)) {
        await response.body?.cancel()
        const what = response.status === 206 ? `bytes from ${from} on` : `status ${response.status}`
        throw new GemmaError('network', `${url}: asked for bytes from ${offset + done} on, got ${what}.`)
      }
      const rest = into.subarray(done)
      await drain(response, (chunk, at) => {
        rest.set(chunk.subarray(0, rest.byteLength - at), at)
        done = Math.min(into.byteLength, before + at + chunk.byteLength)
        return done < into.byteLength
      })
    } catch (cause) {
      if (cause instanceof GemmaError || options.signal?.aborted) throw failure(url, cause, options)
    }
    if (done > before) attempt = 1
    else if (attempt >= ATTEMPTS) throw failure(url, undefined, options)
    else if (done < into.byteLength) await pause(PAUSE_MS * attempt)
  }
}

async function request(
  url: string,
  offset: number,
  length: number,
  { headers, signal }: HttpOptions,
): Promise<Response> {
  const range = `bytes=${offset}-${offset + length - 1}`
  for (let attempt = 1; ; attempt++) {
    const response = await fetch(url, { headers: { ...headers, range }, signal }).catch((cause: unknown) => {
      if (attempt >= ATTEMPTS || signal?.aborted) throw failure(url, cause, { signal })
      return undefined
    })
    const busy = response === undefined || response.status === 429 || response.status >= 500
    if (!busy || attempt >= ATTEMPTS) return checkStatus(response!, url)
    await response?.body?.cancel()
    await pause(PAUSE_MS * attempt)
  }
}

function checkStatus(response: Response, url: string): Response {
  const { status } = response
  if (response.ok || status === 404 || status === 416) return response
  if (status === 401 || status === 403) {
    throw new GemmaError(
      'gated',
      `${url}: the server refuses access (${status}).`,
      'Accept the licence on the page of the model and pass an Authorization header.',
    )
  }
  throw new GemmaError('network', `${url}: the server answered ${status}.`, 'Try again later.')
}

/** At most `limit` bytes of an answer. */
async function body(
  response: Response,
  url: string,
  limit: number,
  options: HttpOptions,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(limit)
  let length = 0
  try {
    await drain(response, (chunk) => {
      const part = chunk.subarray(0, limit - length)
      bytes.set(part, length)
      length += part.byteLength
      return length < limit
    })
  } catch (cause) {
    throw failure(url, cause, options)
  }
  return bytes.subarray(0, length)
}

/** Hands over chunk after chunk with its place, until the end or until `take` wants no more. */
async function drain(response: Response, take: (chunk: Uint8Array, at: number) => boolean): Promise<void> {
  const reader = response.body?.getReader()
  for (let at = 0; reader !== undefined; ) {
    const { value, done } = await reader.read()
    if (done) return
    if (!take(value, at)) return void (await reader.cancel())
    at += value.byteLength
  }
}

function failure(url: string, cause: unknown, { signal }: HttpOptions): GemmaError {
  if (signal?.aborted) return abortedError(signal)
  if (cause instanceof GemmaError) return cause
  return new GemmaError('network', `${url} could not be fetched.`, 'Check the connection and the address.', {
    cause,
  })
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds))
}
