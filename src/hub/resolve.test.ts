// The forms of a model's name, and the small parts under the downloads: choice of files, locks, links,
// progress, redirects.

import { execFile } from 'node:child_process'
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { GemmaError } from '../error.ts'
import { withLock } from './cache-lock.node.ts'
import { exchange } from './download-http.node.ts'
import { type DownloadProgress, defaultTiming } from './download-options.ts'
import { createMeter } from './download-progress.ts'
import { chooseFiles, isSafeName, shardsOf } from './download-select.ts'
import { linkBlob } from './hub-cache.node.ts'
import { describeRemote, parseSource, resolveModel } from './resolve.node.ts'

let home: string
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'gemma-resolve-'))
})
afterEach(() => rm(home, { recursive: true, force: true }))

const failure = (promise: Promise<unknown>): Promise<GemmaError> =>
  promise.then(
    (value) => expect.fail(`expected an error, got ${String(value)}`),
    (error: GemmaError) => error,
  )

describe('parseSource', () => {
  test.each([
    ['google/gemma-2b-it', 'google/gemma-2b-it', 'main'],
    ['google/gemma-2b-it@refs/pr/1', 'google/gemma-2b-it', 'refs/pr/1'],
    ['ggml-org/gemma-3-1b-it-GGUF@main', 'ggml-org/gemma-3-1b-it-GGUF', 'main'],
  ])('%s is a Hugging Face id', async (source, id, revision) => {
    expect(await parseSource(source)).toEqual({ kind: 'hub', model: { id, revision } })
  })

  test('kaggle handles, with and without a version', async () => {
    const model = { owner: 'google', model: 'gemma', framework: 'pyTorch', variation: '2b-it' }
    expect(await parseSource('kaggle:google/gemma/pyTorch/2b-it')).toMatchObject({ kind: 'kaggle', model })
    expect(await parseSource('kaggle:google/gemma/pyTorch/2b-it/3')).toMatchObject({
      model: { ...model, version: 3 },
    })
  })

  test.each([
    './models/gemma',
    '/no/where',
    '~/gemma',
    'C:\\models',
    'models/gemma.gguf',
    'a/b/c',
    'model.ckpt',
    'dir/',
  ])('%s looks like a path: no such file', async (source) => {
    const error = await failure(parseSource(source))
    expect(error.code).toBe('file')
    expect(error.message).toContain('no such file or directory')
  })

  test.each([
    '',
    ' ',
    'gemma',
    'a b/c',
    'google/',
    'google/gemma@',
    'google/gemma@../x',
    'google/gemma@a..b/..',
    'a--b/c',
    'kaggle:',
    'kaggle:google/gemma',
    'kaggle:google/gemma/pyTorch/2b/latest',
    'kaggle:google/gemma/../2b',
    'https:x',
    'google/ge\0mma',
    'kaggle:a/b/c/d/0',
  ])('%j is refused with the forms that are accepted', async (source) => {
    const error = await failure(parseSource(source))
    expect(error).toBeInstanceOf(GemmaError)
    expect(error.message).toContain('Expected')
  })

  test('two different revisions contradict each other', async () => {
    expect((await failure(parseSource('google/gemma@a', 'b'))).message).toContain('contradict')
    expect(await parseSource('google/gemma', 'b')).toMatchObject({ model: { revision: 'b' } })
  })

  test('any text is one of the forms or a GemmaError', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'binary' }), async (text) => {
        const outcome = await parseSource(text).catch((error: unknown) => error)
        if (outcome instanceof Error) expect(outcome).toBeInstanceOf(GemmaError)
      }),
      { numRuns: 300 },
    )
  })
})

describe('local models', () => {
  test('an existing path wins over an id of the same text', async () => {
    const previous = process.cwd()
    process.chdir(home)
    try {
      await mkdir('google/gemma-2b', { recursive: true })
      expect(await resolveModel('google/gemma-2b')).toBe('google/gemma-2b')
    } finally {
      process.chdir(previous)
    }
    await writeFile(join(home, 'm.gguf'), 'abc')
    expect(await resolveModel(join(home, 'm.gguf'))).toBe(join(home, 'm.gguf'))
    const files = [{ name: 'm.gguf', size: 3 }]
    expect(await describeRemote(join(home, 'm.gguf'))).toEqual({
      path: join(home, 'm.gguf'),
      files,
      totalBytes: 3,
    })
  })

  test('describeRemote says what a directory lacks, and what is broken in it', async () => {
    await writeFile(join(home, 'tokenizer.model'), 'x')
    await writeFile(join(home, 'model.safetensors'), 'x')
    expect((await failure(describeRemote(home))).message).toContain('missing config.json')
    for (const text of ['{', '[]']) {
      await writeFile(join(home, 'config.json'), text)
      expect((await failure(describeRemote(home))).code).toBe('config')
    }
    await rm(join(home, 'model.safetensors'))
    await writeFile(join(home, 'model.safetensors.index.json'), '{"weight_map":3}')
    expect((await failure(describeRemote(home))).message).toContain('model.safetensors.index.json')
  })
})

describe('chooseFiles', () => {
  const common = ['config.json', 'tokenizer.model', 'README.md']
  test.each([
    [['model.safetensors', 'model.safetensors.index.json', 'x.gguf'], ['model.safetensors'], undefined],
    [['model.safetensors.index.json', 'pytorch_model.bin'], [], 'model.safetensors.index.json'],
    [['pytorch_model.bin', 'x.gguf'], ['pytorch_model.bin'], undefined],
    [['pytorch_model.bin.index.json', 'x.gguf'], [], 'pytorch_model.bin.index.json'],
    [['gemma-2b.ckpt'], ['gemma-2b.ckpt'], undefined],
    [['gemma.safetensors', 'adapter_model.safetensors'], ['gemma.safetensors'], undefined],
  ])('%j', (names, weights, index) => {
    const choice = chooseFiles([...common, ...names])
    expect(choice).toMatchObject({ metadata: ['config.json', 'tokenizer.model'], weights, missing: [] })
    expect(choice.index).toBe(index)
  })

  test('all parts of a split GGUF, and never GGUF beside safetensors', () => {
    const parts = ['m-Q8_0-00001-of-00002.gguf', 'm-Q8_0-00002-of-00002.gguf']
    const choice = chooseFiles([...parts, 'm-F16.gguf'])
    expect(choice).toMatchObject({ weights: parts, entry: parts[0], metadata: [], missing: [] })
    expect(chooseFiles([...common, ...parts, 'model.safetensors']).weights).toEqual(['model.safetensors'])
  })

  test('says what is missing', () => {
    expect(chooseFiles(['model.safetensors']).missing).toEqual([
      'config.json',
      'tokenizer.model or tokenizer.json',
    ])
    expect(chooseFiles(common).missing[0]).toContain('weights')
    expect(chooseFiles(['a.x', 'b/c.x'], ['*.x', 'y'])).toMatchObject({ weights: ['a.x'], missing: ['y'] })
  })

  test('shardsOf takes names of files only', () => {
    expect(shardsOf('{"weight_map":{"a":"x","b":"x","c":"w"}}', 'i')).toEqual(['w', 'x'])
    for (const text of [
      '',
      '[]',
      '{}',
      '{"weight_map":[]}',
      '{"weight_map":{"a":1}}',
      '{"weight_map":{"a":"../b"}}',
    ]) {
      expect(() => shardsOf(text, 'i')).toThrow(GemmaError)
    }
  })

  test('a safe name stays below its directory', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('.', '/', '\\', 'a', ':', '\0') }), (name) => {
        if (isSafeName(name)) expect(join('/root', name).startsWith('/root/')).toBe(true)
      }),
    )
    expect(isSafeName('a/b.c')).toBe(true)
  })
})

describe('withLock', () => {
  const timing = { ...defaultTiming, lockPoll: 5, lockHeartbeat: 20, lockStale: 200 }
  const options = { timing, signal: undefined }

  test('lets one in at a time and leaves nothing behind', async () => {
    const path = join(home, 'x', 'a.lock')
    let inside = 0
    let most = 0
    const task = async (): Promise<void> => {
      most = Math.max(most, ++inside)
      await new Promise((done) => setTimeout(done, 10))
      inside--
    }
    await Promise.all(Array.from({ length: 8 }, () => withLock(path, options, task)))
    expect(most).toBe(1)
    expect(await readdir(join(home, 'x'))).toEqual([])
  })

  test('is released when the task fails', async () => {
    const path = join(home, 'a.lock')
    await expect(withLock(path, options, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
    expect(await withLock(path, options, async () => 'free')).toBe('free')
  })

  test('of a process that died is taken over at once, of a silent one after a while', async () => {
    const path = join(home, 'a.lock')
    const dead = execFile(process.execPath, ['--version'])
    await new Promise((done) => dead.on('close', done))
    await writeFile(path, `${dead.pid} ${hostname()} x`)
    expect(await withLock(path, options, async () => 'free')).toBe('free')
    // a file that flock left behind, and the lock of another machine
    for (const content of ['', `1 another-machine x`]) {
      await writeFile(path, content)
      await utimes(path, 1, 1)
      expect(await withLock(path, options, async () => 'free')).toBe('free')
    }
    expect(await readdir(home)).toEqual([])
  })

  test('of a living process is waited for; the signal ends the wait', async () => {
    const path = join(home, 'a.lock')
    await writeFile(path, `${process.pid} ${hostname()} x`)
    const controller = new AbortController()
    const onWait = (): void => controller.abort()
    const error = await failure(
      withLock(path, { timing, signal: controller.signal, onWait }, async () => 'never'),
    )
    expect(error.code).toBe('aborted')
    expect(await readFile(path, 'utf8')).toContain('x')
  })
})

describe('linkBlob', () => {
  const cannot = (): Promise<void> => Promise.reject(Object.assign(new Error('no links'), { code: 'EPERM' }))

  test('where links do not work a new blob moves, an old one is copied', async () => {
    const [blob, pointer, other] = ['b', 's/1/f', 's/2/f'].map((name) => join(home, name))
    await writeFile(blob, 'content')
    await linkBlob(blob, pointer, false, cannot)
    expect(await readFile(blob, 'utf8')).toBe('content')
    await linkBlob(blob, other, true, cannot)
    for (const path of [pointer, other]) {
      expect(await readFile(path, 'utf8')).toBe('content')
      expect((await lstat(path)).isFile()).toBe(true)
    }
    expect(await readdir(home)).toEqual(['s'])
  })

  test('replaces what is in the way', async () => {
    await writeFile(join(home, 'b'), 'new')
    await writeFile(join(home, 'f'), 'old')
    await linkBlob(join(home, 'b'), join(home, 'f'), true)
    expect(await readFile(join(home, 'f'), 'utf8')).toBe('new')
  })
})

test('the meter adds up files, counts only fetched bytes as speed, and keeps its pace', () => {
  let time = 0
  const reports: DownloadProgress[] = []
  const sizes = new Map([
    ['a', 1000],
    ['b', 1000],
    ['c', 0],
  ])
  const meter = createMeter(
    sizes,
    (report) => reports.push(report),
    () => time,
  )
  meter.at('a', 1000, false)
  expect(reports).toEqual([{ phase: 'download', file: 'a', bytes: 1000, totalBytes: 2000 }])
  for (time = 1000; time <= 5000; time += 10) meter.at('b', time / 10)
  const last = reports.at(-1)!
  expect(reports.length).toBeLessThan(50)
  expect(last).toMatchObject({ file: 'b', bytes: 1500, totalBytes: 2000 })
  expect(last.bytesPerSecond).toBeCloseTo(100, 5)
  expect(last.secondsLeft).toBeCloseTo(5, 5)
  meter.expect('c', 500)
  meter.say('c', 'hello')
  expect(reports.at(-1)).toMatchObject({ message: 'hello', totalBytes: 2500 })
})

describe('redirects', () => {
  const connection = {
    authorization: 'Bearer secret',
    timing: defaultTiming,
    signal: undefined,
    refuse: () => new GemmaError('network', 'refused'),
  }
  test.each([
    ['file:///etc/passwd', 'refused to follow'],
    ['/again', 'more than ten redirects'],
  ])('to %s end in an error', async (location, message) => {
    const server = createServer((_, response) => response.writeHead(302, { location }).end())
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
    const error = await failure(exchange(url, connection, AbortSignal.timeout(5000)))
    expect(error.message).toContain(message)
    server.closeAllConnections()
    await new Promise((done) => server.close(done))
  })
})
