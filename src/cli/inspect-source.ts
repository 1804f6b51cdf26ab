// A model by whatever a user calls it, inspected where it lies or, from what its repository says, before it is
// downloaded. Node only.

import type { RemoteDescription } from '../hub/download-options.ts'
import { describeRemote, parseSource } from '../hub/resolve.node.ts'
import { type Inspection, inspectCheckpoint, summarise } from '../inspect.ts'
import { memoryBudget } from '../load.node.ts'
import { parseConfig } from '../model/config.ts'
import { openCheckpoint } from '../weights/open.node.ts'
import { remoteWeightBytes } from './memory-estimate.ts'

interface Flags {
  /** Tokens of context to reckon with. */
  readonly context?: number
}

/** Throws GemmaError; `source` is whatever a user calls a model. */
export async function inspect(source: string, flags: Flags, signal: AbortSignal): Promise<Inspection> {
  const parsed = await parseSource(source)
  if (parsed.kind === 'path') return inspectLocal(source, parsed.path, flags)
  const description = await describeRemote(source, { signal })
  if (description.path !== undefined) return inspectLocal(source, description.path, flags)
  return inspectRemote(source, description, flags)
}

async function inspectLocal(model: string, path: string, { context }: Flags): Promise<Inspection> {
  const checkpoint = await openCheckpoint(path)
  try {
    return inspectCheckpoint(model, checkpoint, memoryBudget(), context)
  } finally {
    await checkpoint.close()
  }
}

function inspectRemote(model: string, description: RemoteDescription, { context }: Flags): Inspection {
  const bytes = remoteWeightBytes(description)
  const common = {
    ...{ model, downloaded: false, container: null, dtypes: null, bytes, unknown: [] },
    downloadBytes: description.totalBytes,
  }
  const { config: json } = description
  if (json === undefined) {
    const nothing = { generation: null, size: null, config: null, parameters: null }
    return { ...common, ...nothing, contextLength: null, memory: null, precisions: [] }
  }
  return { ...common, config: json, ...summarise(parseConfig(json), bytes, memoryBudget(), context) }
}
