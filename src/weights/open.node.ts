// Opens a checkpoint on disk, whatever it is: a Hugging Face directory, a Kaggle directory, one weight
// file. Decides which files belong together; containers.ts does the rest. Node only.

import { readdir, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { GemmaError } from '../error.ts'
import type { Checkpoint } from './checkpoint.ts'
import {
  type Contents,
  ggufContents,
  safetensorsContents,
  torchContents,
  type WeightFile,
} from './containers.ts'
import { readJsonObject, readTokenizerFiles } from './directory.node.ts'
import { fileError, openFile } from './source.node.ts'
import { readBytes, type Source } from './source.ts'

/** The weight files of one checkpoint in a directory, in order. */
interface WeightSet {
  readonly container: Checkpoint['container']
  readonly files: ReadonlyArray<{ readonly name: string; readonly wanted?: readonly string[] }>
}

/**
 * Opens a checkpoint without reading its weights. `path` is a directory (of Hugging Face or Kaggle, or with
 * one .gguf) or one .safetensors, .gguf, .ckpt, .bin or .pt file. Files stay open until close().
 */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  const found = await stat(path).catch((cause) => {
    throw fileError(path, cause)
  })
  const directory = found.isDirectory() ? path : dirname(path)
  const names = await readdir(directory).catch((cause) => {
    throw fileError(directory, cause)
  })
  const set = found.isDirectory()
    ? await weightsInDirectory(directory, names)
    : await weightsOfFile(directory, basename(path), names)
  return openSet(path, directory, set)
}

/** Safetensors before torch before GGUF: the most exact form that is there. */
async function weightsInDirectory(directory: string, names: readonly string[]): Promise<WeightSet> {
  const indexed = async (container: WeightSet['container'], file: string): Promise<WeightSet | undefined> => {
    if (names.includes(file)) return { container, files: [{ name: file }] }
    const index = `${file}.index.json`
    return names.includes(index) ? { container, files: await readIndex(directory, index, names) } : undefined
  }
  const standard =
    (await indexed('safetensors', 'model.safetensors')) ??
    lone('safetensors', names, /^(?!adapter_).*\.safetensors$/, directory) ??
    (await indexed('torch', 'pytorch_model.bin')) ??
    lone('torch', names, /\.(ckpt|pth?)$/, directory) ??
    lone('torch', names, /^(?!training_args|optimizer|scheduler|adapter_).*\.bin$/, directory)
  if (standard !== undefined) return standard
  const ggufs = names.filter(
    (name) => name.endsWith('.gguf') && !/-(?!00001)\d{5}-of-\d{5}\.gguf$/.test(name),
  )
  const gguf = lone('gguf', ggufs, /\.gguf$/, directory)
  if (gguf !== undefined) return weightsOfFile(directory, gguf.files[0].name, names)
  const adapter = names.includes('adapter_model.safetensors')
  throw new GemmaError(
    'file',
    adapter
      ? `${directory} holds a LoRA adapter, not a model.`
      : `${directory} holds no weights: no model.safetensors, pytorch_model.bin, .ckpt or .gguf file.`,
    adapter ? 'Give the directory of the base model.' : 'Check the path, or fetch the weights.',
  )
}

function lone(
  container: WeightSet['container'],
  names: readonly string[],
  pattern: RegExp,
  directory: string,
): WeightSet | undefined {
  const matching = names.filter((name) => pattern.test(name)).sort()
  if (matching.length === 0) return undefined
  if (matching.length === 1) return { container, files: [{ name: matching[0] }] }
  throw new GemmaError(
    'file',
    `${directory} holds several weight files (${matching.slice(0, 8).join(', ')}) and no index that joins them.`,
    'Give the path of one of them, or fetch the index.',
  )
}

async function readIndex(
  directory: string,
  index: string,
  names: readonly string[],
): Promise<WeightSet['files']> {
  const path = join(directory, index)
  const map = (await readJsonObject(path))?.weight_map
  if (typeof map !== 'object' || map === null) {
    throw new GemmaError('file', `${path} has no weight_map.`, 'Fetch it again.')
  }
  const shards = new Map<string, string[]>()
  for (const [tensor, file] of Object.entries(map)) {
    if (typeof file !== 'string' || file === '' || file !== basename(file)) {
      const found = String(JSON.stringify(file)).slice(0, 100)
      throw new GemmaError('file', `${path} names ${found} for ${tensor}; expected a plain file name.`)
    }
    const list = shards.get(file)
    if (list === undefined) shards.set(file, [tensor])
    else list.push(tensor)
  }
  const missing = [...shards.keys()].filter((file) => !names.includes(file))
  if (missing.length > 0 || shards.size === 0) {
    throw new GemmaError(
      'file',
      `${directory} lacks ${missing.join(', ') || 'all weights'}; ${index} names ${shards.size} files.`,
      'Fetch the missing files.',
    )
  }
  return [...shards].map(([name, wanted]) => ({ name, wanted }))
}

async function weightsOfFile(directory: string, name: string, names: readonly string[]): Promise<WeightSet> {
  const container = await recogniseContainer(join(directory, name))
  if (container === 'gguf') return { container, files: ggufParts(directory, name, names) }
  const part = /^(.+)-\d{5}-of-\d{5}(\.safetensors|\.bin)$/.exec(name)
  const index = part === null ? '' : `${part[1]}${part[2]}.index.json`
  if (names.includes(index)) return { container, files: await readIndex(directory, index, names) }
  return { container, files: [{ name }] }
}

/** By content, not by name: the first bytes of each container are its own. */
async function recogniseContainer(path: string): Promise<Checkpoint['container']> {
  const source = await openFile(path)
  try {
    if (source.size < 10)
      throw new GemmaError('file', `${path} has ${source.size} bytes, too few for weights.`)
    const head = await readBytes(source, 0, 10)
    const magic = new DataView(head.buffer).getUint32(0, true)
    if (magic === 0x46554747) return 'gguf'
    if (magic === 0x04034b50 || /\.(ckpt|bin|pth?)$/.test(path)) return 'torch'
    if (head[8] === 0x7b || path.endsWith('.safetensors')) return 'safetensors'
    throw new GemmaError(
      'file',
      `${path} is no file of weights that is known here.`,
      'Expected .safetensors, .gguf, .ckpt or .bin.',
    )
  } finally {
    await source.close()
  }
}

function ggufParts(directory: string, name: string, names: readonly string[]): WeightSet['files'] {
  const match = /^(.+)-(\d{5})-of-(\d{5})\.gguf$/.exec(name)
  if (match === null) return [{ name }]
  const count = Number(match[3])
  const parts = Array.from(
    { length: count },
    (_, i) => `${match[1]}-${String(i + 1).padStart(5, '0')}-of-${match[3]}.gguf`,
  )
  const missing = parts.filter((part) => !names.includes(part))
  if (missing.length > 0 || count === 0) {
    const some = missing.slice(0, 5).join(', ')
    throw new GemmaError(
      'file',
      `${directory} lacks ${missing.length} of ${count} parts: ${some}.`,
      'Fetch them.',
    )
  }
  return parts.map((part) => ({ name: part }))
}

async function openSet(path: string, directory: string, set: WeightSet): Promise<Checkpoint> {
  const sources: Source[] = []
  const close = async (): Promise<void> => {
    await Promise.all(sources.splice(0).map((source) => source.close()))
  }
  try {
    const files: WeightFile[] = []
    for (const { name, wanted } of set.files) {
      const source = await openFile(join(directory, name))
      sources.push(source)
      await refuseStandIn(source)
      files.push({ source, wanted })
    }
    const contents = await readContents(path, directory, set.container, files)
    const generationConfig =
      contents.generationConfig ?? (await readJsonObject(join(directory, 'generation_config.json'))) ?? {}
    const inside = contents.tokenizer?.gguf?.has('tokenizer.ggml.tokens') ? contents.tokenizer : undefined
    const tokenizer = inside ?? { ...(await readTokenizerFiles(directory)), ...contents.tokenizer }
    return { ...contents, name: path, generationConfig, tokenizer, close }
  } catch (cause) {
    await close()
    throw cause
  }
}

/** Cloning without Git LFS, or saving a web page, leaves a small text under the name of the weights. */
async function refuseStandIn(source: Source): Promise<void> {
  const start = new TextDecoder().decode(await readBytes(source, 0, Math.min(source.size, 32)))
  const pointer = start.startsWith('version https://git-lfs')
  if (!pointer && !/^\s*<(!doctype|html)/i.test(start)) return
  throw new GemmaError(
    'file',
    `${source.name} is ${pointer ? 'a Git LFS pointer' : 'a web page'}, not the weights themselves.`,
    pointer ? 'Run git lfs pull, or fetch the file by download.' : 'Fetch it again from its download link.',
  )
}

async function readContents(
  path: string,
  directory: string,
  container: Checkpoint['container'],
  files: readonly WeightFile[],
): Promise<Contents> {
  if (container === 'gguf') return ggufContents(files.map(({ source }) => source))
  const config = await readJsonObject(join(directory, 'config.json'))
  if (container === 'torch') return torchContents(files, config, path)
  if (config !== undefined) return safetensorsContents(files, config)
  throw new GemmaError(
    'file',
    `${directory} has no config.json.`,
    'Fetch it from where the weights came from.',
  )
}
