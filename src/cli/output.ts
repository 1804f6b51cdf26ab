// Writing to stdout and stderr: waits when the reader is slow, ends quietly when the reader has gone, and
// keeps a model's control characters away from the terminal. Knows no command.

import { once } from 'node:events'
import { EXIT } from './exit.ts'

/** A reader that has seen enough (`| head`) is no failure. */
export function guardOutput(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.removeAllListeners('error')
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(EXIT.success)
      if (stream === process.stdout)
        process.stderr.write(`gemma: cannot write the output: ${error.message}\n`)
      process.exit(EXIT.failure)
    })
  }
}

/** Data, to stdout. */
export async function print(text: string): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, 'drain')
}

/** Waits until all that was written has left the process: a pipe may still hold some of it back. */
export async function flush(): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) {
    await new Promise<void>((done) => stream.write('', () => done()))
  }
}

/** One JSON value on one line, to stdout. */
export function printJson(value: unknown): Promise<void> {
  return print(`${JSON.stringify(value)}\n`)
}

/** Text of a model: as it is into files and pipes, without control characters onto a terminal. */
export function printText(text: string): Promise<void> {
  return print(process.stdout.isTTY ? printable(text) : text)
}

/** A line for people, to stderr. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`)
}

/** Control characters (which could command the terminal) become their pictures; line feeds and tabs stay. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is replaced
  return text.replaceAll(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, (character) => {
    const code = character.charCodeAt(0)
    if (code < 0x20) return String.fromCharCode(0x2400 + code)
    return code === 0x7f ? '\u2421' : '\ufffd'
  })
}
