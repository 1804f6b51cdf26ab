// Asks whether a download fits on the disk before it begins. Knows nothing about what is downloaded.

import { statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { GemmaError } from '../error.ts'

/** Throws GemmaError 'file' when `needed` bytes do not fit on the disk that holds `directory`. */
export async function assertSpace(
  directory: string,
  needed: number,
  freeBytes: (directory: string) => Promise<number> = systemFreeBytes,
): Promise<void> {
  const free = await freeBytes(directory)
  if (needed <= free) return
  throw new GemmaError(
    'file',
    `The download needs ${formatBytes(needed)} and the disk of ${directory} has ${formatBytes(free)} free.`,
    'Free some space or set another cache directory (HF_HUB_CACHE, KAGGLEHUB_CACHE).',
  )
}

/** Bytes an ordinary user may still write; the directory need not exist yet. */
async function systemFreeBytes(directory: string): Promise<number> {
  for (let path = directory; ; path = dirname(path)) {
    const answer = await statfs(path).catch(() => undefined)
    if (answer !== undefined) return answer.bavail * answer.bsize
    if (dirname(path) === path) return Number.POSITIVE_INFINITY
  }
}

function formatBytes(bytes: number): string {
  return bytes < 1e6
    ? `${bytes} bytes`
    : bytes < 1e9
      ? `${(bytes / 1e6).toFixed(1)} MB`
      : `${(bytes / 1e9).toFixed(2)} GB`
}
