// Loading as a browser does it, from Blobs, Files and addresses; Node has all of them too. What needs a real
// browser is in test/browser.test.ts.

import { mkdtempSync, openAsBlob, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { expectedOf, modelPath } from '../test/goldens.ts'
import { Gemma as GemmaOnDisk } from './index.ts'
import { Gemma, GemmaError, type WebModelSource } from './index.web.ts'
import { configIn, writeTestAdapter } from './weights/testing/adapter-files.ts'

const ROOT = modelPath('gemma1-mqa')
const file = (path: string, name: string = path.split('/').pop()!): File =>
  new File([readFileSync(`${ROOT}/${path}`)], name)

async function expectGolden(source: WebModelSource): Promise<void> {
  await using gemma = await Gemma.load(source, { dtype: 'f32', threads: 0 })
  const { text, ids, greedy } = expectedOf('gemma1-mqa').prompts.short!
  expect(gemma.tokenizer.encode(text, { bos: true })).toEqual(ids)
  const pieces = await Array.fromAsync(gemma.generate(text, { maxTokens: 8, temperature: 0 }))
  expect(pieces.map(({ token }) => token)).toEqual(greedy.ids.slice(0, 8))
}

async function refusal(source: WebModelSource): Promise<string> {
  const error = await Gemma.load(source, { threads: 0 }).catch((cause: unknown) => cause)
  expect(error).toBeInstanceOf(GemmaError)
  const { code, message } = error as GemmaError
  return `${code}: ${message}`
}

const config = file('config.json')
const tokenizer = file('tokenizer.model')
const shards = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'].map((name) =>
  file(`sharded/${name}`),
)
const index = file('sharded/model.safetensors.index.json')

describe('picked files', () => {
  test.each([
    ['safetensors', [config, file('model.safetensors'), tokenizer]],
    ['safetensors with tokenizer.json alone', [config, file('model.safetensors'), file('tokenizer.json')]],
    ['sharded safetensors', [config, ...shards, index, tokenizer]],
    ['a torch checkpoint', [config, file('official/model.ckpt'), tokenizer]],
    ['a GGUF file', [file('gguf/model-f16.gguf')]],
    ['a GGUF file under another name', [file('gguf/model-f16.gguf', 'weights')]],
  ])('%s', (_, files) => expectGolden(files))

  test('a Blob without a name', () => expectGolden(new Blob([readFileSync(`${ROOT}/gguf/model-f32.gguf`)])))

  test('what is missing is named', async () => {
    expect(await refusal([file('model.safetensors'), tokenizer])).toMatch(/^file: .*config\.json/)
    expect(await refusal([config, tokenizer])).toMatch(/^file: .*no weights/)
    expect(await refusal([config, shards[0]!, index])).toMatch(/^file: .*lacks model-00002-of-00002/)
    expect(await refusal([config, ...shards])).toMatch(/^file: .*several weight files/)
    expect(await refusal([file('gguf/model-f16.gguf', 'm-00001-of-00002.gguf')])).toMatch(
      /^file: .*lacks m-00002-of-00002/,
    )
    for (const [name, text] of [
      ['notes.txt', 'Not a model at all.'],
      ['model.zip', 'PK\x03\x04 and more'],
      ['model.gguf', 'GGML'],
      ['empty.gguf', ''],
    ] as const) {
      const why = text === '' ? 'it is empty' : 'it begins like neither GGUF nor safetensors'
      expect(await refusal(new File([text], name))).toContain(`file: ${name} holds no weights: ${why}.`)
    }
    expect(await refusal(new Blob(['text']))).toMatch(/^file: .* holds no weights/)
    expect(await refusal([])).toMatch(/^usage: /)
    expect(await refusal([new File(['{'], 'config.json'), file('model.safetensors')])).toMatch(
      /^file: config\.json is not valid JSON/,
    )
  })
})

test('a picked file that has changed since is named', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'gemma-web-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'model.gguf')
  writeFileSync(path, readFileSync(`${ROOT}/gguf/model-f16.gguf`))
  const picked = new File([await openAsBlob(path)], 'model.gguf')
  writeFileSync(path, 'another')
  expect(await refusal(picked)).toMatch(/^file: model\.gguf can no longer be read\. Was it moved/)
})

/** Serves a directory by ranges; gives its address. */
async function serve(directory: string): Promise<string> {
  const server = createServer((request, response) => {
    const [from, to] = /bytes=(\d+)-(\d+)/.exec(request.headers.range!)!.slice(1).map(Number)
    let bytes: Buffer
    try {
      bytes = readFileSync(directory + request.url!.split('?')[0])
    } catch {
      return void response.writeHead(404).end()
    }
    const part = bytes.subarray(from, to + 1)
    const range = `bytes ${from}-${from + part.length - 1}/${bytes.length}`
    response.writeHead(206, { 'Content-Range': range }).end(part)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('adapters: picked files and addresses give what a directory gives', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'gemma-web-adapter-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  await writeTestAdapter(directory, await configIn(ROOT), { rank: 5 })
  const files = ['adapter_config.json', 'adapter_model.safetensors'].map(
    (name) => new File([readFileSync(join(directory, name))], name),
  )
  const base = await serve(directory)
  const model = [config, file('model.safetensors'), tokenizer]
  const { ids } = expectedOf('gemma1-mqa').prompts.short!
  await using onDisk = await GemmaOnDisk.load(ROOT, { threads: 0, adapters: { a: directory } })
  const expected = await onDisk.logits(ids, { adapter: 'a' })
  await using gemma = await Gemma.load(model, { threads: 0, adapters: { picked: files, served: `${base}/` } })
  expect(await gemma.logits(ids, { adapter: 'picked' })).toEqual(expected)
  expect(await gemma.logits(ids, { adapter: 'served' })).toEqual(expected)
  expect(await gemma.logits(ids)).toEqual(await onDisk.logits(ids))

  const refused = async (adapter: File[] | string): Promise<string> => {
    const error = await Gemma.load(model, { threads: 0, adapters: { adapter } }).catch(
      (cause: unknown) => cause,
    )
    return `${(error as GemmaError).code}: ${(error as GemmaError).message}`
  }
  expect(await refused([files[0]!])).toMatch(/^file: .*is no adapter: it has no adapter_model\.safetensors/)
  expect(await refused(`${base}/elsewhere/`)).toMatch(/^file: .*it has no adapter_config\.json/)
  expect(await refused([])).toMatch(/^usage: /)
})

test('addresses', async () => {
  const base = await serve(ROOT)
  await expectGolden(`${base}/`)
  await expectGolden(new URL(`${base}/gguf/model-f16.gguf?download=true`))
  expect(await refusal(`${base}/gguf/`)).toMatch(/^file: .*neither model\.safetensors/)
  expect(await refusal(`${base}/gguf/none.gguf`)).toMatch(/^file: There is no .*none\.gguf/)
  expect(await refusal('model.gguf')).toMatch(/^usage: /)
})
