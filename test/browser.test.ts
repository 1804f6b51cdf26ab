// The same golden numbers in a real browser: with threads on a page that is isolated from other origins, and in
// the calling thread on one that is not.

import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import { findChromium, openPage, type Page } from '../bench/chromium.ts'
import { expectedOf, modelPath } from './goldens.ts'

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url))

const MODULE = `
import { Gemma } from '/src/index.web.ts'
let gemma
export const isolated = () => crossOriginIsolated
export async function load(source, options) {
  gemma = await Gemma.load(source, options)
  return gemma.description
}
export async function loadFiles(urls, options) {
  const files = urls.map(async (url) => new File([await (await fetch(url)).blob()], url.split('/').pop()))
  gemma = await Gemma.load(await Promise.all(files), options)
}
export const encode = (text) => gemma.tokenizer.encode(text, { bos: true })
export async function greedy(ids, maxTokens) {
  const tokens = []
  for await (const { token } of gemma.generate(ids, { maxTokens, temperature: 0 })) tokens.push(token)
  return tokens
}
export async function answerOfBuiltIn(question) {
  gemma = await Gemma.load()
  let answer = ''
  for await (const text of gemma.chat([{ role: 'user', content: question }])) answer += text
  await gemma.dispose()
  return answer
}
export const dispose = () => gemma.dispose()
export async function refused(source, options) {
  try { await Gemma.load(source, options) } catch (error) { return error.code + ': ' + error.message }
}
`

async function open(isolated: boolean, webgpu = false): Promise<Page> {
  const page = await openPage({
    isolated,
    webgpu,
    module: MODULE,
    imports: { '@huggingface/jinja': '/node_modules/@huggingface/jinja/dist/index.js' },
    routes: {
      '/src/': path('../src'),
      '/node_modules/': path('../node_modules'),
      '/models/micro/': path('../models/micro'),
      '/models/': path('data/models'),
    },
  })
  onTestFinished(() => page.close())
  return page
}

async function expectGoldens(page: Page, name: string): Promise<void> {
  for (const prompt of ['short', 'long'] as const) {
    const { text, ids, greedy } = expectedOf(name).prompts[prompt]!
    expect(await page.call('encode', text)).toEqual(ids)
    expect(await page.call('greedy', ids, greedy.ids.length)).toEqual(greedy.ids)
  }
  await page.call('dispose')
}

const title = 'Chromium (skipped where none is installed)'
describe.skipIf(findChromium() === undefined)(title, () => {
  test('with threads, from addresses', async () => {
    const page = await open(true)
    expect(await page.call('isolated')).toBe(true)
    for (const name of readdirSync(modelPath('gemma1-mqa/..'))) {
      expect(await page.call('load', `/models/${name}/`, { dtype: 'f32', threads: 2 })).toContain('2 threads')
      await expectGoldens(page, name)
    }
    await page.call('load', '/models/gemma1-mqa/gguf/model-f16.gguf', { dtype: 'f32' })
    await expectGoldens(page, 'gemma1-mqa')
  })

  test('without isolation, in the calling thread', async () => {
    const page = await open(false)
    expect(await page.call('isolated')).toBe(false)
    expect(await page.call('load', '/models/gemma1-mqa/', { dtype: 'f32' })).toContain(
      'in the calling thread',
    )
    await expectGoldens(page, 'gemma1-mqa')
    expect(await page.call('refused', '/models/gemma1-mqa/', { threads: 2 })).toMatch(/^usage: .*isolated/)
  })

  test('on WebGPU, which SwiftShader plays there', async () => {
    const page = await open(false, true)
    const device = 'webgpu'
    for (const [name, dtype] of [
      ['gemma3', 'f32'],
      ['gemma2', 'auto'],
    ] as const) {
      const description = await page.call('load', `/models/${name}/`, { device, dtype })
      expect(description).toMatch(/^WebGPU on .*software/)
      await expectGoldens(page, name)
    }
    expect(await page.call('load', '/models/gemma1-mqa/', { dtype: 'f32' })).toMatch(
      /no GPU: .* a program\)$/,
    )
    await page.call('dispose')
  })

  test('where WebGPU finds no GPU, asking for it is refused', async () => {
    const page = await open(false)
    const refused = await page.call('refused', '/models/gemma1-mqa/', { device: 'webgpu' })
    expect(refused).toMatch(/^unsupported: .*WebGPU/)
  })

  test('from files that a person picked', async () => {
    const page = await open(true)
    const folder = '/models/gemma2'
    const files = ['config.json', 'model.safetensors', 'tokenizer.model'].map((file) => `${folder}/${file}`)
    await page.call('loadFiles', files, { dtype: 'f32', threads: 1 })
    await expectGoldens(page, 'gemma2')
    await page.call('loadFiles', ['/models/gemma1-mqa/gguf/model-f32.gguf'], { threads: 1 })
    await expectGoldens(page, 'gemma1-mqa')
  })

  test('without a source: the model of the package, from where its code lies', async () => {
    const page = await open(true)
    expect(await page.call('answerOfBuiltIn', 'What is 384 + 257?')).toMatch(/\n384\+257=641\s*$/)
  })

  test('what cannot be loaded is refused in one sentence', async () => {
    const page = await open(true)
    const refused = (source: unknown): Promise<string> => page.call('refused', source, {})
    expect(await refused('')).toMatch(/^usage: /)
    expect(await refused('/models/none/')).toMatch(/^file: .*model\.safetensors/)
    expect(await refused('/models/none.gguf')).toMatch(/^file: .*none\.gguf/)
    expect(await refused('/models/gemma1-mqa/config.json')).toMatch(/^file: /)
    expect(await refused('ftp://localhost/model.gguf')).toMatch(/^usage: /)
  })
})
