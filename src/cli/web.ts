// gemma web: the chat page on a server of one's own. The model runs in the page; this program hands over files.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { abortedError, GemmaError } from '../error.ts'
import type { LocalModel } from '../page-server/shared-models.node.ts'
import type { Interrupts } from './interrupt.ts'
import { addExamples, fetchModel, MODEL_HELP } from './model-options.ts'
import { wholeNumber } from './option-values.ts'
import { note, print, printJson } from './output.ts'

interface Flags {
  readonly port?: number
  readonly host: string
  readonly open?: boolean
  readonly json?: boolean
  readonly quiet?: boolean
}

const PORT = 8417
/** Where the usual port is taken, the next ones are tried. */
const ATTEMPTS = 20

export function addWeb(program: Command, interrupts: Interrupts): void {
  const command = program
    .command('web')
    .summary('a page to chat in; the model runs in the browser')
    .description(
      'Serves the chat page on this machine, with the headers that let it use threads, until Ctrl-C. The page ' +
        'reads models that you pick, or that you name here; nothing leaves the machine.',
    )
    .argument('[models...]', `offered in the page: ${MODEL_HELP}`)
    .option(
      '--port <n>',
      `port; 0 takes any that is free (default: ${PORT}, or the next free one)`,
      wholeNumber(0, 65_535),
    )
    .option('--host <address>', 'interface to listen on; 0.0.0.0 for other devices too', '127.0.0.1')
    .option('--open', 'open the page in the browser')
    .option('--json', 'print one JSON object: address, port, models')
    .option('-q, --quiet', 'no progress and no remarks')
    .action((models: readonly string[], flags: Flags) => serve(models, flags, interrupts))
  addExamples(command, [
    'gemma web',
    'gemma web ./gemma-2b-it-q4.gguf --open',
    'gemma web google/gemma-2b-it --port 9000',
    'gemma web --host 0.0.0.0',
  ])
}

async function serve(names: readonly string[], flags: Flags, interrupts: Interrupts): Promise<void> {
  const { host, port, quiet } = flags
  const folder = builtPage()
  const local: LocalModel[] = []
  for (const name of names) {
    const path = await fetchModel(name, { quiet }, interrupts)
    local.push(path === name ? { path } : { path, name })
  }
  const { shareModels } = await import('../page-server/shared-models.node.ts')
  const { startPageServer } = await import('../page-server/page-server.node.ts')
  const models = await shareModels(local)
  const server = await startPageServer({
    ...{ folder, models, host, port: port ?? PORT, attempts: port === undefined ? ATTEMPTS : 1 },
    onFault: note,
  })
  try {
    const { address } = server
    if (flags.json) await printJson({ address, port: server.port, models: models.list })
    else await print(`${address}\n`)
    if (!quiet) remark(flags, server.port)
    if (flags.open) openInBrowser(address)
    if (!interrupts.signal.aborted) await once(interrupts.signal, 'abort')
  } finally {
    await server.close()
  }
  throw abortedError(interrupts.signal)
}

/** dist/web, seen from src/cli and from dist/cli alike. */
function builtPage(): string {
  const folder = fileURLToPath(new URL('../../dist/web', import.meta.url))
  if (existsSync(join(folder, 'index.html'))) return folder
  throw new GemmaError(
    'file',
    `The page has not been built: ${folder} has no index.html.`,
    'Run npm run build:web in the repository, or install the package again.',
  )
}

function remark({ port, host }: Flags, own: number): void {
  if (port === undefined && own !== PORT) {
    note(
      `Port ${PORT} is taken. Models that the page kept there belong to that address and are not seen under this one.`,
    )
  }
  const loopback = isIP(host) === 0 ? host === 'localhost' : host === '::1' || host.startsWith('127.')
  if (!loopback) {
    note(
      'Every device that reaches this one can read the page and the models named here. Browsers grant threads, WebGPU ' +
        'and kept models only to https and to localhost: put a proxy with a certificate in front for other devices.',
    )
  }
  note('Ctrl-C ends it.')
}

/** As every system opens an address; that there may be no browser is worth a line, not an end. */
function openInBrowser(address: string): void {
  const [command, ...args] = { darwin: ['open'], win32: ['rundll32', 'url.dll,FileProtocolHandler'] }[
    process.platform as string
  ] ?? ['xdg-open']
  const child = spawn(command!, [...args, address], { stdio: 'ignore', detached: true })
  child.once('error', (error) => note(`No browser could be opened: ${error.message}`))
  child.unref()
}
