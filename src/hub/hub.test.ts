// Hugging Face, against a Hub of our own on 127.0.0.1: layout of the cache, faults of the line, licences,
// several callers at once, processes that are killed.

import { type ChildProcess, spawn } from 'node:child_process'
import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { GemmaError } from '../error.ts'
import type { DownloadOptions, DownloadProgress } from './download-options.ts'
import { describeRemote, resolveModel } from './resolve.node.ts'
import { blobName, type Fault, type ModelServer, sha256, startModelServer } from './testing/model-server.ts'

const commit = '0123456789abcdef0123456789abcdef01234567'
const folder = 'models--google--gemma-2b-it'
const encode = (text: string): Uint8Array => new TextEncoder().encode(text)
const bytes = (length: number, seed: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (Math.imul(i + seed, 2654435761) >>> 24) & 255)

const weights = bytes(300_000, 1)
const files = {
  'config.json': encode('{"model_type":"gemma"}'),
  'generation_config.json': encode('{}'),
  'model.safetensors': weights,
  'README.md': encode('not needed'),
  'tokenizer.json': bytes(5_000, 3),
  'tokenizer.model': bytes(4_000, 2),
  'tokenizer_config.json': encode('{ }'),
  'gemma-2b-it.gguf': bytes(2_000, 4),
  'original/model.ckpt': bytes(2_000, 5),
}
const wanted = [
  'config.json',
  'generation_config.json',
  'model.safetensors',
  'tokenizer.model',
  'tokenizer_config.json',
]

let server: ModelServer
let home: string
let reports: DownloadProgress[]
let options: DownloadOptions

beforeEach(async () => {
  server = await startModelServer()
  server.models.set('google/gemma-2b-it', { files: { ...files }, commit })
  home = await mkdtemp(join(tmpdir(), 'gemma-hub-'))
  reports = []
  options = {
    env: { HF_HOME: home, HF_ENDPOINT: server.endpoint },
    timing: { attempts: 4, backoff: 1, longestBackoff: 5, longestRetryAfter: 2000, stall: 300, lockPoll: 5 },
    onProgress: (progress) => reports.push(progress),
  }
})

afterEach(async () => {
  await server.close()
  await rm(home, { recursive: true, force: true })
})

const load = (extra: DownloadOptions = {}): Promise<string> =>
  resolveModel('google/gemma-2b-it', { ...options, ...extra })
const hub = (...parts: string[]): string => join(home, 'hub', ...parts)
const snapshot = (name = ''): string => hub(folder, 'snapshots', commit, name)
const blobs = (): Promise<string[]> => readdir(hub(folder, 'blobs'))
const fail = (name: string, ...list: Fault[]): unknown => server.faults.set(name, list)
const failure = (promise: Promise<unknown>): Promise<GemmaError> =>
  promise.then(
    (value) => expect.fail(`expected an error, got ${String(value)}`),
    (error: GemmaError) => error,
  )
const contentRequests = (): ModelServer['requests'] =>
  server.requests.filter((request) => request.host === 'content')

async function tree(directory: string): Promise<string[]> {
  const lines: string[] = []
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    const name = path.slice(directory.length + 1)
    if (entry.isSymbolicLink()) lines.push(`${name} -> ${await readlink(path)}`)
    else if (entry.isFile()) lines.push(name)
  }
  return lines.sort()
}

async function expectWhole(): Promise<void> {
  for (const name of wanted) {
    expect(sha256(await readFile(snapshot(name)))).toBe(sha256(files[name as keyof typeof files]))
  }
  expect((await blobs()).sort()).toEqual(wanted.map((n) => blobName(files[n as keyof typeof files])).sort())
}

describe('layout', () => {
  test('is that of huggingface_hub: blobs by ETag, relative links, the ref last', async () => {
    expect(await load()).toBe(snapshot().replace(/\/$/, ''))
    const links = wanted.map((name) => {
      const blob = blobName(files[name as keyof typeof files])
      return `${folder}/snapshots/${commit}/${name} -> ../../blobs/${blob}`
    })
    const blobFiles = wanted.map((name) => `${folder}/blobs/${blobName(files[name as keyof typeof files])}`)
    expect(await tree(hub())).toEqual([...links, ...blobFiles, `${folder}/refs/main`].sort())
    expect(await readFile(hub(folder, 'refs', 'main'), 'utf8')).toBe(commit)
    expect(await readdir(hub('.locks', folder))).toEqual([])
    await expectWhole()
  })

  test('a complete snapshot is used without the network; other revisions are asked for', async () => {
    await load()
    server.requests.length = 0
    expect(await load()).toBe(await load({ revision: commit }))
    expect(server.requests).toEqual([])
    await load({ revision: 'refs/pr/1' })
    expect(contentRequests()).toEqual([])
    expect(await readFile(hub(folder, 'refs', 'refs', 'pr', '1'), 'utf8')).toBe(commit)
  })

  test('a new commit shares unchanged blobs, and refresh finds it', async () => {
    await load()
    const next = 'f'.repeat(40)
    server.models.set('google/gemma-2b-it', {
      files: { ...files, 'config.json': encode('{"a":1}') },
      commit: next,
    })
    server.requests.length = 0
    expect(await load()).toContain(commit)
    expect(await load({ refresh: true })).toBe(hub(folder, 'snapshots', next))
    expect(contentRequests()).toEqual([])
    expect(await readFile(hub(folder, 'snapshots', next, 'config.json'), 'utf8')).toBe('{"a":1}')
    expect(await readFile(hub(folder, 'refs', 'main'), 'utf8')).toBe(next)
  })

  test('the cache directory follows the variables in order', async () => {
    const { HF_HOME: _, ...env } = options.env!
    const inHome = { ...env, HOME: home }
    expect(await load({ env: inHome })).toContain(join(home, '.cache/huggingface/hub', folder))
    expect(await load({ env: { ...inHome, XDG_CACHE_HOME: '~/x' } })).toContain(
      join(home, 'x/huggingface/hub', folder),
    )
    const all = {
      ...inHome,
      XDG_CACHE_HOME: join(home, 'x'),
      HF_HOME: join(home, 'h'),
      HF_HUB_CACHE: join(home, 'c'),
    }
    expect(await load({ env: all })).toContain(join(home, 'c', folder))
    expect(await load({ env: { ...all, HF_HUB_CACHE: '' } })).toContain(join(home, 'h/hub', folder))
  })

  test('shards are those of the index; an index that names an absent file is refused', async () => {
    const index = (names: string[]): Uint8Array =>
      encode(JSON.stringify({ weight_map: Object.fromEntries(names.map((name, i) => [`t${i}`, name])) }))
    const shards = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
    const { 'model.safetensors': _, ...rest } = files
    const sharded = { ...rest, [shards[0]]: bytes(2000, 7), [shards[1]]: bytes(3000, 8) }
    server.models.set('google/gemma-7b', {
      files: { ...sharded, 'model.safetensors.index.json': index(shards) },
      commit,
    })
    const path = await resolveModel('google/gemma-7b', options)
    const names = wanted.filter((name) => name !== 'model.safetensors')
    expect((await readdir(path)).sort()).toEqual([...names, ...shards, 'model.safetensors.index.json'].sort())
    server.requests.length = 0
    expect(await resolveModel('google/gemma-7b', options)).toBe(path)
    expect(server.requests).toEqual([])

    for (const bad of ['model-00003-of-00003.safetensors', '../../../etc/passwd']) {
      server.models.set('google/bad', {
        files: { ...sharded, 'model.safetensors.index.json': index([bad]) },
        commit,
      })
      expect((await failure(resolveModel('google/bad', options))).code).toBe('file')
    }
  })

  test('without safetensors one GGUF is taken, and its path is the answer', async () => {
    const gguf = {
      'm-Q8_0.gguf': bytes(2000, 1),
      'm-Q4_0.gguf': bytes(1500, 2),
      'mmproj-m.gguf': bytes(1100, 3),
    }
    server.models.set('ggml-org/gemma-GGUF', { files: gguf, commit })
    const path = await resolveModel('ggml-org/gemma-GGUF', options)
    expect(path).toMatch(/snapshots\/[0-9a-f]+\/m-Q4_0\.gguf$/)
    expect(await readdir(join(path, '..'))).toEqual(['m-Q4_0.gguf'])
    const other = await resolveModel('ggml-org/gemma-GGUF', { ...options, files: ['*Q8_0.gguf'] })
    expect(other).toMatch(/m-Q8_0\.gguf$/)
    const none = await failure(resolveModel('ggml-org/gemma-GGUF', { ...options, files: ['*Q2_K.gguf'] }))
    expect(none.message).toContain('m-Q8_0.gguf')
  })

  test('a mirror without sizes and with many pages of listing works', async () => {
    server.pageSize = 2
    await load()
    await expectWhole()
    server.hasTree = false
    await rm(hub(), { recursive: true })
    await load()
    await expectWhole()
  })

  test('a blob that is already there is linked, one of the wrong size replaced', async () => {
    await mkdir(hub(folder, 'blobs'), { recursive: true })
    await writeFile(hub(folder, 'blobs', sha256(weights)), weights)
    await writeFile(hub(folder, 'blobs', sha256(files['tokenizer.model'])), 'short')
    await load()
    expect(contentRequests().length).toBe(1)
    await expectWhole()
  })
})

describe('faults of the line', () => {
  const whole: [string, Fault[]][] = [
    [
      '500, then 503',
      [
        { kind: 'status', status: 500 },
        { kind: 'status', status: 503 },
      ],
    ],
    ['reset', [{ kind: 'reset', after: 100_000 }]],
    ['truncated body', [{ kind: 'truncate', after: 100_000 }]],
    ['stalled body', [{ kind: 'stall', after: 100_000 }]],
    [
      'reset, then a server that ignores ranges',
      [{ kind: 'reset', after: 100_000 }, { kind: 'ignoreRange' }],
    ],
    ['reset, then another range than asked for', [{ kind: 'reset', after: 100_000 }, { kind: 'wrongRange' }]],
    [
      'reset, then 416',
      [
        { kind: 'reset', after: 100_000 },
        { kind: 'status', status: 416 },
      ],
    ],
    ['wrong bytes', [{ kind: 'corrupt' }]],
    ['more bytes than announced', [{ kind: 'tooLong' }]],
    ['429 with Retry-After', [{ kind: 'status', status: 429, headers: { 'retry-after': '1' } }]],
    [
      'many breaks with progress between them',
      Array.from({ length: 9 }, () => ({ kind: 'reset', after: 25_000 })),
    ],
  ]
  test.each(whole)('%s: the file arrives whole', async (_, list) => {
    fail('model.safetensors', ...list)
    await load()
    await expectWhole()
    expect(server.faults.get('model.safetensors')).toEqual([])
  })

  test('a small file with wrong bytes is noticed by its Git name', async () => {
    fail('config.json', { kind: 'corrupt' })
    await load()
    await expectWhole()
    expect(reports.some((report) => report.message?.includes('git-sha1'))).toBe(true)
  })

  test('a server that ignores ranges is believed, one that sends another range is not', async () => {
    fail('model.safetensors', { kind: 'reset', after: 131_072 }, { kind: 'ignoreRange' })
    await load()
    const asked = contentRequests().filter((request) => request.path.includes(sha256(weights)))
    expect(asked.length).toBe(2)
    await rm(hub(), { recursive: true })
    fail('model.safetensors', { kind: 'reset', after: 131_072 }, { kind: 'wrongRange' })
    await load()
    expect(reports.some((report) => report.message?.includes('the server offers bytes 0-'))).toBe(true)
    expect(reports.some((report) => report.message?.includes('damaged'))).toBe(false)
  })

  test('after a break only the rest is asked for', async () => {
    fail('model.safetensors', { kind: 'reset', after: 131_072 })
    await load()
    const ranges = contentRequests().map((request) => request.range)
    expect(ranges.some((range) => /^bytes=[1-9]\d{4,5}-$/.test(range ?? ''))).toBe(true)
  })

  test('errors of the API and of descriptions are tried again too', async () => {
    fail('api', { kind: 'status', status: 502 }, { kind: 'stall', after: 0 })
    fail('head', { kind: 'status', status: 500 })
    await load()
    await expectWhole()
  })

  test('patience ends in one error that says what happened; the next call goes on from there', async () => {
    const stuck = Array.from(
      { length: 5 },
      (_, i): Fault => ({ kind: 'reset', after: i === 0 ? 100_000 : 0 }),
    )
    fail('model.safetensors', ...stuck)
    const error = await failure(load())
    expect(error.code).toBe('network')
    expect(error.message).toMatch(/model\.safetensors.*gave up after 4 tries/)
    expect((await blobs()).filter((name) => name.endsWith('.incomplete'))).toEqual([
      `${sha256(weights)}.incomplete`,
    ])
    expect(await readdir(hub(folder, 'snapshots', commit))).not.toContain('model.safetensors')
    server.faults.clear()
    server.requests.length = 0
    await load()
    await expectWhole()
    expect(contentRequests().map((request) => request.range)).toEqual([expect.stringMatching(/^bytes=\d+-$/)])
  })

  test('bytes that stay wrong are refused and not kept', async () => {
    fail('model.safetensors', ...Array.from({ length: 4 }, (): Fault => ({ kind: 'corrupt' })))
    const error = await failure(load())
    expect(error.code).toBe('network')
    expect(error.message).toContain(`expected sha256 ${sha256(weights)}`)
    expect((await blobs()).join()).not.toContain(sha256(weights))
  })

  test('an unfinished file with wrong bytes is thrown away at the end and fetched anew', async () => {
    await mkdir(hub(folder, 'blobs'), { recursive: true })
    await writeFile(hub(folder, 'blobs', `${sha256(weights)}.incomplete`), bytes(200_000, 99))
    await load()
    await expectWhole()
  })

  test.each([
    ['whole already', weights],
    ['longer than the file', bytes(300_001, 9)],
  ])('an unfinished file that is %s', async (_, content) => {
    await mkdir(hub(folder, 'blobs'), { recursive: true })
    await writeFile(hub(folder, 'blobs', `${sha256(weights)}.incomplete`), content)
    await load()
    await expectWhole()
  })

  test('a file that changes between description and content is described again', async () => {
    const changed = { ...files, 'model.safetensors': bytes(300_000, 77) }
    const model = server.models.get('google/gemma-2b-it')!
    fail('model.safetensors', { kind: 'reset', after: 50_000 })
    const change = (progress: DownloadProgress): void => {
      if (progress.message?.includes('trying again')) model.files = changed
    }
    await load({ onProgress: change })
    expect(sha256(await readFile(snapshot('model.safetensors')))).toBe(sha256(changed['model.safetensors']))
    expect((await blobs()).filter((name) => name.endsWith('.incomplete'))).toEqual([])
  })

  test('a longer Retry-After than patience is an error', async () => {
    fail('api', { kind: 'status', status: 429, headers: { 'retry-after': '3600' } })
    expect((await failure(load())).message).toContain('asks to wait 3600 s')
  })

  test('a site that is not there', async () => {
    const env = { ...options.env, HF_ENDPOINT: 'http://127.0.0.1:9' }
    expect((await failure(load({ env }))).code).toBe('network')
    expect((await failure(load({ env: { ...env, HF_ENDPOINT: 'ftp://x' } }))).code).toBe('usage')
  })
})

describe('access', () => {
  beforeEach(() => server.models.set('google/gemma-2b-it', { files: { ...files }, commit, gated: true }))

  test.each([
    ['no token', undefined, 'set HF_TOKEN'],
    ['a token without access', 'bad', 'belongs to that account'],
  ])('%s: the error names the page of the licence; nothing is tried twice', async (_, token, advice) => {
    const error = await failure(load({ env: { ...options.env, HF_TOKEN: token } }))
    expect(error.code).toBe('gated')
    expect(error.message).toContain(`${server.endpoint}/google/gemma-2b-it `)
    expect(error.message).toContain(advice)
    expect(server.requests.filter((request) => request.method === 'HEAD').length).toBe(1)
  })

  test('the token goes to the Hub and never to the host of the content', async () => {
    await load({ env: { ...options.env, HF_TOKEN: ' good\n' } })
    await expectWhole()
    expect(contentRequests().length).toBeGreaterThan(0)
    expect(contentRequests().every((request) => request.authorization === undefined)).toBe(true)
    const site = server.requests.filter((request) => request.host === 'site')
    expect(site.every((request) => request.authorization === 'Bearer good')).toBe(true)
  })

  test.each([
    ['token', undefined],
    ['elsewhere', 'elsewhere'],
  ])('the token file %s is read', async (name, path) => {
    await writeFile(join(home, name), 'good\n')
    await load({ env: { ...options.env, HF_TOKEN_PATH: path && join(home, path) } })
    await expectWhole()
  })

  test('missing repositories and revisions', async () => {
    const absent = await failure(resolveModel('google/absent', options))
    expect(absent.code).toBe('gated')
    expect(absent.message).toContain('no such repository is visible')
    const revision = await failure(resolveModel('google/gemma-2b-it@nope', options))
    expect(revision.message).toContain("revision 'nope'")
  })
})

describe('without the network', () => {
  test('HF_HUB_OFFLINE uses the cache only and says what is missing', async () => {
    const env = { ...options.env, HF_HUB_OFFLINE: '1' }
    expect((await failure(load({ env }))).message).toContain('HF_HUB_OFFLINE')
    const path = await load()
    server.requests.length = 0
    expect(await load({ env, refresh: true })).toBe(path)
    await rm(hub(folder, 'blobs', sha256(weights)))
    expect((await failure(load({ env }))).message).toContain('missing: weights')
    expect(server.requests).toEqual([])
  })

  test('refresh falls back on the cache and says so', async () => {
    const path = await load()
    await server.close()
    expect(await load({ refresh: true })).toBe(path)
    expect(reports.at(-1)?.message).toContain('using the copy in the cache')
  })
})

describe('limits', () => {
  test('a disk that is too small is noticed before the download', async () => {
    const error = await failure(load({ freeBytes: async () => 100_000 }))
    expect(error.code).toBe('file')
    expect(error.message).toMatch(/needs 304\d{3} bytes and the disk of .* has 100000 bytes free/)
    expect(contentRequests()).toEqual([])
  })

  test('what is there already needs no space', async () => {
    await mkdir(hub(folder, 'blobs'), { recursive: true })
    await writeFile(hub(folder, 'blobs', `${sha256(weights)}.incomplete`), weights.subarray(0, 250_000))
    await load({ freeBytes: async () => 60_000 })
    await expectWhole()
  })

  test('abort stops at once and keeps what arrived', async () => {
    fail('model.safetensors', { kind: 'slow', piece: 50_000, every: 20 })
    const controller = new AbortController()
    const onProgress = (progress: DownloadProgress): void => {
      if (progress.file === 'model.safetensors') controller.abort()
    }
    setTimeout(() => controller.abort(), 60)
    const error = await failure(load({ signal: controller.signal, onProgress }))
    expect(error.code).toBe('aborted')
    await load()
    await expectWhole()
    expect((await failure(load({ signal: AbortSignal.abort(), refresh: true }))).code).toBe('aborted')
  })

  test('progress ends at the total and never exceeds it', async () => {
    await load()
    const total = wanted.reduce((sum, name) => sum + files[name as keyof typeof files].length, 0)
    expect(reports.at(-1)).toMatchObject({ phase: 'download', bytes: total, totalBytes: total })
    expect(reports.every((report) => report.bytes <= report.totalBytes)).toBe(true)
  })

  test('a repository cannot write outside of its directory', async () => {
    const evil = { '../../evil': bytes(2000, 1), '..\\evil': bytes(2000, 1), ...files }
    server.models.set('google/gemma-2b-it', { files: evil, commit })
    await load()
    await expectWhole()
    server.models.set('google/evil', { files, commit: '../../../evil' })
    expect((await failure(resolveModel('google/evil', options))).code).toBe('network')
    const error = await failure(load({ files: ['../../evil'] }))
    expect(error.code).toBe('file')
  })
})

describe('describeRemote', () => {
  test('tells configuration and sizes and writes nothing', async () => {
    const found = await describeRemote('google/gemma-2b-it', options)
    expect(found.path).toBeUndefined()
    expect(found.config).toEqual({ model_type: 'gemma' })
    expect(found.files.map((file) => file.name).sort()).toEqual(wanted)
    expect(found.totalBytes).toBe(wanted.reduce((sum, n) => sum + files[n as keyof typeof files].length, 0))
    expect(await readdir(home)).toEqual([])
  })

  test('of a cached model comes from the disk', async () => {
    const before = await describeRemote('google/gemma-2b-it', options)
    const path = await load()
    server.requests.length = 0
    const after = await describeRemote('google/gemma-2b-it', options)
    expect(after).toEqual({ ...before, path })
    expect(await describeRemote(path, options)).toEqual(after)
    expect(server.requests).toEqual([])
  })

  test('of a gated model names the licence', async () => {
    server.models.get('google/gemma-2b-it')!.gated = true
    expect((await failure(describeRemote('google/gemma-2b-it', options))).code).toBe('gated')
  })
})

describe('several at once', () => {
  const childScript = (): string => `
    import { resolveModel } from ${JSON.stringify(new URL('./resolve.node.ts', import.meta.url).href)}
    const options = { timing: { lockPoll: 5 }, onProgress: (p) => p.message && console.error(p.message) }
    console.log(await resolveModel('google/gemma-2b-it', options))`
  const start = (): ChildProcess =>
    spawn(process.execPath, ['--input-type=module', '--eval', childScript()], {
      // the caches and switches of whoever runs the test must not reach the child
      env: {
        ...process.env,
        HF_HUB_CACHE: '',
        HUGGINGFACE_HUB_CACHE: '',
        HF_HUB_OFFLINE: '',
        ...options.env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
  const finish = async (child: ChildProcess): Promise<{ code: number | null; out: string }> => {
    let out = ''
    child.stdout!.on('data', (data) => (out += data))
    child.stderr!.on('data', (data) => (out += data))
    const code = await new Promise<number | null>((done) => child.on('close', done))
    return { code, out }
  }

  test('two calls in one process fetch every file once', async () => {
    fail('model.safetensors', { kind: 'slow', piece: 100_000, every: 10 })
    const [first, second] = await Promise.all([load(), load()])
    expect(second).toBe(first)
    await expectWhole()
    expect(contentRequests().length).toBe(2)
    expect(reports.some((report) => report.message?.includes('waiting'))).toBe(true)
  })

  test('two processes yield one good copy', async () => {
    fail('model.safetensors', { kind: 'slow', piece: 10_000, every: 20 })
    const results = await Promise.all([finish(start()), finish(start())])
    for (const { code, out } of results) {
      expect(out).toContain(snapshot().replace(/\/$/, ''))
      expect(code).toBe(0)
    }
    await expectWhole()
    expect(contentRequests().filter((request) => request.path.includes(sha256(weights))).length).toBe(1)
  })

  test('a killed process leaves nothing broken, and the next one goes on', async () => {
    const large = bytes(4_000_000, 11)
    server.models.get('google/gemma-2b-it')!.files = { ...files, 'model.safetensors': large }
    fail('model.safetensors', { kind: 'slow', piece: 400_000, every: 30 })
    const child = start()
    const done = finish(child)
    const partial = hub(folder, 'blobs', `${sha256(large)}.incomplete`)
    const arrived = async (): Promise<number> => (await lstat(partial).catch(() => ({ size: 0 }))).size
    await expect.poll(arrived, { interval: 5, timeout: 20_000 }).toBeGreaterThan(1_000_000)
    child.kill('SIGKILL')
    expect((await done).code).toBe(null)
    expect(await readdir(hub('.locks', folder))).toEqual([`${sha256(large)}.lock`])
    server.requests.length = 0
    const path = await load()
    expect(sha256(await readFile(join(path, 'model.safetensors')))).toBe(sha256(large))
    expect(contentRequests().map((request) => request.range)).toEqual([
      expect.stringMatching(/^bytes=[1-9]\d{6}-$/),
    ])
    expect(await readdir(hub('.locks', folder))).toEqual([])
  })
})
