// Decoding, prompts and dispatches on the GPU, beside what the card copies in a second:
//
//   npm run bench:gpu -- [--shape 2b,7b] [--type q4_0,q8_0,bf16] [--prompt-tokens 512] [--new-tokens 64]
//
// Runs on the fastest adapter; where there is none but a driver in software, on that, with a small model unless told
// otherwise: its figures say nothing about GPUs, only that everything works. Needs the package webgpu (npm install webgpu,
// or where .ci/run puts it). Models have random weights and are made once, in .scratch/. Ends in one line of JSON.

import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { createWebGpuBackend } from '../src/backends/webgpu/backend.ts'
import { findAdapter, openDevice } from '../src/backends/webgpu/device.ts'
import { openGpu } from '../src/backends/webgpu/open.node.ts'
import { useInstalledWebGpu } from '../src/backends/webgpu/testing/webgpu.node.ts'
import { BUFFER } from '../src/backends/webgpu/usage.ts'
import { createTape, keep, persistentTensor, type Tape } from '../src/graph/tape.ts'
import type { Gemma } from '../src/index.ts'
import { load } from '../src/load.node.ts'
import { add } from '../src/ops/add/add.ts'
import { embed } from '../src/ops/embed/embed.ts'
import { type TokenCost, tokenCosts } from './gpu-token.ts'
import { prepareModel, SHAPES, type Shape } from './peers/prepare.ts'
import { median } from './peers/report.ts'

interface Result {
  readonly shape: string
  readonly type: string
  readonly weightBytes: number
  readonly loadMs: number
  readonly prefillTokensPerSecond: number
  /** Multiply-adds of the layers, 10⁹ a second. */
  readonly prefillGigamacs: number
  readonly decodeTokensPerSecond: number
  /** Weights read in a second, and their share of the bytes that a copy moves in one. */
  readonly decodeGigabytes: number
  readonly share: number
}

const text = { type: 'string' } as const
const { values } = parseArgs({
  options: { shape: text, type: text, 'prompt-tokens': text, 'new-tokens': text },
})
const adapter = await findAdapter(await gpu())
if (!adapter) throw new Error('WebGPU finds no adapter, not even one in software.')
const { name, software } = adapter
const shapes = (values.shape ?? (software ? 'small' : '2b')).split(',')
const types = (values.type ?? 'q4_0,q8_0,bf16').split(',')
const promptTokens = Number(values['prompt-tokens'] ?? (software ? 64 : 512))
const newTokens = Number(values['new-tokens'] ?? (software ? 16 : 64))

console.log(`${name}${software ? ' (a driver in software)' : ''}`)
const copy = await copyBandwidth(software ? 64 << 20 : 256 << 20)
console.log(`copies ${(copy / 1e9).toFixed(1)} GB/s, read and written bytes together`)
const dispatches = await dispatchCosts()
console.log(
  `a small dispatch ${dispatches.microseconds.toFixed(1)} µs, a run of one ${dispatches.emptyRunMs.toFixed(2)} ms`,
)
const tokens: TokenCost[] = []
for (const dtype of ['int4', 'bf16'] as const) {
  tokens.push(...(await tokenCosts(dtype, software ? 2 : 18, [127, 4095], software ? 9 : 30)))
}
for (const { dtype, layers, position, fused, dispatches, milliseconds } of tokens) {
  console.log(
    `a token of 2b in ${dtype}, ${layers} layers, after ${position}: ${dispatches} dispatches, ` +
      `${milliseconds.toFixed(2)} ms ${fused ? 'fused' : 'apart'}`,
  )
}
const results: Result[] = []
for (const shape of shapes) {
  if (!(shape in SHAPES)) throw new Error(`There is no shape ${shape}: ${Object.keys(SHAPES).join(', ')}.`)
  for (const type of types) results.push(await measure(shape as Shape, type))
}
console.log(
  JSON.stringify({
    bench: 'gpu',
    node: process.version,
    device: name,
    software,
    copy,
    dispatches,
    tokens,
    results,
  }),
)

/** A real GPU if one answers, else the software driver that tests use. */
async function gpu(): Promise<GPU> {
  useInstalledWebGpu()
  return openGpu()
}

async function copyBandwidth(bytes: number): Promise<number> {
  const open = await openDevice((await findAdapter(await openGpu()))!)
  const { device } = open
  const usage = BUFFER.COPY_SRC | BUFFER.COPY_DST
  const [from, to] = [0, 1].map(() => device.createBuffer({ size: bytes, usage }))
  const times: number[] = []
  const copies = software ? 2 : 20
  for (let i = 0; i < 8; i++) {
    const encoder = device.createCommandEncoder()
    for (let j = 0; j < copies; j++) encoder.copyBufferToBuffer(from!, 0, to!, 0, bytes)
    const start = performance.now()
    device.queue.submit([encoder.finish()])
    await device.queue.onSubmittedWorkDone()
    times.push(performance.now() - start)
  }
  open.close()
  return (2 * bytes * copies) / (median(times.slice(2)) / 1000)
}

/** What 400 dispatches cost beside one, each reading what the one before wrote. */
async function dispatchCosts(): Promise<{ microseconds: number; emptyRunMs: number }> {
  const table = persistentTensor('weight', 'table', [1, 2048], 'f32')
  const open = await openDevice((await findAdapter(await openGpu()))!)
  const backend = await createWebGpuBackend({ open, tensors: [table], constants: new Map() })
  backend.put(table, new Float32Array(2048))
  const record = (steps: number): Tape => {
    const tape = createTape(1)
    let value = embed(tape, table, 1)
    const first = value
    for (let i = 0; i < steps; i++) value = add(tape, value, first)
    keep(tape, value)
    return tape
  }
  const zeros = new Int32Array(1)
  const sampling = { temperature: 0, topK: 1, topP: 1, uniform: new Float64Array(1) }
  const inputs = { rows: 1, tokens: zeros, positions: zeros, sequences: zeros, targets: zeros, sampling }
  const time = async (steps: number): Promise<number> => {
    const plan = backend.compile(record(steps))
    const times: number[] = []
    for (let i = 0; i < 30; i++) {
      const start = performance.now()
      await backend.run(plan, inputs)
      times.push(performance.now() - start)
    }
    return median(times.slice(5))
  }
  const [one, many] = [await time(0), await time(400)]
  await backend.dispose()
  return { microseconds: ((many - one) / 400) * 1000, emptyRunMs: one }
}

async function measure(shape: Shape, type: string): Promise<Result> {
  const folder = fileURLToPath(new URL('../.scratch/peers/models', import.meta.url))
  const { file, vocabulary } = await prepareModel(folder, shape, type, false)
  const contextLength = promptTokens + newTokens + 1
  const gemma = await load(file, { device: 'webgpu', contextLength })
  const prompt = (seed: number): number[] =>
    Array.from({ length: promptTokens }, (_, i) =>
      i === 0 ? 2 : 3 + ((seed * 7919 + i * 104_729) % (vocabulary - 3)),
    )
  // Pipelines are made in the first answer.
  await answer(gemma, prompt(0), 4)
  const timings = []
  for (let i = 1; i <= 3; i++) timings.push(await answer(gemma, prompt(i), newTokens))
  const weightBytes = gemma.memory().weights
  const { loadMs } = gemma
  await gemma.dispose()
  const prefill = median(timings.map(({ prefillTokensPerSecond }) => prefillTokensPerSecond))
  const decode = median(timings.map(({ decodeTokensPerSecond }) => decodeTokensPerSecond))
  const result = {
    ...{ shape, type, weightBytes, loadMs },
    prefillTokensPerSecond: prefill,
    prefillGigamacs: (prefill * SHAPES[shape].others) / 1e9,
    decodeTokensPerSecond: decode,
    decodeGigabytes: (decode * weightBytes) / 1e9,
    share: (decode * weightBytes) / copy,
  }
  console.log(
    `${shape} ${type}: prompt ${prefill.toFixed(1)} tokens/s (${result.prefillGigamacs.toFixed(0)} GMAC/s), ` +
      `decoding ${decode.toFixed(2)} tokens/s, ${result.decodeGigabytes.toFixed(1)} GB/s, ` +
      `${(100 * result.share).toFixed(0)} % of a copy; loaded in ${(loadMs / 1000).toFixed(1)} s`,
  )
  return result
}

async function answer(
  gemma: Gemma,
  prompt: readonly number[],
  maxTokens: number,
): Promise<{ readonly prefillTokensPerSecond: number; readonly decodeTokensPerSecond: number }> {
  const pieces = gemma.generate(prompt, { maxTokens, temperature: 0, stopTokens: [], speculative: false })
  for (;;) {
    const { done, value } = await pieces.next()
    if (done) return value.timing
  }
}
