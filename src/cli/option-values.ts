// Reads option values: numbers that are numbers, within their bounds. Knows no command.

import { InvalidArgumentError } from 'commander'

export function wholeNumber(least: number, most: number = Number.MAX_SAFE_INTEGER): (text: string) => number {
  const bounds = most === Number.MAX_SAFE_INTEGER ? `from ${least}` : `from ${least} to ${most}`
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
    if (Number.isSafeInteger(value) && value >= least && value <= most) return value
    throw new InvalidArgumentError(`Expected a whole number ${bounds}.`)
  }
}

/** Any number from `least` to `most`; `above` excludes `least` itself. */
export function decimal(
  least: number,
  { above = false, most = Number.POSITIVE_INFINITY }: { above?: boolean; most?: number } = {},
): (text: string) => number {
  return (text) => {
    const value = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : Number.NaN
    const fits = above ? value > least : value >= least
    if (Number.isFinite(value) && fits && value <= most) return value
    const lower = above ? `above ${least}` : `from ${least}`
    const upper = Number.isFinite(most) ? `, at most ${most}` : ''
    throw new InvalidArgumentError(`Expected a number ${lower}${upper}.`)
  }
}

/** A text that may be given several times; none of them empty. */
export function repeated(text: string, before: readonly string[] = []): string[] {
  if (text === '') throw new InvalidArgumentError('Expected a text that is not empty.')
  return [...before, text]
}
