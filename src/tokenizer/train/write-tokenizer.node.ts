// Puts a trained tokenizer on disk: a new directory that appears when it is whole, or files in one that exists. Node only.
// Knows nothing about training.

import { access, constants, mkdir, readdir, rename, rm, rmdir, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { GemmaError } from '../../error.ts'
import { writeAtomically } from '../../weights/atomic.node.ts'
import { fileError } from '../../weights/source.node.ts'
import type { TrainedTokenizerFiles } from './train-tokenizer.ts'

const NAMES = ['tokenizer.model', 'tokenizer.json', 'tokenizer_config.json'] as const

export interface WriteTokenizerOptions {
  /** Replace tokenizer files that are there. */
  readonly force?: boolean
}

/**
 * Says at once what writeTokenizer would say after a long training: throws GemmaError 'file' when `directory` is a file,
 * cannot be written to, or (without `force`) has tokenizer files.
 */
export async function checkTokenizerTarget(
  directory: string,
  { force = false }: WriteTokenizerOptions = {},
): Promise<void> {
  const target = resolve(directory)
  const names = await namesIn(target)
  if (!force) {
    const taken = NAMES.find((name) => names?.includes(name))
    if (taken !== undefined) {
      throw new GemmaError(
        'file',
        `${join(directory, taken)} exists.`,
        'Choose another directory, or replace the files (force).',
      )
    }
  }
  const nearest = names === undefined ? await nearestDirectory(dirname(target)) : target
  await access(nearest, constants.W_OK).catch((cause) => {
    throw fileError(nearest, cause)
  })
}

/**
 * Writes tokenizer.model, tokenizer.json and tokenizer_config.json. A directory that is not there yet or empty comes to be
 * with all three; in any other each file is replaced whole. Throws as checkTokenizerTarget, and for a full disk.
 */
export async function writeTokenizer(
  directory: string,
  files: TrainedTokenizerFiles,
  options: WriteTokenizerOptions = {},
): Promise<void> {
  await checkTokenizerTarget(directory, options)
  const target = resolve(directory)
  const names = await namesIn(target)
  if (names !== undefined && names.length > 0) return writeFiles(target, files)
  const unique = `${process.pid}-${Math.random().toString(36).slice(2, 10)}`
  const temporary = join(dirname(target), `.${basename(target)}.${unique}.tmp`)
  try {
    await mkdir(temporary, { recursive: true })
    await writeFiles(temporary, files)
    if (names !== undefined) await rmdir(target)
    await rename(temporary, target)
  } catch (cause) {
    await rm(temporary, { recursive: true, force: true }).catch(() => {}) // the first error is the one to tell
    throw cause instanceof GemmaError ? cause : fileError(directory, cause)
  }
}

async function writeFiles(directory: string, files: TrainedTokenizerFiles): Promise<void> {
  const encoder = new TextEncoder()
  const contents: Readonly<Record<(typeof NAMES)[number], Uint8Array>> = {
    'tokenizer.model': files.sentencePiece,
    'tokenizer.json': encoder.encode(files.tokenizerJson),
    'tokenizer_config.json': encoder.encode(files.tokenizerConfigJson),
  }
  for (const name of NAMES) await writeAtomically(join(directory, name), (out) => out.write(contents[name]))
}

/** undefined: there is no such directory. */
async function namesIn(directory: string): Promise<string[] | undefined> {
  try {
    return await readdir(directory)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    if (code === 'ENOTDIR') throw new GemmaError('file', `${directory} is a file, not a directory.`)
    throw fileError(directory, cause)
  }
}

/** The first directory on the way up that exists. */
async function nearestDirectory(path: string): Promise<string> {
  const found = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT' && dirname(path) !== path) return undefined
    throw fileError(path, cause)
  })
  return found === undefined ? nearestDirectory(dirname(path)) : path
}
