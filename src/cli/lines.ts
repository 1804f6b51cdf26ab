// Text from a stream or a file: checked UTF-8, cut into lines at line feeds only (a JSON string may hold
// other line separators as they are). Knows nothing about what the lines mean.

import { readFile } from 'node:fs/promises'
import { addAbortSignal, type Readable } from 'node:stream'
import { abortedError, GemmaError } from '../error.ts'
import { fileError } from '../weights/source.node.ts'

export interface Line {
  readonly text: string
  /** From 1. */
  readonly number: number
}

/** Longer lines than this are no text that a model reads. */
const LONGEST_LINE = 1 << 28

/** Lines as they come, without their ends; the last one needs no line feed. */
export async function* readLines(
  stream: Readable,
  name: string,
  signal?: AbortSignal,
): AsyncGenerator<Line, void> {
  let rest: string[] = []
  let length = 0
  let number = 0
  const take = (): Line => {
    const text = rest.join('')
    rest = []
    length = 0
    return { text: text.endsWith('\r') ? text.slice(0, -1) : text, number: ++number }
  }
  for await (const text of decoded(stream, name, signal)) {
    let from = 0
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', from)) {
      rest.push(text.slice(from, end))
      from = end + 1
      yield take()
    }
    rest.push(text.slice(from))
    length += text.length - from
    if (length > LONGEST_LINE) {
      throw new GemmaError('file', `${name}: line ${number + 1} is longer than ${LONGEST_LINE} characters.`)
    }
  }
  if (length > 0) yield take()
}

/** All of a stream. */
export async function readText(stream: Readable, name: string, signal?: AbortSignal): Promise<string> {
  const parts: string[] = []
  let length = 0
  for await (const text of decoded(stream, name, signal)) {
    parts.push(text)
    length += text.length
    if (length > LONGEST_LINE) {
      throw new GemmaError('file', `${name} is longer than ${LONGEST_LINE} characters.`)
    }
  }
  return parts.join('')
}

/** All of a text file. */
export async function readTextFile(path: string): Promise<string> {
  const bytes = await readFile(path).catch((cause) => {
    throw fileError(path, cause)
  })
  return strictly(path, () => new TextDecoder('utf-8', { fatal: true }).decode(bytes))
}

async function* decoded(
  stream: Readable,
  name: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<string, void> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  if (signal !== undefined) addAbortSignal(signal, stream)
  try {
    for await (const chunk of stream) {
      yield strictly(name, () => decoder.decode(chunk as Uint8Array, { stream: true }))
    }
  } catch (error) {
    throw signal?.aborted ? abortedError(signal) : error
  }
  yield strictly(name, () => decoder.decode())
}

function strictly(name: string, decode: () => string): string {
  try {
    return decode()
  } catch (cause) {
    throw new GemmaError('file', `${name} is not UTF-8 text.`, '', { cause })
  }
}

/** The JSON value of a line. Throws GemmaError 'file'; atLine adds where. */
export function parseLine({ text }: Line): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new GemmaError('file', 'Expected JSON.', '', { cause })
  }
}

/** Runs `work`; a GemmaError gets the line's number in front and counts as a fault of the input. */
export async function atLine<T>({ number }: Line, work: () => Promise<T> | T): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    if (!(cause instanceof GemmaError) || cause.code === 'aborted') throw cause
    const code = cause.code === 'usage' ? 'file' : cause.code
    throw new GemmaError(code, `Line ${number} of the input: ${cause.message}`, '', { cause })
  }
}
