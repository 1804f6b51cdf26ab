// What learns in a model and what is kept beside it, as tensors without memory or values; and how much memory they will
// take, asked before anything is read. Knows no backend at work.

import { layOutMemories } from '../backends/wasm/placement.ts'
import { estimateScratch } from '../backends/webgpu/estimate.ts'
import { allParameters, dtypeFor } from '../generate/load-model.ts'
import { type Dtype, layoutOf } from '../graph/dtype.ts'
import { type Adapters, matrixSize, persistentTensor, type Tape, type Tensor } from '../graph/tape.ts'
import { createRowState } from '../model/blocks.ts'
import { createAdapters, loraScale, loraSpecs } from '../model/lora.ts'
import { createParameters, type ParameterSpec } from '../model/parameters.ts'
import { trainingLowerings } from '../ops/wasm-training.ts'
import { webGpuTrainingLowerings } from '../ops/webgpu-training.ts'
import type { Encoding } from '../weights/checkpoint.ts'
import type { EstimateOptions, LoraSettings, TrainingMemory } from './training-model.ts'
import { type Learned, type LearningModel, momentSpecs, recordTraining } from './training-plans.ts'

type PlanningOptions = Omit<EstimateOptions, 'stored' | 'largestBinding'>

/** Everything but memory and values. */
export interface TrainingLayout {
  readonly model: LearningModel
  readonly adapters: Adapters
  readonly learned: readonly Learned[]
  /** In the order in which a run meets them; state follows its weight. */
  readonly tensors: readonly Tensor[]
}

export function layOutTraining(
  options: PlanningOptions,
  encodingOf: (name: string) => Encoding,
): TrainingLayout {
  const { config, lora, contextLength, optimizer } = options
  const dtypeOf = ({ name, shape }: ParameterSpec): Dtype =>
    lora ? dtypeFor(options.baseDtype ?? 'auto', encodingOf(name), shape.length) : 'f32'
  const parameters = createParameters(config, dtypeOf)
  const adapters = lora ? adaptersFor(options, parameters, lora) : new Map()
  const learned: Learned[] = []
  const tensors: Tensor[] = []
  const learn = (weight: Tensor): void => {
    const state = (suffix: string, shape: readonly number[]): Tensor =>
      persistentTensor('state', `${weight.name}.${suffix}`, shape, 'f32')
    const specs = optimizer ? momentSpecs(optimizer, weight.shape) : []
    const moments = specs.map(({ suffix, shape }) => state(suffix, shape))
    const one = { weight, gradient: state('gradient', weight.shape), moments }
    learned.push(one)
    tensors.push(weight, one.gradient, ...moments)
  }
  for (const weight of allParameters(parameters)) {
    if (!lora) {
      learn(weight)
      continue
    }
    tensors.push(weight)
    const adapter = adapters.get(weight)
    if (adapter) for (const half of [adapter.down, adapter.up]) learn(half)
  }
  const model: LearningModel = { config, parameters, state: createRowState(config, contextLength) }
  return { model, adapters, learned, tensors }
}

function adaptersFor(
  { config }: PlanningOptions,
  parameters: Parameters<typeof createAdapters>[0],
  { rank, alpha, dropout, rsLora, targets }: LoraSettings,
): Adapters {
  const scale = loraScale(rank, alpha, rsLora)
  const layers = loraSpecs(config, targets, rank).map(
    ({ weight }) => [weight, { rank, scale, dropout }] as const,
  )
  return createAdapters(parameters, new Map(layers))
}

/**
 * Bytes that a training model would take, before anything is read or set aside. Throws GemmaError 'unsupported' where a
 * tensor with its gradient and moments exceeds a memory, or on a GPU what a step makes a binding.
 */
export function estimateTrainingMemory(options: EstimateOptions): TrainingMemory {
  const { stored = 'BF16' } = options
  const { model, adapters, learned, tensors } = layOutTraining(options, () => stored)
  const bytesOf = (list: readonly Tensor[]): number =>
    list.reduce((sum, { dtype, shape }) => {
      const { rows, columns } = matrixSize(shape)
      return sum + layoutOf(dtype, rows, columns).bytes
    }, 0)
  const accumulators = new Map(learned.map(({ weight, gradient }) => [weight, gradient]))
  const { rows, checkpointing } = options
  const { tape } = recordTraining(model, { rows, adapters, accumulators, checkpointing })
  const constants = [...model.state.constants.values()].reduce((sum, values) => sum + values.byteLength, 0)
  const weights = bytesOf(tensors.filter(({ role }) => role === 'weight')) + constants
  const gradients = bytesOf(learned.map(({ gradient }) => gradient))
  const optimizer = bytesOf(learned.flatMap(({ moments }) => moments))
  const scratch = scratchNeeded(options, tensors, [...model.state.constants.keys()], tape)
  return { weights, gradients, optimizer, scratch, total: weights + gradients + optimizer + scratch }
}

/** Bytes of inner values. */
function scratchNeeded(
  { threads, largestBinding }: EstimateOptions,
  tensors: readonly Tensor[],
  constants: readonly Tensor[],
  tape: Tape,
): number {
  if (largestBinding !== undefined) {
    const all = [...tensors, ...constants]
    return estimateScratch({
      tensors: all,
      tapes: [tape],
      lowerings: webGpuTrainingLowerings,
      largestBinding,
    })
  }
  const { scratchBytes } = layOutMemories({
    ...{ tensors, constants, sizing: [tape], threads, lowerings: trainingLowerings },
  })
  return scratchBytes.reduce((sum, bytes) => sum + bytes, 0)
}
