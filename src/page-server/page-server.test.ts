// The server of the page over real HTTP, asked with raw paths and headers, which fetch() would tidy first.

import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { modelPath } from '../../test/goldens.ts'
import { byteRange } from './byte-range.ts'
import { type PageServer, startPageServer } from './page-server.node.ts'
import { type SharedModels, shareModels } from './shared-models.node.ts'

interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

interface Asked {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
}

let scratch: string
let server: PageServer
let models: SharedModels

function ask(
  path: string,
  { method = 'GET', headers = {} }: Asked = {},
  port: number = server.port,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest(
      { host: '127.0.0.1', port, path, method, headers, agent: false },
      async (response) => {
        const chunks: Buffer[] = []
        for await (const chunk of response) chunks.push(chunk as Buffer)
        resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks) })
      },
    )
    sent.on('error', reject).end()
  })
}

const INDEX = '<!doctype html><title>Gemma</title>'

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'gemma-page-'))
  const folder = join(scratch, 'page')
  mkdirSync(join(folder, 'assets'), { recursive: true })
  writeFileSync(join(folder, 'index.html'), INDEX)
  for (const name of ['a.js', 'a.css', 'a.wasm', 'a.svg', 'a.json', 'a b.txt']) {
    writeFileSync(join(folder, 'assets', name), name)
  }
  writeFileSync(join(folder, 'empty.txt'), '')
  writeFileSync(join(folder, '.hidden'), 'hidden')
  writeFileSync(join(scratch, 'secret.txt'), 'secret')
  symlinkSync(join(scratch, 'secret.txt'), join(folder, 'link.txt'))
  models = await shareModels([{ path: modelPath('gemma1-mqa') }])
  server = await startPageServer({ folder, models, host: '127.0.0.1', port: 0 })
})

afterAll(async () => {
  await server.close()
  rmSync(scratch, { recursive: true, force: true })
})

describe('files of the page', () => {
  test('the index, isolated from other origins', async () => {
    const { status, headers, body } = await ask('/')
    expect(status).toBe(200)
    expect(body.toString()).toBe(INDEX)
    expect(headers).toMatchObject({
      'content-type': 'text/html; charset=utf-8',
      'content-length': String(INDEX.length),
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-embedder-policy': 'require-corp',
      'cross-origin-resource-policy': 'same-origin',
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-cache',
    })
  })

  test.each([
    ['a.js', 'text/javascript; charset=utf-8'],
    ['a.css', 'text/css; charset=utf-8'],
    ['a.wasm', 'application/wasm'],
    ['a.svg', 'image/svg+xml'],
    ['a.json', 'application/json; charset=utf-8'],
    ['a%20b.txt', 'text/plain; charset=utf-8'],
  ])('%s has its type, and built names are kept for good', async (name, type) => {
    const { status, headers, body } = await ask(`/assets/${name}?v=1`)
    expect([status, headers['content-type'], body.toString()]).toEqual([200, type, decodeURIComponent(name)])
    expect(headers['cache-control']).toContain('immutable')
    expect(headers['cross-origin-embedder-policy']).toBe('require-corp')
  })

  test('HEAD has the headers alone; an empty file is empty', async () => {
    const head = await ask('/', { method: 'HEAD' })
    expect([head.status, head.headers['content-length'], head.body.length]).toEqual([
      200,
      String(INDEX.length),
      0,
    ])
    const empty = await ask('/empty.txt')
    expect([empty.status, empty.headers['content-length'], empty.body.length]).toEqual([200, '0', 0])
  })

  test('a version that is known is not sent again, a changed one is', async () => {
    const etag = (await ask('/')).headers.etag!
    for (const known of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
      const again = await ask('/', { headers: { 'if-none-match': known } })
      expect([again.status, again.body.length, again.headers.etag]).toEqual([304, 0, etag])
    }
    expect((await ask('/', { headers: { 'if-none-match': '"other"' } })).status).toBe(200)
    utimesSync(join(scratch, 'page', 'index.html'), 1, 1)
    expect((await ask('/', { headers: { 'if-none-match': etag } })).status).toBe(200)
  })

  test.each([
    '/none.js',
    '/assets',
    '/assets/',
    '/../secret.txt',
    '/assets/../../secret.txt',
    '/%2e%2e/secret.txt',
    '/..%2fsecret.txt',
    '/assets/..%5c..%5csecret.txt',
    '//secret.txt',
    '/.hidden',
    '/link.txt',
    '/index.html%00.txt',
    '/%ff',
    '/index.html/',
    'http://127.0.0.1/',
  ])('%s is not there', async (path) => {
    const { status, headers, body } = await ask(path)
    expect(status).toBe(404)
    expect(headers['content-type']).toBe('text/plain; charset=utf-8')
    expect(body.toString()).toBe('There is no such file here. The page is at /.\n')
  })

  test('other methods are refused in plain words', async () => {
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
      const { status, headers, body } = await ask('/', { method })
      expect([status, headers.allow]).toEqual([405, 'GET, HEAD'])
      expect(body.toString()).toContain(method)
    }
  })
})

describe('names of the server', () => {
  const withHost = async (host: string, path = '/models/index.json'): Promise<number> =>
    (await ask(path, { headers: { host } })).status

  test('its own and every number are good', async () => {
    const own = [
      'localhost',
      `LocalHost:${server.port}`,
      '127.0.0.1',
      '192.168.1.7:8417',
      '[::1]:80',
      hostname(),
    ]
    for (const name of own) expect([name, await withHost(name)]).toEqual([name, 200])
  })

  test('a foreign name that was made to point here reads nothing', async () => {
    for (const name of [
      'evil.example',
      'evil.example:8417',
      'localhost.evil.example',
      '127.0.0.1.evil.example',
    ]) {
      expect([name, await withHost(name), await withHost(name, '/')]).toEqual([name, 403, 403])
    }
  })
})

describe('models', () => {
  test('are listed with what Gemma.load takes, the one of the package last', async () => {
    const { headers, body } = await ask('/models/index.json')
    expect(headers['content-type']).toBe('application/json; charset=utf-8')
    const list = JSON.parse(body.toString())
    expect(list.map((model: { name: string; url: string }) => [model.name, model.url])).toEqual([
      ['gemma1-mqa', '/models/gemma1-mqa/'],
      ['Gemma micro', '/models/micro/micro.gguf'],
    ])
    const names = list[0].files.map(({ name }: { name: string }) => name)
    expect(names.toSorted()).toEqual([
      'config.json',
      'generation_config.json',
      'model.safetensors',
      'tokenizer.model',
      'tokenizer_config.json',
    ])
    for (const { url, bytes } of list.flatMap((model: { files: unknown }) => model.files)) {
      expect((await ask(url, { method: 'HEAD' })).headers['content-length']).toBe(String(bytes))
    }
  })

  const weights = readFileSync(`${modelPath('gemma1-mqa')}/model.safetensors`)
  const url = '/models/gemma1-mqa/model.safetensors'
  const size = weights.length

  test('come whole', async () => {
    const { headers, body } = await ask(url)
    expect(body.equals(weights)).toBe(true)
    expect(headers['accept-ranges']).toBe('bytes')
    expect(headers['content-type']).toBe('application/octet-stream')
  })

  test.each([
    ['bytes=0-99', 0, 99],
    [`bytes=${size - 5}-`, size - 5, size - 1],
    ['bytes=-7', size - 7, size - 1],
    [`bytes=1000-${size * 2}`, 1000, size - 1],
  ])('come in parts: %s', async (range, start, end) => {
    const { status, headers, body } = await ask(url, { headers: { range } })
    expect(status).toBe(206)
    expect(headers['content-range']).toBe(`bytes ${start}-${end}/${size}`)
    expect(headers['content-length']).toBe(String(end - start + 1))
    expect(body.equals(weights.subarray(start, end + 1))).toBe(true)
  })

  test('a part that does not exist, and a part of a version that is gone', async () => {
    const beyond = await ask(url, { headers: { range: `bytes=${size}-` } })
    expect([beyond.status, beyond.headers['content-range'], beyond.body.length]).toEqual([
      416,
      `bytes */${size}`,
      0,
    ])
    const gone = await ask(url, { headers: { range: 'bytes=0-9', 'if-range': '"gone"' } })
    expect([gone.status, gone.body.length]).toEqual([200, size])
    const current = await ask(url, { headers: { range: 'bytes=0-9', 'if-range': gone.headers.etag! } })
    expect([current.status, current.body.length]).toEqual([206, 10])
  })

  test('nothing else of their folders can be read', async () => {
    for (const path of ['expected.json', 'tokenizer.json', 'official/model.ckpt', '', '../micro/README.md']) {
      expect([path, (await ask(`/models/gemma1-mqa/${path}`)).status]).toEqual([path, 404])
    }
  })

  test('of one name get addresses of their own; split files come together', async () => {
    const folder = join(scratch, 'two words')
    mkdirSync(folder)
    for (const part of [1, 2]) writeFileSync(join(folder, `m-0000${part}-of-00002.gguf`), 'GGUF')
    writeFileSync(join(folder, 'alone.gguf'), 'GGUF')
    writeFileSync(join(folder, 'n-00001-of-00002.gguf'), 'GGUF')
    const split = { path: join(folder, 'm-00001-of-00002.gguf'), name: 'split model' }
    const { list } = await shareModels([split, split, { path: join(folder, 'alone.gguf') }])
    expect(list.map(({ url }) => url)).toEqual([
      '/models/split-model/m-00001-of-00002.gguf',
      '/models/split-model-2/m-00001-of-00002.gguf',
      '/models/alone.gguf/alone.gguf',
      '/models/micro/micro.gguf',
    ])
    expect(list[0]!.files.map(({ name }) => name)).toEqual(['m-00001-of-00002.gguf', 'm-00002-of-00002.gguf'])
    const refused = (path: string): Promise<unknown> => shareModels([{ path: join(folder, path) }])
    await expect(refused('n-00001-of-00002.gguf')).rejects.toThrow('1 of its 2 parts')
    await expect(refused('none.gguf')).rejects.toThrow('cannot be read')
    writeFileSync(join(folder, 'config.json'), '{}')
    await expect(refused('config.json')).rejects.toThrow('alone is no model')
  })
})

test('a file that becomes shorter while it is sent breaks off, and the next answer is whole', async () => {
  const path = join(scratch, 'page', 'shrinking.bin')
  writeFileSync(path, new Uint8Array(32 << 20))
  const faults: string[] = []
  const options = { folder: join(scratch, 'page'), models, host: '127.0.0.1', port: 0 }
  const own = await startPageServer({ ...options, onFault: (message) => faults.push(message) })
  const broken = new Promise<string>((resolve, reject) => {
    const sent = httpRequest({ host: '127.0.0.1', port: own.port, path: '/shrinking.bin' }, (response) => {
      // Nothing is read until the file has shrunk; what is under way by then is far less than the file.
      truncateSync(path, 16 << 20)
      response
        .on('error', (error: NodeJS.ErrnoException) => resolve(error.code!))
        .on('end', () => resolve('whole'))
      response.resume()
    })
    sent.on('error', reject).end()
  })
  expect(await broken).toBe('ECONNRESET')
  expect(faults).toEqual([expect.stringContaining('became shorter')])
  expect((await ask('/shrinking.bin', {}, own.port)).body.length).toBe(16 << 20)
  await own.close()
})

test('a port that is taken: the next one, or one sentence', async () => {
  const options = { folder: join(scratch, 'page'), models, host: '127.0.0.1', port: server.port }
  await expect(startPageServer(options)).rejects.toThrow(
    `Port ${server.port} is taken. Name another with --port`,
  )
  const next = await startPageServer({ ...options, attempts: 20 })
  expect(next.port).toBeGreaterThan(server.port)
  expect((await ask('/', {}, next.port)).status).toBe(200)
  await next.close()
  await expect(startPageServer({ ...options, host: '203.0.113.1' })).rejects.toThrow(
    'Cannot listen on 203.0.113.1',
  )
})

test('a range is what RFC 9110 says', () => {
  expect(byteRange('bytes=5-4', 10)).toBeUndefined()
  expect(byteRange('bytes=0-1,4-5', 10)).toBeUndefined()
  expect(byteRange('items=0-1', 10)).toBeUndefined()
  expect(byteRange('bytes=-', 10)).toBeUndefined()
  expect(byteRange('bytes=-0', 10)).toBe('unsatisfiable')
  expect(byteRange('bytes=-20', 10)).toEqual({ start: 0, end: 9 })
  expect(byteRange('bytes=0-', 0)).toBe('unsatisfiable')
})
