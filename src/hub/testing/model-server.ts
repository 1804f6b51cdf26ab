// A Hub and a Kaggle of one's own on 127.0.0.1 for tests: the API, the redirect to a second host that holds
// the content, and faults on demand. Imitates headers and status codes; knows nothing about caches.

import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** What goes wrong with one answer; each is used once, in order. */
export type Fault =
  | { kind: 'status'; status: number; headers?: Record<string, string> }
  /** Sends `after` bytes, then resets the connection, ends it, or falls silent. */
  | { kind: 'reset' | 'truncate' | 'stall'; after: number }
  | { kind: 'ignoreRange' | 'corrupt' | 'tooLong' | 'wrongRange' }
  /** Sends the content in pieces of `piece` bytes every `every` milliseconds. */
  | { kind: 'slow'; piece: number; every: number }

export interface ServedModel {
  files: Record<string, Uint8Array>
  commit: string
  /** Needs 'Bearer good' (Hub) or any authorization (Kaggle). */
  gated?: boolean
}

export interface Request {
  method: string
  path: string
  host: 'site' | 'content'
  authorization: string | undefined
  range: string | undefined
}

export interface ModelServer {
  endpoint: string
  /** 'org/name' on the Hub, 'owner/model/framework/variation/version' on Kaggle. */
  models: Map<string, ServedModel>
  /** By file name, for the content; 'api' for the API, 'head' for descriptions. */
  faults: Map<string, Fault[]>
  requests: Request[]
  /** Without the listing of sizes, as simple mirrors are. */
  hasTree: boolean
  pageSize: number
  close(): Promise<void>
}

/** Files above this many bytes are served as large ones: SHA-256 names, redirect to the other host. */
export const largeFrom = 1000

export function sha256(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex')
}

export function gitSha1(content: Uint8Array): string {
  return createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex')
}

export function blobName(content: Uint8Array): string {
  return content.length > largeFrom ? sha256(content) : gitSha1(content)
}

export async function startModelServer(): Promise<ModelServer> {
  const contents = new Map<string, { name: string; content: Uint8Array }>()
  const state = { contentEndpoint: '' }
  const server: ModelServer = {
    endpoint: '',
    models: new Map(),
    faults: new Map(),
    requests: [],
    hasTree: true,
    pageSize: 100,
    close: async () => undefined,
  }
  const log = (request: IncomingMessage, host: Request['host']): void => {
    const { method = '', url = '', headers } = request
    server.requests.push({
      method,
      path: url,
      host,
      authorization: headers.authorization,
      range: headers.range,
    })
  }
  const site = createServer((request, response) => {
    log(request, 'site')
    answerSite(server, contents, state.contentEndpoint, request, response)
  })
  const content = createServer((request, response) => {
    log(request, 'content')
    const found = contents.get(request.url!.slice(1))
    if (found === undefined) return end(response, 404)
    // S3 and its like refuse a foreign Authorization header
    if (request.headers.authorization !== undefined) return end(response, 400)
    serveContent(server, found.name, found.content, request, response)
  })
  server.endpoint = await listen(site)
  state.contentEndpoint = await listen(content)
  server.close = async () => {
    for (const each of [site, content]) {
      each.closeAllConnections()
      await new Promise((done) => each.close(done))
    }
  }
  return server
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function end(response: ServerResponse, status: number, headers: Record<string, string> = {}): undefined {
  response.writeHead(status, headers).end()
}

function json(response: ServerResponse, value: unknown, headers: Record<string, string> = {}): undefined {
  response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value))
}

type Contents = Map<string, { name: string; content: Uint8Array }>

function answerSite(
  server: ModelServer,
  contents: Contents,
  contentEndpoint: string,
  request: IncomingMessage,
  response: ServerResponse,
): undefined {
  const url = new URL(request.url!, server.endpoint)
  const path = decodeURIComponent(url.pathname)
  const fault = path.startsWith('/api/') ? takeFault(server, 'api') : undefined
  if (fault?.kind === 'status') return end(response, fault.status, fault.headers)
  if (fault?.kind === 'stall') return
  if (path.startsWith('/api/v1/models/'))
    return answerKaggle(server, contents, contentEndpoint, url, request, response)
  const revision = /^\/api\/models\/([^/]+\/[^/]+)\/revision\/(.+)$/.exec(path)
  if (revision !== null) return answerRevision(server, revision[1], revision[2], response)
  const tree = /^\/api\/models\/([^/]+\/[^/]+)\/tree\/([^/]+)$/.exec(path)
  if (tree !== null) return answerTree(server, tree[1], url, response)
  const file = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(path)
  if (file === null) return end(response, 404)
  answerResolve(server, contents, contentEndpoint, file, request, response)
}

function answerRevision(
  server: ModelServer,
  id: string,
  revision: string,
  response: ServerResponse,
): undefined {
  const model = server.models.get(id)
  if (model === undefined) return end(response, 401, { 'x-error-code': 'RepoNotFound' })
  if (revision !== 'main' && revision !== 'refs/pr/1' && revision !== model.commit) {
    return end(response, 404, { 'x-error-code': 'RevisionNotFound' })
  }
  json(response, {
    sha: model.commit,
    siblings: Object.keys(model.files).map((rfilename) => ({ rfilename })),
  })
}

function answerTree(server: ModelServer, id: string, url: URL, response: ServerResponse): undefined {
  const model = server.models.get(id)
  if (model === undefined || !server.hasTree) return end(response, 404)
  const from = Number(url.searchParams.get('cursor') ?? 0)
  const entries = Object.entries(model.files).map(([path, content]) => {
    const entry = { type: 'file', path, size: content.length, oid: gitSha1(content) }
    const isLarge = content.length > largeFrom
    return isLarge ? { ...entry, lfs: { oid: sha256(content), size: content.length } } : entry
  })
  const next = from + server.pageSize
  const link = `<${server.endpoint}${url.pathname}?recursive=true&cursor=${next}>; rel="next"`
  json(response, entries.slice(from, next), next < entries.length ? { link } : {})
}

function answerResolve(
  server: ModelServer,
  contents: Contents,
  contentEndpoint: string,
  [, id, commit, name]: RegExpExecArray,
  request: IncomingMessage,
  response: ServerResponse,
): undefined {
  const model = server.models.get(id)
  if (model === undefined || commit !== model.commit) return end(response, 404)
  if (model.gated && request.headers.authorization !== 'Bearer good') {
    return end(response, request.headers.authorization ? 403 : 401, { 'x-error-code': 'GatedRepo' })
  }
  const content = model.files[name]
  if (content === undefined) return end(response, 404, { 'x-error-code': 'EntryNotFound' })
  const fault = request.method === 'HEAD' ? takeFault(server, 'head') : undefined
  if (fault?.kind === 'status') return end(response, fault.status, fault.headers)
  if (content.length <= largeFrom) {
    const headers = { etag: `W/"${gitSha1(content)}"`, 'x-repo-commit': commit }
    return serveContent(server, name, content, request, response, headers)
  }
  const key = `${sha256(content)}?signature=1`
  contents.set(key, { name, content })
  end(response, 302, {
    location: `${contentEndpoint}/${key}`,
    etag: '"of-the-redirect"',
    'x-linked-etag': `"${sha256(content)}"`,
    'x-linked-size': `${content.length}`,
    'x-repo-commit': commit,
  })
}

function answerKaggle(
  server: ModelServer,
  contents: Contents,
  contentEndpoint: string,
  url: URL,
  request: IncomingMessage,
  response: ServerResponse,
): undefined {
  const parts = decodeURIComponent(url.pathname).slice('/api/v1/models/'.length).split('/')
  const variation = parts.slice(0, 4).join('/')
  if (parts[4] === 'get') {
    const versions = [...server.models.keys()].filter((key) => key.startsWith(`${variation}/`))
    if (versions.length === 0) return end(response, 404)
    return json(response, { versionNumber: Math.max(...versions.map((key) => Number(key.split('/')[4]))) })
  }
  const model = server.models.get(`${variation}/${parts[4]}`)
  if (model === undefined) return end(response, 404)
  if (parts[5] === 'files') {
    const from = Number(url.searchParams.get('pageToken') || 0)
    const files = Object.entries(model.files).map(([name, { length }]) => ({ name, size: length }))
    const next = from + server.pageSize
    return json(response, {
      files: files.slice(from, next),
      nextPageToken: next < files.length ? `${next}` : '',
    })
  }
  if (model.gated && request.headers.authorization === undefined) return end(response, 403)
  const name = parts.slice(6).join('/')
  const content = model.files[name]
  if (content === undefined) return end(response, 404)
  const key = `${sha256(content)}?kaggle`
  contents.set(key, { name, content })
  end(response, 302, { location: `${contentEndpoint}/${key}` })
}

function takeFault(server: ModelServer, name: string): Fault | undefined {
  return server.faults.get(name)?.shift()
}

function serveContent(
  server: ModelServer,
  name: string,
  content: Uint8Array,
  request: IncomingMessage,
  response: ServerResponse,
  extra: Record<string, string> = {},
): undefined {
  const md5 = createHash('md5').update(content).digest('base64')
  const headers: Record<string, string> = { 'x-goog-hash': `crc32c=AAAAAA==,md5=${md5}`, ...extra }
  if (request.method === 'HEAD')
    return end(response, 200, { ...headers, 'content-length': `${content.length}` })
  const fault = takeFault(server, name)
  if (fault?.kind === 'status') return end(response, fault.status, fault.headers)
  const wanted = fault?.kind === 'ignoreRange' ? null : /^bytes=(\d+)-$/.exec(request.headers.range ?? '')
  const start = wanted === null ? 0 : Number(wanted[1])
  if (wanted !== null && start >= content.length) {
    return end(response, 416, { 'content-range': `bytes */${content.length}` })
  }
  if (wanted !== null) {
    const from = fault?.kind === 'wrongRange' ? 0 : start
    headers['content-range'] = `bytes ${from}-${content.length - 1}/${content.length}`
  }
  const status = wanted === null ? 200 : 206
  let body = content.slice(start)
  if (fault?.kind === 'corrupt') body[body.length >> 1] ^= 1
  if (fault?.kind === 'tooLong') body = new Uint8Array([...body, 1, 2, 3])
  if (fault?.kind !== 'tooLong') headers['content-length'] = `${body.length}`
  response.writeHead(status, headers)
  if (fault?.kind === 'slow') return sendSlowly(response, body, fault.piece, fault.every)
  if (fault === undefined || !('after' in fault)) {
    response.end(body)
    return
  }
  response.write(body.subarray(0, fault.after), () => {
    // give the bytes time to arrive before the fault
    if (fault.kind === 'reset') setTimeout(() => response.socket?.resetAndDestroy(), 30)
    if (fault.kind === 'truncate') setTimeout(() => response.socket?.end(), 30)
  })
}

function sendSlowly(response: ServerResponse, body: Uint8Array, piece: number, every: number): undefined {
  let at = 0
  const timer = setInterval(() => {
    if (!response.destroyed) response.write(body.subarray(at, at + piece))
    at += piece
    if (at < body.length && !response.destroyed) return
    clearInterval(timer)
    response.end()
  }, every)
}
