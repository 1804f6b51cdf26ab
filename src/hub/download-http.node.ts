// One HTTP exchange with a model site, and trying again when that can help. Follows redirects itself so
// that credentials never reach another host, notices connections that have gone silent, and bounds what it
// reads into memory. Node only: browsers hide redirects. Knows nothing about any site's layout.

import { setTimeout as sleep } from 'node:timers/promises'
import { abortedError, GemmaError, throwIfAborted } from '../error.ts'
import type { DownloadTiming } from './download-options.ts'

/** How to talk to one site. */
export interface Connection {
  /** `Authorization` header, sent only to the host first asked. */
  readonly authorization: string | undefined
  readonly timing: DownloadTiming
  readonly signal: AbortSignal | undefined
  /** The error for an answer that trying again will not change (401, 403, 404, …). */
  readonly refuse: (status: number, headers: Headers) => GemmaError
  /** Hears of every failed try that is followed by another. */
  readonly onRetry?: (message: string) => void
}

/** The outcome of one try: a result, or a reason to try again. Anything thrown is final. */
export type Attempt<T> = { readonly done: T } | TryAgain

export interface TryAgain {
  readonly again: string
  /** What the server asked for, in milliseconds. */
  readonly after?: number
  /** True when the try brought something: the count of tries starts anew. */
  readonly progressed?: boolean
}

/** Repeats `attempt` with growing, randomised pauses. Throws GemmaError 'network' when patience ends. */
export async function retry<T>(
  what: string,
  connection: Connection,
  attempt: () => Promise<Attempt<T>>,
): Promise<T> {
  const { timing, signal } = connection
  for (let failures = 0; ; ) {
    throwIfAborted(signal)
    const outcome = await attempt()
    if ('done' in outcome) return outcome.done
    failures = outcome.progressed ? 1 : failures + 1
    const pause = pauseBefore(failures, outcome.after, timing)
    if (failures >= timing.attempts || pause === undefined) {
      const tries =
        pause === undefined
          ? `the server asks to wait ${Math.ceil(outcome.after! / 1000)} s`
          : `gave up after ${failures} tries`
      throw new GemmaError(
        'network',
        `${what}: ${outcome.again} (${tries}).`,
        'Check the connection and run it again; what has arrived is kept and the download goes on from there.',
      )
    }
    connection.onRetry?.(`${what}: ${outcome.again}; trying again in ${(pause / 1000).toFixed(1)} s`)
    await pauseFor(pause, signal)
  }
}

function pauseBefore(
  failures: number,
  after: number | undefined,
  timing: DownloadTiming,
): number | undefined {
  if (after !== undefined) return after > timing.longestRetryAfter ? undefined : after
  const pause = Math.min(timing.backoff * 2 ** (failures - 1), timing.longestBackoff)
  return pause * (1 + Math.random())
}

/** Sleeps; throws GemmaError 'aborted' as soon as the signal fires. */
export async function pauseFor(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(milliseconds, undefined, { signal })
  } catch (error) {
    throwIfAborted(signal)
    throw error
  }
}

/** Aborts a request when the caller does, or when `touch` is not called for `milliseconds`. */
export interface Watchdog {
  readonly signal: AbortSignal
  readonly stalled: () => boolean
  readonly touch: () => void
  readonly stop: () => void
}

export function startWatchdog(outer: AbortSignal | undefined, milliseconds: number): Watchdog {
  const controller = new AbortController()
  let stalled = false
  const timer = setTimeout(() => {
    stalled = true
    controller.abort(new Error('stalled'))
  }, milliseconds)
  const forward = (): void => controller.abort(outer?.reason)
  if (outer?.aborted) forward()
  outer?.addEventListener('abort', forward, { once: true })
  return {
    signal: controller.signal,
    stalled: () => stalled,
    touch: () => timer.refresh(),
    stop: () => {
      clearTimeout(timer)
      outer?.removeEventListener('abort', forward)
    },
  }
}

export interface Exchange {
  readonly response: Response
  /** Headers of every answer on the way, the last one's included: sites describe a file before redirecting. */
  readonly hops: readonly Headers[]
}

export interface RequestOptions {
  readonly method?: 'GET' | 'HEAD'
  readonly headers?: Readonly<Record<string, string>>
  /** Return a redirect to another host instead of following it. */
  readonly stayOnHost?: boolean
}

/**
 * Sends one request and follows redirects, at most ten. The authorization goes to the first host only and
 * never from https to http. Throws what `fetch` throws.
 */
export async function exchange(
  url: string,
  connection: Connection,
  signal: AbortSignal,
  options: RequestOptions = {},
): Promise<Exchange> {
  const hops: Headers[] = []
  const first = new URL(url)
  let current = first
  for (let count = 0; count <= 10; count++) {
    // compressed answers would hide sizes and make ranges meaningless
    const headers: Record<string, string> = {
      'user-agent': 'gemma-ts',
      'accept-encoding': 'identity',
      ...options.headers,
    }
    if (connection.authorization && current.origin === first.origin)
      headers.authorization = connection.authorization
    const response = await fetch(current, {
      method: options.method ?? 'GET',
      headers,
      redirect: 'manual',
      signal,
    })
    hops.push(response.headers)
    const location = response.headers.get('location')
    if (response.status < 300 || response.status > 399 || location === null) return { response, hops }
    const next = redirectTarget(location, current)
    if (options.stayOnHost && next.origin !== first.origin) return { response, hops }
    await response.body?.cancel()
    current = next
  }
  throw new GemmaError('network', `${url}: more than ten redirects.`)
}

function redirectTarget(location: string, from: URL): URL {
  const next = URL.parse(location, from.href)
  const secure = next?.protocol === 'https:' || (next?.protocol === 'http:' && from.protocol === 'http:')
  if (next === null || !secure) {
    throw new GemmaError(
      'network',
      `${from.href}: refused to follow the redirect to ${JSON.stringify(location)}.`,
    )
  }
  return next
}

/** Sorts what `fetch` or a body stream threw: the caller's abort is rethrown, faults of the line are tried again. */
export function lineFailure(error: unknown, watchdog: Watchdog, connection: Connection): TryAgain {
  if (connection.signal?.aborted) throw abortedError(connection.signal)
  if (watchdog.stalled()) {
    return { again: `no data for ${connection.timing.stall / 1000} s` }
  }
  if (error instanceof GemmaError) throw error
  const cause = (error as { cause?: { code?: unknown; message?: unknown } } | null)?.cause
  const code = typeof cause?.code === 'string' ? cause.code : ''
  const reason = String(cause?.message || (error instanceof Error ? error.message : error))
  if (code === 'ENOTFOUND' || code.startsWith('ERR_TLS') || code.includes('CERT')) {
    throw new GemmaError('network', `No connection: ${reason}.`, 'Check the address and the network.', {
      cause: error,
    })
  }
  return { again: `connection failed (${code === '' ? reason : code})` }
}

/** For an answer that is no success: a reason to try again (408, 429, 5xx), or throws the site's own error. */
export async function statusFailure(response: Response, connection: Connection): Promise<TryAgain> {
  const { status, headers } = response
  await response.body?.cancel().catch(() => undefined)
  if (status !== 408 && status !== 429 && status < 500) throw connection.refuse(status, headers)
  return { again: `the server answered ${status}`, after: retryAfter(headers) }
}

/** `Retry-After` in milliseconds: seconds or a date (RFC 9110, section 10.2.3). */
function retryAfter(headers: Headers): number | undefined {
  const value = headers.get('retry-after')
  if (value === null) return undefined
  if (/^\d+$/.test(value)) return Number(value) * 1000
  const date = Date.parse(value)
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now())
}

/** A body of at most `limit` bytes, as text, with the headers of the answer. */
export async function fetchText(
  what: string,
  url: string,
  connection: Connection,
  limit: number,
): Promise<{ text: string; headers: Headers }> {
  return retry(what, connection, async () => {
    const watchdog = startWatchdog(connection.signal, connection.timing.stall)
    try {
      const { response } = await exchange(url, connection, watchdog.signal)
      if (response.status !== 200) return await statusFailure(response, connection)
      return { done: { text: await readText(what, response, limit, watchdog), headers: response.headers } }
    } catch (error) {
      return lineFailure(error, watchdog, connection)
    } finally {
      watchdog.stop()
    }
  })
}

async function readText(
  what: string,
  response: Response,
  limit: number,
  watchdog: Watchdog,
): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  let bytes = 0
  for await (const chunk of response.body ?? []) {
    watchdog.touch()
    bytes += chunk.byteLength
    if (bytes > limit) throw new GemmaError('network', `${what}: the answer is longer than ${limit} bytes.`)
    text += decoder.decode(chunk, { stream: true })
  }
  return text + decoder.decode()
}

/** JSON of at most 64 MiB. Throws GemmaError 'network' when the answer is no JSON. */
export async function fetchJson(
  what: string,
  url: string,
  connection: Connection,
): Promise<{ json: unknown; headers: Headers }> {
  const { text, headers } = await fetchText(what, url, connection, 2 ** 26)
  try {
    return { json: JSON.parse(text), headers }
  } catch (cause) {
    throw new GemmaError(
      'network',
      `${what}: ${url} did not answer with JSON.`,
      'Is this the right address?',
      { cause },
    )
  }
}
