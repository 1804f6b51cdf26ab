// The server behind `gemma web`: the files of the built page, and models of this machine for it. Its headers isolate
// the page from other origins, which is what lets it share memory between threads. It answers only to names that are
// this machine's: a page of somebody else whose name was made to point here (DNS rebinding) must not read models.

import { realpath } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, isIP } from 'node:net'
import { hostname } from 'node:os'
import { join, sep } from 'node:path'
import { GemmaError } from '../error.ts'
import { sendFile } from './send-file.node.ts'
import { MODELS_PREFIX, type SharedModels } from './shared-models.node.ts'

/** https://web.dev/articles/coop-coep; the third keeps other origins from embedding what is here. */
export const ISOLATION: Readonly<Record<string, string>> = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
}

/** Names of built assets change with their content. */
const FOREVER = 'public, max-age=31536000, immutable'
const ASK_AGAIN = 'no-cache'
/** The page keeps models itself. */
const KEEP_NOT = 'no-store'

export interface PageServerOptions {
  /** The folder of the built page. */
  readonly folder: string
  readonly models: SharedModels
  /** The interface to listen on. */
  readonly host: string
  readonly port: number
  /** How many ports to try, counting up, where one is taken. */
  readonly attempts?: number
  /** Hears what went wrong on this side. */
  readonly onFault?: (message: string) => void
}

export interface PageServer {
  /** Where a browser on this machine finds it. */
  readonly address: string
  readonly port: number
  /** Ends at once, whatever is being sent. */
  close(): Promise<void>
}

/** Starts to listen. Throws GemmaError 'usage' when the interface or the port cannot be had. */
export async function startPageServer(options: PageServerOptions): Promise<PageServer> {
  const { host, port, attempts = 1, onFault } = options
  const handle = createHandler(options)
  const server = createServer((request, response) => {
    handle(request, response).catch((error: NodeJS.ErrnoException) => {
      // Whoever asked has gone; a browser does that often.
      if (error.code === 'ERR_STREAM_PREMATURE_CLOSE' || response.destroyed) return
      onFault?.(`${request.url}: ${error.message}`)
      if (response.headersSent) response.destroy()
      else say(response, 500, 'This file cannot be read. The terminal that runs gemma web says why.')
    })
  })
  for (let attempt = 1; ; attempt++) {
    const failure = await tryToListen(server, host, port + attempt - 1)
    if (failure === undefined) break
    if (failure.code !== 'EADDRINUSE' || attempt >= attempts)
      throw cannotListen(failure, host, port, attempts)
  }
  const { port: own } = server.address() as AddressInfo
  // Listening everywhere includes the loopback interface, where browsers trust a page.
  const shown = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  return {
    address: `http://${isIP(shown) === 6 ? `[${shown}]` : shown}:${own}/`,
    port: own,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function tryToListen(server: Server, host: string, port: number): Promise<NodeJS.ErrnoException | undefined> {
  return new Promise((resolve) => {
    server.once('error', resolve)
    server.listen(port, host, () => {
      server.off('error', resolve)
      resolve(undefined)
    })
  })
}

function cannotListen(
  failure: NodeJS.ErrnoException,
  host: string,
  port: number,
  attempts: number,
): GemmaError {
  const options = { cause: failure }
  if (failure.code === 'EADDRINUSE') {
    const taken =
      attempts > 1 ? `The ports ${port} to ${port + attempts - 1} are taken.` : `Port ${port} is taken.`
    return new GemmaError('usage', taken, 'Name another with --port, or 0 for any that is free.', options)
  }
  if (failure.code === 'EACCES') {
    return new GemmaError('usage', `Port ${port} is reserved.`, 'Name one above 1023 with --port.', options)
  }
  return new GemmaError(
    'usage',
    `Cannot listen on ${host} (${failure.code}).`,
    'Give --host an address of this machine, or 0.0.0.0 for all of them.',
    options,
  )
}

/** Answers one request; rejects where a file cannot be read or the asker goes away. Usable in other servers too. */
export function createHandler({
  folder,
  models,
  host,
}: Pick<PageServerOptions, 'folder' | 'models' | 'host'>): (
  request: IncomingMessage,
  response: ServerResponse,
) => Promise<void> {
  const names = new Set(
    ['localhost', host, hostname(), `${hostname()}.local`].map((name) => name.toLowerCase()),
  )
  return async (request, response) => {
    for (const [name, value] of Object.entries(ISOLATION)) response.setHeader(name, value)
    response.setHeader('X-Content-Type-Options', 'nosniff')
    response.setHeader('Referrer-Policy', 'no-referrer')
    if (!isOwnName(request.headers.host, names)) {
      return say(response, 403, 'This server answers only under the name or the number of its own machine.')
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('Allow', 'GET, HEAD')
      return say(
        response,
        405,
        `Files can be read here (GET, HEAD), nothing else: ${request.method} is refused.`,
      )
    }
    const path = pathOf(request.url!)
    const sent =
      path !== undefined &&
      (path.startsWith(MODELS_PREFIX)
        ? await sendModel(models, path, request, response)
        : await sendPage(folder, path, request, response))
    if (!sent) say(response, 404, 'There is no such file here. The page is at /.')
  }
}

/** A number cannot be made to point elsewhere, so every number that reached this machine is good. */
function isOwnName(header: string | undefined, names: ReadonlySet<string>): boolean {
  const name = /^(?:\[([^\]]*)\]|([^:]*))(?::\d*)?$/.exec(header ?? '')
  const host = (name?.[1] ?? name?.[2] ?? '').toLowerCase()
  return isIP(host) !== 0 || names.has(host)
}

/** The path of an address, decoded; undefined where it is no plain path below the root. */
function pathOf(url: string): string | undefined {
  let path: string
  try {
    path = decodeURIComponent(url.split(/[?#]/, 1)[0]!)
  } catch {
    return undefined
  }
  const plain = path.startsWith('/') && !/[\0\\]|(^|\/)\.|\/\//.test(path)
  return plain ? path : undefined
}

async function sendModel(
  { list, paths }: SharedModels,
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<boolean> {
  if (path === `${MODELS_PREFIX}index.json`) {
    const text = JSON.stringify(list)
    response.setHeader('Content-Type', 'application/json; charset=utf-8')
    response.setHeader('Content-Length', Buffer.byteLength(text))
    response.setHeader('Cache-Control', KEEP_NOT)
    response.end(request.method === 'HEAD' ? undefined : text)
    return true
  }
  const file = paths.get(path)
  return file !== undefined && (await sendFile(file, request, response, KEEP_NOT))
}

async function sendPage(
  folder: string,
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<boolean> {
  const file = join(folder, path === '/' ? 'index.html' : path)
  // A link must not lead out of the folder.
  const [root, real] = await Promise.all([realpath(folder), realpath(file).catch(() => undefined)])
  if (real === undefined || !real.startsWith(root.endsWith(sep) ? root : root + sep)) return false
  return sendFile(real, request, response, path.startsWith('/assets/') ? FOREVER : ASK_AGAIN)
}

function say(response: ServerResponse, status: number, text: string): void {
  const body = `${text}\n`
  response.setHeader('Content-Type', 'text/plain; charset=utf-8')
  response.setHeader('Cache-Control', KEEP_NOT)
  response.writeHead(status, { 'Content-Length': Buffer.byteLength(body) })
  // To HEAD, Node sends no body.
  response.end(body)
}
