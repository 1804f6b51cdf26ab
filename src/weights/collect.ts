// From the tensors of one or more files, as named there, to the checkpoint's map by Hugging Face name.
// Used by every container; knows no file format.

import { GemmaError } from '../error.ts'
import type { Encoding, StoredTensor } from './checkpoint.ts'
import { expectedRank, headName, type NamedTensor } from './names.ts'
import type { Source } from './source.ts'
import { storedTensor } from './stored.ts'

/** One tensor as its file describes it, before names are mapped. */
export interface FileTensor {
  /** Name in the file. */
  readonly name: string
  readonly shape: readonly number[]
  /** undefined for a type no weight can have. */
  readonly encoding: Encoding | undefined
  /** The file's own word for the type, for messages. */
  readonly type: string
  readonly source: Source
  readonly offset: number
}

export interface Collected {
  readonly tensors: Map<string, StoredTensor>
  readonly unknown: string[]
}

/** An empty collection to add tensors to. */
export function emptyCollection(): Collected {
  return { tensors: new Map(), unknown: [] }
}

/** Adds a tensor under its Hugging Face name; two of one name are an error. */
export function addTensor(into: Collected, tensor: StoredTensor, source: Source): void {
  if (into.tensors.has(tensor.name))
    throw new GemmaError('file', `${source.name}: ${tensor.name} is there twice.`)
  into.tensors.set(tensor.name, tensor)
}

/** Makes the stored tensor of a weight; refuses types and ranks a weight cannot have. */
export function weightTensor(
  file: FileTensor,
  name: string,
  extra: Partial<StoredTensor> = {},
): StoredTensor {
  if (file.encoding === undefined) {
    throw new GemmaError(
      'unsupported',
      `${file.source.name}: ${file.name} is stored as ${file.type}, which cannot be read here.`,
      'Use a checkpoint in F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K or Q6_K.',
    )
  }
  if (file.encoding === 'I8' && extra.rowScales === undefined) {
    throw new GemmaError(
      'file',
      `${file.source.name}: ${file.name} is int8 but has no scales (…weight_scaler).`,
    )
  }
  const rank = expectedRank(name)
  if (file.shape.length !== rank) {
    throw new GemmaError(
      'file',
      `${file.source.name}: ${file.name} has shape [${file.shape.join(', ')}]; expected ${rank === 1 ? 'a vector' : 'a matrix'}.`,
    )
  }
  const { source, offset, shape, encoding } = file
  return storedTensor({ name, shape, encoding, source, offset, ...extra })
}

/**
 * Adds the tensors of a file with the naming `nameOf`. `tied` says that the output head is the embedding,
 * so a stored copy of it is left out.
 */
export function collectTensors(
  into: Collected,
  files: Iterable<FileTensor>,
  nameOf: (stored: string) => NamedTensor,
  options: { readonly tied: boolean; readonly subtractOfVectors?: number },
): void {
  for (const file of files) {
    const named = nameOf(file.name)
    if (named.kind === 'weight') {
      const subtract = file.shape.length === 1 ? (options.subtractOfVectors ?? 0) : 0
      addTensor(into, weightTensor(file, named.name, { subtract }), file.source)
    } else if (named.kind === 'head') {
      if (!options.tied) addTensor(into, weightTensor(file, headName), file.source)
    } else if (named.kind !== 'buffer' && named.kind !== 'vision') into.unknown.push(file.name)
  }
}
