// Turns positions in single files into progress over a whole download: totals, speed, time left, at a pace
// that a terminal can show. Knows nothing about where the bytes come from.

import type { DownloadProgress } from './download-options.ts'

export interface ProgressMeter {
  /** `position` bytes of `file` are on disk; `fetched` is false for bytes that were there before. */
  readonly at: (file: string, position: number, fetched?: boolean) => void
  /** Corrects the total once a file's size is known. */
  readonly expect: (file: string, size: number) => void
  readonly say: (file: string, message: string) => void
}

const pause = 100 // milliseconds between two reports
const window = 5_000 // speed is measured over about this long

/** `sizes`: bytes of every wanted file, 0 when unknown. */
export function createMeter(
  sizes: ReadonlyMap<string, number>,
  onProgress: ((progress: DownloadProgress) => void) | undefined,
  now: () => number = () => performance.now(),
): ProgressMeter {
  const totals = new Map(sizes)
  const positions = new Map<string, number>()
  let marks: { time: number; bytes: number }[] = []
  let fetchedBytes = 0
  let reported = Number.NEGATIVE_INFINITY

  const report = (file: string, message?: string): void => {
    const time = now()
    const bytes = sum(positions.values())
    const totalBytes = Math.max(bytes, sum(totals.values()))
    marks.push({ time, bytes: fetchedBytes })
    while (marks.length > 2 && time - marks[0].time > window) marks.shift()
    const seconds = (time - marks[0].time) / 1000
    const speed = seconds > 0.2 ? Math.max(0, fetchedBytes - marks[0].bytes) / seconds : 0
    const rates = speed > 0 ? { bytesPerSecond: speed, secondsLeft: (totalBytes - bytes) / speed } : {}
    reported = time
    onProgress?.({
      phase: 'download',
      file,
      bytes,
      totalBytes,
      ...rates,
      ...(message === undefined ? {} : { message }),
    })
  }

  return {
    at: (file, position, fetched = true) => {
      const before = positions.get(file) ?? 0
      positions.set(file, position)
      if (fetched) fetchedBytes += position - before
      else marks = []
      const complete = position === totals.get(file)
      if (complete || now() - reported >= pause) report(file)
    },
    expect: (file, size) => {
      totals.set(file, size)
    },
    say: (file, message) => report(file, message),
  }
}

function sum(values: Iterable<number>): number {
  let total = 0
  for (const value of values) total += value
  return total
}
