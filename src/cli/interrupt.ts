// Ctrl-C: the first one asks the command to stop, so that it can clean up; the second ends the process. A
// command may take the first one for itself (chat: stop this answer only). Knows no command.

import { EXIT } from './exit.ts'

export interface Interrupts {
  /** Aborted when the command is to end. */
  readonly signal: AbortSignal
  /** Ctrl-C calls `handler` instead, until the returned function is called. */
  take(handler: () => void): () => void
  /** What Ctrl-C does by default. */
  interrupt(): void
  /** What the command writes before it ends may take long: it is not hurried, except by a second Ctrl-C. */
  neverHurry(): void
  close(): void
}

/** A command that has not stopped after this long is ended. */
const PATIENCE = 5000

export function createInterrupts(): Interrupts {
  const controller = new AbortController()
  const handlers: (() => void)[] = []
  let hurries = true
  const interrupt = (): void => {
    if (controller.signal.aborted) process.exit(EXIT.interrupted)
    if (hurries) setTimeout(() => process.exit(EXIT.interrupted), PATIENCE).unref()
    // Leaves the terminal's ^C on a line of its own.
    if (process.stderr.isTTY) process.stderr.write('\n')
    controller.abort()
  }
  const heard = (): void => (handlers.at(-1) ?? interrupt)()
  process.on('SIGINT', heard)
  process.on('SIGTERM', interrupt)
  return {
    signal: controller.signal,
    interrupt,
    neverHurry: () => void (hurries = false),
    take(handler) {
      handlers.push(handler)
      return () => {
        const at = handlers.lastIndexOf(handler)
        if (at >= 0) handlers.splice(at, 1)
      }
    },
    close() {
      process.off('SIGINT', heard)
      process.off('SIGTERM', interrupt)
    },
  }
}
