// What a token of a model of the 2B shape becomes on a GPU: its dispatches, and the time of a run, with steps fused and each
// by itself. Weights are zeros: nothing is read from a file, and every product costs what it always does.

import { createWebGpuBackend } from '../src/backends/webgpu/backend.ts'
import { findAdapter, openDevice } from '../src/backends/webgpu/device.ts'
import { openGpu } from '../src/backends/webgpu/open.node.ts'
import { compileProgram } from '../src/backends/webgpu/program.ts'
import { cutTensors } from '../src/backends/webgpu/store.ts'
import { inputsOf, recordPlan } from '../src/generate/engine.ts'
import { allParameters } from '../src/generate/load-model.ts'
import type { Dtype } from '../src/graph/dtype.ts'
import { createState } from '../src/model/blocks.ts'
import { parseConfig } from '../src/model/config.ts'
import { modelSizes } from '../src/model/configs.ts'
import { createParameters, readTogether } from '../src/model/parameters.ts'
import { webGpuFusions, webGpuLowerings } from '../src/ops/webgpu.ts'
import { median } from './peers/report.ts'

export interface TokenCost {
  readonly dtype: Dtype
  readonly layers: number
  /** Tokens before this one. */
  readonly position: number
  readonly fused: boolean
  readonly dispatches: number
  readonly milliseconds: number
}

/** Both forms take turns, so that both see the same machine. */
export async function tokenCosts(
  dtype: Dtype,
  layers: number,
  positions: readonly number[],
  runs: number,
): Promise<TokenCost[]> {
  const shape = modelSizes.find(({ name }) => name === '2b')!.config
  const config = parseConfig({ ...shape, num_hidden_layers: layers, vocab_size: 32_000 })
  const parameters = createParameters(config, ({ shape: { length } }) => (length === 2 ? dtype : 'f32'))
  const contextLength = Math.max(...positions) + 1
  const state = createState(config, { contextLength, sequences: 1, maxRows: 1 })
  const model = { config, parameters, state, contextLength, sequences: 1, pieces: config.vocabSize }
  const { tape } = recordPlan({ ...model, adapters: new Map() }, 'next', 1)
  const tensors = [
    ...allParameters(parameters),
    ...state.caches.flatMap(({ keys, values }) => [keys, values]),
  ]
  const forms = await Promise.all(
    [false, true].map(async (fused) => {
      const open = await openDevice((await findAdapter(await openGpu()))!)
      const fusions = fused ? webGpuFusions : []
      const together = fused ? readTogether(parameters) : []
      const { maxStorageBufferBindingSize: largest, maxStorageBuffersPerShaderStage: mostBuffers } =
        open.device.limits
      const { constants } = state
      const backend = await createWebGpuBackend({ open, tensors, constants, fusions, together })
      const cuts = cutTensors([...tensors, ...constants.keys()], largest, together)
      const kernels = { lowerings: webGpuLowerings, fusions, mostBuffers }
      const { dispatches } = compileProgram(tape, kernels, cuts)
      return { fused, backend, plan: backend.compile(tape), dispatches: dispatches.length }
    }),
  )
  const costs: TokenCost[] = []
  for (const position of positions) {
    const inputs = inputsOf([{ token: 5, position, sequence: 0 }])
    const times = forms.map((): number[] => [])
    for (let i = 0; i < runs + 2; i++) {
      for (const [j, { backend, plan }] of forms.entries()) {
        const start = performance.now()
        await backend.run(plan, inputs)
        // Pipelines are made in the first run.
        if (i >= 2) times[j]!.push(performance.now() - start)
      }
    }
    forms.forEach(({ fused, dispatches }, j) => {
      costs.push({ dtype, layers, position, fused, dispatches, milliseconds: median(times[j]!) })
    })
  }
  for (const { backend } of forms) await backend.dispose()
  return costs
}
