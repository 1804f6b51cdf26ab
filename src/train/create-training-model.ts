// Puts a model that learns on a backend: which weights learn and in what they are held, where gradients and moments
// lie, and the runs over them. See training-model.ts for what it promises.

import type { Backend, Plan } from '../backends/backend.ts'
import { createReferenceBackend } from '../backends/reference.ts'
import { MOST_ROWS } from '../backends/wasm/addresses.ts'
import { createWasmBackend } from '../backends/wasm/backend.ts'
import { layOutMemories } from '../backends/wasm/placement.ts'
import { countTargets, type TrainingRows } from '../data/training-rows.ts'
import { GemmaError } from '../error.ts'
import { dtypeFor } from '../generate/load-model.ts'
import { createRandom } from '../generate/random.ts'
import { type Dtype, layoutOf } from '../graph/dtype.ts'
import {
  type Adapters,
  elementCount,
  matrixSize,
  persistentTensor,
  type RunInputs,
  type SamplingInputs,
  type Tensor,
} from '../graph/tape.ts'
import { createRowState } from '../model/blocks.ts'
import { createAdapters, loraScale, loraSpecs } from '../model/lora.ts'
import { createParameters, type ParameterSpec, parameterSpecs } from '../model/parameters.ts'
import { LOGPROB_STATE } from '../ops/logprob/logprob.ts'
import { SCALAR } from '../ops/optimizer/optimizer.ts'
import { trainingLowerings } from '../ops/wasm-training.ts'
import type { Encoding, StoredTensor } from '../weights/checkpoint.ts'
import type {
  LoraSettings,
  OptimizerSettings,
  RunLoss,
  TrainableTensor,
  TrainingMemory,
  TrainingModel,
  TrainingModelOptions,
  UpdateSettings,
} from './training-model.ts'
import {
  type Learned,
  type LearningModel,
  momentSpecs,
  recordNorm,
  recordReset,
  recordTraining,
  recordUpdate,
} from './training-plans.ts'

const NO_SAMPLING: SamplingInputs = { temperature: 0, topK: 1, topP: 1, uniform: new Float64Array(0) }

type PlanningOptions = Omit<TrainingModelOptions, 'weights' | 'onProgress' | 'signal'>

/** Everything but memory and values. */
interface Layout {
  readonly model: LearningModel
  readonly adapters: Adapters
  readonly learned: readonly Learned[]
  /** In the order in which a run meets them; state follows its weight. */
  readonly tensors: readonly Tensor[]
}

function layOut(options: PlanningOptions, encodingOf: (name: string) => Encoding): Layout {
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
  const layers = parameters.layers.flatMap((layer) => Object.values(layer) as Tensor[])
  for (const weight of [parameters.embedding, ...layers, parameters.finalNorm]) {
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
 * tensor with its gradient and moments exceeds a memory.
 */
export function estimateTrainingMemory(
  options: PlanningOptions & {
    /** How the weights are stored; default 'BF16'. */ readonly stored?: Encoding
  },
): TrainingMemory {
  const { stored = 'BF16' } = options
  const { model, adapters, learned, tensors } = layOut(options, () => stored)
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
  const { scratchBytes } = layOutMemories({
    ...{ tensors, constants: [...model.state.constants.keys()], sizing: [tape] },
    ...{ threads: options.threads, lowerings: trainingLowerings },
  })
  const scratch = scratchBytes.reduce((sum, bytes) => sum + bytes, 0)
  return { weights, gradients, optimizer, scratch, total: weights + gradients + optimizer + scratch }
}

/**
 * Sets memory aside, loads the weights and records the plans. Throws GemmaError 'config' where a weight is missing or
 * of another shape, 'memory' where it does not fit, 'aborted'.
 */
export async function createTrainingModel(options: TrainingModelOptions): Promise<TrainingModel> {
  checkOptions(options)
  const { rows, optimizer, lora, checkpointing } = options
  const stored = checkWeights(options)
  const layout = layOut(options, (name) => stored.get(name)!.encoding)
  const { model, adapters, learned, tensors } = layout
  const accumulators = new Map(learned.map(({ weight, gradient }) => [weight, gradient]))
  const training = recordTraining(model, { rows, adapters, accumulators, checkpointing })
  const evaluation = recordTraining(model, { rows, adapters: withoutDropout(adapters) })
  const { constants } = model.state
  const backend: Backend =
    options.backend === 'reference'
      ? createReferenceBackend({ tensors, constants })
      : await createWasmBackend({
          threads: options.threads,
          tensors,
          constants,
          lowerings: trainingLowerings,
          kernels: 'kernels-training',
          sizing: [training.tape],
        })
  try {
    await fill(backend, layout, stored, options)
  } catch (error) {
    await backend.dispose()
    throw error
  }
  const norm = recordNorm(learned)
  const plans = {
    training: backend.compile(training.tape),
    evaluation: backend.compile(evaluation.tape),
    norm: backend.compile(norm.tape),
    update: optimizer && backend.compile(recordUpdate(learned, optimizer)),
    reset: backend.compile(recordReset(learned)),
  }
  const byName = new Map(
    learned.flatMap(({ weight, moments }) => [weight, ...moments]).map((t) => [t.name, t]),
  )
  const find = (name: string): Tensor => {
    const tensor = byName.get(name)
    if (!tensor) throw new Error(`${name} is not learned here`)
    return tensor
  }
  const put = (name: string, values: Float32Array): void => {
    const tensor = find(name)
    const count = elementCount(tensor.shape)
    if (values.length !== count) throw new Error(`${name} has ${count} values, not ${values.length}`)
    backend.put(tensor, values)
  }
  const tell = ({ name, shape }: Tensor): TrainableTensor => ({ name, shape })
  const bare = (plan: Plan, scalars?: Float32Array): Promise<void> =>
    backend.run(plan, { ...noRows(), scalars })
  return {
    config: options.config,
    rows,
    contextLength: options.contextLength,
    lora,
    trainable: learned.map(({ weight }) => tell(weight)),
    optimizerState: learned.flatMap(({ moments }) => moments.map(tell)),
    description: backend.description,
    async accumulate(batch, { scale, seed, signal }) {
      const inputs = inputsOf(options, batch, scale, seed)
      await backend.run(plans.training, inputs, signal)
      return lossOf(batch, backend.read(plans.training, training.scores, inputs.rows))
    },
    async evaluate(batch, { signal } = {}) {
      const inputs = inputsOf(options, batch, 1, 0)
      await backend.run(plans.evaluation, inputs, signal)
      return lossOf(batch, backend.read(plans.evaluation, evaluation.scores, inputs.rows))
    },
    async gradientNorm() {
      await bare(plans.norm)
      let sum = 0
      for (const part of norm.sums) {
        for (const squares of backend.read(plans.norm, part, part.shape[0]!)) sum += squares
      }
      return Math.sqrt(sum)
    },
    async update(settings) {
      if (!optimizer || !plans.update) throw new Error('this model was made without an optimiser')
      await bare(plans.update, scalarsOf(optimizer, settings))
    },
    resetGradients: () => bare(plans.reset),
    read: async (name) => backend.fetch(find(name)),
    write: async (name, values) => put(name, values),
    async readGradient(name) {
      const one = learned.find(({ weight }) => weight.name === name)
      if (!one) throw new Error(`${name} is not learned here`)
      return backend.fetch(one.gradient)
    },
    readState: async (name) => backend.fetch(find(name)),
    writeState: async (name, values) => put(name, values),
    memoryBytes() {
      const bytes = (list: readonly Tensor[]): number =>
        list.reduce((sum, { shape }) => sum + 4 * elementCount(shape), 0)
      const gradients = bytes(learned.map(({ gradient }) => gradient))
      const moments = bytes(learned.flatMap((one) => one.moments))
      const held = backend.memoryBytes()
      return {
        weights: held.weights - gradients - moments,
        gradients,
        optimizer: moments,
        scratch: held.scratch,
      }
    },
    dispose: () => backend.dispose(),
  }
}

function checkOptions({ rows, contextLength, config, lora, baseDtype }: TrainingModelOptions): void {
  if (!(Number.isSafeInteger(rows) && rows >= 1 && rows <= MOST_ROWS)) {
    throw new GemmaError('usage', `rows is ${rows}, expected a whole number from 1 to ${MOST_ROWS}.`)
  }
  const most = config.maxPositionEmbeddings
  if (!(Number.isSafeInteger(contextLength) && contextLength >= 2 && contextLength <= most)) {
    throw new GemmaError(
      'usage',
      `contextLength is ${contextLength}, expected a whole number from 2 to ${most}.`,
    )
  }
  if (baseDtype !== undefined && !lora) {
    throw new GemmaError(
      'usage',
      'baseDtype is for a frozen base, but without lora all weights learn, in float32.',
    )
  }
}

function checkWeights({ config, weights }: TrainingModelOptions): ReadonlyMap<string, StoredTensor> {
  for (const { name, shape } of parameterSpecs(config)) {
    const stored = weights.get(name)
    const fits = stored?.shape.length === shape.length && shape.every((size, i) => stored.shape[i] === size)
    if (fits) continue
    const came = stored ? `it is [${stored.shape.join(', ')}]` : 'it is missing'
    throw new GemmaError(
      'config',
      `The configuration asks for ${name} as [${shape.join(', ')}], but ${came}.`,
      'The configuration belongs to another model, or a file of the checkpoint is missing.',
    )
  }
  return weights
}

function withoutDropout(adapters: Adapters): Adapters {
  return new Map([...adapters].map(([weight, adapter]) => [weight, { ...adapter, dropout: 0 }]))
}

async function fill(
  backend: Backend,
  { tensors, adapters }: Layout,
  stored: ReadonlyMap<string, StoredTensor>,
  { onProgress, signal, seed = 0 }: TrainingModelOptions,
): Promise<void> {
  const loaded = tensors.filter(({ name, role }) => role === 'weight' && stored.has(name))
  const sizeOf = ({ shape, rowBytes }: StoredTensor): number => matrixSize(shape).rows * rowBytes
  const total = loaded.reduce((sum, { name }) => sum + sizeOf(stored.get(name)!), 0)
  let done = 0
  for (const tensor of loaded) {
    const advance = (bytes: number): void => {
      done += bytes
      onProgress?.(done, total)
    }
    await backend.load(tensor, stored.get(tensor.name)!, advance, signal)
  }
  // B begins at zero, so that the adapter adds nothing at first; A as PEFT begins it: Kaiming-uniform with a = √5,
  // which is uniform within ± 1/√columns (He et al. 2015, arXiv 1502.01852).
  const random = createRandom(seed)
  for (const { down } of adapters.values()) {
    const bound = 1 / Math.sqrt(down.shape[1]!)
    backend.put(
      down,
      Float32Array.from({ length: elementCount(down.shape) }, () => (2 * random() - 1) * bound),
    )
  }
}

function noRows(): RunInputs {
  const none = new Int32Array(0)
  return { rows: 0, tokens: none, positions: none, sequences: none, targets: none, sampling: NO_SAMPLING }
}

/** Throws GemmaError 'usage' for rows that the plans cannot take: the fault of whoever made them. */
function inputsOf(
  { rows: most, contextLength, config }: TrainingModelOptions,
  batch: TrainingRows,
  scale: number,
  seed = 0,
): RunInputs {
  const { tokens, positions, sequences, targets } = batch
  const rows = tokens.length
  const refuse = (what: string): never => {
    throw new GemmaError('usage', `These rows cannot be learned from: ${what}.`)
  }
  if (rows < 1 || rows > most) refuse(`there are ${rows}, expected 1 to ${most}`)
  if (positions.length !== rows || targets.length !== rows || sequences.length !== rows) {
    refuse('tokens, positions, sequences and targets differ in length')
  }
  for (let i = 0; i < rows; i++) {
    if (!(tokens[i]! >= 0 && tokens[i]! < config.vocabSize)) refuse(`token ${i} is ${tokens[i]}`)
    if (!(targets[i]! >= -1 && targets[i]! < config.vocabSize)) refuse(`target ${i} is ${targets[i]}`)
    const next = i > 0 && sequences[i] === sequences[i - 1] ? positions[i - 1]! + 1 : 0
    if (positions[i] !== next) refuse(`row ${i} has position ${positions[i]}, expected ${next}`)
    if (positions[i]! >= contextLength)
      refuse(`a document is longer than the context of ${contextLength} tokens`)
  }
  const weights = Float32Array.from(tokens, (_, i) => scale * (batch.weights?.[i] ?? 1))
  return { rows, tokens, positions, sequences, targets, weights, seed, sampling: NO_SAMPLING }
}

function lossOf(batch: TrainingRows, scores: Float32Array): RunLoss {
  let loss = 0
  let correct = 0
  batch.targets.forEach((target, row) => {
    if (target < 0) return
    const [largest, sum, logit, best] = scores.subarray(row * LOGPROB_STATE, (row + 1) * LOGPROB_STATE)
    loss += (batch.weights?.[row] ?? 1) * (largest! + Math.log(sum!) - logit!)
    if (best === target) correct++
  })
  return { loss, targets: countTargets(batch), correct }
}

function scalarsOf(
  optimizer: OptimizerSettings,
  { step, learningRate, gradientScale }: UpdateSettings,
): Float32Array {
  const scalars = new Float32Array(8)
  scalars[SCALAR.learningRate] = learningRate
  scalars[SCALAR.gradientScale] = gradientScale
  if (optimizer.name === 'adamw') {
    scalars[SCALAR.correction1] = 1 - optimizer.beta1 ** step
    scalars[SCALAR.correction2] = 1 - optimizer.beta2 ** step
  } else scalars[SCALAR.beta2] = 1 - step ** -optimizer.decayRate
  return scalars
}
