// Whether a model that is not here yet would fit this machine. Node only (asks the machine what is free).

import { GemmaError } from '../error.ts'
import { estimateMemory } from '../generate/estimate.ts'
import type { WeightDtype } from '../generate/load-choices.ts'
import type { RemoteDescription } from '../hub/download-options.ts'
import { memoryBudget } from '../load.node.ts'
import { parseConfig } from '../model/config.ts'
import { formatBytes } from './style.ts'

/** Bytes of the weight files of a model that is not here yet. */
export function remoteWeightBytes({ files }: RemoteDescription): number {
  return files
    .filter(({ name }) => /\.(safetensors|bin|ckpt|pth?|gguf)$/.test(name))
    .reduce((sum, { size }) => sum + size, 0)
}

/** Throws GemmaError 'memory' when a model that is about to be downloaded could not be loaded. */
export function assertFits(
  source: string,
  description: RemoteDescription,
  { dtype = 'auto', context }: { readonly dtype?: WeightDtype; readonly context?: number },
): void {
  if (description.config === undefined) return
  const config = parseConfig(description.config)
  const available = memoryBudget()
  const { precisions } = estimateMemory(config, remoteWeightBytes(description), available, context)
  const wanted = precisions.find((row) => row.dtype === dtype)
  if (wanted === undefined || wanted.fits) return
  const other = precisions.find((row) => row.dtype !== 'auto' && row.fits)
  throw new GemmaError(
    'memory',
    `${source} would need ${formatBytes(wanted.total)}, but ${formatBytes(available)} are free; nothing was downloaded.`,
    other === undefined
      ? 'No precision of it fits this machine; choose a smaller model or free memory.'
      : `Load it with --dtype ${other.dtype}.`,
  )
}
