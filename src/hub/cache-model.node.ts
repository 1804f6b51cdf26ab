// A model's directory on this machine: is everything there that loading needs, and what does it hold? Node
// only. Knows names and sizes; nothing about caches, the network or tensors.

import { readdir, readFile, stat } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { GemmaError } from '../error.ts'
import type { RemoteDescription } from './download-options.ts'
import { type Choice, chooseFiles, shardsOf } from './download-select.ts'

export interface LocalModel {
  /** What to open: the directory, or one file in it. */
  readonly path: string
  readonly directory: string
  readonly files: readonly { readonly name: string; readonly size: number }[]
}

/** The model in a directory if everything that loading needs is there, whole; else what is missing. */
export async function completeModel(
  directory: string,
  patterns: readonly string[] | undefined,
  present: (name: string) => Promise<boolean> = async () => true,
): Promise<{ model: LocalModel } | { missing: readonly string[] }> {
  const sizes = new Map<string, number>()
  for (const name of await filesBelow(directory)) {
    const size = await sizeOf(join(directory, ...name.split('/')))
    if (size !== undefined && (await present(name))) sizes.set(name, size)
  }
  const choice = chooseFiles([...sizes.keys()], patterns)
  const shards = await shardsIn(directory, choice).catch(() => undefined)
  if (shards === undefined) return { missing: [`a readable ${choice.index}`] }
  const wanted = [...choice.metadata, ...choice.weights, ...shards]
  const missing = [...choice.missing, ...wanted.filter((name) => !sizes.has(name)), ...missingParts(wanted)]
  if (missing.length > 0) return { missing }
  const files = wanted.map((name) => ({ name, size: sizes.get(name)! }))
  const path = choice.entry === undefined ? directory : join(directory, choice.entry)
  return { model: { path, directory, files } }
}

async function shardsIn(directory: string, choice: Choice): Promise<string[]> {
  if (choice.index === undefined) return []
  const path = join(directory, choice.index)
  return [choice.index, ...shardsOf(await readFile(path, 'utf8'), path)]
}

/** Parts of a split GGUF that no file of the set is. */
function missingParts(names: readonly string[]): string[] {
  const first = names
    .map((name) => /^(.*)-00001-of-(\d{5})\.gguf$/.exec(name))
    .find((match) => match !== null)
  if (first === null || first === undefined) return []
  const parts = names.filter((name) => name.startsWith(`${first[1]}-`)).length
  return parts < Number(first[2]) ? [`${Number(first[2]) - parts} parts of ${first[0]}`] : []
}

/** Names of files and links below a directory, '/' between folders; partial downloads are left out. */
async function filesBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true }).catch(() => [])
  return entries
    .filter((entry) => !entry.isDirectory() && !entry.name.endsWith('.incomplete'))
    .map((entry) => join(relative(directory, entry.parentPath), entry.name).replaceAll('\\', '/'))
}

/** Bytes of the file behind a path or link; undefined when there is none. */
export async function sizeOf(path: string): Promise<number | undefined> {
  return (await stat(path).catch(() => undefined))?.size
}

/** Configuration, file names and sizes of a model on this machine. */
export async function describeLocal(model: LocalModel): Promise<RemoteDescription> {
  const totalBytes = model.files.reduce((sum, file) => sum + file.size, 0)
  const path = join(model.directory, 'config.json')
  const text = await readFile(path, 'utf8').catch(() => undefined)
  if (text === undefined) return { path: model.path, files: model.files, totalBytes }
  let config: unknown
  try {
    config = JSON.parse(text)
  } catch (cause) {
    throw new GemmaError('config', `${path}: expected JSON.`, 'The file is damaged; fetch it again.', {
      cause,
    })
  }
  return { path: model.path, config: asObject(config, path), files: model.files, totalBytes }
}

export function asObject(value: unknown, name: string): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>
  throw new GemmaError('config', `${name}: expected a JSON object.`)
}
