// Kaggle, against a server of our own on 127.0.0.1: kagglehub's layout and marks, credentials, faults.

import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { GemmaError } from '../error.ts'
import type { DownloadOptions, DownloadProgress } from './download-options.ts'
import { kaggleAuthorization } from './kaggle-credentials.node.ts'
import { describeRemote, resolveModel } from './resolve.node.ts'
import { type Fault, type ModelServer, startModelServer } from './testing/model-server.ts'

const source = 'kaggle:google/gemma/pyTorch/2b-it'
const base = 'models/google/gemma/pyTorch/2b-it'
const encode = (text: string): Uint8Array => new TextEncoder().encode(text)
const checkpoint = Uint8Array.from({ length: 200_000 }, (_, i) => (i * 31) & 255)
const files = {
  'config.json': encode('{"vocab_size":256000}'),
  'gemma-2b-it.ckpt': checkpoint,
  'tokenizer.model': encode('a tokenizer'),
}

let server: ModelServer
let home: string
let reports: DownloadProgress[]
let options: DownloadOptions

beforeEach(async () => {
  server = await startModelServer()
  server.models.set('google/gemma/pyTorch/2b-it/1', { files: { old: encode('old') }, commit: '' })
  server.models.set('google/gemma/pyTorch/2b-it/3', { files: { ...files }, commit: '', gated: true })
  home = await mkdtemp(join(tmpdir(), 'gemma-kaggle-'))
  reports = []
  options = {
    env: {
      HOME: home,
      KAGGLEHUB_CACHE: join(home, 'cache'),
      KAGGLE_API_ENDPOINT: server.endpoint,
      KAGGLE_USERNAME: 'me',
      KAGGLE_KEY: 'secret',
    },
    timing: { attempts: 4, backoff: 1, longestBackoff: 5, stall: 300, lockPoll: 5 },
    onProgress: (progress) => reports.push(progress),
  }
})

afterEach(async () => {
  await server.close()
  await rm(home, { recursive: true, force: true })
})

const cache = (...parts: string[]): string => join(home, 'cache', base, ...parts)
const fail = (name: string, ...list: Fault[]): unknown => server.faults.set(name, list)
const failure = (promise: Promise<unknown>): Promise<GemmaError> =>
  promise.then(
    (value) => expect.fail(`expected an error, got ${String(value)}`),
    (error: GemmaError) => error,
  )

async function listFiles(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1))
    .sort()
}

async function expectWhole(): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    expect(Buffer.compare(await readFile(cache('3', name)), content)).toBe(0)
  }
}

describe('resolveModel', () => {
  test('lays the newest version out as kagglehub does, with its marks', async () => {
    expect(await resolveModel(source, options)).toBe(cache('3'))
    await expectWhole()
    const names = Object.keys(files)
    const marks = names.map((name) => `.complete/3/${name}.complete`)
    expect(await listFiles(cache())).toEqual(
      ['3.complete', ...marks, ...names.map((name) => `3/${name}`)].sort(),
    )
    const site = server.requests.filter((request) => request.host === 'site')
    expect(site.every((request) => request.authorization === `Basic ${btoa('me:secret')}`)).toBe(true)
    const content = server.requests.filter((request) => request.host === 'content')
    expect(content.length).toBe(3)
    expect(content.every((request) => request.authorization === undefined)).toBe(true)
  })

  test('a copy made by kagglehub is used without the network', async () => {
    await mkdir(cache('2'), { recursive: true })
    for (const [name, content] of Object.entries(files)) await writeFile(cache('2', name), content)
    // not marked: an unfinished download
    await resolveModel(source, options)
    expect(server.requests.length).toBeGreaterThan(0)
    await writeFile(cache('2.complete'), '')
    await rm(cache('3.complete'))
    await rm(cache('.complete'), { recursive: true })
    server.requests.length = 0
    expect(await resolveModel(source, options)).toBe(cache('2'))
    expect(await resolveModel(`${source}/2`, options)).toBe(cache('2'))
    expect(server.requests).toEqual([])
    expect(await resolveModel(source, { ...options, refresh: true })).toBe(cache('3'))
  })

  test('only what loading needs is fetched; the mark of the whole bundle is then left out', async () => {
    const more = { ...files, 'README.md': encode('read me'), 'flax/params': encode('other weights') }
    server.models.set('google/gemma/pyTorch/2b-it/3', { files: more, commit: '' })
    server.pageSize = 2
    await resolveModel(source, options)
    expect((await readdir(cache('3'))).sort()).toEqual(Object.keys(files).sort())
    expect(await readdir(cache())).not.toContain('3.complete')
    server.requests.length = 0
    expect(await resolveModel(source, options)).toBe(cache('3'))
    expect(server.requests).toEqual([])
  })

  const faults: [string, Fault[]][] = [
    ['wrong bytes', [{ kind: 'corrupt' }]],
    ['reset', [{ kind: 'reset', after: 70_000 }]],
    ['stall, then a server that ignores ranges', [{ kind: 'stall', after: 70_000 }, { kind: 'ignoreRange' }]],
    ['500', [{ kind: 'status', status: 500 }]],
  ]
  test.each(faults)('%s: the file arrives whole', async (_, list) => {
    fail('gemma-2b-it.ckpt', ...list)
    await resolveModel(source, options)
    await expectWhole()
    expect(server.faults.get('gemma-2b-it.ckpt')).toEqual([])
  })

  test.each([
    ['half', checkpoint.subarray(0, 100_000)],
    ['whole', checkpoint],
    ['wrong', new Uint8Array(200_000)],
  ])('an unfinished file that is %s is resumed and checked', async (_, content) => {
    await mkdir(cache('3'), { recursive: true })
    await writeFile(cache('3', 'gemma-2b-it.ckpt.incomplete'), content)
    await resolveModel(source, options)
    await expectWhole()
    expect((await readdir(cache('3'))).sort()).toEqual(Object.keys(files).sort())
  })

  test('two calls at once fetch every file once', async () => {
    fail('gemma-2b-it.ckpt', { kind: 'slow', piece: 50_000, every: 10 })
    await Promise.all([resolveModel(source, options), resolveModel(source, options)])
    await expectWhole()
    expect(server.requests.filter((request) => request.host === 'content').length).toBe(3)
    expect(reports.some((report) => report.message?.includes('waiting'))).toBe(true)
  })

  test('a refusal names the page of the licence', async () => {
    const env = { ...options.env, KAGGLE_USERNAME: undefined }
    const error = await failure(resolveModel(source, { ...options, env }))
    expect(error.code).toBe('gated')
    expect(error.message).toContain(`${server.endpoint}/models/google/gemma `)
    expect(error.message).toContain('KAGGLE_USERNAME')
  })

  test('missing models, versions and weights', async () => {
    expect((await failure(resolveModel('kaggle:google/gemma/pyTorch/3b', options))).message).toContain('404')
    expect((await failure(resolveModel(`${source}/9`, options))).code).toBe('network')
    const unusable = await failure(resolveModel(`${source}/1`, options))
    expect(unusable.code).toBe('file')
    expect(unusable.message).toContain('Kaggle has: old')
  })

  test('names that lead out of the directory are left out', async () => {
    const evil = { ...files, '../../../../evil': encode('evil') }
    server.models.set('google/gemma/pyTorch/2b-it/3', { files: evil, commit: '' })
    await resolveModel(source, options)
    expect((await readdir(home)).sort()).toEqual(['cache'])
    await expectWhole()
  })

  test('a disk that is too small', async () => {
    const error = await failure(resolveModel(source, { ...options, freeBytes: async () => 1000 }))
    expect(error.message).toMatch(/needs 2000\d\d bytes/)
  })
})

test('describeRemote tells configuration and sizes and writes nothing', async () => {
  const found = await describeRemote(source, options)
  expect(found.config).toEqual({ vocab_size: 256000 })
  expect(found.files.map((file) => file.name).sort()).toEqual(Object.keys(files).sort())
  expect(await readdir(home)).toEqual([])
  const path = await resolveModel(source, options)
  expect(await describeRemote(source, options)).toEqual({ ...found, path })
})

describe('credentials', () => {
  const write = async (name: string, text: string): Promise<void> => {
    await mkdir(join(home, '.kaggle'), { recursive: true })
    await writeFile(join(home, '.kaggle', name), text)
  }

  test('are looked for in the order of kagglehub', async () => {
    expect(await kaggleAuthorization({ HOME: home })).toBeUndefined()
    await write('kaggle.json', '{"username":"file","key":"k"}')
    expect(await kaggleAuthorization({ HOME: home })).toBe(`Basic ${btoa('file:k')}`)
    const variables = { HOME: home, KAGGLE_USERNAME: 'variable', KAGGLE_KEY: 'k' }
    expect(await kaggleAuthorization(variables)).toBe(`Basic ${btoa('variable:k')}`)
    await write('access_token.txt', 'from-file\n')
    expect(await kaggleAuthorization(variables)).toBe('Bearer from-file')
    expect(await kaggleAuthorization({ ...variables, KAGGLE_API_TOKEN: 'direct' })).toBe('Bearer direct')
    const path = join(home, '.kaggle', 'access_token.txt')
    expect(await kaggleAuthorization({ ...variables, KAGGLE_API_TOKEN: path })).toBe('Bearer from-file')
  })

  test.each(['{', '[]', 'null', '{"username":"me"}'])('a kaggle.json of %s is refused', async (text) => {
    await write('kaggle.json', text)
    const error = await failure(kaggleAuthorization({ HOME: home }))
    expect(error.code).toBe('usage')
  })
})
