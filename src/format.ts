// Numbers as people read them. Knows nothing else; runs everywhere.

/** 5012345678 → '5.0 GB'. Decimal units, as disks and downloads count. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let value = bytes
  let unit = 0
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit === 0 || value >= 99.5 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}

/** 2506172416 → '2,506,172,416'. */
export function formatCount(count: number): string {
  return count.toLocaleString('en-US')
}

/** 75 → '1 min 15 s'. */
export function formatSeconds(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  if (seconds < 60) return `${Math.round(seconds)} s`
  const whole = Math.round(seconds)
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}

/** 12.345 → '12.3'. */
export function formatRate(rate: number): string {
  return rate >= 99.95 ? String(Math.round(rate)) : rate.toFixed(1)
}

/** (1, '2b') → 'Gemma 1, size 2B'; null: no released size has these dimensions. */
export function formatModel(generation: number, size: string | null): string {
  const name = `Gemma ${generation}`
  return size === null ? name : `${name}, size ${size.replace(/^[23]-/, '').toUpperCase()}`
}

const CONTAINERS = { safetensors: 'safetensors', torch: 'PyTorch checkpoint', gguf: 'GGUF' } as const

export function formatContainer(container: keyof typeof CONTAINERS): string {
  return CONTAINERS[container]
}
