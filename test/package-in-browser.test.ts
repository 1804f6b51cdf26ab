// The package as it is published, in a real browser: from a page that imports its modules as they are, and from an
// application that Vite has built with nothing configured. Both must find kernels, worker and the model of the package.

import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, createLogger } from 'vite'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { findChromium, openPage, type Page } from '../bench/chromium.ts'
import { expectedOf, modelPath } from './goldens.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

/** What an application of a user does with the package. */
const APPLICATION = `
import { Gemma, GemmaError } from 'gemma-ts'

let gemma
globalThis.application = {
  async load(source, options) {
    gemma = await Gemma.load(source, options)
    return gemma.description
  },
  async greedy(text, maxTokens) {
    const tokens = []
    for await (const { token } of gemma.generate(text, { maxTokens, temperature: 0 })) tokens.push(token)
    await gemma.dispose()
    return tokens
  },
  async ask(question) {
    let answer = ''
    for await (const text of gemma.chat([{ role: 'user', content: question }])) answer += text
    await gemma.dispose()
    return answer
  },
  refused: (source) => Gemma.load(source).then(() => 'loaded', (error) => error instanceof GemmaError && error.code),
}
`

/** The page of a test starts the application and passes calls on. */
const pageFor = (entry: string): string => `
import '${entry}'
export const load = (...args) => application.load(...args)
export const greedy = (...args) => application.greedy(...args)
export const ask = (...args) => application.ask(...args)
export const refused = (...args) => application.refused(...args)
`

const { text, greedy } = expectedOf('gemma1-mqa').prompts.short!

async function expectModels(page: Page, isolated: boolean): Promise<void> {
  const threads = isolated ? 2 : undefined
  const where = isolated ? '2 threads' : 'in the calling thread'
  expect(await page.call('load', '/models/gemma1-mqa/', { dtype: 'f32', threads })).toContain(where)
  expect(await page.call('greedy', text, greedy.ids.length)).toEqual(greedy.ids)
  expect(await page.call('load')).toMatch(isolated ? /\d threads?$/ : /in the calling thread$/)
  expect(await page.call('ask', 'What is 384 + 257?')).toMatch(/\n384\+257=641\s*$/)
  expect(await page.call('refused', '/models/none.gguf')).toBe('file')
}

/** A project of a user, with the package installed as npm would unpack it. */
let project: string

function installPackage(): void {
  project = mkdtempSync(join(tmpdir(), 'gemma-in-browser-'))
  const source = join(project, 'source')
  mkdirSync(join(source, 'models'), { recursive: true })
  for (const name of ['package.json', 'models/micro'])
    cpSync(join(root, name), join(source, name), { recursive: true })
  const run = (command: string, args: readonly string[], cwd: string): string =>
    execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
  run(process.execPath, ['scripts/build.ts', '--no-page', '--out', join(source, 'dist')], root)
  const [packed] = JSON.parse(
    run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', project], source),
  )
  const modules = join(project, 'node_modules')
  mkdirSync(join(modules, '@huggingface'), { recursive: true })
  run('tar', ['-xzf', packed.filename, '-C', modules], project)
  execFileSync('mv', ['package', 'gemma-ts'], { cwd: modules })
  symlinkSync(join(root, 'node_modules/@huggingface/jinja'), join(modules, '@huggingface/jinja'))
  writeFileSync(join(project, 'application.js'), APPLICATION)
}

describe.skipIf(findChromium() === undefined)('Chromium (skipped where none is installed)', () => {
  beforeAll(installPackage)
  afterAll(() => rmSync(project, { recursive: true, force: true }))

  async function open(isolated: boolean, module: string, routes: Record<string, string>): Promise<Page> {
    const page = await openPage({
      isolated,
      module,
      routes: { ...routes, '/models/': modelPath('.') },
      imports: {
        'gemma-ts': '/node_modules/gemma-ts/dist/index.web.js',
        '@huggingface/jinja': '/node_modules/@huggingface/jinja/dist/index.js',
      },
    })
    onTestFinished(() => page.close())
    return page
  }

  test.each([true, false])('modules as they are, isolated: %s', async (isolated) => {
    const routes = {
      '/node_modules/': join(project, 'node_modules'),
      '/application.js': join(project, 'application.js'),
    }
    await expectModels(await open(isolated, pageFor('/application.js'), routes), isolated)
  })

  test('built by Vite', async () => {
    writeFileSync(join(project, 'index.html'), '<script type="module" src="/application.js"></script>')
    const logger = createLogger('silent')
    const warnings: string[] = []
    logger.warn = (message) => void warnings.push(message)
    await build({ configFile: false, root: project, base: '/built/', customLogger: logger, logLevel: 'warn' })
    expect(warnings).toEqual([])
    const assets = join(project, 'dist', 'assets')
    const names = readdirSync(assets)
    const entry = names.find((name) => /^index-.*\.js$/.test(name))
    for (const file of [/^worker-.*\.js$/, /^kernels\.relaxed-.*\.wasm$/, /^micro-.*\.gguf$/]) {
      expect(names).toContainEqual(expect.stringMatching(file))
    }
    const page = await open(true, pageFor(`/built/assets/${entry}`), { '/built/': join(project, 'dist') })
    await expectModels(page, true)
  })
})
