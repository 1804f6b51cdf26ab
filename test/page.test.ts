// The page as a person uses it, in a real Chromium: models from the file picker and from an address, kept and found
// again, golden tokens on every kind of device, answers that are stopped, files that are broken, keyboard and phone.

import { createReadStream, mkdirSync, readFileSync, statSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Browser, type BrowserContext, chromium, type Locator, type Page } from 'playwright-core'
import { build } from 'vite'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { findChromium } from '../bench/chromium.ts'
import { type PageServer, startPageServer } from '../src/page-server/page-server.node.ts'
import { shareModels } from '../src/page-server/shared-models.node.ts'
import { expectedOf, modelPath } from './goldens.ts'

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url))
const F32 = join(modelPath('gemma1-mqa'), 'gguf/model-f32.gguf')
/** Where pictures of the page go, to be looked at. */
const PICTURES = path('../.scratch/page')
const FLAGS = ['--no-sandbox', '--disable-quic', '--disable-dev-shm-usage', '--disable-background-networking']

const title = 'the page (skipped where no Chromium is installed)'
describe.skipIf(findChromium() === undefined)(title, () => {
  let folder: string
  let server: PageServer
  let browser: Browser
  /** The same with WebGPU, which SwiftShader plays. */
  let browserWithGpu: Browser

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gemma-page-'))
    const outDir = join(folder, 'page')
    await build({ configFile: path('../vite.config.ts'), logLevel: 'error', build: { outDir } })
    const models = await shareModels([{ path: modelPath('gemma2'), name: 'tiny Gemma 2' }])
    server = await startPageServer({ folder: outDir, models, host: '127.0.0.1', port: 0 })
    const executablePath = findChromium()
    browser = await chromium.launch({ executablePath, args: FLAGS })
    const gpu = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader']
    browserWithGpu = await chromium.launch({ executablePath, args: [...FLAGS, ...gpu] })
    mkdirSync(PICTURES, { recursive: true })
  })
  afterAll(async () => {
    await browser?.close()
    await browserWithGpu?.close()
    await server?.close()
    await rm(folder, { recursive: true, force: true })
  })

  /** A new visitor's page. What the page's console calls an error fails the test. */
  async function visit(
    from: Browser = browser,
    options: Parameters<Browser['newContext']>[0] = {},
  ): Promise<Page> {
    const context = await from.newContext({ viewport: { width: 1000, height: 900 }, ...options })
    const page = await open(context)
    const errors: string[] = []
    page.on('pageerror', ({ message }) => errors.push(message))
    onTestFinished(async () => {
      await context.close()
      expect(errors).toEqual([])
    })
    return page
  }

  async function open(context: BrowserContext): Promise<Page> {
    const page = await context.newPage()
    await page.goto(server.address)
    return page
  }

  test('files from the picker: golden tokens, kept across a reload, deleted', async () => {
    const page = await visit()
    await pick(page, F32)
    await expectText(card(page), /Gemma 1; GGUF, .*F32/)
    await load(page, { precision: 'f32' })
    await expectText(page.locator('header .status'), /model-f32\.gguf.*2 threads|model-f32\.gguf.*threads?/)
    await expectGoldens(page, 'gemma1-mqa')

    await page.reload()
    const kept = page.getByRole('listitem').filter({ hasText: 'model-f32.gguf' })
    await expectText(kept, /1\.1 MB, kept in this browser/)
    await kept.getByRole('button', { name: 'Choose' }).click()
    await load(page, { precision: 'f32', threads: 'none' })
    await expectText(page.locator('header .status'), /in the calling thread/)
    await expectGoldens(page, 'gemma1-mqa')

    await view(page, 'Model')
    await kept.getByRole('button', { name: 'Delete model-f32.gguf…' }).click()
    await kept.getByRole('button', { name: 'Delete model-f32.gguf', exact: true }).click()
    await kept.waitFor({ state: 'detached' })
    await page.reload()
    await page.getByText('0 B kept here').waitFor()
  })

  test('several files, and a model that the server offers', async () => {
    const page = await visit()
    const files = ['config.json', 'model.safetensors', 'tokenizer.model'].map((name) =>
      join(modelPath('gemma3'), name),
    )
    await pick(page, ...files)
    await load(page, { precision: 'f32', keep: false })
    await expectGoldens(page, 'gemma3')
    await view(page, 'Model')
    await page.getByRole('listitem').filter({ hasText: 'tiny Gemma 2' }).getByRole('button').click()
    await load(page, { precision: 'f32' })
    await expectGoldens(page, 'gemma2')
    await page.reload()
    await page.getByRole('listitem').filter({ hasText: 'kept in this browser' }).waitFor()
  })

  test('without isolation: one thread, and a plain notice', async () => {
    const page = await visit()
    await page.route('**/*', async (route) => {
      const response = await route.fetch()
      const headers = { ...response.headers() }
      for (const name of ['opener', 'embedder']) delete headers[`cross-origin-${name}-policy`]
      await route.fulfill({ response, headers })
    })
    await page.reload()
    await page.getByText('One thread: the server of this page does not isolate it').waitFor()
    await pick(page, F32)
    await load(page, { precision: 'f32' })
    await expectText(page.locator('header .status'), /in the calling thread/)
    await expectGoldens(page, 'gemma1-mqa')
  })

  test('on WebGPU; an answer is stopped, and given again', async () => {
    const page = await visit(browserWithGpu)
    await page.getByText(/SwiftShader.*no GPU but a program/i).waitFor()
    await pick(page, F32)
    await load(page, { precision: 'f32', device: 'webgpu' })
    await expectText(page.locator('header .status'), /WebGPU on /)
    await expectGoldens(page, 'gemma1-mqa', ['short'])

    await view(page, 'Chat')
    const chat = page.getByRole('region', { name: 'Chat' })
    await chat.getByText('Settings').click()
    await chat.getByRole('button', { name: 'Back to the defaults' }).click()
    await page.getByRole('textbox', { name: 'Message' }).fill('Go on and on.')
    await page.keyboard.press('Enter')
    await page.waitForFunction(
      () => (document.querySelector('.chat .assistant .said')?.textContent ?? '').length > 5,
    )
    await page.keyboard.press('Escape')
    await page.getByText('(stopped)').waitFor()
    await chat.getByLabel('Most tokens of an answer').fill('10')
    const turns = page.getByRole('log', { name: 'Conversation' }).getByRole('article')
    expect(await turns.count()).toBe(2)
    await page.getByRole('button', { name: 'Answer again' }).click()
    // Untaught weights never end an answer: it ends where it must.
    await page.getByText('10 tokens at').waitFor()
    await page.getByText('cut at the most tokens that were allowed').waitFor()
    expect(await turns.count()).toBe(2)
  })

  test('a download that is cancelled goes on later', async () => {
    const far = await startSlowServer(F32)
    onTestFinished(far.close)
    const page = await visit()
    await page.getByLabel('Address or Hugging Face id').fill(far.address)
    await page.getByRole('button', { name: 'Look at it' }).click()
    // Not before it has been looked at: that reads from all over the file.
    const start = card(page).getByRole('button', { name: 'Load' })
    await start.waitFor()
    far.stallAt = 500_000
    await start.click()
    await page.getByText(/Downloading… 500 kB of 1\.1 MB/).waitFor()
    await page.getByRole('button', { name: 'Cancel' }).click()
    const partial = page.getByRole('listitem').filter({ hasText: '500 kB of 1.1 MB are here' })
    await partial.waitFor()

    far.stallAt = undefined
    far.ranges.length = 0
    await partial.getByRole('button', { name: 'Fetch the rest' }).click()
    await page
      .getByRole('listitem')
      .filter({ hasText: '1.1 MB, kept' })
      .getByRole('button', { name: 'Choose' })
      .click()
    expect(far.ranges.filter((range) => range?.startsWith('bytes=500000-'))).toHaveLength(1)
    await load(page, { precision: 'f32' })
    await expectGoldens(page, 'gemma1-mqa')
  })

  test('what is broken is said, and loses nothing', async () => {
    const page = await visit()
    const alert = page.getByRole('alert')
    const bytes = readFileSync(F32)
    const files = { name: 'broken.gguf', mimeType: 'application/octet-stream' }
    await pick(page, { ...files, buffer: bytes.subarray(0, 200_000) })
    await expectText(alert, /broken\.gguf.*truncated/i)
    await pick(page, { ...files, name: 'notes.txt', buffer: Buffer.from('Not a model.') })
    await expectText(alert, /notes\.txt/)
    await page
      .getByLabel('Address or Hugging Face id')
      .fill(new URL('/models/none.gguf', server.address).href)
    await page.getByRole('button', { name: 'Look at it' }).click()
    await expectText(alert, /There is no .*none\.gguf/)
    await page.getByRole('button', { name: 'Try it' }).click()
    await page.getByRole('button', { name: 'What is 384 + 257?' }).click()
    await page.getByText('384+257=641').waitFor()
    expect(await alert.count()).toBe(0)
  })

  test('the small model by keyboard alone: ask, change, look, save; the conversation survives a reload', async () => {
    const page = await visit()
    const press = async (...keys: string[]): Promise<void> => {
      for (const key of keys) await page.keyboard.press(key)
    }
    await tabTo(page, 'Try it')
    await press('Enter')
    // The field to ask in takes the focus once the model is there.
    await page.waitForFunction(() => document.activeElement?.tagName === 'TEXTAREA')
    await page.keyboard.type('What is 384 + 257?')
    await press('Enter')
    await page.getByText('384+257=641').waitFor()
    await tabTo(page, 'Edit', 'Shift+Tab')
    await press('Enter')
    await page.waitForFunction(() => document.activeElement?.closest('.editor') !== null)
    await press('Control+a')
    await page.keyboard.type('What is 100 + 200?')
    await tabTo(page, 'Ask this instead')
    await press('Enter')
    await page.getByText('100+200=300').waitFor()
    expect(await page.getByText('384+257=641').count()).toBe(0)
    await page.getByText('What the model reads').click()
    await page
      .getByText('<start_of_turn>user\nWhat is 100 + 200?<end_of_turn>\n<start_of_turn>model')
      .waitFor()

    const download = page.waitForEvent('download')
    await page.getByRole('button', { name: 'Save as JSON' }).click()
    const record = JSON.parse(readFileSync(await (await download).path(), 'utf8'))
    expect(record).toMatchObject({
      model: 'Gemma micro',
      messages: [{ role: 'user' }, { role: 'assistant' }],
    })
    await page.screenshot({ path: join(PICTURES, 'chat.png'), fullPage: true })

    await page.reload()
    await page.getByRole('button', { name: 'Try it' }).click()
    await page.getByText('100+200=300').waitFor()
  })

  test('tokens in colours; dark, and as wide as a phone', async () => {
    const page = await visit(browser, { viewport: { width: 360, height: 740 }, colorScheme: 'dark' })
    const narrow = (): Promise<boolean> =>
      page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth)
    expect(await narrow()).toBe(true)
    await page.screenshot({ path: join(PICTURES, 'phone-models.png'), fullPage: true })
    await pick(page, F32)
    await card(page).waitFor()
    expect(await narrow()).toBe(true)
    await load(page, { precision: 'f32' })
    await view(page, 'Tokens')
    const { text, ids } = expectedOf('gemma1-mqa').prompts.short!
    await page.getByRole('textbox', { name: 'Text', exact: true }).fill(text)
    // Encoding by itself puts no <bos> in front.
    await page.getByText(`${ids.length - 1} tokens, `).waitFor()
    expect(await page.locator('.pieces small').allTextContents()).toEqual(ids.slice(1).map(String))
    expect(await narrow()).toBe(true)
    await page.screenshot({ path: join(PICTURES, 'phone-tokens.png'), fullPage: true })
  })
})

type Picked = Parameters<Locator['setInputFiles']>[0]

async function pick(
  page: Page,
  ...files: readonly (string | { name: string; mimeType: string; buffer: Buffer })[]
): Promise<void> {
  await page.getByLabel('Pick files').setInputFiles(files as Picked)
}

const card = (page: Page): Locator => page.getByRole('article', { name: /^About / })

interface Choices {
  readonly precision: string
  readonly device?: string
  readonly threads?: string
  readonly keep?: boolean
}

/** Loads the chosen model, which leads to the chat. */
async function load(page: Page, { precision, device, threads, keep }: Choices): Promise<void> {
  const about = card(page)
  await about.getByLabel('Precision').selectOption(precision)
  if (device !== undefined) await about.getByLabel('Runs on').selectOption(device)
  if (threads !== undefined) await about.getByLabel('Threads').selectOption(threads)
  if (keep === false) await about.getByLabel(/^Keep it/).uncheck()
  await about.getByRole('button', { name: 'Load' }).click()
  await page.getByRole('textbox', { name: 'Message' }).waitFor()
}

async function view(page: Page, name: string): Promise<void> {
  await page.getByRole('navigation').getByRole('button', { name }).click()
}

/** The golden prompts, continued in the view for texts. */
async function expectGoldens(page: Page, name: string, prompts = ['short', 'long']): Promise<void> {
  await view(page, 'Text')
  for (const prompt of prompts) {
    const { text, greedy } = expectedOf(name).prompts[prompt]!
    const here = page.getByRole('region', { name: 'Text' })
    await here.getByText('Settings').click()
    await here.getByLabel('Most tokens of an answer').fill(String(greedy.ids.length))
    await here.getByText('Settings').click()
    await here.getByLabel('Text to go on with').fill(text)
    await here.getByRole('button', { name: 'Continue' }).click()
    await here.getByText(`${greedy.ids.length} tokens at`).waitFor()
    const tokens = await here
      .locator('[data-token]')
      .evaluateAll((all) => all.map((one) => Number(one.dataset.token)))
    expect(tokens).toEqual(greedy.ids)
    await here.getByRole('button', { name: 'Take it over' }).click()
  }
}

async function expectText(locator: Locator, pattern: RegExp): Promise<void> {
  await locator.filter({ hasText: pattern }).waitFor()
}

/** Moves the focus as a person without a mouse does. */
async function tabTo(page: Page, name: string, key = 'Tab'): Promise<void> {
  for (let i = 0; i < 60; i++) {
    await page.keyboard.press(key)
    const text = await page.evaluate(() => document.activeElement?.textContent ?? '')
    if (text === name) return
  }
  throw new Error(`No ${name} can be reached with ${key}.`)
}

interface SlowServer {
  readonly address: string
  /** Answers stop here without ending, while it is set. */
  stallAt: number | undefined
  /** The Range of each request. */
  readonly ranges: (string | undefined)[]
  close(): Promise<void>
}

/** A server of another origin that lets everybody read one file. */
async function startSlowServer(file: string): Promise<SlowServer> {
  const { size } = statSync(file)
  const slow: SlowServer = { address: '', stallAt: undefined, ranges: [], close: async () => {} }
  const http = createServer((request, response) => {
    response.setHeader('Access-Control-Allow-Origin', '*')
    response.setHeader('Access-Control-Expose-Headers', 'Content-Range')
    if (!request.url?.endsWith('.gguf')) return void response.writeHead(404).end()
    const { range } = request.headers
    slow.ranges.push(range)
    const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(range ?? '') ?? []
    const start = Number(from ?? 0)
    const end = Math.min(size - 1, to ? Number(to) : size - 1)
    if (range) response.setHeader('Content-Range', `bytes ${start}-${end}/${size}`)
    response.writeHead(range ? 206 : 200, { 'Content-Length': end - start + 1 })
    const { stallAt = size } = slow
    if (start >= stallAt) return
    const stall = end >= stallAt
    createReadStream(file, { start, end: stall ? stallAt - 1 : end }).pipe(response, { end: !stall })
  })
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  return Object.assign(slow, {
    address: `http://127.0.0.1:${(http.address() as AddressInfo).port}/model.gguf`,
    async close() {
      http.closeAllConnections()
      await new Promise((resolve) => http.close(resolve))
    },
  })
}
