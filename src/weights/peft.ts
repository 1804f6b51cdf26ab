// Reads a low-rank adapter in the form of Hugging Face's PEFT: adapter_config.json, and adapter_model.safetensors with
// a pair of matrices beside each adapted weight. What PEFT can write but is not plain LoRA on linear layers is refused
// by name: computing something else without a word would be worse. Knows no model and no path.
//
// Sources: peft/tuners/lora/config.py (fields), peft/utils/save_and_load.py (names of tensors), and
// peft/utils/other.py, get_pattern_key (which entry of a pattern counts).

import { GemmaError } from '../error.ts'
import type { StoredAdapter, StoredAdapterLayer, StoredTensor } from './checkpoint.ts'
import { fromHuggingFace } from './names.ts'
import { readSafetensors, type SafetensorsEntry, safetensorsEncoding } from './safetensors.ts'
import type { Source } from './source.ts'
import { storedTensor } from './stored.ts'

export const ADAPTER_CONFIG = 'adapter_config.json'
export const ADAPTER_MODEL = 'adapter_model.safetensors'

/** How an adapter was made, for its configuration file. */
export interface AdapterSettings {
  readonly rank: number
  readonly alpha: number
  readonly dropout: number
  /** alpha / √rank instead of alpha / rank (Kalajdzievski 2023, arXiv 2312.03732). */
  readonly rsLora: boolean
  /** Names of linear layers within a layer: 'q_proj', … */
  readonly targets: readonly string[]
}

type Json = Readonly<Record<string, unknown>>

/** What adapter_config.json says about the arithmetic, checked. */
interface PeftConfig {
  readonly rank: number
  readonly alpha: number
  readonly rsLora: boolean
  readonly rankOf: (module: string) => number
  readonly alphaOf: (module: string) => number
  readonly baseName: string | undefined
  /** Bare names of a list of targets; empty when the targets are chosen in another way. */
  readonly targets: readonly string[]
  /** Whether the targets are said to be adapted in every layer. */
  readonly everywhere: boolean
}

/**
 * An adapter from the object in adapter_config.json and the safetensors file beside it. `name` is for messages.
 * Throws GemmaError 'file' for what is broken or contradicts itself, 'unsupported' for what is sound but not plain LoRA
 * on the linear layers of a Gemma. Closing the adapter closes the source.
 */
export async function readPeft(config: Json, source: Source, name: string): Promise<StoredAdapter> {
  const checked = checkConfig(config, name)
  const { entries } = await readSafetensors(source)
  const halves = collectHalves([...entries.values()], name)
  const layers = new Map<string, StoredAdapterLayer>()
  for (const [weight, { module, A, B }] of halves) {
    if (A === undefined || B === undefined) {
      throw damaged(name, `${module} has lora_${A ? 'A' : 'B'} but no lora_${A ? 'B' : 'A'}`)
    }
    layers.set(weight, layerOf(module, storedHalf(A, source), storedHalf(B, source), checked, name))
  }
  if (layers.size === 0) throw damaged(name, `${ADAPTER_MODEL} holds no lora_A and lora_B`)
  const present = new Set([...entries.keys()].map((key) => key.split('.').at(-3)!))
  const absent = checked.targets.find((target) => isTextTarget(target) && !present.has(target))
  if (absent !== undefined && checked.everywhere) {
    throw damaged(name, `the configuration names the target ${absent}, but the file holds nothing for it`)
  }
  return {
    name,
    baseName: checked.baseName,
    layers,
    everywhere: checked.everywhere ? checked.targets.filter((target) => present.has(target)) : [],
    close: () => source.close(),
  }
}

/** The object of adapter_config.json: what PEFT 0.12 and later read, its keys in order as PEFT writes them. */
export function adapterConfig(settings: AdapterSettings, baseName: string): Record<string, unknown> {
  return {
    alpha_pattern: {},
    auto_mapping: null,
    base_model_name_or_path: baseName,
    bias: 'none',
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    layer_replication: null,
    layers_pattern: null,
    layers_to_transform: null,
    lora_alpha: settings.alpha,
    lora_dropout: settings.dropout,
    modules_to_save: null,
    peft_type: 'LORA',
    r: settings.rank,
    rank_pattern: {},
    revision: null,
    target_modules: [...settings.targets],
    task_type: 'CAUSAL_LM',
    use_dora: false,
    use_rslora: settings.rsLora,
  }
}

/** Whether a name is that of a linear layer of Gemma, rather than of a vision tower or of another kind of model. */
function isTextTarget(target: string): boolean {
  return ['self_attn', 'mlp'].some(
    (part) => fromHuggingFace(`model.layers.0.${part}.${target}.weight`).kind === 'weight',
  )
}

// Fields that change what is computed, when they are set, and what PEFT calls what they bring.
const variants: ReadonlyArray<readonly [string, string]> = [
  ['use_dora', 'DoRA'],
  ['use_qalora', 'QALoRA'],
  ['use_bdlora', 'block-diagonal LoRA'],
  ['lora_bias', 'biases of its own'],
  ['modules_to_save', 'whole modules'],
  ['layer_replication', 'replicated layers'],
  ['trainable_token_indices', 'trained rows of the embedding'],
  ['target_parameters', 'adapters of bare parameters'],
  ['alora_invocation_tokens', 'activation by tokens (aLoRA)'],
  ['arrow_config', 'routing (Arrow)'],
  ['kasa_config', 'KaSA'],
  ['velora_config', 'VeLoRA'],
  ['monteclora_config', 'MonteCLoRA'],
  ['fan_in_fan_out', 'transposed weights'],
]

/** Ways to begin that take something away from the base: the adapter alone does not make up for it. */
const changesBase = /^(pissa.*|olora|corda|loftq|lora_ga)$/

function checkConfig(config: Json, name: string): PeftConfig {
  const kind = config.peft_type
  if (typeof kind !== 'string') throw damaged(name, `${ADAPTER_CONFIG} has no peft_type`)
  if (kind !== 'LORA') throw unsupported(name, `the kind ${kind}`, 'Expected peft_type LORA.')
  const task = config.task_type
  if (!isUnset(task) && task !== 'CAUSAL_LM') {
    throw unsupported(name, `the task ${brief(task)}`, 'Expected an adapter of a language model, CAUSAL_LM.')
  }
  for (const [key, what] of variants) {
    if (!isUnset(config[key])) throw unsupported(name, `${what} (${key})`, 'Train with plain LoRA.')
  }
  if (!isUnset(config.bias) && config.bias !== 'none') {
    throw unsupported(name, `biases (bias ${brief(config.bias)})`, 'Gemma has none; train with bias "none".')
  }
  const begin = config.init_lora_weights
  if (typeof begin === 'string' && changesBase.test(begin)) {
    throw unsupported(
      name,
      `a base that was changed before training (init_lora_weights ${begin})`,
      'Save it with path_initial_model_for_weight_conversion, which makes it fit the unchanged base.',
    )
  }
  const { target_modules: targets, base_model_name_or_path: baseName } = config
  const listed = Array.isArray(targets) ? targets.filter((target) => typeof target === 'string') : []
  const partly = !isUnset(config.layers_to_transform) || !isUnset(config.exclude_modules)
  const rank = wholeNumber(config.r, 'r', name)
  const alpha = finite(config.lora_alpha, 'lora_alpha', name)
  return {
    rank,
    alpha,
    rsLora: config.use_rslora === true,
    rankOf: readPattern(config.rank_pattern, 'rank_pattern', rank, wholeNumber, name),
    alphaOf: readPattern(config.alpha_pattern, 'alpha_pattern', alpha, finite, name),
    baseName: typeof baseName === 'string' && baseName !== '' ? baseName : undefined,
    targets: listed,
    everywhere: !partly && listed.length > 0 && listed.every((target) => /^\w+$/.test(target)),
  }
}

/** Absent, switched off or empty: how PEFT writes that something is not used. */
function isUnset(value: unknown): boolean {
  if (value === undefined || value === null || value === false) return true
  return typeof value === 'object' && Object.keys(value).length === 0
}

function wholeNumber(value: unknown, key: string, name: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 1) return value
  throw damaged(name, `${key} is ${brief(value)}, expected a whole number from 1`)
}

function finite(value: unknown, key: string, name: string): number {
  if (typeof value === 'number' && Number.isFinite(value)) return value
  throw damaged(name, `${key} is ${brief(value)}, expected a number`)
}

/** More regular expressions than this are not tried; plain names there may be any number of. */
const MOST_EXPRESSIONS = 32
// Letters, dots, \d, .*, groups of alternatives and anchors. What could take exponential time (repeated groups), or
// means something else to Python than to JavaScript, is not among them.
const plainExpression = /^\^?(?:[\w-]|\\?\.|\.\*|\\d\+?|\[0-9\]\+?|\((?:\?:)?[\w|]+\))*\$?$/
const MOST_REPEATS = 2

/**
 * A pattern maps names of modules, ends of names or regular expressions to values; the first that fits counts, and
 * without one the default does.
 */
function readPattern(
  pattern: unknown,
  key: string,
  fallback: number,
  check: (value: unknown, key: string, name: string) => number,
  name: string,
): (module: string) => number {
  if (isUnset(pattern)) return () => fallback
  if (typeof pattern !== 'object' || Array.isArray(pattern)) throw damaged(name, `${key} is no JSON object`)
  const values: number[] = []
  const plain = new Map<string, number>()
  const expressions: [RegExp, number][] = []
  for (const [text, value] of Object.entries(pattern as Json)) {
    const place = values.length
    values.push(check(value, `${key}["${text.slice(0, 80)}"]`, name))
    if (/^[\w.-]+$/.test(text)) plain.set(text, place)
    else expressions.push([expressionOf(text, key, name), place])
  }
  if (expressions.length > MOST_EXPRESSIONS) {
    throw unsupported(name, `${expressions.length} regular expressions in ${key}`, 'List names instead.')
  }
  return (module) => {
    const places = endsOf(module).map((end) => plain.get(end) ?? values.length)
    for (const [expression, place] of expressions) if (expression.test(module)) places.push(place)
    return values[Math.min(...places)] ?? fallback
  }
}

/** 'a.b.c' → 'a.b.c', 'b.c', 'c' */
function endsOf(module: string): string[] {
  const parts = module.split('.')
  return parts.map((_, i) => parts.slice(i).join('.'))
}

function expressionOf(text: string, key: string, name: string): RegExp {
  const repeats = text.match(/[*+]/g)?.length ?? 0
  if (text.length <= 200 && repeats <= MOST_REPEATS && plainExpression.test(text)) {
    return new RegExp(`^(?:.*\\.)?(?:${text})$`)
  }
  throw unsupported(
    name,
    `the regular expression ${brief(text)} in ${key}`,
    `Only \\d, .*, (a|b), ^ and $ are known there, with at most ${MOST_REPEATS} repeats; or list names.`,
  )
}

interface Halves {
  /** As PEFT calls the layer: 'model.layers.0.self_attn.q_proj'. */
  readonly module: string
  A?: SafetensorsEntry
  B?: SafetensorsEntry
}

const PREFIX = 'base_model.model.'

/** The matrices of the text model by the Hugging Face name of their weight; those of a vision tower are left out. */
function collectHalves(entries: readonly SafetensorsEntry[], name: string): Map<string, Halves> {
  const found = new Map<string, Halves>()
  for (const entry of entries) {
    const match = /^(.+)\.lora_([AB])\.weight$/.exec(entry.name)
    if (match === null || !match[1].startsWith(PREFIX)) throw foreign(entry.name, name)
    const module = match[1].slice(PREFIX.length)
    const named = fromHuggingFace(`${module}.weight`)
    // As the vision tower itself is when a multimodal checkpoint is opened.
    if (named.kind === 'vision') continue
    if (named.kind !== 'weight' || !/\.layers\..*_proj\.weight$/.test(named.name)) {
      throw foreign(entry.name, name)
    }
    const half = match[2] as 'A' | 'B'
    const halves = found.get(named.name) ?? { module }
    if (halves[half]) throw damaged(name, `${entry.name} and ${halves[half].name} stand for the same weight`)
    halves[half] = entry
    found.set(named.name, halves)
  }
  return found
}

/** The error for a tensor that is no half of an adapter of a linear layer. */
function foreign(tensor: string, name: string): GemmaError {
  const known: ReadonlyArray<readonly [RegExp, string]> = [
    [/lora_magnitude_vector/, 'DoRA'],
    [/lora_embedding_[AB]|embed_tokens.*lora_|lm_head.*lora_/, 'an adapter of the embedding'],
    [/\.bias$/, 'biases'],
    [/modules_to_save|embed_tokens|lm_head|token_adapter/, 'a trained embedding or other whole modules'],
  ]
  const what = known.find(([pattern]) => pattern.test(tensor))?.[1]
  if (what !== undefined) {
    return unsupported(
      name,
      `${what} (${tensor.slice(0, 120)})`,
      'Train with plain LoRA on the linear layers.',
    )
  }
  return new GemmaError(
    'config',
    `${name} holds ${tensor.slice(0, 120)}, which stands for no linear layer of a Gemma.`,
    'Expected names such as base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight.',
  )
}

function storedHalf(entry: SafetensorsEntry, source: Source): StoredTensor {
  const encoding = safetensorsEncoding(entry.dtype)
  if (encoding === undefined) {
    throw unsupported(source.name, `${entry.name} in ${entry.dtype}`, 'Save it in F32, F16 or BF16.')
  }
  if (entry.shape.length !== 2) {
    const shape = `[${entry.shape.join(', ')}]`
    throw new GemmaError('file', `${source.name}: ${entry.name} has shape ${shape}; expected a matrix.`)
  }
  return withoutNaN(
    storedTensor({ name: entry.name, shape: entry.shape, encoding, source, offset: entry.offset }),
    source.name,
  )
}

function layerOf(
  module: string,
  down: StoredTensor,
  up: StoredTensor,
  config: PeftConfig,
  name: string,
): StoredAdapterLayer {
  const rank = down.shape[0]!
  if (up.shape[1] !== rank) {
    throw damaged(
      name,
      `${module} has lora_A [${down.shape.join(', ')}] and lora_B [${up.shape.join(', ')}], which do not fit together`,
    )
  }
  const expected = config.rankOf(module)
  if (expected !== rank) {
    throw damaged(name, `${module} has rank ${rank}, but the configuration says ${expected}`)
  }
  const alpha = config.alphaOf(module)
  return { down, up, scale: alpha / (config.rsLora ? Math.sqrt(rank) : rank) }
}

/** The same tensor, of which values that are no finite numbers cannot be read: an adapter that diverged in training. */
function withoutNaN(tensor: StoredTensor, file: string): StoredTensor {
  return {
    ...tensor,
    async readRows(from, into) {
      await tensor.readRows(from, into)
      const at = firstNonFinite(tensor.encoding, into)
      if (at < 0) return
      const row = from + Math.floor(at / tensor.shape[1]!)
      throw new GemmaError(
        'file',
        `${file}: ${tensor.name} holds NaN or infinity in row ${row}.`,
        'The training that made it diverged, or the file is damaged.',
      )
    },
  }
}

/** Index of the first value whose exponent is all ones; −1 when there is none. */
function firstNonFinite(encoding: StoredTensor['encoding'], bytes: Uint8Array): number {
  const size = encoding === 'F32' ? 4 : 2
  const mask = encoding === 'F16' ? 0x7c00 : 0x7f80
  // The upper half of a float32 has its exponent where a bfloat16 has it.
  const step = size / 2
  const aligned = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice()
  const halves = new Uint16Array(aligned.buffer, aligned.byteOffset, bytes.byteLength >> 1)
  for (let i = step - 1; i < halves.length; i += step) {
    if ((halves[i]! & mask) === mask) return Math.floor(i / step)
  }
  return -1
}

function damaged(name: string, what: string): GemmaError {
  return new GemmaError('file', `${name} is no sound adapter: ${what}.`, 'Save or fetch it again.')
}

function unsupported(name: string, what: string, remedy: string): GemmaError {
  return new GemmaError('unsupported', `${name} needs ${what}, which is not there.`, remedy)
}

function brief(value: unknown): string {
  return String(JSON.stringify(value)).slice(0, 100)
}
