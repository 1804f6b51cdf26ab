// The tensors of google/gemma_pytorch as a checkpoint: stacked query/key/value rows become three windows,
// int8 weights find their row scales. Also takes transformers' names, since .bin files carry those. Knows
// no file format.

import { GemmaError } from '../error.ts'
import type { StoredTensor } from './checkpoint.ts'
import { addTensor, type Collected, emptyCollection, type FileTensor, weightTensor } from './collect.ts'
import type { Config } from './config.ts'
import { fromPytorch, headName } from './names.ts'
import { rowWindow, storedTensor } from './stored.ts'

/** Names the tensors of all files of one checkpoint. `config` gives the sizes of the stacked parts. */
export function collectPytorch(files: readonly FileTensor[], config: Config): Collected {
  const collected = emptyCollection()
  const scales = scalesByWeight(files)
  const used = new Set<string>()
  for (const file of files) {
    const named = fromPytorch(file.name)
    const extra = { rowScales: scales.get(file.name) }
    if (extra.rowScales !== undefined) used.add(file.name)
    if (named.kind === 'weight') addTensor(collected, weightTensor(file, named.name, extra), file.source)
    else if (named.kind === 'stacked') addStacked(collected, file, named.layer, config, extra)
    else if (named.kind === 'head' && config.tie_word_embeddings === false) {
      addTensor(collected, weightTensor(file, headName, extra), file.source)
    } else if (named.kind === 'unknown') collected.unknown.push(file.name)
  }
  for (const weight of scales.keys()) if (!used.has(weight)) collected.unknown.push(`${weight}_scaler`)
  return collected
}

function scalesByWeight(files: readonly FileTensor[]): Map<string, StoredTensor> {
  const scales = new Map<string, StoredTensor>()
  for (const file of files) {
    const named = fromPytorch(file.name)
    if (named.kind !== 'scales') continue
    const { name, shape, encoding, source, offset } = file
    if (encoding !== 'F32' || shape.length !== 1) {
      throw new GemmaError(
        'file',
        `${source.name}: ${name} is ${file.type} [${shape.join(', ')}]; expected one float32 per row.`,
      )
    }
    if (scales.has(named.of)) throw new GemmaError('file', `${source.name}: ${name} is there twice.`)
    scales.set(named.of, storedTensor({ name, shape, encoding, source, offset }))
  }
  return scales
}

function addStacked(
  collected: Collected,
  file: FileTensor,
  layer: string,
  config: Config,
  extra: Partial<StoredTensor>,
): void {
  const { num_attention_heads: heads, num_key_value_heads: groups, head_dim: width } = config
  if (typeof heads !== 'number' || typeof groups !== 'number' || typeof width !== 'number') {
    throw new GemmaError(
      'config',
      `${file.source.name}: the configuration has no num_attention_heads, num_key_value_heads or head_dim.`,
      'They say how the stacked rows of qkv_proj divide; put a complete config.json beside the file.',
    )
  }
  const query = heads * width
  const keyValue = groups * width
  if (file.shape[0] !== query + 2 * keyValue) {
    throw new GemmaError(
      'config',
      `${file.source.name}: ${file.name} has ${file.shape[0]} rows; ${heads} + 2 × ${groups} heads of ${width} make ${query + 2 * keyValue}.`,
      'The config.json beside the file belongs to another model.',
    )
  }
  const stacked = weightTensor(file, `${layer}.self_attn.q_proj.weight`, extra)
  const part = (name: string, from: number, count: number): void =>
    addTensor(
      collected,
      rowWindow(stacked, `${layer}.self_attn.${name}_proj.weight`, from, count),
      file.source,
    )
  part('q', 0, query)
  part('k', query, keyValue)
  part('v', query + keyValue, keyValue)
}
