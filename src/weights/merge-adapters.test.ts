import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { largestDifference, modelPath } from '../../test/goldens.ts'
import { GemmaError } from '../error.ts'
import type { Checkpoint, StoredAdapter } from './checkpoint.ts'
import { readFloatRows, readFloats } from './encodings.ts'
import { mergeAdapters, quantisedTargets } from './merge-adapters.ts'
import { openCheckpoint } from './open.node.ts'
import { openAdapter } from './peft.node.ts'
import { convertCheckpoint, type SaveOptions } from './save.node.ts'
import { configIn, type TestAdapter, testMatrices, writeTestAdapter } from './testing/adapter-files.ts'

const root = mkdtempSync(join(tmpdir(), 'gemma-merge-'))
let directory = ''
let number = 0
beforeEach(async () => {
  directory = join(root, String(number++))
  await mkdir(directory)
})
afterAll(() => rmSync(root, { recursive: true }))

const MODEL = 'gemma2'
const config = await configIn(modelPath(MODEL))
const GATE = 'model.layers.2.mlp.gate_proj.weight'
const OUTPUT = 'model.layers.1.self_attn.o_proj.weight'

const FIRST: TestAdapter = { rank: 5, alpha: 20, seed: 1 }
const SECOND: TestAdapter = { rank: 2, alpha: 3, seed: 2, targets: ['gate_proj'], type: 'F16' }

async function adaptersOf(...options: readonly TestAdapter[]): Promise<StoredAdapter[]> {
  const adapters: StoredAdapter[] = []
  for (const [i, one] of options.entries()) {
    const path = join(directory, `adapter-${i}`)
    await writeTestAdapter(path, config, one)
    adapters.push(await openAdapter(path))
  }
  return adapters
}

async function merged(path: string, ...options: readonly TestAdapter[]) {
  const result = mergeAdapters(await openCheckpoint(path), await adaptersOf(...options))
  onTestFinished(() => result.checkpoint.close())
  return result
}

/** W + Σ scale · B · A in float64, from the matrices themselves. */
async function expectedValues(
  base: Checkpoint,
  weight: string,
  adapters: readonly TestAdapter[],
): Promise<Float64Array> {
  const values = Float64Array.from(await readFloats(base.tensors.get(weight)!))
  for (const options of adapters) {
    const matrix = (half: string) =>
      testMatrices(config, options).find(({ name }) =>
        name.endsWith(`${weight.slice(0, -7)}.lora_${half}.weight`),
      )
    const [down, up] = [matrix('A'), matrix('B')]
    if (!down || !up) continue
    const [rank, columns] = down.shape as [number, number]
    const scale = options.alpha! / rank
    values.forEach((_, at) => {
      const [row, column] = [Math.floor(at / columns), at % columns]
      for (let k = 0; k < rank; k++) {
        values[at]! += scale * up.values[row * rank + k]! * down.values[k * columns + column]!
      }
    })
  }
  return values
}

test('one adapter, several, and none: what is read is W + scale · B · A', async () => {
  const base = await openCheckpoint(modelPath(MODEL))
  onTestFinished(() => base.close())
  const one = await merged(modelPath(MODEL), FIRST)
  const two = await merged(modelPath(MODEL), FIRST, SECOND)
  const read = ({ checkpoint }: { checkpoint: Checkpoint }, name: string): Promise<Float32Array> =>
    readFloats(checkpoint.tensors.get(name)!)
  for (const name of [GATE, OUTPUT]) {
    expect(largestDifference(await expectedValues(base, name, [FIRST]), await read(one, name))).toBeLessThan(
      2e-7,
    )
    // The second is stored in 16 bits.
    expect(
      largestDifference(await expectedValues(base, name, [FIRST, SECOND]), await read(two, name)),
    ).toBeLessThan(2e-4)
  }
  expect(await read(two, OUTPUT)).toEqual(await read(one, OUTPUT))
  expect(await read(two, GATE)).not.toEqual(await read(one, GATE))
  // What no adapter adds to stays as it is stored.
  for (const name of ['model.embed_tokens.weight', 'model.norm.weight']) {
    expect(one.checkpoint.tensors.get(name)!.encoding).toBe(base.tensors.get(name)!.encoding)
    expect(await read(one, name)).toEqual(await readFloats(base.tensors.get(name)!))
  }
  const only = await merged(modelPath(MODEL), SECOND)
  expect(only.checkpoint.tensors.get(OUTPUT)!.encoding).toBe(base.tensors.get(OUTPUT)!.encoding)
  expect(only.checkpoint.tensors.get(GATE)!.encoding).toBe('F32')
})

test('rows are read as they are asked for, and no others', async () => {
  const reads: [string, number][] = []
  const base = await openCheckpoint(modelPath(MODEL))
  const watched = new Map(
    [...base.tensors].map(([name, tensor]) => [
      name,
      {
        ...tensor,
        readRows: (from: number, into: Uint8Array) => {
          reads.push([name, into.byteLength / tensor.rowBytes])
          return tensor.readRows(from, into)
        },
      },
    ]),
  )
  const { checkpoint, report } = mergeAdapters({ ...base, tensors: watched }, await adaptersOf(FIRST))
  onTestFinished(() => checkpoint.close())
  expect(reads).toEqual([])
  const tensor = checkpoint.tensors.get(GATE)!
  const whole = await readFloats(tensor)
  reads.length = 0
  const part = new Float32Array(3 * 64)
  await readFloatRows(tensor, 77, 3, part)
  expect(part).toEqual(whole.subarray(77 * 64, 80 * 64))
  expect(reads).toEqual([[GATE, 3]])
  // Into the middle of a buffer, where no float can be written directly.
  const bytes = new Uint8Array(3 * 64 * 4 + 1)
  await tensor.readRows(77, bytes.subarray(1))
  expect(new Float32Array(bytes.slice(1).buffer)).toEqual(part)
  expect(report().weights).toBe(7 * config.numHiddenLayers)
})

test('the report says how much the weights changed', async () => {
  const { checkpoint, report } = await merged(modelPath(MODEL), SECOND)
  expect(report()).toEqual({ weights: config.numHiddenLayers, relativeChange: 0 })
  const base = await openCheckpoint(modelPath(MODEL))
  onTestFinished(() => base.close())
  let [change, before] = [0, 0]
  for (const [name, tensor] of checkpoint.tensors) {
    if (!name.includes('gate_proj')) continue
    const [old, now] = [await readFloats(base.tensors.get(name)!), await readFloats(tensor)]
    old.forEach((value, i) => {
      before += value ** 2
      change += (now[i]! - value) ** 2
    })
  }
  expect(report().relativeChange).toBeCloseTo(Math.sqrt(change / before), 5)
})

describe('written', () => {
  test.each<[string, SaveOptions]>([
    ['model', { dtype: 'f32' }],
    ['model.gguf', { dtype: 'f32' }],
  ])('to %s and read back it is the same', async (name, options) => {
    const { checkpoint } = await merged(modelPath(MODEL), FIRST, SECOND)
    const path = join(directory, name)
    await convertCheckpoint(checkpoint, path, options)
    const back = await openCheckpoint(path)
    onTestFinished(() => back.close())
    expect([...back.tensors.keys()].sort()).toEqual([...checkpoint.tensors.keys()].sort())
    for (const [key, tensor] of checkpoint.tensors) {
      // GGUF holds 1 + w of norms, which rounds.
      const wanted = await readFloats(tensor)
      const tolerance = tensor.shape.length === 1 ? 1e-6 : 0
      expect(largestDifference(wanted, await readFloats(back.tensors.get(key)!))).toBeLessThanOrEqual(
        tolerance,
      )
    }
  })

  test.each(['model', 'model.gguf'])('to %s and cancelled, or with NaN, nothing is left', async (name) => {
    const { checkpoint } = await merged(modelPath(MODEL), FIRST)
    const before = readdirSync(directory)
    const controller = new AbortController()
    const cancelled = convertCheckpoint(checkpoint, join(directory, name), {
      dtype: 'f32',
      signal: controller.signal,
      onProgress: ({ bytes, totalBytes }) => void (bytes > totalBytes / 2 && controller.abort()),
    })
    await expect(cancelled).rejects.toMatchObject({ code: 'aborted' })
    expect(readdirSync(directory)).toEqual(before)

    const diverged: TestAdapter = {
      ...FIRST,
      change: (matrix) => {
        if (matrix.name.includes('layers.3.mlp.down_proj.lora_A')) matrix.values[70] = Number.NaN
        return matrix
      },
    }
    rmSync(join(directory, 'adapter-0'), { recursive: true })
    const broken = await merged(modelPath(MODEL), diverged)
    await expect(
      convertCheckpoint(broken.checkpoint, join(directory, name), { dtype: 'bf16' }),
    ).rejects.toThrow(/layers\.3\.mlp\.down_proj\.lora_A\.weight holds NaN/)
    expect(readdirSync(directory)).toEqual(before)
  })
})

describe('refused', () => {
  test('a quantised base, unless it is asked for', async () => {
    const gguf = join(directory, 'model.gguf')
    const whole = await openCheckpoint(modelPath(MODEL))
    await convertCheckpoint(whole, gguf, { dtype: 'int8' })
    await whole.close()
    const base = await openCheckpoint(gguf)
    const adapters = await adaptersOf(FIRST)
    const counts = quantisedTargets(base, adapters)
    expect([...counts]).toEqual([['Q8_0', 28]])
    expect(() => mergeAdapters(base, adapters)).toThrow(GemmaError)
    expect(() => mergeAdapters(base, adapters)).toThrow(
      /quantised form \(28 in Q8_0\).*Merge into the unquantised model.*--merge-onto-quantised/,
    )
    const { checkpoint } = mergeAdapters(base, adapters, { ontoQuantised: true })
    onTestFinished(() => checkpoint.close())
    const wanted = await expectedValues(base, GATE, [FIRST])
    expect(largestDifference(wanted, await readFloats(checkpoint.tensors.get(GATE)!))).toBeLessThan(2e-7)
  })

  test('an adapter of another model', async () => {
    const adapters = await adaptersOf(FIRST)
    for (const other of ['gemma1-mqa', 'gemma3']) {
      const base = await openCheckpoint(modelPath(other))
      expect(() => mergeAdapters(base, adapters)).toThrow(/adapter-0 adds .* trained on another model/)
      await base.close()
    }
    for (const adapter of adapters) await adapter.close()
  })
})
