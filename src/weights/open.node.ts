// Opens a checkpoint on disk, whatever it is: a Hugging Face directory, a Kaggle directory, one weight
// file. Decides which files belong together; the readers of the containers do the rest. Node only.

import { readdir, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { GemmaError } from '../error.ts'
import type { Checkpoint } from './checkpoint.ts'
import { collectTensors, emptyCollection, type FileTensor } from './collect.ts'
import { textConfig } from './config.ts'
import { readJsonObject, readTokenizerFiles } from './directory.node.ts'
import { fromHuggingFace } from './names.ts'
import { readSafetensors, safetensorsEncoding } from './safetensors.ts'
import { fileError, openFile } from './source.node.ts'
import type { Source } from './source.ts'

/** Opens a checkpoint without reading its weights. Close it when done: it holds files open. */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  const found = await stat(path).catch((cause) => {
    throw fileError(path, cause)
  })
  if (!found.isDirectory()) throw new GemmaError('unsupported', 'single files: not yet')
  const names = await readdir(path)
  const shards = await safetensorsFiles(path, names)
  if (shards === undefined) throw new GemmaError('file', `${path} holds no weights.`)
  return openSafetensors(path, shards)
}

/** Files of a safetensors checkpoint: which names to take from which file (undefined: all). */
type Shards = ReadonlyMap<string, readonly string[] | undefined>

async function safetensorsFiles(directory: string, names: readonly string[]): Promise<Shards | undefined> {
  if (names.includes('model.safetensors')) return new Map([['model.safetensors', undefined]])
  const index = 'model.safetensors.index.json'
  if (names.includes(index)) return readShardIndex(directory, index, names)
  return undefined
}

async function readShardIndex(directory: string, index: string, names: readonly string[]): Promise<Shards> {
  const path = join(directory, index)
  const map = (await readJsonObject(path))?.weight_map
  if (typeof map !== 'object' || map === null) throw new GemmaError('file', `${path} has no weight_map.`)
  const shards = new Map<string, string[]>()
  for (const [tensor, file] of Object.entries(map)) {
    if (typeof file !== 'string' || file !== basename(file)) {
      throw new GemmaError(
        'file',
        `${path} names ${JSON.stringify(file)} for ${tensor}; expected a plain file name.`,
      )
    }
    const list = shards.get(file)
    if (list === undefined) shards.set(file, [tensor])
    else list.push(tensor)
  }
  const missing = [...shards.keys()].filter((file) => !names.includes(file))
  if (missing.length > 0) {
    throw new GemmaError(
      'file',
      `${directory} lacks ${missing.join(', ')}, which ${index} names.`,
      'Fetch the missing files.',
    )
  }
  return shards
}

async function openSafetensors(directory: string, shards: Shards): Promise<Checkpoint> {
  const config = await readJsonObject(join(directory, 'config.json'))
  if (config === undefined) {
    throw new GemmaError(
      'file',
      `${directory} has no config.json.`,
      'Fetch it from where the weights came from.',
    )
  }
  return withSources(async (open) => {
    const flat = textConfig(config)
    const collected = emptyCollection()
    for (const [file, wanted] of shards) {
      const source = await open(join(directory, file))
      collectTensors(collected, await safetensorsTensors(source, wanted), fromHuggingFace, {
        tied: flat.tie_word_embeddings !== false,
      })
    }
    return {
      container: 'safetensors',
      name: directory,
      config: flat,
      generationConfig: (await readJsonObject(join(directory, 'generation_config.json'))) ?? {},
      tensors: collected.tensors,
      unknown: collected.unknown,
      tokenizer: await readTokenizerFiles(directory),
    }
  })
}

async function safetensorsTensors(
  source: Source,
  wanted: readonly string[] | undefined,
): Promise<FileTensor[]> {
  const { entries } = await readSafetensors(source)
  for (const name of wanted ?? []) {
    if (!entries.has(name))
      throw new GemmaError('file', `${source.name} lacks ${name}, which the index says it holds.`)
  }
  const names = wanted ?? [...entries.keys()]
  return names.map((name) => {
    const entry = entries.get(name)!
    const { dtype, shape, offset } = entry
    return { name, shape, encoding: safetensorsEncoding(dtype), type: dtype, source, offset }
  })
}

/** Runs `make` with an opener; on failure closes what was opened, on success close() does. */
async function withSources(
  make: (open: (path: string) => Promise<Source>) => Promise<Omit<Checkpoint, 'close'>>,
): Promise<Checkpoint> {
  const sources: Source[] = []
  const closeAll = async (): Promise<void> => {
    await Promise.all(sources.splice(0).map((source) => source.close()))
  }
  try {
    const checkpoint = await make(async (path) => {
      const source = await openFile(path)
      sources.push(source)
      return source
    })
    return { ...checkpoint, close: closeAll }
  } catch (cause) {
    await closeAll()
    throw cause
  }
}
