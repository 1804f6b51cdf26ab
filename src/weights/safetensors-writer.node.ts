// Writes safetensors files: one, or several with the index that transformers reads. Node only. Knows
// nothing about Gemma's names.

import { writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { GemmaError } from '../error.ts'
import { assertSpace, type FileWriter, writeAtomically } from './atomic.node.ts'
import { planBytes, type TensorPlan, type WriteOptions, writeTensor } from './tensor-writer.node.ts'

/** The dtypes that are written. */
export type SafetensorsDtype = 'F32' | 'F16' | 'BF16' | 'I8'

export interface SafetensorsOptions extends WriteOptions {
  /** Default {format: 'pt'}, which transformers asks for. */
  readonly metadata?: Readonly<Record<string, string>>
}

/** Writes one file atomically; tensors are asked for their rows one after another. */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyArray<TensorPlan<SafetensorsDtype>>,
  options: SafetensorsOptions = {},
): Promise<void> {
  const totalBytes = tensors.reduce((sum, plan) => sum + planBytes(plan), 0)
  const header = safetensorsHeader(tensors, options.metadata)
  await assertSpace(dirname(path), header.byteLength + totalBytes)
  let written = 0
  await writeAtomically(path, async (out: FileWriter) => {
    await out.write(header)
    for (const plan of tensors) {
      await writeTensor(out, plan, options.signal, (bytes) => {
        written += bytes
        options.onProgress?.({ phase: 'write', tensor: plan.name, bytes: written, totalBytes })
      })
    }
  })
}

/** The length and the JSON, padded with spaces so that the data begins at a multiple of 8. */
function safetensorsHeader(
  tensors: readonly TensorPlan[],
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): Uint8Array {
  const entries: Array<[string, unknown]> = [['__metadata__', metadata]]
  let offset = 0
  for (const plan of tensors) {
    const end = offset + planBytes(plan)
    entries.push([plan.name, { dtype: plan.type, shape: plan.shape, data_offsets: [offset, end] }])
    offset = end
  }
  const names = new Set(entries.map(([name]) => name))
  if (names.size !== entries.length) throw new GemmaError('usage', 'Two tensors to be written have one name.')
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)))
  const length = Math.ceil(json.length / 8) * 8
  const header = new Uint8Array(8 + length).fill(0x20)
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true)
  header.set(json, 8)
  return header
}

/** transformers' default `max_shard_size` through version 4. */
export const defaultShardBytes = 5_000_000_000

/**
 * Writes `model.safetensors` into a directory or, past `shardBytes`, `model-00001-of-0000N.safetensors` …
 * and `model.safetensors.index.json`. Returns the names of the files. The directory is the caller's to
 * remove when this fails half-way.
 */
export async function writeShards(
  directory: string,
  tensors: ReadonlyArray<TensorPlan<SafetensorsDtype>>,
  options: SafetensorsOptions & { readonly shardBytes?: number } = {},
): Promise<string[]> {
  const shards = divide(tensors, options.shardBytes ?? defaultShardBytes)
  const totalBytes = tensors.reduce((sum, plan) => sum + planBytes(plan), 0)
  await assertSpace(dirname(directory), totalBytes) // the directory itself may have a temporary name
  const count = String(shards.length).padStart(5, '0')
  const weightMap: Record<string, string> = {}
  const names: string[] = []
  let before = 0
  for (const [i, shard] of shards.entries()) {
    const name =
      shards.length === 1
        ? 'model.safetensors'
        : `model-${String(i + 1).padStart(5, '0')}-of-${count}.safetensors`
    await writeSafetensors(join(directory, name), shard, {
      ...options,
      onProgress: (progress) =>
        options.onProgress?.({ ...progress, bytes: before + progress.bytes, totalBytes }),
    })
    before += shard.reduce((sum, plan) => sum + planBytes(plan), 0)
    for (const plan of shard) weightMap[plan.name] = name
    names.push(name)
  }
  if (shards.length === 1) return names
  const index = { metadata: { total_size: totalBytes }, weight_map: weightMap }
  await writeFile(join(directory, 'model.safetensors.index.json'), `${JSON.stringify(index, null, 2)}\n`)
  return [...names, 'model.safetensors.index.json']
}

function divide<Plan extends TensorPlan>(tensors: readonly Plan[], shardBytes: number): Plan[][] {
  const shards: Plan[][] = [[]]
  let filled = 0
  for (const plan of tensors) {
    const bytes = planBytes(plan)
    if (filled > 0 && filled + bytes > shardBytes) {
      shards.push([])
      filled = 0
    }
    shards.at(-1)!.push(plan)
    filled += bytes
  }
  return shards
}
