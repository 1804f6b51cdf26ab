// What a model is and what it needs, in a browser: from the headers of its files, before it is downloaded.

import { builtInModel } from './built-in.ts'
import { filesOf, type WebModelSource } from './files.web.ts'
import { type Inspection, inspectCheckpoint } from './inspect.ts'
import type { HttpOptions } from './weights/http-source.ts'
import { openFiles } from './weights/open-files.ts'

export interface WebInspectOptions extends HttpOptions {
  /** Tokens of context to reckon with; default: as for loading. */
  readonly contextLength?: number
  /** Bytes that may be taken; without it, nothing is said about what fits. */
  readonly available?: number | null
}

export interface WebInspection extends Inspection {
  /** The files that loading reads, with their bytes. */
  readonly files: readonly { readonly name: string; readonly size: number }[]
}

/** Reads headers, configuration and tokenizer of a model, not its weights; without a source, of the one that ships with the package. Throws GemmaError. */
export async function inspectWeb(
  source: WebModelSource = builtInModel(),
  { contextLength, available = null, ...options }: WebInspectOptions = {},
): Promise<WebInspection> {
  const set = filesOf(source, options)
  const files = new Map<string, number>()
  const checkpoint = await openFiles({
    ...set,
    async open(name) {
      const file = await set.open(name)
      if (file) files.set(name, file.size)
      return file
    },
  })
  try {
    const inspection = inspectCheckpoint(set.name, checkpoint, available, contextLength)
    return { ...inspection, files: [...files].map(([name, size]) => ({ name, size })) }
  } finally {
    await checkpoint.close()
  }
}
