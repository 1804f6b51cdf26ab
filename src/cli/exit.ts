// How a command ends: exit codes, and one line for what went wrong (of a recipe, one for each mistake). Knows no command.

import { GemmaError } from '../error.ts'

export const EXIT = { success: 0, failure: 1, usage: 2, interrupted: 130 } as const

/** Says on stderr what went wrong, in one line or as many as a recipe has mistakes (with its stack when DEBUG is set), and gives the exit code. */
export function reportFailure(error: unknown): number {
  const known = error instanceof GemmaError
  if (known && error.code === 'aborted') return EXIT.interrupted
  const message = error instanceof Error ? error.message : String(error)
  const several = known && error.code === 'recipe'
  const line = message.replaceAll(/\s*\n\s*/g, several ? '\n       ' : ' ')
  process.stderr.write(
    known ? `gemma: ${line}\n` : `gemma: ${line} (a fault of gemma-ts; DEBUG=1 shows where)\n`,
  )
  if (process.env.DEBUG && error instanceof Error) process.stderr.write(`${stackOf(error)}\n`)
  return known && error.code === 'usage' ? EXIT.usage : EXIT.failure
}

function stackOf(error: Error): string {
  const stack = error.stack ?? error.message
  return error.cause instanceof Error ? `${stack}\ncaused by ${stackOf(error.cause)}` : stack
}

export function usageError(message: string, remedy = ''): GemmaError {
  return new GemmaError('usage', message, remedy)
}
