// Writes checkpoints with random weights in the shape of the published models: files of full size for
// benchmarks and tests of memory, without a download. Node only.

import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Config } from './config.ts'
import { encodedBytes } from './encodings.ts'
import { ggufFromConfig, modelTypes } from './gguf-config.ts'
import { ggufTokenizerEntries } from './gguf-tokenizer.ts'
import { type GgufEncoding, type GgufEntry, writeGguf } from './gguf-writer.node.ts'
import { toGguf } from './names.ts'
import { type RandomEncoding, randomBlocks } from './random-blocks.ts'
import { randomVocabulary, sentencePieceBytes } from './random-tokenizer.ts'
import { type SafetensorsDtype, writeShards } from './safetensors-writer.node.ts'
import { planBytes, type TensorPlan, type WriteOptions } from './tensor-writer.node.ts'

/** What to make: config.json's keys, and Hugging Face's name and the shape of every weight. */
export interface RandomModel {
  readonly config: Config
  readonly weights: ReadonlyArray<{ readonly name: string; readonly shape: readonly number[] }>
}

export interface RandomOptions extends WriteOptions {
  /** Default 1. */
  readonly seed?: number
  /** The embedding's encoding where it is another: llama.cpp's quantiser takes Q6_K there. */
  readonly embedding?: RandomEncoding
  /** GGUF only: splits what is larger into files name-00001-of-0000N.gguf, as some browsers' engines need it. */
  readonly partBytes?: number
}

const deviation = 0.02 // of all weights, about that of trained ones

function randomPlan<Type extends RandomEncoding>(
  name: string,
  shape: readonly number[],
  type: Type,
  seed: string,
  mean: number,
): TensorPlan<Type> {
  const fill = randomBlocks(type, `${seed} ${name}`, deviation, mean)
  const rowBytes = encodedBytes(type, shape[shape.length - 1])
  return { name, shape, type, rowBytes, fill: (_from, into) => fill(into) }
}

// llama_ftype in llama.cpp's include/llama.h.
const fileTypes: Readonly<Record<RandomEncoding, number>> = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q8_0: 7,
  Q6_K: 18,
  BF16: 32,
}

/** Writes a GGUF file with a synthetic tokenizer. */
export async function writeRandomGguf(
  path: string,
  { config, weights }: RandomModel,
  encoding: RandomEncoding,
  options: RandomOptions = {},
): Promise<void> {
  const architecture = Object.keys(modelTypes).find((key) => modelTypes[key] === config.model_type) ?? ''
  const metadata = new Map<string, GgufEntry>(ggufFromConfig(config, 'random') as Map<string, GgufEntry>)
  metadata.set('general.name', { type: 'string', value: 'random weights' })
  metadata.set('general.file_type', { type: 'u32', value: fileTypes[encoding] })
  metadata.set('general.quantization_version', { type: 'u32', value: 2 })
  const rows = config.vocab_size as number
  for (const [key, entry] of ggufTokenizerEntries(randomVocabulary(rows), rows)) metadata.set(key, entry)
  const plans: TensorPlan<GgufEncoding>[] = []
  for (const { name, shape } of weights) {
    const stored = toGguf(name, architecture)!
    const matrix = stored === 'token_embd.weight' ? (options.embedding ?? encoding) : encoding
    const norm = shape.length === 1
    plans.push(randomPlan(stored, shape, norm ? 'F32' : matrix, `${options.seed ?? 1}`, norm ? 1 : 0))
  }
  const parts = intoParts(plans, options.partBytes ?? Number.POSITIVE_INFINITY)
  if (parts.length === 1) return writeGguf(path, metadata, plans, options)
  for (const [i, part] of parts.entries()) {
    // As llama.cpp's gguf-split writes them: all else stands in the first part.
    const own = new Map<string, GgufEntry>(i === 0 ? metadata : [])
    own.set('split.no', { type: 'u16', value: i })
    own.set('split.count', { type: 'u16', value: parts.length })
    own.set('split.tensors.count', { type: 'i32', value: plans.length })
    await writeGguf(partPath(path, i, parts.length), own, part, options)
  }
}

function partPath(path: string, index: number, count: number): string {
  const digits = (value: number): string => String(value).padStart(5, '0')
  return path.replace(/\.gguf$/, `-${digits(index + 1)}-of-${digits(count)}.gguf`)
}

function intoParts<Plan extends TensorPlan>(plans: readonly Plan[], most: number): Plan[][] {
  const parts: Plan[][] = [[]]
  let bytes = 0
  for (const plan of plans) {
    const size = planBytes(plan)
    if (bytes > 0 && bytes + size > most) {
      parts.push([])
      bytes = 0
    }
    parts[parts.length - 1].push(plan)
    bytes += size
  }
  return parts
}

/** Writes a directory in Hugging Face's layout with a synthetic tokenizer.model. */
export async function writeRandomHuggingFace(
  directory: string,
  { config, weights }: RandomModel,
  dtype: Extract<SafetensorsDtype, 'F32' | 'F16' | 'BF16'>,
  options: RandomOptions & { readonly shardBytes?: number } = {},
): Promise<void> {
  await mkdir(directory, { recursive: true })
  const plans = weights.map(({ name, shape }) => randomPlan(name, shape, dtype, `${options.seed ?? 1}`, 0))
  await writeShards(directory, plans, options)
  const torchDtype = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' }[dtype]
  const json = JSON.stringify({ ...config, torch_dtype: torchDtype }, null, 2)
  await writeFile(join(directory, 'config.json'), `${json}\n`)
  const vocabulary = randomVocabulary(config.vocab_size as number)
  await writeFile(join(directory, 'tokenizer.model'), sentencePieceBytes(vocabulary))
}
