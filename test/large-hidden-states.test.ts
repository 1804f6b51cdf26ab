// Hidden states as large as those of Gemma's real sizes, which pass the largest f16 (65 504): where one is kept in f16 on the
// way, as other engines do, it overflows without a word. The tiny golden models say the same as before when everything that
// is added to the residual stream is made 2¹⁴ times as large, but for logits that are as many times as large.

import { describe, expect, test } from 'vitest'
import { findAdapter } from '../src/backends/webgpu/device.ts'
import { openGpu } from '../src/backends/webgpu/open.node.ts'
import { missingWebGpu } from '../src/backends/webgpu/testing/webgpu.node.ts'
import type { ChosenDevice } from '../src/generate/choose-device.ts'
import type { Engine } from '../src/generate/engine.ts'
import { loadModel } from '../src/generate/load-model.ts'
import { storedValues } from '../src/ops/testing/stored.ts'
import type { Checkpoint } from '../src/weights/checkpoint.ts'
import { readFloats } from '../src/weights/encodings.ts'
import { openCheckpoint } from '../src/weights/open.node.ts'
import { expectedOf, largestDifference, modelPath, readTensors } from './goldens.ts'

const TIMES = 2 ** 14
const LARGEST_F16 = 65504

const missing = await missingWebGpu()

/** Makes the embedding, and what each half of a layer adds, larger: by its last matrix, or by the norm after it. */
async function enlarged(name: string, encoding: 'F32' | 'F16'): Promise<Checkpoint> {
  const checkpoint = await openCheckpoint(modelPath(name))
  const afterNorm = checkpoint.tensors.has('model.layers.0.post_feedforward_layernorm.weight')
  const tensors = new Map(checkpoint.tensors)
  for (const [tensor, stored] of checkpoint.tensors) {
    const values = await readFloats(stored)
    const isNorm = afterNorm && /post_(attention|feedforward)_layernorm/.test(tensor)
    const isLast = tensor.includes('embed_tokens') || (!afterNorm && /[od](own)?_proj/.test(tensor))
    if (isNorm) for (const i of values.keys()) values[i] = (1 + values[i]!) * TIMES - 1
    else if (isLast) for (const i of values.keys()) values[i]! *= TIMES
    tensors.set(tensor, storedValues(stored.shape.length === 1 ? 'F32' : encoding, stored.shape, values))
  }
  await checkpoint.close()
  return { ...checkpoint, tensors }
}

async function greedy({ run }: Engine, ids: readonly number[], count: number): Promise<number[]> {
  let rows = ids.map((token, position) => ({ token, position, sequence: 0 }))
  const drawn: number[] = []
  while (drawn.length < count) {
    const [token] = await run('next', rows)
    rows = [{ token: token!, position: rows.at(-1)!.position + 1, sequence: 0 }]
    drawn.push(token!)
  }
  return drawn
}

const places: readonly (readonly [string, () => Promise<ChosenDevice | undefined>])[] = [
  ['WebAssembly', async () => undefined],
  ...(missing === undefined
    ? ([
        ['WebGPU', async () => ({ gpu: (await findAdapter(await openGpu()))!, mayFallBack: false })],
      ] as const)
    : []),
]

describe.each(['gemma1-mqa', 'gemma3-scaled'])('%s', (name) => {
  const { ids, greedy: continuation } = expectedOf(name).prompts.long!
  const tensors = readTensors(`${modelPath(name)}/expected.safetensors`)

  // Weights and the cache in f16 lose what of a value is finer than 2⁻¹¹ of it, or smaller than 2⁻²⁴.
  test.each(
    places.flatMap(([place, device]) => [
      { place, device, encoding: 'F32', cacheDtype: 'f32', tolerance: 2e-4 } as const,
      { place, device, encoding: 'F16', cacheDtype: 'f16', tolerance: 2e-2 } as const,
    ]),
  )('$place, $encoding', async ({ device, encoding, cacheDtype, tolerance }) => {
    const options = { dtype: 'auto', threads: 0, contextLength: 128 } as const
    const checkpoint = await enlarged(name, encoding)
    const engine = await loadModel(checkpoint, { ...options, cacheDtype, device: await device() })
    const hidden = [...tensors].filter(([key]) => /^long\.hidden\.\d+$/.test(key)).slice(0, -1)
    const largest = Math.max(...hidden.flatMap(([, { values }]) => [...values].map(Math.abs)))
    expect(largest * TIMES).toBeGreaterThan(LARGEST_F16)
    const rows = ids.map((token, position) => ({ token, position, sequence: 0 }))
    const logits = (await engine.run('logits', rows)).map((logit) => logit / TIMES)
    const off = largestDifference(tensors.get('long.logits')!.values, logits)
    console.log(`${name} ${encoding}: logits differ by ${off.toExponential(1)}`)
    expect(off).toBeLessThan(tolerance)
    expect(await greedy(engine, ids, 16)).toEqual(continuation.ids.slice(0, 16))
    await engine.backend.dispose()
  })
})
