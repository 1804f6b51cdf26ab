// Opens a checkpoint out of files that have names but no disk: those a person picked in a browser, or those of
// a folder on a web server. Decides which files belong together; containers.ts does the rest. Runs everywhere.

import { GemmaError } from '../error.ts'
import type { Checkpoint, StoredAdapter, TokenizerFiles } from './checkpoint.ts'
import {
  type Contents,
  ggufContents,
  safetensorsContents,
  torchContents,
  type WeightFile,
} from './containers.ts'
import { ADAPTER_CONFIG, ADAPTER_MODEL, readPeft } from './peft.ts'
import { readBytes, type Source } from './source.ts'

export interface FileSet {
  /** What to call it in messages. */
  readonly name: string
  /** The names of all files where they can be listed; a web server's cannot. */
  readonly names?: readonly string[]
  /** The weights, where the caller pointed at one file; else they are looked for. */
  readonly weights?: string
  /** A file by name, or undefined when there is none. */
  open(name: string): Promise<Source | undefined>
}

// The largest of the small files, Gemma 3's tokenizer.json, has 33 MB.
const MOST_SMALL_BYTES = 512 * 1024 * 1024
const INDEX = 'model.safetensors.index.json'

/** Opens a checkpoint without reading its weights. Throws GemmaError. */
export async function openFiles(files: FileSet): Promise<Checkpoint> {
  const opened: Source[] = []
  const close = async (): Promise<void> => {
    await Promise.all(opened.splice(0).map((source) => source.close()))
  }
  const open = async (name: string): Promise<Source | undefined> => {
    const source = await files.open(name)
    if (source !== undefined) opened.push(source)
    return source
  }
  try {
    const contents = await readWeights(files, open)
    const generationConfig =
      contents.generationConfig ?? (await readJson(open, 'generation_config.json')) ?? {}
    const inside = contents.tokenizer?.gguf?.has('tokenizer.ggml.tokens') ? contents.tokenizer : undefined
    const tokenizer = inside ?? { ...(await readTokenizer(open)), ...contents.tokenizer }
    return { ...contents, name: files.name, generationConfig, tokenizer, close }
  } catch (cause) {
    await close()
    throw cause
  }
}

/** Opens an adapter without reading its matrices. Throws GemmaError. */
export async function openAdapterFiles(files: FileSet): Promise<StoredAdapter> {
  const config = await readJson(files.open, ADAPTER_CONFIG)
  const source = config === undefined ? undefined : await files.open(ADAPTER_MODEL)
  if (config === undefined || source === undefined) {
    throw new GemmaError(
      'file',
      `${files.name} is no adapter: it has no ${config === undefined ? ADAPTER_CONFIG : ADAPTER_MODEL}.`,
      'Give the folder, or the files, that PEFT has saved.',
    )
  }
  try {
    return await readPeft(config, source, files.name)
  } catch (cause) {
    await source.close()
    throw cause
  }
}

type Open = FileSet['open']

async function readWeights(files: FileSet, open: Open): Promise<Contents> {
  const name = files.weights ?? pick(files)
  const whole = name === undefined ? await open('model.safetensors') : undefined
  if (whole === undefined && (name === undefined || name.endsWith('.index.json'))) {
    return readIndexed(files, open, name ?? INDEX)
  }
  const source = whole ?? (await open(name!))
  if (source === undefined) throw new GemmaError('file', `There is no ${files.name}.`, 'Check the address.')
  const start = await readBytes(source, 0, Math.min(source.size, 9))
  if (String.fromCharCode(...start.subarray(0, 4)) === 'GGUF') {
    return ggufContents(await openParts(source, name ?? source.name, files, open))
  }
  const torch = /\.(ckpt|bin|pth?)$/.test(name ?? '')
  if (whole === undefined && !torch) checkSafetensors(source, start)
  const config = await readJson(open, 'config.json')
  if (torch) return torchContents([{ source }], config, files.name)
  return safetensorsContents([{ source }], needConfig(config, files))
}

/** Says of any other file, whatever its name is, that it is the wrong one, before more files are asked for. */
function checkSafetensors({ name, size }: Source, start: Uint8Array): void {
  // Eight bytes of length, then JSON.
  if (start[8] === '{'.charCodeAt(0) || (size > 0 && name.endsWith('.safetensors'))) return
  throw new GemmaError(
    'file',
    `${name} holds no weights: ${size === 0 ? 'it is empty' : 'it begins like neither GGUF nor safetensors'}.`,
    'Expected a .gguf file, or .safetensors files with config.json and the tokenizer.',
  )
}

/** The weights among listed files: safetensors before torch before GGUF, as on disk. */
function pick({ names, name }: FileSet): string | undefined {
  if (names === undefined) return undefined
  const patterns = [
    /^model\.safetensors$/,
    /^model\.safetensors\.index\.json$/,
    /^(?!adapter_).*\.safetensors$/,
    /\.(ckpt|pth?)$/,
    /^(?!training_args|optimizer|scheduler|adapter_).*\.bin$/,
    /(?<!-(?!00001)\d{5}-of-\d{5})\.gguf$/,
  ]
  for (const pattern of patterns) {
    const matching = names.filter((file) => pattern.test(file))
    if (matching.length === 1) return matching[0]
    if (matching.length > 1) {
      const some = matching.slice(0, 8).join(', ')
      throw new GemmaError(
        'file',
        `${name} holds several weight files (${some}) and no index that joins them.`,
      )
    }
  }
  if (names.length === 1) return names[0]
  throw new GemmaError(
    'file',
    `${name} holds no weights.`,
    'Expected a .gguf file, or .safetensors files with config.json and the tokenizer.',
  )
}

async function readIndexed(files: FileSet, open: Open, index: string): Promise<Contents> {
  const map = (await readJson(open, index))?.weight_map
  if (typeof map !== 'object' || map === null) {
    throw new GemmaError(
      'file',
      `${files.name} has neither model.safetensors nor a ${index} with a weight_map.`,
      'Give the address of the folder that holds them, or of a .gguf file.',
    )
  }
  const wanted = new Map<string, string[]>()
  for (const [tensor, file] of Object.entries(map)) {
    if (typeof file !== 'string' || file === '' || /[/\\]/.test(file)) {
      const found = String(JSON.stringify(file)).slice(0, 100)
      throw new GemmaError('file', `${index} names ${found} for ${tensor}; expected a plain file name.`)
    }
    const list = wanted.get(file)
    if (list === undefined) wanted.set(file, [tensor])
    else list.push(tensor)
  }
  const config = needConfig(await readJson(open, 'config.json'), files)
  const weights: WeightFile[] = []
  for (const [file, tensors] of wanted) {
    weights.push({ source: await need(open, file, files.name), wanted: tensors })
  }
  return safetensorsContents(weights, config)
}

/** All parts of a split GGUF, given its first. */
async function openParts(first: Source, name: string, files: FileSet, open: Open): Promise<Source[]> {
  const match = /^(.+)-(\d{5})-of-(\d{5})\.gguf$/.exec(name)
  if (match === null) return [first]
  const parts = [first]
  for (let i = 2; i <= Number(match[3]); i++) {
    parts.push(await need(open, `${match[1]}-${String(i).padStart(5, '0')}-of-${match[3]}.gguf`, files.name))
  }
  return parts
}

async function need(open: Open, file: string, name: string): Promise<Source> {
  const source = await open(file)
  if (source !== undefined) return source
  throw new GemmaError('file', `${name} lacks ${file}.`, 'Give it too.')
}

function needConfig(config: Record<string, unknown> | undefined, { name }: FileSet): Record<string, unknown> {
  if (config !== undefined) return config
  throw new GemmaError('file', `${name} has no config.json.`, 'Give it too; it lies beside the weights.')
}

async function readSmall(open: Open, file: string): Promise<Uint8Array | undefined> {
  const source = await open(file)
  if (source === undefined) return undefined
  if (source.size > MOST_SMALL_BYTES) {
    throw new GemmaError('file', `${source.name} has ${source.size} bytes, far too many.`)
  }
  return readBytes(source, 0, source.size)
}

async function readText(open: Open, file: string): Promise<string | undefined> {
  const bytes = await readSmall(open, file)
  return bytes === undefined ? undefined : new TextDecoder().decode(bytes)
}

async function readJson(open: Open, file: string): Promise<Record<string, unknown> | undefined> {
  const text = await readText(open, file)
  if (text === undefined) return undefined
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw new GemmaError('file', `${file} is not valid JSON.`, 'Fetch it again.', { cause })
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new GemmaError('file', `${file} does not hold a JSON object.`, 'Fetch it again.')
  }
  return json as Record<string, unknown>
}

async function readTokenizer(open: Open): Promise<TokenizerFiles> {
  const files: TokenizerFiles = {}
  const sentencePiece = await readSmall(open, 'tokenizer.model')
  // The same vocabulary, ten times the size: fetched only where there is nothing else.
  const tokenizerJson = sentencePiece === undefined ? await readText(open, 'tokenizer.json') : undefined
  const tokenizerConfigJson = await readText(open, 'tokenizer_config.json')
  const chatTemplate = await readText(open, 'chat_template.jinja')
  if (sentencePiece !== undefined) files.sentencePiece = sentencePiece
  if (tokenizerJson !== undefined) files.tokenizerJson = tokenizerJson
  if (tokenizerConfigJson !== undefined) files.tokenizerConfigJson = tokenizerConfigJson
  if (chatTemplate !== undefined) files.chatTemplate = chatTemplate
  return files
}
