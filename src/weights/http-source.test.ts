// A file on a web server, read by ranges, with every way in which servers and lines fail.

import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { GemmaError } from '../error.ts'
import { httpSource } from './http-source.ts'
import { readBytes } from './source.ts'

const BYTES = Uint8Array.from({ length: 3 << 20 }, (_, i) => (i * 2654435761) >>> 24)

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/model.gguf`
}

/** Answers a range of `bytes`; `most` cuts the connection after so many. */
function ranges(bytes: Uint8Array, most = Number.POSITIVE_INFINITY): RequestListener {
  return (request, response) => {
    const [from, to] = /bytes=(\d+)-(\d+)/.exec(request.headers.range!)!.slice(1).map(Number)
    if (from >= bytes.length) return void response.writeHead(416).end()
    const part = bytes.subarray(from, to + 1)
    response.writeHead(206, {
      'Content-Range': `bytes ${from}-${from + part.length - 1}/${bytes.length}`,
      'Content-Length': part.length,
    })
    if (part.length <= most) response.end(part)
    else response.write(part.subarray(0, most), () => setTimeout(() => response.destroy(), 20))
  }
}

async function refusal(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (cause: unknown) => cause,
  )
  expect(error).toBeInstanceOf(GemmaError)
  return (error as GemmaError).code
}

test('reads any range, the beginning without asking again', async () => {
  let requests = 0
  const listener = ranges(BYTES)
  const url = await serve((request, response) => {
    requests++
    listener(request, response)
  })
  const source = (await httpSource(url))!
  expect(source.size).toBe(BYTES.length)
  expect(await readBytes(source, 100, 5000)).toEqual(BYTES.slice(100, 5100))
  expect(requests).toBe(1)
  for (const [offset, length] of [
    [(1 << 20) - 10, 20],
    [2 << 20, 1 << 20],
    [BYTES.length - 1, 1],
  ]) {
    expect(await readBytes(source, offset, length)).toEqual(BYTES.slice(offset, offset + length))
  }
  const shared = new Uint8Array(new SharedArrayBuffer(1000))
  await source.read(2_000_000, shared)
  expect([...shared]).toEqual([...BYTES.subarray(2_000_000, 2_001_000)])
  expect(await refusal(source.read(BYTES.length - 1, new Uint8Array(2)))).toBe('file')
})

test('takes up a broken transfer where it ended', async () => {
  let requests = 0
  const whole = ranges(BYTES)
  const cut = ranges(BYTES, 400_000)
  const url = await serve((request, response) => (requests++ === 0 ? whole : cut)(request, response))
  const source = (await httpSource(url))!
  expect(await readBytes(source, 0, BYTES.length)).toEqual(BYTES)
  expect(requests).toBeGreaterThan(5)
})

test('a small file may come whole, an empty one too', async () => {
  const url = await serve((_, response) => void response.end('{}'))
  expect(await readBytes((await httpSource(url))!, 0, 2)).toEqual(new TextEncoder().encode('{}'))
  const empty = await serve(ranges(new Uint8Array(0)))
  expect((await httpSource(empty))!.size).toBe(0)
})

test('what a server refuses is said with what to do', async () => {
  const status = (code: number): Promise<string> =>
    serve((_, response) => void response.writeHead(code).end())
  expect(await httpSource(await status(404))).toBeUndefined()
  expect(await refusal(httpSource(await status(401)))).toBe('gated')
  expect(await refusal(httpSource(await status(403)))).toBe('gated')
  expect(await refusal(httpSource(await status(400)))).toBe('network')
  const whole = await serve((_, response) => void response.end(BYTES))
  expect(await refusal(httpSource(whole))).toBe('unsupported')
})

test('another part than was asked for is refused, one that is too long is cut', async () => {
  let answer: RequestListener = ranges(BYTES)
  const url = await serve((request, response) => answer(request, response))
  const source = (await httpSource(url))!
  answer = (_, response) =>
    void response.writeHead(206, { 'Content-Range': `bytes 7-99/${BYTES.length}` }).end(BYTES)
  expect(await refusal(readBytes(source, 2_000_000, 100))).toBe('network')
  answer = (_, response) => void response.writeHead(206).end(BYTES.subarray(2_000_000))
  expect(await readBytes(source, 2_000_000, 100)).toEqual(BYTES.slice(2_000_000, 2_000_100))
  answer = (_, response) => void response.writeHead(200).end(BYTES)
  expect(await refusal(readBytes(source, 2_000_000, 100))).toBe('network')
})

test('stops when the caller no longer wants it', async () => {
  const url = await serve(() => {})
  const signal = AbortSignal.timeout(50)
  expect(await refusal(httpSource(url, { signal }))).toBe('aborted')
})
