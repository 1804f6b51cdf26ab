// Where a run's model comes from: a checkpoint on disk or on the Hub, or a configuration and first weights. Either way
// the same things come out: a configuration, weights by name and a tokenizer. Node only.

import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { GemmaError } from '../error.ts'
import { resolveModel } from '../hub/resolve.node.ts'
import { type ModelConfig, parseConfig } from '../model/config.ts'
import { miniatureSizes } from '../model/configs.ts'
import { parameterSpecs } from '../model/parameters.ts'
import { createTokenizer, type Tokenizer } from '../tokenizer/index.ts'
import type { Checkpoint, Encoding, StoredTensor, TokenizerFiles } from '../weights/checkpoint.ts'
import { readIfPresent, readTokenizerFiles } from '../weights/directory.node.ts'
import { openCheckpoint } from '../weights/open.node.ts'
import { fileError } from '../weights/source.node.ts'
import { initialWeights } from './initialize.ts'
import type { ResolvedRecipe } from './recipe.ts'

export interface ModelSource {
  readonly config: ModelConfig
  /** With the keys of config.json, for the finished model. */
  readonly json: Readonly<Record<string, unknown>>
  readonly generationConfig: Readonly<Record<string, unknown>>
  readonly weights: ReadonlyMap<string, StoredTensor>
  /** How the matrices are stored. */
  readonly encoding: Encoding
  readonly tokenizer: Tokenizer
  readonly tokenizerFiles: TokenizerFiles
  close(): Promise<void>
}

export interface OpenModelOptions {
  readonly onDownload?: (bytes: number, totalBytes: number) => void
  readonly signal?: AbortSignal
}

/** Opens the model of a recipe without reading its weights. Throws GemmaError. */
export async function openModelSource(
  recipe: ResolvedRecipe,
  options: OpenModelOptions = {},
): Promise<ModelSource> {
  const source =
    recipe.model.from === undefined
      ? await newModel(recipe)
      : await publishedModel(recipe.model.from, recipe.model.tokenizer, options)
  try {
    checkFit(source, recipe)
    return source
  } catch (error) {
    await source.close()
    throw error
  }
}

async function newModel({ model, seed }: ResolvedRecipe): Promise<ModelSource> {
  const tokenizerFiles = await openTokenizerFiles(model.tokenizer!)
  const shape = miniatureSizes.find(({ name }) => name === model.shape)?.config
  const given = { ...(shape ?? model.config) }
  const tokenizer = createTokenizer(tokenizerFiles, { template: templateFor(given) })
  const { bosId, eosId, padId } = tokenizer
  // The ids are the tokenizer's to say.
  const json = { ...given, bos_token_id: bosId, eos_token_id: eosId, pad_token_id: padId }
  const config = parseConfig(json)
  return {
    ...{ config, json, tokenizer, tokenizerFiles },
    generationConfig: {},
    weights: initialWeights(config, { seed, range: model.initializerRange! }),
    encoding: 'F32',
    close: async () => {},
  }
}

function templateFor({ model_type }: Readonly<Record<string, unknown>>): 'gemma' | 'gemma3' {
  return typeof model_type === 'string' && model_type.startsWith('gemma3') ? 'gemma3' : 'gemma'
}

async function publishedModel(
  from: string,
  otherTokenizer: string | undefined,
  { onDownload, signal }: OpenModelOptions,
): Promise<ModelSource> {
  const path = await resolveModel(from, {
    signal,
    onProgress: ({ bytes, totalBytes }) => onDownload?.(bytes, totalBytes),
  })
  const checkpoint = await openCheckpoint(path)
  try {
    const config = parseConfig(checkpoint.config, checkpoint.generationConfig)
    const tokenizerFiles =
      otherTokenizer === undefined ? checkpoint.tokenizer : await openTokenizerFiles(otherTokenizer)
    return {
      config,
      json: checkpoint.config,
      generationConfig: checkpoint.generationConfig,
      weights: weightsOf(config, checkpoint),
      encoding: checkpoint.tensors.get('model.layers.0.mlp.up_proj.weight')?.encoding ?? 'F32',
      tokenizer: createTokenizer(tokenizerFiles, { template: templateFor(checkpoint.config) }),
      tokenizerFiles,
      close: () => checkpoint.close(),
    }
  } catch (error) {
    await checkpoint.close()
    throw error
  }
}

/** The weights that the configuration asks for. Rows of the embedding past the vocabulary are padding and left out. */
function weightsOf(config: ModelConfig, { tensors, name: from }: Checkpoint): Map<string, StoredTensor> {
  const weights = new Map<string, StoredTensor>()
  for (const { name, shape } of parameterSpecs(config)) {
    const stored = tensors.get(name)
    const padded = name.endsWith('embed_tokens.weight')
    const fits =
      stored?.shape.length === shape.length &&
      shape.every((size, i) => stored.shape[i] === size || (padded && i === 0 && stored.shape[0]! > size))
    if (!fits) {
      const came = stored === undefined ? 'is missing' : `is [${stored.shape.join(', ')}]`
      throw new GemmaError(
        'config',
        `${from}: ${name} ${came}, but the configuration asks for [${shape.join(', ')}].`,
        'The configuration belongs to another model, or a file of the checkpoint is missing.',
      )
    }
    weights.set(name, { ...stored, shape, readRows: (row, into) => stored.readRows(row, into) })
  }
  return weights
}

/** Refuses what would only show later as an index out of bounds. */
function checkFit({ config, tokenizer, json }: ModelSource, { contextLength, model }: ResolvedRecipe): void {
  const name = model.from ?? (model.shape === undefined ? 'model.config' : `The shape ${model.shape}`)
  if (tokenizer.vocabSize > config.vocabSize) {
    throw new GemmaError(
      'recipe',
      `${name} has a vocabulary of ${config.vocabSize}, but the tokenizer has ${tokenizer.vocabSize} pieces.`,
      model.from === undefined
        ? 'Train a tokenizer of that size (gemma train-tokenizer --vocab-size), or give model.config.vocab_size.'
        : 'Leave model.tokenizer out: the model brings its own.',
    )
  }
  if (contextLength > config.maxPositionEmbeddings) {
    throw new GemmaError(
      'recipe',
      `contextLength is ${contextLength}, but ${name} has ${config.maxPositionEmbeddings} positions.`,
      'Give a shorter contextLength.',
    )
  }
  if (json.tie_word_embeddings === false) {
    throw new GemmaError('unsupported', `${name} has an output head of its own; Gemma's is the embedding.`)
  }
}

/** What a user names as a tokenizer: a file of either form, a .gguf, or a directory. */
async function openTokenizerFiles(path: string): Promise<TokenizerFiles> {
  const found = await stat(path).catch((cause) => {
    throw fileError(path, cause)
  })
  if (found.isDirectory()) {
    const files = await readTokenizerFiles(path)
    if (files.sentencePiece !== undefined || files.tokenizerJson !== undefined) return files
    throw new GemmaError('file', `${path} holds no tokenizer.model and no tokenizer.json.`)
  }
  if (path.endsWith('.gguf')) {
    const checkpoint = await openCheckpoint(path)
    await checkpoint.close()
    return checkpoint.tokenizer
  }
  const bytes = await readIfPresent(path)
  if (bytes === undefined) throw new GemmaError('file', `${path} is no file.`)
  const isJson = basename(path).endsWith('.json') || bytes[0] === 0x7b
  return isJson ? { tokenizerJson: new TextDecoder().decode(bytes) } : { sentencePiece: bytes }
}
