// Colours, where they are wanted, and tables. Knows no command.

export { formatBytes, formatCount, formatRate, formatSeconds } from '../format.ts'

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

/** Rows with columns of equal width; numbers to the right, the first column to the left. */
export function formatTable(rows: ReadonlyArray<readonly string[]>): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)))
  const cell = (text: string, column: number): string =>
    column === 0 ? text.padEnd(widths[column]) : text.padStart(widths[column])
  return rows.map((row) => row.map(cell).join('   ').trimEnd()).join('\n')
}
