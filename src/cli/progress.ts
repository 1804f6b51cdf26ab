// One line on stderr that shows how far something is. Only on a terminal; elsewhere there is no bar. Knows
// neither what is counted nor who counts.

import { formatBytes, formatCount, formatSeconds, styleFor } from './style.ts'

/** What a caller may know better, or add. */
interface Known {
  readonly rate?: number
  readonly secondsLeft?: number
  /** Stands where else the rate does. */
  readonly detail?: string
}

export interface Progress {
  /** `rate` and `secondsLeft` are worked out here unless the caller knows better. */
  update(done: number, total: number, known?: Known): void
  /** A line for people above the bar. */
  say(text: string): void
  /** Takes the bar away. */
  end(): void
}

export interface ProgressOptions {
  readonly unit: 'bytes' | 'tokens' | 'merges'
  readonly quiet?: boolean
  readonly stream?: Pick<NodeJS.WriteStream, 'isTTY' | 'columns' | 'write'>
  readonly now?: () => number
}

/** What is done sooner than this needs no bar. */
const PATIENCE = 300
const PAUSE = 100
const CELLS = 20

export function createProgress(label: string, options: ProgressOptions): Progress {
  const { unit, quiet = false, stream = process.stderr, now = () => performance.now() } = options
  const shows = !quiet && stream.isTTY === true && process.env.TERM !== 'dumb'
  const style = styleFor(stream)
  const start = now()
  let drawn = 0
  let visible = false
  let first: number | undefined

  const clear = (): void => {
    if (visible) stream.write('\r\u001b[K')
    visible = false
  }
  return {
    update(done, total, known = {}) {
      first ??= done
      const time = now()
      if (!shows || time - start < PATIENCE || time - drawn < PAUSE) return
      drawn = time
      visible = true
      const rate = known.rate ?? ((done - first) / (time - start)) * 1000
      const left = known.secondsLeft ?? (rate > 0 ? (total - done) / rate : undefined)
      const line = progressLine({ label, unit, done, total, rate, secondsLeft: left, detail: known.detail })
      const width = (stream.columns || 80) - 1
      stream.write(`\r${style.dim(line.slice(0, width))}\u001b[K`)
    },
    say(text) {
      clear()
      if (!quiet) stream.write(`${text}\n`)
    },
    end: clear,
  }
}

interface State {
  readonly label: string
  readonly unit: 'bytes' | 'tokens' | 'merges'
  readonly done: number
  readonly total: number
  readonly rate: number
  readonly secondsLeft: number | undefined
  readonly detail?: string
}

export function progressLine({ label, unit, done, total, rate, secondsLeft, detail }: State): string {
  const count = unit === 'bytes' ? formatBytes : formatCount
  const speed = unit === 'bytes' ? formatBytes(rate) : `${formatCount(Math.round(rate))} ${unit}`
  const share = total > 0 ? Math.min(1, done / total) : 0
  const full = Math.round(share * CELLS)
  const bar = '█'.repeat(full) + '░'.repeat(CELLS - full)
  const percent = `${Math.floor(share * 100)} %`.padStart(5)
  const parts = [`${label} ${bar} ${percent}`, `${count(done)} of ${count(total)}`]
  if (detail !== undefined) parts.push(detail)
  else if (rate > 0) parts.push(`${speed}/s`)
  if (secondsLeft !== undefined && Number.isFinite(secondsLeft))
    parts.push(`${formatSeconds(secondsLeft)} left`)
  return parts.join('  ')
}
