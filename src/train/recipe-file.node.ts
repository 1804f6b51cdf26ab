// Recipes as YAML files: reading with the line of every mistake, single values set from outside, and writing the
// recipe without gaps with its defaults marked. Knows nothing about what the keys mean.

import { readFile, stat } from 'node:fs/promises'
import { Document, isMap, isNode, isPair, isScalar, isSeq, LineCounter, parseDocument, visit } from 'yaml'
import { GemmaError } from '../error.ts'
import { writeAtomically } from '../weights/atomic.node.ts'
import { fileError } from '../weights/source.node.ts'
import type { ResolvedRecipe } from './recipe.ts'
import { resolveRecipe } from './recipe-defaults.ts'
import type { RecipeFault } from './recipe-schema.ts'

type Path = readonly (string | number)[]

export interface ReadRecipe {
  readonly recipe: ResolvedRecipe
  /** What the file says, with what was set: which keys are not defaults. */
  readonly written: unknown
}

/** A recipe past this size is another kind of file. */
const LARGEST = 1_000_000

/**
 * Reads, checks and fills the recipe in a YAML (or JSON) file. `set` holds changes such as 'batch.rowsPerRun=512' or
 * 'data.sources.0.files=[a.jsonl]', whose values are YAML too; without a value a key is taken away. Throws GemmaError 'recipe' naming file and line, 'usage' for a
 * change that cannot be made, 'file'.
 */
export async function readRecipe(path: string, set: readonly string[] = []): Promise<ReadRecipe> {
  const lines = new LineCounter()
  const document = parseDocument(await readText(path), { lineCounter: lines, prettyErrors: false })
  const broken = document.errors[0]
  if (broken !== undefined) {
    const { line, col } = lines.linePos(broken.pos[0])
    throw new GemmaError('recipe', `${path}:${line}:${col}: no valid YAML: ${broken.message}.`)
  }
  const changed = set.map((change) => applyChange(document, change))
  const place = ({ path: at, key }: RecipeFault): string => {
    if (changed.some((one) => at.slice(0, one.length).join('.') === one.join('.'))) {
      return `--set ${at.join('.')}`
    }
    const offset = offsetOf(document, at, key === true)
    return offset === undefined ? path : `${path}:${lines.linePos(offset).line}`
  }
  const written = toPlain(document, path)
  return { recipe: resolveRecipe(written, place), written }
}

async function readText(path: string): Promise<string> {
  const found = await stat(path).catch((cause) => {
    throw fileError(path, cause)
  })
  if (!found.isFile()) throw new GemmaError('file', `${path} is no file.`, 'Name the recipe itself.')
  if (found.size > LARGEST) {
    throw new GemmaError('recipe', `${path} has ${found.size} bytes, far too many for a recipe.`)
  }
  const bytes = await readFile(path).catch((cause) => {
    throw fileError(path, cause)
  })
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new GemmaError('recipe', `${path} is no text in UTF-8.`, '', { cause })
  }
}

function toPlain(document: Document, path: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 })
  } catch (cause) {
    throw new GemmaError(
      'recipe',
      `${path}: ${cause instanceof Error ? cause.message : String(cause)}.`,
      '',
      {
        cause,
      },
    )
  }
}

/** Makes one change 'key.key=value' and returns where. */
function applyChange(document: Document, change: string): Path {
  const at = change.indexOf('=')
  const keys = at < 0 ? [] : change.slice(0, at).trim().split('.')
  if (keys.length === 0 || keys.includes('')) {
    throw new GemmaError('usage', `--set ${change}: expected key=value, with a dot between nested keys.`)
  }
  const parsed = parseDocument(change.slice(at + 1))
  if (parsed.errors.length > 0) {
    throw new GemmaError('usage', `--set ${change}: the value is no valid YAML: ${parsed.errors[0]!.message}`)
  }
  const path: (string | number)[] = []
  for (const key of keys) {
    const parent = path.length === 0 ? document.contents : document.getIn(path, true)
    path.push(isSeq(parent) && /^\d+$/.test(key) ? Number(key) : key)
  }
  try {
    const value: unknown = parsed.toJS()
    if (value === null) document.deleteIn(path)
    else document.setIn(path, document.createNode(value))
  } catch (cause) {
    const message = `--set ${change}: ${path.slice(0, -1).join('.')} holds no keys that could be set.`
    throw new GemmaError('usage', message, '', { cause })
  }
  return path
}

/** Where a key or its value begins; for one that is missing, the group that lacks it. */
function offsetOf(document: Document, path: Path, key: boolean): number | undefined {
  for (let length = path.length; length > 0; length--) {
    const parent = length === 1 ? document.contents : document.getIn(path.slice(0, length - 1), true)
    const last = path[length - 1]!
    if (isMap(parent)) {
      const pair = parent.items.find((item) => isScalar(item.key) && item.key.value === last)
      const node = pair === undefined ? undefined : key && length === path.length ? pair.key : pair.value
      // A value below its key, `data:` and then lines, is best known by the key.
      const shown = isScalar(node) || !isPair(pair) ? node : pair.key
      if (isNode(shown) && shown.range) return shown.range[0]
    } else if (isSeq(parent) && typeof last === 'number') {
      const node = parent.items[last]
      if (isNode(node) && node.range) return node.range[0]
    }
  }
  return document.contents?.range?.[0]
}

/** The recipe as YAML, each value that `written` does not have marked as a default. */
export function formatRecipe(recipe: ResolvedRecipe, written: unknown): string {
  const document = new Document(recipe)
  visit(document, {
    Pair(_, pair, ancestors) {
      if (!isNode(pair.value)) return
      // Lists of plain values on one line, as people write them; what is in them is given or default as a whole.
      const plain = isSeq(pair.value) && pair.value.items.every((item) => isScalar(item))
      if (plain && isSeq(pair.value)) pair.value.flow = true
      if (!plain && !isScalar(pair.value)) return
      if (!has(written, [...keysOf(ancestors, document), keyOf(pair.key)])) pair.value.comment = ' default'
    },
  })
  return document.toString({ lineWidth: 0 })
}

function keyOf(node: unknown): string {
  return String(isScalar(node) ? node.value : node)
}

/** The keys on the way to a pair: what `visit` gives are documents, groups, lists and pairs. */
function keysOf(ancestors: readonly unknown[], document: Document): Path {
  const keys: (string | number)[] = []
  for (const [i, node] of ancestors.entries()) {
    if (node === document) continue
    if (isPair(node)) keys.push(keyOf(node.key))
    else if (isSeq(node)) keys.push(node.items.indexOf(ancestors[i + 1] as never))
  }
  return keys
}

function has(value: unknown, path: Path): boolean {
  let inner = value
  for (const part of path) {
    if (typeof inner !== 'object' || inner === null || !Object.hasOwn(inner, part)) return false
    inner = (inner as Record<string | number, unknown>)[part]
  }
  return true
}

/** Writes what `formatRecipe` gave to a file, atomically. */
export async function writeRecipe(path: string, text: string): Promise<void> {
  const bytes = new TextEncoder().encode(`# The recipe of this run with every default that it took.\n${text}`)
  await writeAtomically(path, (out) => out.write(bytes))
}
