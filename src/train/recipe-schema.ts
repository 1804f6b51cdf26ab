// Checks what a person wrote as a recipe: known keys, kinds and bounds of the values, and that no two keys contradict
// each other. Says what is wrong by the path of a key, so that whoever read a file can name its line. Knows no file.

import { z } from 'zod'
import { GemmaError } from '../error.ts'
import { LINEAR_NAMES, type Recipe } from './recipe.ts'
import { contradictions } from './recipe-contradictions.ts'
import { MOST_TRAINING_ROWS } from './training-model.ts'

/** Something wrong with a recipe. */
export interface RecipeFault {
  /** Where: `['data', 'sources', 0, 'files']`. */
  readonly path: readonly (string | number)[]
  /** Whether the key itself is wrong, rather than its value. */
  readonly key?: boolean
  readonly message: string
  readonly remedy?: string
}

const LARGE = Number.MAX_SAFE_INTEGER

// Each schema's message is what was expected; `faultsOf` puts what came before it.
const text = z.string('a text').min(1, 'a text that is not empty')
const truth = z.boolean('true or false')

function whole(least: number, most = LARGE): z.ZodType<number> {
  const expected = `a whole number ${most === LARGE ? `from ${least}` : `from ${least} to ${most}`}`
  return z.int(expected).min(least, expected).max(most, expected)
}

function above(least: number): z.ZodType<number> {
  return z.number(`a number above ${least}`).gt(least, `a number above ${least}`)
}

/** From `least` to `most`, the latter excluded where `below`. */
function between(least: number, most: number, below = false): z.ZodType<number> {
  const expected = `a number from ${least} ${below ? 'to below' : 'to'} ${most}`
  const number = z.number(expected).min(least, expected)
  return below ? number.lt(most, expected) : number.max(most, expected)
}

function choice<const Names extends readonly string[]>(...names: Names): z.ZodType<Names[number]> {
  return z.enum(names, `one of ${names.join(', ')}`)
}

const group = <Shape extends z.ZodRawShape>(shape: Shape): z.ZodObject<Shape, z.core.$strict> =>
  z.strictObject(shape, 'keys and values')

const tooLong = choice('split', 'truncate', 'drop', 'error')

const source = group({
  name: text.regex(/^[\w.-]{1,64}$/, 'up to 64 letters, digits, dots, dashes and underscores').optional(),
  files: z.union([text, z.array(text).min(1)], 'a path or a list of paths'),
  kind: choice('text', 'messages', 'prompt-completion', 'tokens').optional(),
  columns: group({
    text: text.optional(),
    messages: text.optional(),
    prompt: text.optional(),
    completion: text.optional(),
    tokens: text.optional(),
    mask: text.optional(),
    role: text.optional(),
    content: text.optional(),
  }).optional(),
  weight: between(0, 1e9).optional(),
  epochs: whole(1).optional(),
  tooLong: tooLong.optional(),
})
const sources = z.array(source, 'a list of sources').min(1, 'at least one source')

const RANGE = 'fan-in or a number above 0, at most 10'
const deviation = z.number(RANGE).gt(0, RANGE).max(10, RANGE)

const model = group({
  from: text.optional(),
  shape: choice('nano', 'micro', 'mini').optional(),
  config: z.record(z.string(), z.unknown(), 'the keys of a config.json').optional(),
  tokenizer: text.optional(),
  initializerRange: z.union([z.literal('fan-in'), deviation], RANGE).optional(),
})

const data = group({
  sources,
  stages: z
    .array(
      group({
        until: z.number('a number above 0, at most 1').gt(0, 'above 0').max(1, 'at most 1'),
        weights: z.record(z.string(), between(0, 1e9), 'names of sources with their weights'),
      }),
      'a list of stages',
    )
    .min(1, 'at least one stage')
    .optional(),
  tooLong: tooLong.optional(),
  packing: truth.optional(),
  shuffleWindow: whole(1, 10_000_000).optional(),
  endOfText: truth.optional(),
  maxBadRecords: whole(0).optional(),
  maxBadShare: between(0, 1).optional(),
  heldOut: sources.optional(),
  evaluateEvery: whole(1).optional(),
  evaluateTokens: whole(1).optional(),
})

const batch = group({
  tokensPerBatch: whole(1, 2 ** 31).optional(),
  documents: whole(1, 2 ** 24).optional(),
  rowsPerRun: whole(1, MOST_TRAINING_ROWS).optional(),
})

// Both optimisers' keys; which belong to which is checked with the contradictions, where the message can say so.
const optimizer = group({
  name: choice('adamw', 'adafactor').optional(),
  beta1: between(0, 1, true).optional(),
  beta2: between(0, 1, true).optional(),
  epsilon: above(0).optional(),
  weightDecay: between(0, 1e3).optional(),
  decayRate: between(0, 1).optional(),
  clipThreshold: above(0).optional(),
})

const schedule = group({
  name: choice('cosine', 'linear', 'constant').optional(),
  warmup: between(0, LARGE).optional(),
  finalFraction: between(0, 1).optional(),
})

const lora = group({
  rank: whole(1, 4096).optional(),
  alpha: above(0).optional(),
  dropout: between(0, 1, true).optional(),
  rsLora: truth.optional(),
  targets: z
    .union(
      [z.literal('all-linear'), z.array(choice(...LINEAR_NAMES)).min(1)],
      `all-linear or a list of ${LINEAR_NAMES.join(', ')}`,
    )
    .optional(),
})

const checkpoint = group({
  everySteps: whole(1).optional(),
  everyMinutes: above(0).optional(),
  keep: whole(1, 1e6).optional(),
})

const recipe = group({
  stage: choice('pretrain', 'sft'),
  seed: whole(0).optional(),
  output: text,
  model,
  data,
  batch: batch.optional(),
  contextLength: whole(2, MOST_TRAINING_ROWS).optional(),
  steps: whole(1).optional(),
  tokens: whole(1).optional(),
  epochs: whole(1).optional(),
  optimizer: optimizer.optional(),
  learningRate: above(0).optional(),
  schedule: schedule.optional(),
  clip: above(0).optional(),
  lora: lora.optional(),
  baseDtype: choice('auto', 'f32', 'bf16', 'int8', 'int4').optional(),
  checkpoint: checkpoint.optional(),
  saveDtype: choice('f32', 'bf16').optional(),
  saveWeights: choice('last', 'best').optional(),
  device: choice('auto', 'cpu', 'webgpu').optional(),
  threads: z.union([z.literal('auto'), whole(0, 256)], 'auto or a whole number from 0 to 256').optional(),
  checkpointing: z.union([z.literal('auto'), z.boolean()], 'auto, true or false').optional(),
})

/** The recipe in `value`, or everything that is wrong with it. */
export function checkRecipe(
  value: unknown,
): { readonly recipe: Recipe } | { readonly faults: RecipeFault[] } {
  const parsed = recipe.safeParse(value, { reportInput: true })
  if (!parsed.success) return { faults: mendable(parsed.error.issues.flatMap((issue) => faultsOf(issue))) }
  const checked = parsed.data as Recipe
  const faults = contradictions(checked)
  return faults.length > 0 ? { faults } : { recipe: checked }
}

/** As checkRecipe, throwing GemmaError 'recipe'; `place` tells where a fault is: `recipe.yaml:12`. */
export function parseRecipe(
  value: unknown,
  place: (fault: RecipeFault) => string = () => 'The recipe',
): Recipe {
  const checked = checkRecipe(value)
  if ('recipe' in checked) return checked.recipe
  const MOST = 5
  const lines = checked.faults.slice(0, MOST).map((fault) => {
    const sentence = `${place(fault)}: ${fault.message}`
    return fault.remedy === undefined ? sentence : `${sentence} ${fault.remedy}`
  })
  const more = checked.faults.length - MOST
  if (more > 0) lines.push(`(${more} more)`)
  throw new GemmaError('recipe', lines.join('\n'))
}

function faultsOf(issue: z.core.$ZodIssue): RecipeFault[] {
  const path = issue.path.map((part) => (typeof part === 'number' ? part : String(part)))
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(path)
    return issue.keys.map((key) => {
      const nearest = nearestOf(key, known)
      const remedy = nearest === undefined ? `Known here: ${known.join(', ')}.` : `Did you mean ${nearest}?`
      return { path: [...path, key], key: true, message: `${nameOf([...path, key])} is no key.`, remedy }
    })
  }
  if (issue.code === 'invalid_union' && issue.errors.length > 0) {
    // A list given where a list may stand: what is wrong lies inside it.
    const inner = issue.errors.find((issues) => issues.some((one) => one.path.length > 0))
    if (inner !== undefined) {
      return inner.flatMap((one) => faultsOf({ ...one, path: [...issue.path, ...one.path] }))
    }
  }
  const name = path.length === 0 ? 'it' : nameOf(path)
  const came = issue.input === undefined ? `${name} is missing` : `${name} is ${shown(issue.input)}`
  return [{ path, message: `${came}, expected ${issue.message}.` }]
}

/** Without the keys that only seem to be missing: a misspelled one is told once, by what was written. */
function mendable(faults: readonly RecipeFault[]): RecipeFault[] {
  const meant = new Set(
    faults.flatMap(({ path, remedy }) => {
      const name = remedy?.match(/^Did you mean (.*)\?$/)?.[1]
      return name === undefined ? [] : [nameOf([...path.slice(0, -1), name])]
    }),
  )
  return faults.filter(({ path, message }) => {
    const name = nameOf(path)
    return !(meant.has(name) && message.startsWith(`${name} is missing`))
  })
}

/** `data.sources[0].files`. */
export function nameOf(path: readonly (string | number)[]): string {
  return path
    .map((part, i) => (typeof part === 'number' ? `[${part}]` : i === 0 ? part : `.${part}`))
    .join('')
}

/** A value for a message, cut to a readable length. */
export function shown(value: unknown): string {
  const json = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? String(value))
  return json.length > 80 ? `${json.slice(0, 80)}…` : json
}

/** The keys that may stand in the group at a path. */
export function keysAt(path: readonly (string | number)[]): string[] {
  let schema: unknown = recipe
  for (const part of path) {
    schema = unwrapped(schema)
    if (typeof part === 'number') schema = schema instanceof z.ZodArray ? schema.element : undefined
    else schema = schema instanceof z.ZodObject ? schema.shape[part] : undefined
  }
  schema = unwrapped(schema)
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : []
}

function unwrapped(schema: unknown): unknown {
  return schema instanceof z.ZodOptional ? schema.unwrap() : schema
}

/** The known word that is likest, if it is like at all: a third of its letters may differ. */
export function nearestOf(word: string, known: readonly string[]): string | undefined {
  const plain = (name: string): string => name.toLowerCase().replaceAll(/[^a-z0-9]/g, '')
  const rated = known.map((name) => ({ name, distance: editDistance(plain(word), plain(name)) }))
  const best = rated.sort((a, b) => a.distance - b.distance)[0]
  if (best === undefined) return undefined
  const near = best.distance <= Math.max(1, Math.floor(best.name.length / 3))
  return near ? best.name : undefined
}

/** Levenshtein's distance, of words no longer than a key may be. */
function editDistance(a: string, b: string): number {
  const [left, right] = [a.slice(0, 64), b.slice(0, 64)]
  let row = Array.from({ length: right.length + 1 }, (_, i) => i)
  for (let i = 1; i <= left.length; i++) {
    const next = [i]
    for (let j = 1; j <= right.length; j++) {
      const change = row[j - 1]! + (left[i - 1] === right[j - 1] ? 0 : 1)
      next.push(Math.min(change, row[j]! + 1, next[j - 1]! + 1))
    }
    row = next
  }
  return row[right.length]!
}
