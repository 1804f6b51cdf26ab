// Asks for lines at a terminal, with editing and a history. Between two questions the terminal is in its
// ordinary state, so that Ctrl-C is a signal while an answer is being given. Knows nothing about answers.

import { createInterface } from 'node:readline'
import { abortedError } from '../error.ts'

export interface Prompt {
  /** A line, or undefined at Ctrl-D. Throws GemmaError 'aborted' at Ctrl-C. */
  ask(): Promise<string | undefined>
}

export function createPrompt(mark: string, signal: AbortSignal): Prompt {
  let history: string[] = []
  /** Lines that came in one go, as when text is pasted. */
  const waiting: string[] = []

  const read = (): Promise<string | undefined> =>
    new Promise((resolve, reject) => {
      const lines: string[] = []
      // Questions are for people: stdout stays free for answers.
      const reader = createInterface({
        input: process.stdin,
        output: process.stderr,
        prompt: mark,
        history,
        historySize: 1000,
        removeHistoryDuplicates: true,
      })
      const interrupted = (): void => {
        // Before close(), which counts as Ctrl-D.
        reject(abortedError(signal))
        reader.close()
      }
      signal.addEventListener('abort', interrupted, { once: true })
      reader.on('history', (entries) => {
        history = entries
      })
      reader.on('SIGINT', interrupted)
      reader.on('line', (line) => {
        lines.push(line)
        // What else this turn of the event loop brings belongs to the same paste.
        if (lines.length === 1) setImmediate(() => reader.close())
      })
      reader.on('close', () => {
        signal.removeEventListener('abort', interrupted)
        waiting.push(...lines.slice(1))
        if (lines.length === 0 && !signal.aborted) process.stderr.write('\n')
        resolve(lines[0])
      })
      reader.prompt()
    })

  return {
    async ask() {
      const next = waiting.shift()
      if (next === undefined) return read()
      process.stderr.write(`${mark}${next}\n`)
      return next
    },
  }
}
