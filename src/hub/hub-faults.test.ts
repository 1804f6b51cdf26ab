// Hugging Face, against a Hub of our own on 127.0.0.1: faults of the line, limits, several callers at once, processes that
// are killed.

import { type ChildProcess, spawn } from 'node:child_process'
import { lstat, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { DownloadProgress } from './download-options.ts'
import { resolveModel } from './resolve.node.ts'
import {
  blobs,
  bytes,
  commit,
  contentRequests,
  expectWhole,
  fail,
  failure,
  files,
  folder,
  hub,
  load,
  options,
  reports,
  server,
  snapshot,
  useHub,
  wanted,
  weights,
} from './testing/hub.ts'

useHub()

import { type Fault, sha256 } from './testing/model-server.ts'

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
    const total = wanted.reduce((sum, name) => sum + files[name]!.length, 0)
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
