// Colours, where they are wanted, and numbers as people read them. Knows no command.

export interface Style {
  readonly enabled: boolean
  dim(text: string): string
  bold(text: string): string
  /** Alternating backgrounds, to tell neighbours apart. */
  band(text: string, index: number): string
}

/** NO_COLOR (https://no-color.org) before FORCE_COLOR before what the stream is. */
export function wantsColor(
  stream: { readonly isTTY?: boolean },
  env: Readonly<Record<string, string | undefined>> = process.env,
): boolean {
  if (env.NO_COLOR) return false
  if (env.FORCE_COLOR !== undefined && env.FORCE_COLOR !== '')
    return !['0', 'false'].includes(env.FORCE_COLOR)
  return stream.isTTY === true && env.TERM !== 'dumb'
}

export function styleFor(stream: { readonly isTTY?: boolean }): Style {
  const enabled = wantsColor(stream)
  const wrap =
    (open: string, close: string) =>
    (text: string): string =>
      enabled ? `\u001b[${open}m${text}\u001b[${close}m` : text
  const bands = [wrap('30;46', '0'), wrap('30;43', '0'), wrap('30;42', '0'), wrap('30;45', '0')]
  return {
    enabled,
    dim: wrap('2', '22'),
    bold: wrap('1', '22'),
    band: (text, index) => bands[index % bands.length](text),
  }
}

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

/** Rows with columns of equal width; numbers to the right, the first column to the left. */
export function formatTable(rows: ReadonlyArray<readonly string[]>): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)))
  const cell = (text: string, column: number): string =>
    column === 0 ? text.padEnd(widths[column]) : text.padStart(widths[column])
  return rows.map((row) => row.map(cell).join('   ').trimEnd()).join('\n')
}
