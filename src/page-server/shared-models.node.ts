// The models that a page may read from this machine: exactly the files that loading needs, each under an address of
// its own. Nothing else of the folders they lie in can be asked for. Knows nothing about HTTP.

import { readdir, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { builtInModel } from '../built-in.ts'
import { GemmaError } from '../error.ts'
import { completeModel } from '../hub/cache-model.node.ts'

/** As the page sees it, in /models/index.json. */
export interface ListedModel {
  readonly name: string
  /** What Gemma.load takes: the address of a file, or of a folder in Hugging Face's layout, which ends in '/'. */
  readonly url: string
  readonly files: readonly { readonly name: string; readonly url: string; readonly bytes: number }[]
}

export interface SharedModels {
  readonly list: readonly ListedModel[]
  /** Address → path on this machine. */
  readonly paths: ReadonlyMap<string, string>
}

/** A .gguf file or a directory with a model, and what to call it (by default as its file or folder is called). */
export interface LocalModel {
  readonly path: string
  readonly name?: string
}

export const MODELS_PREFIX = '/models/'

/** Looks the models up, the one that ships with the package behind them. Throws GemmaError 'file' or 'usage'. */
export async function shareModels(models: readonly LocalModel[]): Promise<SharedModels> {
  const builtIn = { path: fileURLToPath(builtInModel()), name: 'Gemma micro' }
  const paths = new Map<string, string>()
  const list: ListedModel[] = []
  const folders = new Set(['micro', 'index.json'])
  for (const model of [...models, builtIn]) {
    const { directory, files, entry } = await filesOf(model.path)
    const name = model.name ?? basename(resolve(model.path))
    const folder = model === builtIn ? 'micro' : unused(folders, name)
    const address = (file: string): string =>
      MODELS_PREFIX + [folder, ...file.split('/')].map(encodeURIComponent).join('/')
    for (const file of files) paths.set(decodeURIComponent(address(file.name)), join(directory, file.name))
    list.push({
      name,
      url: entry === undefined ? `${MODELS_PREFIX}${folder}/` : address(entry),
      files: files.map((file) => ({ name: file.name, url: address(file.name), bytes: file.size })),
    })
  }
  return { list, paths }
}

interface Found {
  readonly directory: string
  /** Names count from the directory. */
  readonly files: readonly { readonly name: string; readonly size: number }[]
  /** The file to open; undefined when it is the directory. */
  readonly entry?: string
}

async function filesOf(path: string): Promise<Found> {
  const found = await stat(path).catch((cause: unknown) => {
    throw new GemmaError(
      'file',
      `${path} cannot be read.`,
      'Give a .gguf file or the directory of a model.',
      { cause },
    )
  })
  if (found.isDirectory()) {
    const complete = await completeModel(path, undefined)
    if ('missing' in complete) {
      const remedy = 'Is this the directory of a model?'
      throw new GemmaError('file', `${path}: missing ${complete.missing.join(', ')}.`, remedy)
    }
    const { directory, files, path: opened } = complete.model
    return { directory, files, entry: opened === directory ? undefined : basename(opened) }
  }
  if (!/\.gguf$/i.test(path)) {
    throw new GemmaError(
      'usage',
      `${path} alone is no model.`,
      'Give a .gguf file, or the directory that holds weights, config.json and tokenizer.',
    )
  }
  return { directory: dirname(path), files: await partsOf(path), entry: basename(path) }
}

/** A GGUF file; of a split one all parts, given the first. */
async function partsOf(path: string): Promise<Found['files']> {
  const directory = dirname(path)
  const split = /^(.+-)00001(-of-(\d{5})\.gguf)$/i.exec(basename(path))
  const names =
    split === null
      ? [basename(path)]
      : (await readdir(directory))
          .filter((name) => name.startsWith(split[1]!) && name.endsWith(split[2]!))
          .sort()
  if (split !== null && names.length !== Number(split[3])) {
    throw new GemmaError(
      'file',
      `${path}: ${names.length} of its ${Number(split[3])} parts are here.`,
      'Fetch the others too.',
    )
  }
  return Promise.all(names.map(async (name) => ({ name, size: (await stat(join(directory, name))).size })))
}

/** A folder of an address: plain characters, not taken yet. Takes it. */
function unused(taken: Set<string>, name: string): string {
  const plain = name.replace(/[^\w.-]+/g, '-').replace(/^[.-]+/, '') || 'model'
  let folder = plain
  for (let i = 2; taken.has(folder); i++) folder = `${plain}-${i}`
  taken.add(folder)
  return folder
}
