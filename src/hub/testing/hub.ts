// A Hub on 127.0.0.1 and a cache, both fresh for each test, and what tests ask of them.

import { mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect } from 'vitest'
import type { GemmaError } from '../../error.ts'
import type { DownloadOptions, DownloadProgress } from '../download-options.ts'
import { resolveModel } from '../resolve.node.ts'
import { blobName, type Fault, type ModelServer, sha256, startModelServer } from './model-server.ts'

export const commit = '0123456789abcdef0123456789abcdef01234567'
export const folder = 'models--google--gemma-2b-it'
export const encode = (text: string): Uint8Array => new TextEncoder().encode(text)
export const bytes = (length: number, seed: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (Math.imul(i + seed, 2654435761) >>> 24) & 255)

export const weights: Uint8Array = bytes(300_000, 1)
export const files: Readonly<Record<string, Uint8Array>> = {
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
export const wanted: readonly string[] = [
  'config.json',
  'generation_config.json',
  'model.safetensors',
  'tokenizer.model',
  'tokenizer_config.json',
]

export let server: ModelServer
export let home: string
export let reports: DownloadProgress[]
export let options: DownloadOptions

/** Call it at the top of a file: `server` to `options` are then set anew before each test. */
export function useHub(): void {
  beforeEach(async () => {
    server = await startModelServer()
    server.models.set('google/gemma-2b-it', { files: { ...files }, commit })
    home = await mkdtemp(join(tmpdir(), 'gemma-hub-'))
    reports = []
    options = {
      env: { HF_HOME: home, HF_ENDPOINT: server.endpoint },
      timing: {
        attempts: 4,
        backoff: 1,
        longestBackoff: 5,
        longestRetryAfter: 2000,
        stall: 300,
        lockPoll: 5,
      },
      onProgress: (progress) => reports.push(progress),
    }
  })

  afterEach(async () => {
    await server.close()
    await rm(home, { recursive: true, force: true })
  })
}

export const load = (extra: DownloadOptions = {}): Promise<string> =>
  resolveModel('google/gemma-2b-it', { ...options, ...extra })
export const hub = (...parts: string[]): string => join(home, 'hub', ...parts)
export const snapshot = (name = ''): string => hub(folder, 'snapshots', commit, name)
export const blobs = (): Promise<string[]> => readdir(hub(folder, 'blobs'))
export const fail = (name: string, ...list: Fault[]): unknown => server.faults.set(name, list)
export const failure = (promise: Promise<unknown>): Promise<GemmaError> =>
  promise.then(
    (value) => expect.fail(`expected an error, got ${String(value)}`),
    (error: GemmaError) => error,
  )
export const contentRequests = (): ModelServer['requests'] =>
  server.requests.filter((request) => request.host === 'content')

export async function tree(directory: string): Promise<string[]> {
  const lines: string[] = []
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    const name = path.slice(directory.length + 1)
    if (entry.isSymbolicLink()) lines.push(`${name} -> ${await readlink(path)}`)
    else if (entry.isFile()) lines.push(name)
  }
  return lines.sort()
}

export async function expectWhole(): Promise<void> {
  for (const name of wanted) {
    expect(sha256(await readFile(snapshot(name)))).toBe(sha256(files[name]!))
  }
  expect((await blobs()).sort()).toEqual(wanted.map((n) => blobName(files[n]!)).sort())
}
