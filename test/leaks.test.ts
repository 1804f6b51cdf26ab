// Loading, generating and letting go, many times over: memory, threads and open files must end where they
// began. Bounds are wide against noise and narrow against one forgotten memory, worker or file a round.

import { existsSync, readdirSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import { missingWebGpu } from '../src/backends/webgpu/testing/webgpu.node.ts'
import { Gemma } from '../src/index.ts'
import { modelPath } from './goldens.ts'

const GENERATIONS = 1000
const MEGABYTE = 1 << 20

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

interface Held {
  /** Resident bytes after garbage collection, the least of several looks. */
  readonly resident: number
  /** Bytes of the JavaScript heap and of buffers beside it. */
  readonly heap: number
  readonly external: number
  readonly threads: number
  readonly files: number
}

async function held(): Promise<Held> {
  const looks: Held[] = []
  for (let i = 0; i < 4; i++) {
    collect()
    // Finalisers and exits of workers come in later turns of the loop.
    await new Promise((resolve) => setTimeout(resolve, 50))
    const { rss, heapUsed, external } = process.memoryUsage()
    looks.push({
      resident: rss,
      heap: heapUsed,
      external,
      threads: existsSync('/proc/self/task') ? readdirSync('/proc/self/task').length : 0,
      files: existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : 0,
    })
  }
  const least = (key: keyof Held): number => Math.min(...looks.map((look) => look[key]))
  return {
    resident: least('resident'),
    heap: least('heap'),
    external: least('external'),
    threads: least('threads'),
    files: least('files'),
  }
}

function expectNoGrowth(before: Held, after: Held, resident: number): void {
  const grown = (key: keyof Held): number => after[key] - before[key]
  expect(grown('threads'), 'threads').toBeLessThanOrEqual(1)
  expect(grown('files'), 'open files').toBeLessThanOrEqual(1)
  expect(grown('heap') / MEGABYTE, 'megabytes of heap').toBeLessThan(10)
  expect(grown('external') / MEGABYTE, 'megabytes of buffers').toBeLessThan(20)
  expect(grown('resident') / MEGABYTE, 'resident megabytes').toBeLessThan(resident)
}

async function answer(gemma: Gemma, prompt: readonly number[], maxTokens: number): Promise<number[]> {
  const tokens: number[] = []
  for await (const { token } of gemma.generate(prompt, { maxTokens, temperature: 0, stopTokens: [] }))
    tokens.push(token)
  return tokens
}

const noGpu = await missingWebGpu()

describe('leaks', () => {
  test.each([
    [100, 0],
    [50, 2],
  ])('%i times load, generate, dispose, with %i threads', async (rounds, threads) => {
    const expected: number[] = []
    const round = async (): Promise<void> => {
      const gemma = await Gemma.load(modelPath('gemma2'), { threads, contextLength: 64 })
      const tokens = await answer(gemma, [2, 50, 60], 3)
      await gemma.dispose()
      if (expected.length === 0) expected.push(...tokens)
      expect(tokens).toEqual(expected)
    }
    // The first rounds fill caches: compiled kernels, code, the allocator's own.
    for (let i = 0; i < 10; i++) await round()
    const before = await held()
    for (let i = 0; i < rounds; i++) await round()
    // A round writes to some three megabytes, its workers to more; so many forgotten ones would show.
    expectNoGrowth(before, await held(), 100)
  })

  test.skipIf(noGpu !== undefined)('100 times load, generate, dispose, on WebGPU', async () => {
    const round = async (): Promise<void> => {
      await using gemma = await Gemma.load(modelPath('gemma2'), { device: 'webgpu', contextLength: 64 })
      expect(await answer(gemma, [2, 50, 60], 3)).toHaveLength(3)
    }
    for (let i = 0; i < 10; i++) await round()
    const before = await held()
    for (let i = 0; i < 100; i++) await round()
    // lavapipe itself keeps about a megabyte of each device that compiled pipelines; a model here is six and more.
    expectNoGrowth(before, await held(), 250)
  })

  test.each([0, 2])(`${GENERATIONS} short generations with %i threads`, async (threads) => {
    await using gemma = await Gemma.load(modelPath('gemma2'), { threads, contextLength: 64 })
    const prompt = (i: number): number[] => [2, 50 + (i % 40), 60, 70 + (i % 7)]
    const expected = await answer(gemma, prompt(3), 2)
    for (let i = 0; i < 50; i++) await answer(gemma, prompt(i), 2)
    const before = await held()
    for (let i = 0; i < GENERATIONS; i++) await answer(gemma, prompt(i), 2)
    expectNoGrowth(before, await held(), 30)
    expect(await answer(gemma, prompt(3), 2)).toEqual(expected)
  })

  test('200 aborted and broken-off generations', async () => {
    await using gemma = await Gemma.load(modelPath('gemma2'), { threads: 2, contextLength: 64 })
    const expected = await answer(gemma, [2, 50, 60], 4)
    const breakOff = async (i: number): Promise<void> => {
      const controller = new AbortController()
      const pieces = gemma.generate([2, 50 + (i % 9)], {
        maxTokens: 20,
        temperature: 0,
        stopTokens: [],
        signal: controller.signal,
      })
      await pieces.next()
      if (i % 2 === 0) await pieces.return(undefined as never)
      else {
        controller.abort()
        await expect(pieces.next()).rejects.toMatchObject({ code: 'aborted' })
      }
    }
    for (let i = 0; i < 20; i++) await breakOff(i)
    const before = await held()
    for (let i = 0; i < 200; i++) await breakOff(i)
    expectNoGrowth(before, await held(), 30)
    expect(await answer(gemma, [2, 50, 60], 4)).toEqual(expected)
  })
})
