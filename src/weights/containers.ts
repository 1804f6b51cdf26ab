// From open files of one container to the configuration, tensors and tokenizer of a checkpoint. Browser
// and Node alike: it takes Sources, not paths, and leaves it to the caller which files belong together.

import { GemmaError } from '../error.ts'
import type { Checkpoint, TokenizerFiles } from './checkpoint.ts'
import { collectTensors, emptyCollection, type FileTensor } from './collect.ts'
import { type Config, textConfig } from './config.ts'
import { derivePytorchConfig } from './derive-config.ts'
import { type GgufHeader, readGguf } from './gguf.ts'
import { configFromGguf, generationConfigFromGguf, ggufArchitecture } from './gguf-config.ts'
import { fromGguf, fromHuggingFace } from './names.ts'
import { collectPytorch } from './pytorch-names.ts'
import { readSafetensors, safetensorsEncoding } from './safetensors.ts'
import type { Source } from './source.ts'
import { readTorch } from './torch.ts'

/** What a container yields; the opener adds names, tokenizer files and close(). */
export type Contents = Pick<Checkpoint, 'container' | 'config' | 'tensors' | 'unknown'> &
  Partial<Pick<Checkpoint, 'generationConfig' | 'tokenizer'>>

/** One file of a checkpoint and, when an index lists them, the names of the tensors to take from it. */
export interface WeightFile {
  readonly source: Source
  readonly wanted?: readonly string[]
}

/** A safetensors checkpoint with transformers' names; `config` is its config.json. */
export async function safetensorsContents(files: readonly WeightFile[], config: Config): Promise<Contents> {
  const flat = textConfig(config)
  const collected = emptyCollection()
  const tied = flat.tie_word_embeddings !== false
  for (const { source, wanted } of files) {
    const { entries } = await readSafetensors(source)
    const tensors = [...entries.values()].map(
      ({ name, dtype, shape, offset }): FileTensor => ({
        name,
        shape,
        encoding: safetensorsEncoding(dtype),
        type: dtype,
        source,
        offset,
      }),
    )
    collectTensors(collected, pick(tensors, wanted, source), fromHuggingFace, { tied })
  }
  return { container: 'safetensors', config: flat, ...collected }
}

/** A torch checkpoint, gemma_pytorch's or transformers'; `config` is the config.json beside it, if any. */
export async function torchContents(
  files: readonly WeightFile[],
  config: Config | undefined,
  name: string,
): Promise<Contents> {
  const tensors: FileTensor[] = []
  for (const { source, wanted } of files) tensors.push(...pick(await readTorch(source), wanted, source))
  const given = textConfig(config ?? {})
  // transformers' names need a whole config.json; gemma_pytorch's shapes can stand in for one.
  const transformers = tensors.some((tensor) => tensor.name.endsWith('embed_tokens.weight'))
  if (transformers && config === undefined) {
    throw new GemmaError(
      'file',
      `${name} has no config.json beside it.`,
      'Fetch it from where the weights came from.',
    )
  }
  const full = transformers ? given : derivePytorchConfig(tensors, given, name)
  return { container: 'torch', config: full, ...collectPytorch(tensors, full) }
}

function pick(
  tensors: readonly FileTensor[],
  wanted: readonly string[] | undefined,
  source: Source,
): FileTensor[] {
  if (wanted === undefined) return [...tensors]
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]))
  return wanted.map((name) => {
    const tensor = byName.get(name)
    if (tensor === undefined) {
      throw new GemmaError(
        'file',
        `${source.name} lacks ${name}, which the index says it holds.`,
        'Fetch it again.',
      )
    }
    return tensor
  })
}

/** A GGUF checkpoint: one file, or all parts of a split one in order. */
export async function ggufContents(sources: readonly Source[]): Promise<Contents> {
  const headers: GgufHeader[] = []
  for (const source of sources) headers.push(await readGguf(source))
  const { metadata } = headers[0]
  const name = sources[0].name
  checkSplit(headers, name)
  const architecture = ggufArchitecture(metadata, name)
  const collected = emptyCollection()
  const files = headers.flatMap(({ tensors }, i) =>
    tensors.map((tensor) => ({ ...tensor, source: sources[i] })),
  )
  const head = files.find((file) => file.name === 'output.weight')
  collectTensors(collected, files, (stored) => fromGguf(stored, architecture), {
    tied: head === undefined || isTiedCopy(head, files),
    subtractOfVectors: 1,
  })
  const embedding = files.find((file) => file.name === 'token_embd.weight')
  if (embedding === undefined)
    throw new GemmaError('file', `${name} has no token_embd.weight.`, 'Fetch it again.')
  return {
    container: 'gguf',
    config: configFromGguf(metadata, embedding.shape[0], name),
    generationConfig: generationConfigFromGguf(metadata),
    tokenizer: ggufTokenizer(metadata),
    ...collected,
  }
}

// Quantisers may store the tied embedding once more as output.weight (in another type, for quality). Gemma
// 1 to 3 have no head of their own, so the same shape means a copy.
function isTiedCopy(head: FileTensor, files: readonly FileTensor[]): boolean {
  const embedding = files.find((file) => file.name === 'token_embd.weight')
  return embedding !== undefined && head.shape.join() === embedding.shape.join()
}

function checkSplit(headers: readonly GgufHeader[], name: string): void {
  const parts = headers[0].metadata.get('split.count') ?? 1
  if (parts !== 0 && parts !== headers.length) {
    throw new GemmaError('file', `${name} is one of ${parts} parts, but ${headers.length} were given.`)
  }
  headers.forEach(({ metadata }, i) => {
    const number = metadata.get('split.no') ?? 0
    if (number !== i)
      throw new GemmaError('file', `${name}: part ${i + 1} of the split file says it is ${number}.`)
  })
  const expected = headers[0].metadata.get('split.tensors.count')
  const count = headers.reduce((sum, header) => sum + header.tensors.length, 0)
  if (headers.length > 1 && expected !== count) {
    throw new GemmaError(
      'file',
      `${name}: ${expected} tensors were expected in all parts, but there are ${count}.`,
    )
  }
}

function ggufTokenizer(metadata: GgufHeader['metadata']): TokenizerFiles {
  const entries = [...metadata].filter(([key]) => key.startsWith('tokenizer.ggml.'))
  const template = metadata.get('tokenizer.chat_template')
  const files: TokenizerFiles = { gguf: new Map(entries) }
  if (typeof template === 'string') files.chatTemplate = template
  return files
}
