// Puts a model that learns (training-layout.ts says what of it) on a backend, and runs it. See training-model.ts for what
// it promises.

import type { Backend, Plan } from '../backends/backend.ts'
import { createReferenceBackend } from '../backends/reference.ts'
import { MOST_ROWS } from '../backends/wasm/addresses.ts'
import { createWasmBackend } from '../backends/wasm/backend.ts'
import { createWebGpuBackend } from '../backends/webgpu/backend.ts'
import { countTargets, type TrainingRows } from '../data/training-rows.ts'
import { GemmaError } from '../error.ts'
import { createRandom } from '../generate/random.ts'
import {
  type Adapters,
  elementCount,
  matrixSize,
  type RunInputs,
  type SamplingInputs,
  type Tape,
  type Tensor,
} from '../graph/tape.ts'
import { parameterSpecs } from '../model/parameters.ts'
import { LOGPROB_STATE } from '../ops/logprob/logprob.ts'
import { SCALAR } from '../ops/optimizer/optimizer.ts'
import { trainingLowerings } from '../ops/wasm-training.ts'
import { webGpuTrainingLowerings } from '../ops/webgpu-training.ts'
import type { StoredTensor } from '../weights/checkpoint.ts'
import { layOutTraining, type TrainingLayout } from './training-layout.ts'
import type {
  OptimizerSettings,
  RunLoss,
  TrainableTensor,
  TrainingModel,
  TrainingModelOptions,
  UpdateSettings,
} from './training-model.ts'
import { recordNorm, recordReset, recordTraining, recordUpdate } from './training-plans.ts'

const NO_SAMPLING: SamplingInputs = { temperature: 0, topK: 1, topP: 1, uniform: new Float64Array(0) }

/** On a GPU. A step of a large model takes seconds, and systems take a GPU away from who keeps it that long at once. */
const DISPATCHES_PER_SUBMIT = 64

/**
 * Sets memory aside, loads the weights and records the plans. Throws GemmaError 'config' where a weight is missing or
 * of another shape, 'memory' where it does not fit, 'aborted'.
 */
export async function createTrainingModel(options: TrainingModelOptions): Promise<TrainingModel> {
  try {
    return await createModel(options)
  } catch (error) {
    options.gpu?.close()
    throw error
  }
}

async function createModel(options: TrainingModelOptions): Promise<TrainingModel> {
  checkOptions(options)
  const { rows, optimizer, lora, checkpointing } = options
  const stored = checkWeights(options)
  const layout = layOutTraining(options, (name) => stored.get(name)!.encoding)
  const { model, adapters, learned, tensors } = layout
  const accumulators = new Map(learned.map(({ weight, gradient }) => [weight, gradient]))
  const training = recordTraining(model, { rows, adapters, accumulators, checkpointing })
  const evaluation = recordTraining(model, { rows, adapters: withoutDropout(adapters) })
  const backend = await createBackend(options, {
    tensors,
    constants: model.state.constants,
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

function createBackend(
  { backend, gpu, threads, rows }: TrainingModelOptions,
  placed: {
    readonly tensors: readonly Tensor[]
    readonly constants: ReadonlyMap<Tensor, Float32Array>
    readonly sizing: readonly Tape[]
  },
): Promise<Backend> {
  if (gpu) {
    return createWebGpuBackend({
      ...{ open: gpu, lowerings: webGpuTrainingLowerings, mostRows: rows, ...placed },
      dispatchesPerSubmit: DISPATCHES_PER_SUBMIT,
    })
  }
  if (backend === 'reference') return Promise.resolve(createReferenceBackend(placed))
  return createWasmBackend({ threads, lowerings: trainingLowerings, kernels: 'kernels-training', ...placed })
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
  { tensors, adapters }: TrainingLayout,
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
