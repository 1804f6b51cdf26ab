// The tokenizer of whatever a user names, without the weights where they are not needed: a bare file, a
// directory, a GGUF, an id of which only the tokenizer's files are fetched. Node only.

import { open, stat } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { GemmaError } from '../error.ts'
import { parseSource, resolveModel } from '../hub/resolve.node.ts'
import { createTokenizer, type Tokenizer } from '../tokenizer/index.ts'
import type { TokenizerFiles } from '../weights/checkpoint.ts'
import { readIfPresent, readTokenizerFiles } from '../weights/directory.node.ts'
import { openCheckpoint } from '../weights/open.node.ts'
import { fileError } from '../weights/source.node.ts'
import type { Interrupts } from './interrupt.ts'
import { fetchModel } from './model-options.ts'

export async function openTokenizer(
  source: string,
  flags: { readonly quiet?: boolean },
  interrupts: Interrupts,
): Promise<Tokenizer> {
  const parsed = await parseSource(source)
  const path = parsed.kind === 'path' ? parsed.path : await fetchTokenizer(source, flags, interrupts)
  return createTokenizer(await tokenizerFilesOf(path))
}

async function fetchTokenizer(
  source: string,
  flags: { readonly quiet?: boolean },
  interrupts: Interrupts,
): Promise<string> {
  try {
    return await resolveModel(source, { files: ['tokenizer*'], signal: interrupts.signal })
  } catch (error) {
    // A repository of GGUF files has its tokenizer inside them.
    if (!(error instanceof GemmaError) || error.code !== 'file') throw error
    return fetchModel(source, flags, interrupts)
  }
}

async function tokenizerFilesOf(path: string): Promise<TokenizerFiles> {
  const found = await stat(path).catch((cause) => {
    throw fileError(path, cause)
  })
  if (found.isDirectory()) {
    const files = await readTokenizerFiles(path)
    return hasVocabulary(files) ? files : fromCheckpoint(path)
  }
  const start = await firstByte(path)
  if (start === 0x7b && !/\.safetensors$/.test(path)) {
    return { tokenizerJson: new TextDecoder().decode(await readIfPresent(path)) }
  }
  if (start === 0x0a || basename(path).endsWith('.model')) return { sentencePiece: await readIfPresent(path) }
  if (path.endsWith('.gguf')) return fromCheckpoint(path)
  // A file of weights: its tokenizer lies beside it.
  const files = await readTokenizerFiles(dirname(path))
  return hasVocabulary(files) ? files : fromCheckpoint(path)
}

function hasVocabulary({ sentencePiece, tokenizerJson }: TokenizerFiles): boolean {
  return sentencePiece !== undefined || tokenizerJson !== undefined
}

/** JSON begins with a brace, SentencePiece's protobuf with the tag of its first field (0x0a). */
async function firstByte(path: string): Promise<number | undefined> {
  const file = await open(path).catch((cause) => {
    throw fileError(path, cause)
  })
  try {
    const { bytesRead, buffer } = await file.read(new Uint8Array(1), 0, 1, 0)
    return bytesRead === 1 ? buffer[0] : undefined
  } finally {
    await file.close()
  }
}

async function fromCheckpoint(path: string): Promise<TokenizerFiles> {
  const checkpoint = await openCheckpoint(path)
  await checkpoint.close()
  return checkpoint.tokenizer
}
