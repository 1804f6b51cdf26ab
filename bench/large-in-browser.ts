// Whether a large model loads and answers in headless Chromium, past the 4 GiB of one WebAssembly memory:
//
//   node bench/large-in-browser.ts MODEL.gguf [vocabulary]
//
// Prints load time, tokens per second and one line of JSON.

import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { inPage } from './peers/engine.ts'
import { prepareOwn } from './peers/prepare.ts'

const [model, vocabulary = '256000'] = process.argv.slice(2)
if (model === undefined) throw new Error('usage: node bench/large-in-browser.ts MODEL.gguf [vocabulary]')
const file = resolve(model)
const own = await prepareOwn(fileURLToPath(new URL('../.scratch/peers', import.meta.url)))
const engine = await inPage(
  'gemma-ts.page.ts',
  own.folder,
)({ model: { file, parts: [file], vocabulary: Number(vocabulary) }, threads: 2, contextLength: 1024 })
const { prompt, prefillMs, tokens, decodeMs } = await engine.run(1, 32, 8)
const peakBytes = await engine.stop()
const result = {
  bench: 'large-in-browser',
  file: model,
  loadMs: Math.round(engine.loadMs),
  peakBytes,
  prefillTokensPerSecond: (prompt / prefillMs) * 1000,
  decodeTokensPerSecond: (tokens / decodeMs) * 1000,
}
console.log(JSON.stringify(result))
