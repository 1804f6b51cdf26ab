// Low-rank adaptation of a model (Hu et al. 2021, arXiv 2106.09685): which matrices it adds to which weights, what
// they are called and how large they are. Training makes them, inference finds them in files; both walk the same
// list. Knows no file and no backend.

import { GemmaError } from '../error.ts'
import { type Adapter, type Adapters, elementCount, persistentTensor, type Tensor } from '../graph/tape.ts'
import type { ModelConfig } from './config.ts'
import { type ParameterSpec, type Parameters, parameterSpecs } from './parameters.ts'

/** The linear layers of a transformer layer, by the names that Hugging Face gives them. */
export const LORA_TARGETS = [
  'q_proj',
  'k_proj',
  'v_proj',
  'o_proj',
  'gate_proj',
  'up_proj',
  'down_proj',
] as const

/** The two matrices beside one weight W [rows, columns]: W + scale · B · A. */
export interface LoraSpec {
  /** Hugging Face's name of the weight. */
  readonly weight: string
  /** A: [rank, columns], under PEFT's name. */
  readonly down: ParameterSpec
  /** B: [rows, rank] */
  readonly up: ParameterSpec
}

/** The part of a weight's name that PEFT calls a target: 'model.layers.3.mlp.up_proj.weight' → 'up_proj'. */
export function loraTarget(weight: string): string | undefined {
  const part = weight.split('.').at(-2)
  return LORA_TARGETS.find((target) => target === part)
}

/** PEFT's name of A or B beside a weight with a Hugging Face name. */
export function peftName(weight: string, half: 'A' | 'B'): string {
  return `base_model.model.${weight.replace(/\.weight$/, '')}.lora_${half}.weight`
}

/**
 * The matrices of an adapter of one rank on `targets` in every layer, in the order in which a run meets them.
 * Throws GemmaError 'usage' for a target that there is not, none at all, or a rank that is no whole number from 1.
 */
export function loraSpecs(config: ModelConfig, targets: readonly string[], rank: number): LoraSpec[] {
  const unknown = targets.find((target) => !LORA_TARGETS.some((known) => known === target))
  if (unknown !== undefined || targets.length === 0) {
    throw new GemmaError(
      'usage',
      unknown === undefined
        ? 'The adapter has no target.'
        : `${JSON.stringify(unknown)} is no linear layer that an adapter can be added to.`,
      `Choose among ${LORA_TARGETS.join(', ')}.`,
    )
  }
  if (!Number.isSafeInteger(rank) || rank < 1) {
    throw new GemmaError('usage', `The adapter's rank is ${rank}, expected a whole number from 1.`)
  }
  return adaptable(config)
    .filter(({ name }) => targets.includes(loraTarget(name)!))
    .map(({ name, shape: [rows, columns] }) => ({
      weight: name,
      down: { name: peftName(name, 'A'), shape: [rank, columns!] },
      up: { name: peftName(name, 'B'), shape: [rows!, rank] },
    }))
}

function adaptable(config: ModelConfig): ParameterSpec[] {
  return parameterSpecs(config).filter(({ name }) => loraTarget(name) !== undefined)
}

/**
 * What B · A is multiplied by: alpha / rank, or alpha / √rank where the rank shall not weaken it
 * (Kalajdzievski 2023, arXiv 2312.03732).
 */
export function loraScale(rank: number, alpha: number, rsLora: boolean): number {
  return alpha / (rsLora ? Math.sqrt(rank) : rank)
}

/** What is known of an adapter's part for one weight before its values are read. */
export interface LoraLayer {
  readonly rank: number
  readonly scale: number
  /** Probability with which training leaves out a value of x; default 0. */
  readonly dropout?: number
}

/** Makes the tensors (float32) of an adapter; `layers` by Hugging Face's name of the weight. */
export function createAdapters(parameters: Parameters, layers: ReadonlyMap<string, LoraLayer>): Adapters {
  const adapters = new Map<Tensor, Adapter>()
  for (const weight of parameters.layers.flatMap((layer) => Object.values(layer) as Tensor[])) {
    const layer = layers.get(weight.name)
    if (!layer) continue
    const [rows, columns] = weight.shape as [number, number]
    const { rank, scale, dropout = 0 } = layer
    const down = persistentTensor('weight', peftName(weight.name, 'A'), [rank, columns], 'f32')
    const up = persistentTensor('weight', peftName(weight.name, 'B'), [rows, rank], 'f32')
    adapters.set(weight, { down, up, scale, dropout })
  }
  return adapters
}

/** A and B as far as their shapes are known. */
export interface LoraShapes {
  readonly down: { readonly shape: readonly number[] }
  readonly up: { readonly shape: readonly number[] }
}

/**
 * Throws GemmaError 'config' unless an adapter belongs to a model of this configuration: every weight it names is
 * there with the rows of B and the columns of A; and what it says it has in every layer is in every layer of the model.
 * `everywhere`: the targets of which it says so.
 */
export function checkAdapter(
  config: ModelConfig,
  name: string,
  layers: ReadonlyMap<string, LoraShapes>,
  everywhere: readonly string[] = [],
): void {
  const remedy = 'The adapter was trained on another model: give that one.'
  const specs = new Map(adaptable(config).map((spec) => [spec.name, spec.shape]))
  for (const [weight, layer] of layers) {
    const shape = specs.get(weight)
    if (!shape) {
      throw new GemmaError('config', `${name} adds to ${weight}, which the model does not have.`, remedy)
    }
    const [down, up] = [layer.down.shape, layer.up.shape]
    if (up[0] === shape[0] && down[1] === shape[1] && up[1] === down[0]) continue
    throw new GemmaError(
      'config',
      `${name} adds a matrix of [${up[0]}, ${down[1]}] to ${weight}, which is [${shape.join(', ')}] in the model.`,
      remedy,
    )
  }
  const missing = [...specs.keys()].find(
    (weight) => everywhere.includes(loraTarget(weight)!) && !layers.has(weight),
  )
  if (missing === undefined) return
  throw new GemmaError(
    'config',
    `${name} has ${loraTarget(missing)} in every layer of the model it was made for, but nothing for ${missing}.`,
    remedy,
  )
}

/** Bytes of all matrices of an adapter in memory (float32). */
export function adapterBytes(layers: ReadonlyMap<string, LoraShapes>): number {
  let values = 0
  for (const { down, up } of layers.values()) values += elementCount(down.shape) + elementCount(up.shape)
  return 4 * values
}
