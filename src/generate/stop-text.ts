// Holds back the end of a streamed text while it could still become a stop string, and cuts at the first one.

export interface StopText {
  /** Adds text; returns what may be shown now, and whether a stop string was met. */
  push(text: string): { readonly text: string; readonly stopped: boolean }
  /** What was held back, at the end. */
  flush(): string
}

export function createStopText(stops: readonly string[]): StopText {
  let held = ''
  return {
    push(text) {
      held += text
      const found = stops.map((stop) => held.indexOf(stop)).filter((at) => at >= 0)
      if (found.length > 0) {
        const shown = held.slice(0, Math.min(...found))
        held = ''
        return { text: shown, stopped: true }
      }
      const keep = Math.max(0, ...stops.map((stop) => overlap(held, stop)))
      const shown = held.slice(0, held.length - keep)
      held = held.slice(held.length - keep)
      return { text: shown, stopped: false }
    },
    flush() {
      const rest = held
      held = ''
      return rest
    },
  }
}

/** Length of the longest end of `text` that begins `stop`. */
function overlap(text: string, stop: string): number {
  for (let length = Math.min(text.length, stop.length - 1); length > 0; length--) {
    if (text.endsWith(stop.slice(0, length))) return length
  }
  return 0
}
