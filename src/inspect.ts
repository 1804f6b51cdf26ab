// What a model is and what it needs, read from its configuration and the headers of its files: the weights stay where
// they are. Runs everywhere.

import { GemmaError } from './error.ts'
import { type Estimate, estimateMemory } from './generate/estimate.ts'
import { dtypeFor } from './generate/load-model.ts'
import type { Dtype } from './graph/dtype.ts'
import { matrixSize } from './graph/tape.ts'
import { type ModelConfig, parseConfig } from './model/config.ts'
import { modelSizes } from './model/configs.ts'
import { type ParameterSpec, parameterCounts } from './model/parameters.ts'
import type { Checkpoint, StoredTensor } from './weights/checkpoint.ts'

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
  /** Bytes; `weights` as stored, `kv` for `contextLength` tokens, `available` on this machine, null where nobody can tell. */
  readonly memory: { weights: number; kvPerToken: number; kv: number; available: number | null } | null
  readonly precisions: readonly Estimate[]
  /** Names of stored tensors that belong to no text model. */
  readonly unknown: readonly string[]
}

/** An opened checkpoint, with `context` tokens to reckon with (default: as loading has it). Throws GemmaError. */
export function inspectCheckpoint(
  model: string,
  checkpoint: Checkpoint,
  available: number | null,
  context?: number,
): Inspection {
  const { container, config: json, generationConfig, tensors, unknown } = checkpoint
  const config = parseConfig(json, generationConfig)
  const dtypeOf = ({ name, shape }: ParameterSpec): Dtype =>
    dtypeFor('auto', encodingOf(checkpoint, name), shape.length)
  const dtypes: Record<string, number> = {}
  let bytes = 0
  for (const tensor of tensors.values()) {
    const { rows, columns } = matrixSize(tensor.shape)
    dtypes[tensor.encoding] = (dtypes[tensor.encoding] ?? 0) + rows * columns
    bytes += storedBytes(tensor)
  }
  const common = { model, downloaded: true, container, dtypes, bytes, unknown, config: json }
  return { ...common, ...summarise(config, dtypeOf, available, context) }
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

/** What follows from a configuration and what its weights are stored in (see `estimateMemory`). */
export function summarise(
  config: ModelConfig,
  stored: Parameters<typeof estimateMemory>[1],
  available: number | null,
  context?: number,
): Pick<Inspection, 'generation' | 'size' | 'parameters' | 'contextLength' | 'memory' | 'precisions'> {
  const { contextLength, kvPerToken, precisions } = estimateMemory(config, stored, available, context)
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
