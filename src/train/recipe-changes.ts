// Whether a run may go on with a recipe that is not the one it began with: what only says where things go, how often
// something is looked at or written, or how long training lasts may change; what shapes the numbers may not. Knows no file.

import { GemmaError } from '../error.ts'
import type { ResolvedRecipe } from './recipe.ts'
import { shown } from './recipe-schema.ts'

/** Keys that may change, with everything below them. */
const FREE = [
  'output',
  'device',
  'threads',
  'checkpointing',
  'checkpoint',
  'saveDtype',
  'saveWeights',
  'steps',
  'tokens',
  'data.heldOut',
  'data.evaluateEvery',
  'data.evaluateTokens',
  'data.maxBadRecords',
  'data.maxBadShare',
]

/** The keys whose values differ: 'optimizer.beta2'. */
export function changedKeys(before: unknown, now: unknown, path: readonly string[] = []): string[] {
  if (isGroup(before) && isGroup(now)) {
    const keys = new Set([...Object.keys(before), ...Object.keys(now)])
    return [...keys].flatMap((key) => changedKeys(valueAt(before, key), valueAt(now, key), [...path, key]))
  }
  return JSON.stringify(before) === JSON.stringify(now) ? [] : [path.join('.')]
}

function isGroup(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

function valueAt(group: Record<string, unknown>, key: string): unknown {
  return Object.hasOwn(group, key) ? group[key] : undefined
}

/** Throws GemmaError 'training' naming the keys that a run cannot change any more; returns the others that differ. */
export function checkChanges(before: ResolvedRecipe, now: ResolvedRecipe): string[] {
  const changed = changedKeys(before, now)
  const isFree = (key: string): boolean => FREE.some((free) => key === free || key.startsWith(`${free}.`))
  const refused = changed.filter((key) => !isFree(key))
  if (refused.length === 0) return changed
  const told = refused
    .slice(0, 5)
    .map((key) => `${key} was ${shown(at(before, key))} and is ${shown(at(now, key))}`)
  const more = refused.length > 5 ? `, and ${refused.length - 5} more` : ''
  throw new GemmaError(
    'training',
    `The run in ${now.output} began with another recipe: ${told.join(', ')}${more}.`,
    'Set it back to go on, begin anew with --restart, or choose another output.',
  )
}

function at(recipe: unknown, key: string): unknown {
  return key.split('.').reduce((value, part) => (isGroup(value) ? valueAt(value, part) : undefined), recipe)
}
