// The place in the data that a checkpoint remembers: checked before anything trusts it, since it comes from a file,
// and compared with the data that training shall go on with. Knows no files.

import { GemmaError } from '../error.ts'
import type { DataPosition, DataSettings, SourceSettings } from './training-data.ts'

/**
 * Throws GemmaError 'data' when `position` is no position, or one of other data. `paths`: the files of each source, for
 * telling which one changed.
 */
export function checkPosition(
  position: DataPosition,
  settings: DataSettings,
  paths: readonly (readonly string[])[],
): void {
  if (position?.version !== 1 || typeof position.settings !== 'object' || position.settings === null) {
    throw broken('its version is unknown')
  }
  compareSettings(position.settings, settings, paths)
  const { window, taken, runs, progress, given } = position
  const places = window?.sources
  const count = settings.sources.length
  const shaped =
    isCount(taken) &&
    isCount(runs) &&
    (progress === undefined || (progress >= 0 && progress <= 1)) &&
    isCount(window?.index) &&
    isCount(window.stage) &&
    [window.virtual, places, given].every((list) => Array.isArray(list) && list.length === count) &&
    window.virtual.every((value) => value >= 0 && Number.isFinite(value)) &&
    given.every((one) => isCount(one?.documents) && isCount(one.tokens) && isCount(one.targets)) &&
    (window.before === undefined || (Number.isFinite(window.before?.progress) && isCount(window.before.runs)))
  if (!shaped) throw broken('its parts do not fit together')
  for (const [i, place] of places.entries()) {
    const numbers = [place?.epoch, place?.block, place?.file, place?.offset, place?.line, place?.taken]
    if (!numbers.every(isCount) || place.file >= paths[i]!.length || !isCount(place.counts?.records)) {
      throw broken(`source "${settings.sources[i]!.name}" has no such place`)
    }
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function broken(why: string): GemmaError {
  return new GemmaError(
    'data',
    `The position in the data cannot be used: ${why}.`,
    'Go on from an older checkpoint, or begin anew.',
  )
}

function compareSettings(then: DataSettings, now: DataSettings, paths: readonly (readonly string[])[]): void {
  const differing: string[] = []
  for (const key of Object.keys(now) as (keyof DataSettings)[]) {
    if (key === 'sources') continue
    if (!isSame(then[key], now[key])) {
      differing.push(key === 'tokenizer' ? key : `${key} (then ${text(then[key])}, now ${text(now[key])})`)
    }
  }
  const before: readonly SourceSettings[] = Array.isArray(then.sources) ? then.sources : []
  const names = (sources: readonly SourceSettings[]): string[] => sources.map((source) => source?.name)
  if (!isSame(names(before), names(now.sources))) {
    differing.push(`sources (then ${text(names(before))}, now ${text(names(now.sources))})`)
  } else {
    now.sources.forEach((source, i) => {
      for (const key of Object.keys(source) as (keyof SourceSettings)[]) {
        const was = before[i]![key]
        if (key === 'files' || isSame(was, source[key])) continue
        differing.push(`${key} of source "${source.name}" (then ${text(was)}, now ${text(source[key])})`)
      }
    })
  }
  if (differing.length > 0) {
    throw new GemmaError(
      'data',
      `The data are not those that training began with; what differs: ${differing.join('; ')}.`,
      'Set them back to go on, or begin anew.',
    )
  }
  for (const [i, source] of now.sources.entries()) compareFiles(source, before[i]!.files, paths[i]!)
}

function compareFiles({ name, files: now }: SourceSettings, before: unknown, paths: readonly string[]): void {
  if (before === now) return
  const then = typeof before === 'string' ? before : ''
  const changed = paths.filter((_, i) => !then.includes(now.slice(8 * i, 8 * i + 8)))
  const numbers =
    then.length === now.length
      ? `${paths.length} files as before`
      : `${then.length / 8} files before, ${paths.length} now`
  const which =
    changed.length > 0
      ? `new or changed: ${changed.slice(0, 5).join(', ')}${changed.length > 5 ? ', …' : ''}`
      : 'some are gone or in another order'
  throw new GemmaError(
    'data',
    `The files of source "${name}" have changed since training began (${numbers}; ${which}).`,
    'Put the old files back to go on, or begin anew.',
  )
}

function isSame(a: unknown, b: unknown): boolean {
  return text(a) === text(b)
}

/** JSON with keys in order. */
function text(value: unknown): string {
  const sorted = (_key: string, part: unknown): unknown =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part
  return JSON.stringify(value, sorted) ?? 'nothing'
}
