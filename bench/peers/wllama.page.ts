// wllama in a page, from its package under /package/. It takes Blobs of less than 2 GB, which are fetched first
// (that counts as loading), and prompts as text: the words of the synthetic vocabulary are one token each.

import { type Calls, createCalls } from './prompt.ts'

/** The part of its interface that is used here; the package is no dependency. */
interface Wllama {
  loadModel(blobs: readonly Blob[], options: object): Promise<void>
  createCompletion(options: object): Promise<AsyncIterable<Chunk>>
  exit(): Promise<void>
}
interface Chunk {
  readonly choices?: ReadonlyArray<{ readonly finish_reason: string | null }>
  readonly timings?: { readonly prompt_n: number }
}

const ENTRY = '/package/node_modules/@wllama/wllama/esm'
const { Wllama } = (await import(`${ENTRY}/index.js`)) as {
  Wllama: new (paths: Record<string, string>, options: object) => Wllama
}
let wllama: Wllama

/** Two-letter words, one for each token after <bos>. */
function textOf(tokens: readonly number[]): string {
  const letter = (value: number): string => String.fromCharCode(97 + (value % 26))
  return tokens
    .slice(1)
    .map((token) => letter(token) + letter(Math.floor(token / 26)))
    .join(' ')
}

const calls: Calls = createCalls({
  async load({ model, threads, contextLength }) {
    const blobs: Blob[] = []
    for (const part of model.parts) blobs.push(await (await fetch(part)).blob())
    wllama = new Wllama({ default: `${ENTRY}/wasm/wllama.wasm` }, { suppressNativeLog: true })
    await wllama.loadModel(blobs, {
      n_ctx: contextLength,
      n_batch: 512,
      n_ubatch: 512,
      n_threads: threads,
      n_gpu_layers: 0,
      n_parallel: 1,
      warmup: false,
    })
  },
  async answer(tokens, kept, count, onToken) {
    if (kept > 0) throw new Error('wllama is not asked to go on from a long context')
    const options = { max_tokens: count, temperature: 0, ignore_eos: true, stream: true }
    const chunks = await wllama.createCompletion({ prompt: textOf(tokens), ...options })
    for await (const { choices, timings } of chunks) {
      // Otherwise the rates would be of another prompt.
      if (timings !== undefined && Math.abs(timings.prompt_n - tokens.length) > 2) {
        throw new Error(`${tokens.length} words became ${timings.prompt_n} tokens`)
      }
      if (choices?.length && !choices[0]!.finish_reason) onToken(0)
    }
  },
  dispose: () => wllama.exit(),
})

export const start: Calls['start'] = calls.start
export const run: Calls['run'] = calls.run
export const fill: Calls['fill'] = calls.fill
