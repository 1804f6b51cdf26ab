// What a run leaves behind: the trained model as a directory in Hugging Face's layout, or the adapter in PEFT's. Both
// are there whole or not at all, and take the place of those of an earlier end of the same run. Node only.

import { createHash } from 'node:crypto'
import { readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { throwIfAborted } from '../error.ts'
import { toTokenizerJson } from '../tokenizer/to-tokenizer-json.ts'
import type { Tokenizer } from '../tokenizer/tokenizer.ts'
import { tokenizerConfig } from '../tokenizer/train/tokenizer-config.ts'
import { writeAtomically } from '../weights/atomic.node.ts'
import type { StoredTensor, TokenizerFiles } from '../weights/checkpoint.ts'
import { writeAdapter } from '../weights/peft.node.ts'
import { saveHuggingFace } from '../weights/save.node.ts'
import { fileError } from '../weights/source.node.ts'
import { CHAT_TEMPLATE } from './chat-template.ts'
import type { CheckpointPlace } from './checkpoint.node.ts'
import type { RunState } from './loop.ts'
import type { ModelSource } from './model-source.node.ts'
import type { ResolvedRecipe } from './recipe.ts'
import type { TrainResult } from './train-events.ts'
import type { TrainingModel } from './training-model.ts'

export interface Finished {
  readonly model: string | undefined
  readonly adapter: string | undefined
}

/** Writes RUN/model, or with lora RUN/adapter. Throws GemmaError 'file', 'aborted'. */
export async function writeFinished(
  recipe: ResolvedRecipe,
  source: ModelSource,
  model: TrainingModel,
  signal?: AbortSignal,
): Promise<Finished> {
  throwIfAborted(signal)
  const isAdapter = recipe.lora !== undefined
  const target = join(recipe.output, isAdapter ? 'adapter' : 'model')
  const made = join(recipe.output, `.${isAdapter ? 'adapter' : 'model'}.new`)
  const old = join(recipe.output, `.${isAdapter ? 'adapter' : 'model'}.old`)
  try {
    for (const path of [made, old]) await rm(path, { recursive: true, force: true })
    if (isAdapter) await writeAdapterOf(recipe, model, made, signal)
    else await writeModel(recipe, source, model, made, signal)
    await rename(target, old).catch((cause: NodeJS.ErrnoException) => {
      if (cause.code !== 'ENOENT') throw cause
    })
    await rename(made, target)
    await rm(old, { recursive: true, force: true })
  } catch (cause) {
    await rm(made, { recursive: true, force: true }).catch(() => {}) // the first error is the one to tell
    throw cause instanceof Error && 'syscall' in cause ? fileError(target, cause) : cause
  }
  return { model: isAdapter ? undefined : target, adapter: isAdapter ? target : undefined }
}

async function writeAdapterOf(
  recipe: ResolvedRecipe,
  model: TrainingModel,
  path: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  await writeAdapter(path, {
    settings: recipe.lora!,
    baseName: recipe.model.from!,
    tensors: model.trainable.map(({ name, shape }) => ({ name, shape, values: () => model.read(name) })),
    signal,
  })
}

async function writeModel(
  recipe: ResolvedRecipe,
  source: ModelSource,
  model: TrainingModel,
  path: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const tensors = model.trainable.map(({ name, shape }): [string, StoredTensor] => [
    name,
    learnedTensor(model, name, shape),
  ])
  await saveHuggingFace(
    {
      container: 'safetensors',
      name: path,
      config: source.json,
      generationConfig: generationConfig(recipe, source),
      tensors: new Map(tensors),
      tokenizer: completeTokenizer(source.tokenizer, source.tokenizerFiles),
      unknown: [],
      close: async () => {},
    },
    path,
    { dtype: recipe.saveDtype, signal },
  )
}

/** Copied out of the model when its first rows are asked for, and let go with its last ones. */
function learnedTensor(model: TrainingModel, name: string, shape: readonly number[]): StoredTensor {
  const rowBytes = 4 * shape.at(-1)!
  let values: Float32Array | undefined
  return {
    ...{ name, shape, rowBytes, encoding: 'F32', subtract: 0 },
    async readRows(from, into) {
      values ??= await model.read(name)
      into.set(new Uint8Array(values.buffer, values.byteOffset + from * rowBytes, into.byteLength))
      if (from * rowBytes + into.byteLength === values.byteLength) values = undefined
    },
  }
}

/** A model that has learned conversations ends its answers with the end of its turn. */
function generationConfig({ stage }: ResolvedRecipe, source: ModelSource): Record<string, unknown> {
  const { tokenizer, generationConfig: given, config } = source
  const ends = [given.eos_token_id ?? config.eosTokenIds].flat() as number[]
  const { endOfTurnId, bosId, padId } = tokenizer
  if (stage === 'sft' && endOfTurnId !== undefined && !ends.includes(endOfTurnId)) ends.push(endOfTurnId)
  return {
    ...{ bos_token_id: bosId, pad_token_id: padId },
    ...given,
    eos_token_id: ends.length === 1 ? ends[0] : ends,
  }
}

/** The files that are missing, so that other programs can read the directory too. */
export function completeTokenizer(tokenizer: Tokenizer, files: TokenizerFiles): TokenizerFiles {
  const { vocabulary, endOfTurnId } = tokenizer
  const hasTemplate =
    files.chatTemplate !== undefined || files.tokenizerConfigJson?.includes('"chat_template"') === true
  const given = files.tokenizerConfigJson
  const config = given === undefined ? tokenizerConfig(vocabulary) : parseObject(given)
  // Gemma 3's images would need a template of their own; its published files bring one.
  const isPlain = endOfTurnId !== undefined && tokenizer.idOf('<start_of_image>') === undefined
  if (config !== undefined && !hasTemplate && isPlain) config.chat_template = CHAT_TEMPLATE
  const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`
  return {
    ...files,
    tokenizerJson: files.tokenizerJson ?? json(toTokenizerJson(vocabulary)),
    tokenizerConfigJson: config === undefined ? given : json(config),
  }
}

function parseObject(json: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(json)
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
    return isObject ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined // a broken file of the base is handed on as it is: it only costs the template
  }
}

const FINISHED = 'finished.json'

interface Marker {
  readonly step: number
  readonly recipe: string
  readonly result: TrainResult
}

/** Says in the run directory that the run is finished, and with what. */
export async function markFinished(recipe: ResolvedRecipe, result: TrainResult): Promise<void> {
  const marker: Marker = { step: result.steps, recipe: hashOf(recipe), result }
  const bytes = new TextEncoder().encode(`${JSON.stringify(marker, null, 2)}\n`)
  await writeAtomically(join(recipe.output, FINISHED), (out) => out.write(bytes))
}

/** Takes that back, before anything changes. */
export async function unmarkFinished({ output }: ResolvedRecipe): Promise<void> {
  await rm(join(output, FINISHED), { force: true })
}

export function resultOf(recipe: ResolvedRecipe, end: RunState, { model, adapter }: Finished): TrainResult {
  const { step, tokens, seconds, loss, evaluation, best } = end
  const losses = { heldOutLoss: evaluation?.loss, bestHeldOutLoss: best?.loss }
  return { output: recipe.output, model, adapter, steps: step, tokens, loss, ...losses, seconds }
}

/** What an earlier session returned, when nothing about the run or what it shall leave has changed since. */
export async function alreadyFinished(
  recipe: ResolvedRecipe,
  { step }: CheckpointPlace,
): Promise<TrainResult | undefined> {
  const text = await readFile(join(recipe.output, FINISHED), 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  try {
    const marker = JSON.parse(text) as Marker
    const { model, adapter } = marker.result
    const isSame = marker.step === step && marker.recipe === hashOf(recipe)
    const isThere = (await stat(model ?? adapter ?? '').catch(() => undefined)) !== undefined
    return isSame && isThere ? { ...marker.result, model, adapter } : undefined
  } catch {
    return undefined // torn or edited: the end of the run is made again
  }
}

function hashOf(recipe: ResolvedRecipe): string {
  return createHash('sha256').update(JSON.stringify(recipe)).digest('hex')
}
