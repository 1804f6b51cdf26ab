// From an opened checkpoint to a model on a backend: which dtype each weight gets, whether all of it fits,
// and the loading itself with progress. Knows no container and no kernel.

import type { Backend } from '../backends/backend.ts'
import { MAX_ROWS } from '../backends/backend.ts'
import { createReferenceBackend } from '../backends/reference.ts'
import { createWasmBackend } from '../backends/wasm/backend.ts'
import type { KernelBuild } from '../backends/wasm/variant.ts'
import { openDevice } from '../backends/webgpu/device.ts'
import { GemmaError } from '../error.ts'
import { type CacheDtype, cacheRowBytes, type Dtype, layoutOf } from '../graph/dtype.ts'
import { type Adapters, matrixSize, type Tensor } from '../graph/tape.ts'
import { cacheCapacity, createState } from '../model/blocks.ts'
import { type ModelConfig, parseConfig } from '../model/config.ts'
import { adapterBytes, checkAdapter, createAdapters } from '../model/lora.ts'
import {
  createParameters,
  type ParameterSpec,
  type Parameters,
  parameterSpecs,
  readTogether,
} from '../model/parameters.ts'
import type { Checkpoint, Encoding, StoredAdapter, StoredTensor } from '../weights/checkpoint.ts'
import type { ChosenDevice } from './choose-device.ts'
import { createEngine, type Engine, MOST_CHOICES, type Model, sizingTapes } from './engine.ts'
import type { LoadProgress, WeightDtype } from './load-choices.ts'

export interface LoadModelOptions {
  readonly dtype?: WeightDtype
  readonly threads: number
  readonly contextLength?: number
  /** Sequences whose keys and values are held at once; default 1. */
  readonly sequences?: number
  /** What keys and values are kept in; default: see `cacheDtypeFor`. */
  readonly cacheDtype?: CacheDtype
  /** Pieces of the tokenizer: rows of the embedding past them are padding and never drawn. */
  readonly pieces?: number
  /** Low-rank adapters by the names that requests will call them by; they stay the caller's to close. */
  readonly adapters?: ReadonlyMap<string, StoredAdapter>
  /** Default: the CPU. */
  readonly device?: ChosenDevice
  readonly backend?: 'wasm' | 'reference'
  readonly build?: KernelBuild | 'auto'
  readonly memoryLimit?: number
  /** Bytes this process may still take; a model that needs more is refused before anything is read. */
  readonly memoryBudget?: number
  readonly onProgress?: (progress: LoadProgress) => void
  readonly signal?: AbortSignal
}

/** Loaded without a wish, a model keeps at most this many tokens of context: caches cost memory. */
export const DEFAULT_CONTEXT = 8192

/** Scratch, programs and the runtime itself, roughly. */
export const WORKING_BYTES = 300e6

const AS_STORED: Readonly<Record<Encoding, Dtype>> = {
  F32: 'f32',
  BF16: 'bf16',
  F16: 'f16',
  I8: 'int8row',
  Q8_0: 'int8',
  Q5_0: 'int8',
  Q5_1: 'int8',
  Q5_K: 'int8',
  Q6_K: 'int8',
  Q4_0: 'int4',
  Q4_1: 'int4min',
  Q4_K: 'int4min',
}

/** The dtype a stored tensor gets; vectors stay f32. */
export function dtypeFor(wanted: WeightDtype, encoding: Encoding, dimensions: number): Dtype {
  if (dimensions === 1 || wanted === 'f32') return 'f32'
  const stored = AS_STORED[encoding]
  if (wanted === 'auto') return stored
  // What is stored in so many bits already is not rounded again.
  if (wanted === 'int8' && stored === 'int8row') return stored
  if (wanted === 'int4' && stored === 'int4min') return stored
  return wanted
}

export async function loadModel(checkpoint: Checkpoint, options: LoadModelOptions): Promise<Engine> {
  const config = fitVocabulary(parseConfig(checkpoint.config, checkpoint.generationConfig), checkpoint)
  const stored = checkTensors(config, checkpoint)
  const { adapters: storedAdapters = new Map<string, StoredAdapter>() } = options
  for (const { name, layers, everywhere } of storedAdapters.values()) {
    checkAdapter(config, name, layers, everywhere)
  }
  const dtype = options.dtype ?? 'auto'
  const dtypeOf = ({ name, shape }: ParameterSpec): Dtype =>
    dtypeFor(dtype, stored.get(name)!.encoding, shape.length)
  const parameters = createParameters(config, dtypeOf)
  const contextLength = checkContext(options.contextLength, config)
  const sequences = checkSequences(options.sequences)
  const cacheDtype = options.cacheDtype ?? cacheDtypeFor(config, dtype, contextLength, sequences)
  const state = createState(config, { contextLength, sequences, maxRows: MAX_ROWS, cacheDtype })
  const pieces = Math.min(options.pieces ?? config.vocabSize, config.vocabSize)
  const adapters = new Map<string, Adapters>()
  for (const [name, { layers }] of storedAdapters)
    adapters.set(name, createAdapters(parameters, ranksOf(layers)))
  const model: Model = { config, parameters, state, contextLength, sequences, pieces, adapters }
  const checkBudget = (): void => {
    if (options.memoryBudget === undefined) return
    const bytes = [...storedAdapters.values()].reduce((sum, { layers }) => sum + adapterBytes(layers), 0)
    const held = { contextLength, sequences, cacheDtype, adapters: bytes }
    checkMemory(checkpoint, config, dtypeOf, held, options.memoryBudget)
  }
  const backend = await createBackend(model, options, checkBudget)
  try {
    const weights = allParameters(parameters).map((tensor): Filling => [tensor, stored.get(tensor.name)!])
    const added = [...adapters].flatMap(([name, own]) => adapterFillings(own, storedAdapters.get(name)!))
    await fill(backend, [...weights, ...added], options)
  } catch (error) {
    await backend.dispose()
    throw error
  }
  return createEngine(model, backend)
}

/** On the GPU if one was chosen and has room, else on the CPU if that may be, once `checkBudget` lets it pass. */
async function createBackend(
  model: Model,
  options: LoadModelOptions,
  checkBudget: () => void,
): Promise<Backend> {
  const tensors = inOrderOfUse(model)
  const { constants } = model.state
  let remark = options.device?.remark
  const gpu = options.device?.gpu
  if (gpu) {
    // What a program that plays a GPU holds is memory of this machine.
    if (gpu.software) checkBudget()
    try {
      // Only who has a GPU reads the kernels for it.
      const { createWebGpuBackend } = await import('../backends/webgpu/backend.ts')
      return await createWebGpuBackend({
        ...{ open: await openDevice(gpu), tensors, constants },
        together: readTogether(model.parameters),
        sizing: sizingTapes(model),
      })
    } catch (error) {
      if (!options.device.mayFallBack || !(error instanceof GemmaError)) throw error
      remark = `${gpu.name}: ${error.message}`
    }
  }
  checkBudget()
  if (options.backend === 'reference') return createReferenceBackend({ tensors, constants })
  const backend = await createWasmBackend({
    threads: options.threads,
    tensors,
    constants,
    sizing: sizingTapes(model),
    build: options.build,
    memoryLimit: options.memoryLimit,
  })
  if (remark === undefined) return backend
  return { ...backend, description: `${backend.description} (no GPU: ${remark})` }
}

/** Padded tables (256 128 rows in Google's JAX files) and unpadded ones are both the same model. */
function fitVocabulary(config: ModelConfig, checkpoint: Checkpoint): ModelConfig {
  const table = checkpoint.tensors.get('model.embed_tokens.weight')
  const rows = table?.shape[0]
  if (rows === undefined || rows >= config.vocabSize) return config
  throw new GemmaError(
    'config',
    `${checkpoint.name}: the configuration has a vocabulary of ${config.vocabSize}, but the embedding has ${rows} rows.`,
    'The configuration belongs to another model.',
  )
}

function checkTensors(config: ModelConfig, checkpoint: Checkpoint): Map<string, StoredTensor> {
  const stored = new Map<string, StoredTensor>()
  const missing: string[] = []
  for (const { name, shape } of parameterSpecs(config)) {
    const tensor = checkpoint.tensors.get(name)
    if (!tensor) {
      missing.push(name)
      continue
    }
    checkShape(checkpoint, tensor, shape)
    stored.set(name, { ...tensor, shape, readRows: tensor.readRows.bind(tensor) })
  }
  if (missing.length > 0) {
    throw new GemmaError(
      'config',
      `${checkpoint.name}: ${missing.length} tensors that the configuration asks for are missing, first ${missing[0]}.`,
      'The configuration belongs to another model, or a file of the checkpoint is missing.',
    )
  }
  return stored
}

function checkShape(checkpoint: Checkpoint, tensor: StoredTensor, shape: readonly number[]): void {
  const { name } = tensor
  const embedding = name === 'model.embed_tokens.weight'
  const fits =
    tensor.shape.length === shape.length &&
    shape.every((size, i) => tensor.shape[i] === size || (embedding && i === 0 && tensor.shape[0]! > size))
  if (fits) return
  throw new GemmaError(
    'config',
    `${checkpoint.name}: ${name} is [${tensor.shape.join(', ')}], but the configuration asks for [${shape.join(', ')}].`,
    'The configuration belongs to another model.',
  )
}

function checkContext(wanted: number | undefined, config: ModelConfig): number {
  if (wanted === undefined) return Math.min(config.maxPositionEmbeddings, DEFAULT_CONTEXT)
  if (Number.isSafeInteger(wanted) && wanted >= 2 && wanted <= config.maxPositionEmbeddings) return wanted
  throw new GemmaError(
    'usage',
    `contextLength is ${wanted}, expected a whole number from 2 to ${config.maxPositionEmbeddings}.`,
  )
}

function checkSequences(wanted = 1): number {
  if (Number.isSafeInteger(wanted) && wanted >= 1 && wanted <= MOST_CHOICES) return wanted
  throw new GemmaError('usage', `sequences is ${wanted}, expected a whole number from 1 to ${MOST_CHOICES}.`)
}

function ranksOf(layers: StoredAdapter['layers']): Map<string, { rank: number; scale: number }> {
  const ranks = [...layers].map(([name, { down, scale }]) => [name, { rank: down.shape[0]!, scale }] as const)
  return new Map(ranks)
}

/** Weights of a layer, each with what adapters add to it, beside its caches, layer after layer. */
function inOrderOfUse({ parameters, state, adapters }: Model): Tensor[] {
  const beside = (weight: Tensor): Tensor[] =>
    [...adapters.values()].flatMap((own) => {
      const adapter = own.get(weight)
      return adapter ? [adapter.down, adapter.up] : []
    })
  const layers = parameters.layers.flatMap((layer, i) => {
    const { keys, values } = state.caches[i]!
    const weights = (Object.values(layer) as Tensor[]).flatMap((weight) => [weight, ...beside(weight)])
    return [...weights, keys, values]
  })
  return [parameters.embedding, ...layers, parameters.finalNorm]
}

export function allParameters(parameters: Parameters): Tensor[] {
  const layers = parameters.layers.flatMap((layer) => Object.values(layer) as Tensor[])
  return [parameters.embedding, ...layers, parameters.finalNorm]
}

/** A tensor, and where its values come from. */
type Filling = readonly [Tensor, StoredTensor]

function adapterFillings(adapters: Adapters, { layers }: StoredAdapter): Filling[] {
  return [...adapters].flatMap(([weight, { down, up }]): Filling[] => {
    const stored = layers.get(weight.name)!
    return [
      [down, stored.down],
      [up, stored.up],
    ]
  })
}

async function fill(
  backend: Backend,
  fillings: readonly Filling[],
  { onProgress, signal }: LoadModelOptions,
): Promise<void> {
  const sizeOf = ({ shape, rowBytes }: StoredTensor): number => matrixSize(shape).rows * rowBytes
  const totalBytes = fillings.reduce((sum, [, source]) => sum + sizeOf(source), 0)
  let bytes = 0
  for (const [tensor, source] of fillings) {
    const advance = (count: number): void => {
      bytes += count
      onProgress?.({ phase: 'load', bytes, totalBytes, name: tensor.name })
    }
    await backend.load(tensor, source, advance, signal)
  }
}

/** Refuses a model that does not fit, with the numbers and what would fit. */
function checkMemory(
  checkpoint: Checkpoint,
  config: ModelConfig,
  dtypeOf: (spec: ParameterSpec) => Dtype,
  {
    contextLength,
    sequences,
    cacheDtype,
    adapters,
  }: { contextLength: number; sequences: number; cacheDtype?: CacheDtype; adapters: number },
  budget: number,
): void {
  const total = ({ weights, kv }: { weights: number; kv: number }): number =>
    weights + adapters + kv + WORKING_BYTES
  const needed = total(memoryNeeded(config, dtypeOf, contextLength, sequences, cacheDtype))
  if (needed <= budget) return
  const held = `${sequences > 1 ? `${sequences} times ` : ''}${contextLength} tokens`
  const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`
  const narrower = (['bf16', 'int8', 'int4'] as const).find((dtype) => {
    const narrow = ({ shape }: ParameterSpec): Dtype => dtypeFor(dtype, 'F32', shape.length)
    return total(memoryNeeded(config, narrow, contextLength, sequences)) <= Math.min(budget, needed - 1)
  })
  throw new GemmaError(
    'memory',
    `${checkpoint.name} needs ${gigabytes(needed)} in this precision with ${held} of context, but ${gigabytes(budget)} are free.`,
    narrower
      ? `Load it with dtype '${narrower}', or with ${sequences > 1 ? 'fewer sequences or ' : ''}a shorter contextLength.`
      : 'No precision of it fits this machine; choose a smaller model or free memory.',
  )
}

/** Caches that would take more than this in float32 are kept in f16. */
const LARGE_CACHE = 1e9

/**
 * What keys and values are kept in unless the caller says: f32 where that is small or everything is asked to be
 * float32, else f16, which changes the distribution by a millionth of a nat and halves what can be the larger
 * part of the memory (7.5 GB for 8 192 tokens of Gemma 7B).
 */
export function cacheDtypeFor(
  config: ModelConfig,
  weights: WeightDtype,
  contextLength: number,
  sequences: number,
): CacheDtype {
  if (weights === 'f32') return 'f32'
  return cacheBytes(config, 'f32', contextLength, sequences) > LARGE_CACHE ? 'f16' : 'f32'
}

function cacheBytes(
  config: ModelConfig,
  dtype: CacheDtype,
  contextLength: number,
  sequences: number,
): number {
  const perLayer = 2 * cacheRowBytes(dtype, config.numKeyValueHeads * config.headDim)
  return config.layerTypes.reduce((sum, type) => {
    return sum + sequences * cacheCapacity(config, type, contextLength, MAX_ROWS) * perLayer
  }, 0)
}

/** Bytes that weights of a dtype, one token of context and all caches take, before anything is read. */
export function memoryNeeded(
  config: ModelConfig,
  dtypeOf: (spec: ParameterSpec) => Dtype,
  contextLength: number,
  sequences = 1,
  cacheDtype: CacheDtype = cacheDtypeFor(config, 'auto', contextLength, sequences),
): { weights: number; kvPerToken: number; kv: number } {
  let weights = 0
  for (const spec of parameterSpecs(config)) {
    const { rows, columns } = matrixSize(spec.shape)
    weights += layoutOf(dtypeOf(spec), rows, columns).bytes
  }
  const perToken = 2 * cacheRowBytes(cacheDtype, config.numKeyValueHeads * config.headDim)
  const kv = cacheBytes(config, cacheDtype, contextLength, sequences)
  return { weights, kvPerToken: perToken * config.numHiddenLayers, kv }
}
