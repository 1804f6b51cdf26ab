// The WebGPU backend beside the numbers it gives: what it says when the device fails, that the next one works, and that
// nothing of a model that was let go stays.

import { describe, expect, test } from 'vitest'
import { expectedOf, modelPath } from '../../../test/goldens.ts'
import { GemmaError } from '../../error.ts'
import { createTape, keep, persistentTensor } from '../../graph/tape.ts'
import { Gemma } from '../../index.ts'
import { embed, embedOp } from '../../ops/embed/embed.ts'
import type { WebGpuLowerings } from '../../ops/lowering-webgpu.ts'
import { runOf } from '../../ops/testing/harness.ts'
import { kernel } from '../../ops/wgsl/kernel.ts'
import { createWebGpuBackend } from './backend.ts'
import { missingWebGpu, testDevice } from './testing/webgpu.node.ts'

const missing = await missingWebGpu()

async function refusal(promise: Promise<unknown>): Promise<GemmaError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(GemmaError)
  return error as GemmaError
}

const table = persistentTensor('weight', 'table', [4, 8], 'f32')

describe.skipIf(missing !== undefined)('a device that fails', () => {
  test('is told as our error by everything that comes after, and the next one works', async () => {
    const open = await testDevice()
    const backend = await createWebGpuBackend({ open, tensors: [table], constants: new Map() })
    const values = Float32Array.from({ length: 32 }, (_, i) => i)
    backend.put(table, values)
    const tape = createTape(2)
    const out = keep(tape, embed(tape, table, 1))
    const plan = backend.compile(tape)
    await backend.run(plan, runOf(2))
    expect([...backend.read(plan, out, 2)]).toEqual([...values.subarray(0, 16)])
    const under = backend.run(plan, runOf(2))
    open.device.destroy()
    expect((await refusal(under)).code).toBe('device')
    const { code, message } = await refusal(backend.run(plan, runOf(2)))
    expect(code).toBe('device')
    expect(message).toMatch(/was lost .* Load the model again\.$/)
    await backend.dispose()
    const next = await createWebGpuBackend({
      open: await testDevice(),
      tensors: [table],
      constants: new Map(),
    })
    next.put(table, values)
    expect(await next.fetch(table)).toEqual(values)
    await next.dispose()
  })

  test('a kernel that it refuses fails the run, with its own words', async () => {
    const broken = kernel('broken', {
      reads: {},
      writes: { out: 'f32' },
      numbers: { width: 'u32' },
      size: 64,
      main: 'out[id.x] = nothing;',
    })
    const lowerings: WebGpuLowerings = new Map([
      [
        embedOp,
        ({ outputs: [out] }, lower) => lower.dispatch(broken, { out: out! }, { width: 8 }, () => [1, 1, 1]),
      ],
    ])
    const open = await testDevice()
    const backend = await createWebGpuBackend({ open, tensors: [table], constants: new Map(), lowerings })
    const tape = createTape(2)
    keep(tape, embed(tape, table, 1))
    const { code, message } = await refusal(backend.run(backend.compile(tape), runOf(2)))
    expect(code).toBe('device')
    expect(message).toContain("unresolved value 'nothing'")
    await backend.dispose()
  })

  test('an op without kernels is named', async () => {
    const open = await testDevice()
    const backend = await createWebGpuBackend({
      ...{ open, tensors: [table], constants: new Map(), lowerings: new Map() },
    })
    const tape = createTape(2)
    keep(tape, embed(tape, table, 1))
    expect(() => backend.compile(tape)).toThrow('no WGSL lowering for embed')
    await backend.dispose()
  })

  test('a context that it cannot bind is refused before anything is loaded', async () => {
    const open = await testDevice()
    const bytes = open.device.limits.maxStorageBufferBindingSize
    const cache = persistentTensor('cache', 'cache 0', [bytes / 1024 + 1, 256], 'f32')
    const { code, message } = await refusal(
      createWebGpuBackend({ open, tensors: [cache], constants: new Map() }),
    )
    expect(code).toBe('memory')
    expect(message).toContain(`binds at most ${bytes}`)
    await open.device.lost
  })
})

describe.skipIf(missing !== undefined)('a model on WebGPU', () => {
  const source = modelPath('gemma1-mqa')

  test('after dispose every call is refused, a running one too', async () => {
    const gemma = await Gemma.load(source, { device: 'webgpu' })
    const running = gemma.logits([2, 3, 4])
    const ended = refusal(running)
    await gemma.dispose()
    expect((await ended).code).toBe('disposed')
    expect((await refusal(gemma.logits([2]))).code).toBe('disposed')
  })

  test("'auto' passes a software driver over and says so", async () => {
    await using gemma = await Gemma.load(source, { device: 'auto' })
    expect(gemma.description).toMatch(/^WebAssembly, .*\(no GPU: .* is no GPU but a program\)$/)
  })

  test('computes ahead without a trace: others in between, stops, sampling, windows that forget', async () => {
    const source = modelPath('gemma3')
    const { ids } = expectedOf('gemma3').prompts.long!
    const talk = async (device: 'cpu' | 'webgpu'): Promise<number[]> => {
      await using gemma = await Gemma.load(source, { device, dtype: 'f32', threads: 1, contextLength: 128 })
      const tokens: number[] = []
      const options = { temperature: 0.9, topK: 50, seed: 3, stopTokens: [], maxTokens: 12 }
      for await (const { token } of gemma.generate(ids, options)) {
        tokens.push(token)
        // In the middle of it something else is asked of the same caches.
        if (tokens.length === 4) tokens.push((await gemma.score(ids.slice(0, 9))).greedy ? 1 : 0)
        if (tokens.length === 8) break
      }
      // Goes on from what is cached, one token further than what was taken; then another sampling.
      const more = [...ids, ...tokens.slice(0, 4)]
      for (const temperature of [0, 1]) {
        for await (const { token } of gemma.generate(more, { ...options, temperature })) tokens.push(token)
      }
      return tokens
    }
    expect(await talk('webgpu')).toEqual(await talk('cpu'))
  })

  test('can be asked for its weights, and cannot be aborted into a broken state', async () => {
    await using gemma = await Gemma.load(source, { device: 'webgpu', dtype: 'f32' })
    const before = await gemma.logits([2, 3])
    await expect(gemma.logits([2, 3], { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'aborted',
    })
    expect(await gemma.logits([2, 3])).toEqual(before)
    expect(gemma.memory().weights).toBeGreaterThan(0)
  })
})
