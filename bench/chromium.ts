// A headless Chromium without a driver: a page of our own asks a local server for the next call, makes it, and
// posts what came of it. Serves sources (types stripped on the way), builds and models, with or without the
// headers that isolate a page from other origins. Knows nothing about what the page does. Node only.

import { type ChildProcess, spawn } from 'node:child_process'
import { createReadStream, existsSync, rmSync } from 'node:fs'
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { stripTypeScriptTypes } from 'node:module'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { extname, join, normalize } from 'node:path'

export interface PageOptions {
  /** Paths: '/file' → a file, '/folder/' → a folder. */
  readonly routes: Readonly<Record<string, string>>
  /** Path of a JavaScript module whose exports can be called; or its text. */
  readonly module: string
  /** Bare import names → paths. */
  readonly imports?: Readonly<Record<string, string>>
  /** Whether the page may share memory between threads. */
  readonly isolated: boolean
  /** WebGPU, by SwiftShader: a GPU played in software, which every Chromium brings. */
  readonly webgpu?: boolean
}

export interface Page {
  /** Calls an exported function of the page's module with values that JSON can carry. */
  call<T>(name: string, ...args: readonly unknown[]): Promise<T>
  readonly process: number
  close(): Promise<void>
}

const CANDIDATES = [
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
]

/** Where a Chromium is ($CHROMIUM first), or undefined. */
export function findChromium(): string | undefined {
  return [process.env.CHROMIUM, ...CANDIDATES].find((path) => path !== undefined && existsSync(path))
}

const FLAGS = [
  ...['--headless', '--no-sandbox', '--disable-quic', '--no-first-run', '--disable-sync'],
  ...['--disable-background-networking', '--disable-component-update', '--disable-extensions'],
  ...['--disable-background-timer-throttling', '--disable-renderer-backgrounding', '--no-pings'],
  // Containers often have a tiny /dev/shm.
  '--disable-dev-shm-usage',
]

const NO_GPU = ['--disable-gpu']
const SOFTWARE_GPU = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader']

const TYPES: Readonly<Record<string, string>> = {
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.ts': 'text/javascript',
  '.wasm': 'application/wasm',
  '.json': 'application/json',
}

const PATIENCE_MS = 60_000

/** Starts a Chromium with one page. Throws when it does not come up within a minute. */
export async function openPage(options: PageOptions): Promise<Page> {
  const chromium = findChromium()
  if (chromium === undefined) throw new Error('There is no Chromium; name one in $CHROMIUM.')
  const desk = createDesk()
  const server = createServer((request, response) => {
    answer(options, desk, request, response).catch((error: unknown) => {
      response.destroy(error instanceof Error ? error : undefined)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  // A profile on disk, because large Blobs of a private window would have to fit in memory.
  const profile = await mkdtemp(join(tmpdir(), 'gemma-chromium-'))
  const flags = [...FLAGS, ...(options.webgpu ? SOFTWARE_GPU : NO_GPU), `--user-data-dir=${profile}`]
  const child = spawn(chromium, [...flags, address], { stdio: 'ignore' })
  child.once('exit', () => desk.fail(new Error('Chromium ended.')))
  child.once('error', desk.fail)
  const kill = (): void => {
    child.kill()
    rmSync(profile, { recursive: true, force: true })
  }
  process.once('exit', kill)
  const close = (): Promise<void> => {
    process.off('exit', kill)
    return shut(child, server, profile)
  }
  const patience = setTimeout(() => desk.fail(new Error('Chromium did not open the page.')), PATIENCE_MS)
  try {
    await desk.ready
  } catch (error) {
    await close()
    throw error
  } finally {
    clearTimeout(patience)
  }
  return { call: desk.call, process: child.pid!, close }
}

interface Job {
  readonly name: string
  readonly args: readonly unknown[]
}

/** Where calls wait for the page and their results for the caller; one call at a time. */
interface Desk {
  readonly ready: Promise<void>
  call<T>(name: string, ...args: readonly unknown[]): Promise<T>
  next(): Promise<Job>
  done(result: { value?: unknown; error?: string }): void
  fail(error: Error): void
}

function createDesk(): Desk {
  const ready = Promise.withResolvers<void>()
  let job = Promise.withResolvers<Job>()
  let result = Promise.withResolvers<unknown>()
  let failure: Error | undefined
  return {
    ready: ready.promise,
    async call<T>(name: string, ...args: readonly unknown[]): Promise<T> {
      if (failure) throw failure
      result = Promise.withResolvers()
      job.resolve({ name, args })
      return (await result.promise) as T
    },
    async next() {
      ready.resolve()
      // The caller may be here before the page or after it.
      const taken = await job.promise
      job = Promise.withResolvers()
      return taken
    },
    done({ value, error }) {
      if (error === undefined) result.resolve(value)
      else result.reject(new Error(`in the page: ${error}`))
    },
    fail(error) {
      failure ??= error
      // Nobody may be waiting.
      for (const { promise, reject } of [ready, result] as const) {
        promise.catch(() => {})
        reject(failure)
      }
    },
  }
}

const PAGE = (module: string, imports: PageOptions['imports']): string => `<!doctype html><meta charset=utf-8>
<script type=importmap>${JSON.stringify({ imports: imports ?? {} })}</script>
<script type=module>
const post = (path, value) => fetch(path, { method: 'POST', body: JSON.stringify(value) })
const text = (error) => error?.stack?.includes(error?.message) ? error.stack : String(error) + '\\n' + (error?.stack ?? '')
try {
  const functions = await import(${JSON.stringify(module)})
  for (;;) {
    const { name, args } = await (await fetch('/call/next')).json()
    let result
    try { result = { value: (await functions[name](...args)) ?? null } }
    catch (error) { result = { error: text(error) } }
    await post('/call/done', result)
  }
} catch (error) { await post('/call/fail', { error: text(error) }) }
</script>`

async function answer(
  options: PageOptions,
  desk: Desk,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (options.isolated) {
    response.setHeader('Cross-Origin-Opener-Policy', 'same-origin')
    response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp')
  }
  response.setHeader('Cache-Control', 'no-store')
  const path = decodeURIComponent(new URL(request.url!, 'http://localhost').pathname)
  if (path === '/') {
    const module = options.module.startsWith('/') ? options.module : '/page.js'
    return void response.setHeader('Content-Type', 'text/html').end(PAGE(module, options.imports))
  }
  if (path === '/page.js') {
    return void response.setHeader('Content-Type', 'text/javascript').end(options.module)
  }
  if (path === '/call/next') {
    const job = await desk.next()
    return void response.setHeader('Content-Type', 'application/json').end(JSON.stringify(job))
  }
  if (path === '/call/done' || path === '/call/fail') {
    const result = JSON.parse(await bodyOf(request))
    if (path === '/call/done') desk.done(result)
    else desk.fail(new Error(`in the page: ${result.error}`))
    return void response.end()
  }
  const file = fileOf(options.routes, path)
  if (file === undefined || !(await stat(file).catch(() => undefined))?.isFile()) {
    response.statusCode = 404
    return void response.end()
  }
  await sendFile(file, request, response)
}

function fileOf(routes: PageOptions['routes'], path: string): string | undefined {
  if (routes[path] !== undefined) return routes[path]
  const prefix = Object.keys(routes).find((route) => route.endsWith('/') && path.startsWith(route))
  // normalize() of an absolute path cannot leave the folder.
  return prefix === undefined ? undefined : join(routes[prefix]!, normalize(`/${path.slice(prefix.length)}`))
}

async function sendFile(file: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  response.setHeader('Content-Type', TYPES[extname(file)] ?? 'application/octet-stream')
  if (file.endsWith('.ts')) {
    return void response.end(stripTypeScriptTypes(await readFile(file, 'utf8'), { mode: 'strip' }))
  }
  const { size } = await stat(file)
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')
  const start = range === null ? 0 : Number(range[1])
  const end = Math.min(size - 1, range?.[2] ? Number(range[2]) : size - 1)
  if (range !== null && start >= size) {
    response.statusCode = 416
    return void response.end()
  }
  if (range !== null) {
    response.statusCode = 206
    response.setHeader('Content-Range', `bytes ${start}-${end}/${size}`)
  }
  response.setHeader('Content-Length', Math.max(0, end - start + 1))
  if (size === 0 || request.method === 'HEAD') return void response.end()
  createReadStream(file, { start, end, highWaterMark: 4 << 20 }).pipe(response)
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}

async function shut(child: ChildProcess, server: Server, profile: string): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    const ended = new Promise((resolve) => child.once('exit', resolve))
    child.kill()
    const patience = setTimeout(() => child.kill('SIGKILL'), 5000)
    await ended
    clearTimeout(patience)
  }
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
  // Its helper processes may still be writing for a moment.
  await rm(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 })
}
