// Hugging Face, against a Hub of our own on 127.0.0.1: layout of the cache, licences, work without the network, and what is
// told of a model before it is fetched.

import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { describeRemote, resolveModel } from './resolve.node.ts'
import {
  bytes,
  commit,
  contentRequests,
  encode,
  expectWhole,
  failure,
  files,
  folder,
  home,
  hub,
  load,
  options,
  reports,
  server,
  snapshot,
  tree,
  useHub,
  wanted,
  weights,
} from './testing/hub.ts'

useHub()

import { blobName, sha256 } from './testing/model-server.ts'

describe('layout', () => {
  test('is that of huggingface_hub: blobs by ETag, relative links, the ref last', async () => {
    expect(await load()).toBe(snapshot().replace(/\/$/, ''))
    const links = wanted.map((name) => {
      const blob = blobName(files[name]!)
      return `${folder}/snapshots/${commit}/${name} -> ../../blobs/${blob}`
    })
    const blobFiles = wanted.map((name) => `${folder}/blobs/${blobName(files[name]!)}`)
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

describe('describeRemote', () => {
  test('tells configuration and sizes and writes nothing', async () => {
    const found = await describeRemote('google/gemma-2b-it', options)
    expect(found.path).toBeUndefined()
    expect(found.config).toEqual({ model_type: 'gemma' })
    expect(found.files.map((file) => file.name).sort()).toEqual(wanted)
    expect(found.totalBytes).toBe(wanted.reduce((sum, n) => sum + files[n]!.length, 0))
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
