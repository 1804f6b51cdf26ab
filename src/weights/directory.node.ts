// The small text files of a Hugging Face directory: config, generation config, tokenizer. Node only.

import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { GemmaError } from '../error.ts'
import type { TokenizerFiles } from './checkpoint.ts'
import { fileError } from './source.node.ts'

// The largest of these files, Gemma 3's tokenizer.json, has 33 MB.
const maximumSmallFile = 512 * 1024 * 1024

/** Bytes of a file, or undefined when it does not exist. */
export async function readIfPresent(path: string): Promise<Uint8Array | undefined> {
  try {
    const found = await stat(path)
    if (!found.isFile()) return undefined
    if (found.size > maximumSmallFile)
      throw new GemmaError('file', `${path} has ${found.size} bytes, far too many.`)
    return await readFile(path)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw fileError(path, cause)
  }
}

async function readTextIfPresent(path: string): Promise<string | undefined> {
  const bytes = await readIfPresent(path)
  return bytes === undefined ? undefined : new TextDecoder().decode(bytes)
}

/** The JSON object in a file, or undefined when the file does not exist. */
export async function readJsonObject(path: string): Promise<Record<string, unknown> | undefined> {
  const text = await readTextIfPresent(path)
  if (text === undefined) return undefined
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw new GemmaError('file', `${path} is not valid JSON.`, 'Fetch it again.', { cause })
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new GemmaError('file', `${path} does not hold a JSON object.`, 'Fetch it again.')
  }
  return json as Record<string, unknown>
}

/** Whichever tokenizer files lie in a directory. */
export async function readTokenizerFiles(directory: string): Promise<TokenizerFiles> {
  const [sentencePiece, tokenizerJson, tokenizerConfigJson, chatTemplate] = await Promise.all([
    readIfPresent(join(directory, 'tokenizer.model')),
    readTextIfPresent(join(directory, 'tokenizer.json')),
    readTextIfPresent(join(directory, 'tokenizer_config.json')),
    readTextIfPresent(join(directory, 'chat_template.jinja')),
  ])
  const files: TokenizerFiles = {}
  if (sentencePiece !== undefined) files.sentencePiece = sentencePiece
  if (tokenizerJson !== undefined) files.tokenizerJson = tokenizerJson
  if (tokenizerConfigJson !== undefined) files.tokenizerConfigJson = tokenizerConfigJson
  if (chatTemplate !== undefined) files.chatTemplate = chatTemplate
  return files
}
