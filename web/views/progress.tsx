// How far something is that takes longer than a second: bytes, speed, time left, and a button to stop it.

import { useEffect, useRef, useState } from 'preact/hooks'
import { formatBytes, formatSeconds } from '../../src/format.ts'
import type { Progress } from '../engine/protocol.ts'

const WORDS = { download: 'Downloading', copy: 'Keeping a copy', load: 'Loading' } as const
/** Speed is that of the last so many milliseconds. */
const WINDOW_MS = 5000

export function ProgressBar({ progress, onCancel }: { progress: Progress; onCancel: () => void }) {
  const speed = useSpeed(progress)
  const { phase, bytes, totalBytes } = progress
  const left = speed > 0 ? `, ${formatSeconds((totalBytes - bytes) / speed)} left` : ''
  const rate = speed > 0 ? `, ${formatBytes(speed)}/s${left}` : ''
  const text = totalBytes === 0 ? '' : `${formatBytes(bytes)} of ${formatBytes(totalBytes)}${rate}`
  return (
    <div class="progress">
      <label>
        <span>
          {WORDS[phase]}… {text}
        </span>
        <progress max={totalBytes || undefined} value={totalBytes === 0 ? undefined : bytes} />
      </label>
      <button type="button" onClick={onCancel}>
        Cancel
      </button>
    </div>
  )
}

/** Bytes per second, of late. */
function useSpeed({ phase, bytes }: Progress): number {
  const seen = useRef<{ phase: string; points: [time: number, bytes: number][] }>({ phase, points: [] })
  const [speed, setSpeed] = useState(0)
  useEffect(() => {
    const now = performance.now()
    if (seen.current.phase !== phase) seen.current = { phase, points: [] }
    const { points } = seen.current
    points.push([now, bytes])
    while (points.length > 2 && now - points[0]![0] > WINDOW_MS) points.shift()
    const [time, first] = points[0]!
    setSpeed(now - time < 300 ? 0 : ((bytes - first) / (now - time)) * 1000)
  }, [phase, bytes])
  return speed
}
