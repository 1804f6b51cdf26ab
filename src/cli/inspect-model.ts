// What a model is and what it needs, read from its configuration and the headers of its files: the weights
// stay where they are. Node only.

import { GemmaError } from '../error.ts'
import { dtypeFor } from '../generate/load-model.ts'
import type { Dtype } from '../graph/dtype.ts'
import { matrixSize } from '../graph/tape.ts'
import type { RemoteDescription } from '../hub/download-options.ts'
import { describeRemote, parseSource } from '../hub/resolve.node.ts'
import { type ModelConfig, parseConfig } from '../model/config.ts'
import { modelSizes } from '../model/configs.ts'
import { type ParameterSpec, parameterCounts } from '../model/parameters.ts'
import type { Checkpoint, StoredTensor } from '../weights/checkpoint.ts'
import { openCheckpoint } from '../weights/open.node.ts'
import { type Estimates, estimateMemory, remoteWeightBytes } from './memory-estimate.ts'

interface Flags {
  /** Tokens of context to reckon with. */
  readonly context?: number
}

export interface Inspection {
  readonly model: string
  /** Whether the weights are on this machine. */
  readonly downloaded: boolean
  readonly container: Checkpoint['container'] | null
  readonly generation: ModelConfig['generation'] | null
  /** The released size with these dimensions, such as '2b'. */
  readonly size: string | null
  /** With Hugging Face's keys. */
  readonly config: Readonly<Record<string, unknown>> | null
  readonly parameters: { total: number; embedding: number; nonEmbedding: number } | null
  /** Parameters by the encoding they are stored in; null before the download. */
  readonly dtypes: Readonly<Record<string, number>> | null
  /** Bytes of the stored weights. */
  readonly bytes: number
  /** Bytes of all files that loading needs; before the download only. */
  readonly downloadBytes?: number
  readonly contextLength: number | null
  /** Bytes; `weights` as stored, `kv` for `contextLength` tokens, `available` on this machine. */
  readonly memory: { weights: number; kvPerToken: number; kv: number; available: number } | null
  readonly precisions: Estimates['precisions']
  /** Names of stored tensors that belong to no text model. */
  readonly unknown: readonly string[]
}

/** Throws GemmaError; `source` is whatever a user calls a model. */
export async function inspect(source: string, flags: Flags, signal: AbortSignal): Promise<Inspection> {
  const parsed = await parseSource(source)
  if (parsed.kind === 'path') return inspectLocal(source, parsed.path, flags)
  const description = await describeRemote(source, { signal })
  if (description.path !== undefined) return inspectLocal(source, description.path, flags)
  return inspectRemote(source, description, flags)
}

async function inspectLocal(model: string, path: string, { context }: Flags): Promise<Inspection> {
  const checkpoint = await openCheckpoint(path)
  try {
    const { container, config: json, tensors, unknown } = checkpoint
    const config = parseConfig(json, checkpoint.generationConfig)
    const dtypeOf = ({ name, shape }: ParameterSpec): Dtype =>
      dtypeFor('auto', encodingOf(checkpoint, name), shape.length)
    const estimates = estimateMemory(config, dtypeOf, context)
    const dtypes: Record<string, number> = {}
    let bytes = 0
    for (const tensor of tensors.values()) {
      const { rows, columns } = matrixSize(tensor.shape)
      dtypes[tensor.encoding] = (dtypes[tensor.encoding] ?? 0) + rows * columns
      bytes += storedBytes(tensor)
    }
    const common = { model, downloaded: true, container, dtypes, bytes, unknown }
    return { ...common, config: json, ...summarise(config, estimates) }
  } finally {
    await checkpoint.close()
  }
}

function encodingOf({ name, tensors }: Checkpoint, tensor: string): StoredTensor['encoding'] {
  const stored = tensors.get(tensor)
  if (stored !== undefined) return stored.encoding
  throw new GemmaError(
    'config',
    `${name} lacks ${tensor}, which its configuration asks for.`,
    'The configuration belongs to another model, or a file of the checkpoint is missing.',
  )
}

function storedBytes({ shape, rowBytes, rowScales }: StoredTensor): number {
  const own = matrixSize(shape).rows * rowBytes
  return rowScales === undefined ? own : own + storedBytes(rowScales)
}

function inspectRemote(model: string, description: RemoteDescription, { context }: Flags): Inspection {
  const bytes = remoteWeightBytes(description)
  const common = {
    ...{ model, downloaded: false, container: null, dtypes: null, bytes, unknown: [] },
    downloadBytes: description.totalBytes,
  }
  const { config: json } = description
  if (json === undefined) {
    const nothing = { generation: null, size: null, config: null, parameters: null }
    return { ...common, ...nothing, contextLength: null, memory: null, precisions: [] }
  }
  const config = parseConfig(json)
  return { ...common, config: json, ...summarise(config, estimateMemory(config, bytes, context)) }
}

function summarise(
  config: ModelConfig,
  { contextLength, kvPerToken, available, precisions }: Estimates,
): Pick<Inspection, 'generation' | 'size' | 'parameters' | 'contextLength' | 'memory' | 'precisions'> {
  const { weights, kv } = precisions[0]
  return {
    generation: config.generation,
    size: sizeName(config),
    parameters: parameterCounts(config),
    contextLength,
    memory: { weights, kvPerToken, kv, available },
    precisions,
  }
}

function sizeName(config: ModelConfig): string | null {
  const size = modelSizes.find(
    ({ generation, config: other }) =>
      generation === config.generation &&
      other.hidden_size === config.hiddenSize &&
      other.num_hidden_layers === config.numHiddenLayers &&
      other.intermediate_size === config.intermediateSize,
  )
  return size?.name ?? null
}
