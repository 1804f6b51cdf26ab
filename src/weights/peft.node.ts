// Adapters on disk: opens the directory that PEFT (or writeAdapter) made, and writes one that PEFT reads. Node only.

import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { GemmaError } from '../error.ts'
import { writeAtomically, writeDirectoryAtomically } from './atomic.node.ts'
import type { StoredAdapter } from './checkpoint.ts'
import { readJsonObject } from './directory.node.ts'
import { ADAPTER_CONFIG, ADAPTER_MODEL, type AdapterSettings, adapterConfig, readPeft } from './peft.ts'
import { writeSafetensors } from './safetensors-writer.node.ts'
import { fileError, openFile } from './source.node.ts'
import type { TensorPlan, WriteOptions } from './tensor-writer.node.ts'

/**
 * Opens the adapter in a directory without reading its matrices; the file stays open until close(). Throws
 * GemmaError: 'file' for what is missing, broken or contradictory, 'unsupported' for what is not plain LoRA.
 */
export async function openAdapter(directory: string): Promise<StoredAdapter> {
  const found = await stat(directory).catch((cause) => {
    throw fileError(directory, cause)
  })
  if (!found.isDirectory()) {
    throw new GemmaError(
      'file',
      `${directory} is a file, not the directory of an adapter.`,
      `Give the directory that holds ${ADAPTER_CONFIG} and ${ADAPTER_MODEL}.`,
    )
  }
  const names = await readdir(directory).catch((cause) => {
    throw fileError(directory, cause)
  })
  const config = await readJsonObject(join(directory, ADAPTER_CONFIG))
  if (config === undefined || !names.includes(ADAPTER_MODEL)) throw incomplete(directory, names)
  const source = await openFile(join(directory, ADAPTER_MODEL))
  try {
    return await readPeft(config, source, directory)
  } catch (cause) {
    await source.close()
    throw cause
  }
}

function incomplete(directory: string, names: readonly string[]): GemmaError {
  if (names.includes('adapter_model.bin') && !names.includes(ADAPTER_MODEL)) {
    return new GemmaError(
      'unsupported',
      `${directory} holds its adapter as adapter_model.bin, which is not read here.`,
      'Save it again with safe_serialization=True.',
    )
  }
  const model = names.includes('config.json') && !names.includes(ADAPTER_CONFIG)
  const missing = [ADAPTER_CONFIG, ADAPTER_MODEL].filter((name) => !names.includes(name))
  return new GemmaError(
    'file',
    `${directory} is no adapter: it has no ${missing.join(' and no ')}.`,
    model ? 'It looks like a model: give it in place of the base, not as an adapter.' : 'Check the path.',
  )
}

/** One matrix of an adapter that is about to be written. */
export interface AdapterTensor {
  /** PEFT's name (see src/model/lora.ts). */
  readonly name: string
  readonly shape: readonly number[]
  /** All values, row-major; asked for once, when their turn comes. */
  values(): Float32Array | Promise<Float32Array>
}

export interface WriteAdapterOptions extends WriteOptions {
  readonly settings: AdapterSettings
  /** What the adapter was trained on: a Hugging Face id or a path. */
  readonly baseName: string
  readonly tensors: readonly AdapterTensor[]
}

/**
 * Writes an adapter in PEFT's form, float32: a new directory, or one that is empty, which comes to be only when it is
 * whole. Throws GemmaError 'file' (a directory in use, a full disk), 'usage' for values that do not fill their shape
 * and 'aborted'.
 */
export async function writeAdapter(directory: string, options: WriteAdapterOptions): Promise<void> {
  const { settings, baseName, tensors, onProgress, signal } = options
  const config = `${JSON.stringify(adapterConfig(settings, baseName), null, 2)}\n`
  await writeDirectoryAtomically(directory, async (temporary) => {
    await writeSafetensors(join(temporary, ADAPTER_MODEL), tensors.map(planOf), { onProgress, signal })
    await writeAtomically(join(temporary, ADAPTER_CONFIG), (out) =>
      out.write(new TextEncoder().encode(config)),
    )
  })
}

function planOf({ name, shape, values }: AdapterTensor): TensorPlan<'F32'> {
  const [rows, columns] = shape as [number, number]
  let all: Float32Array | undefined
  return {
    name,
    shape,
    type: 'F32',
    rowBytes: 4 * columns,
    async fill(from, into) {
      all ??= await values()
      if (all.length !== rows * columns) {
        throw new GemmaError('usage', `${name} has ${all.length} values, expected ${rows} × ${columns}.`)
      }
      into.set(new Uint8Array(all.buffer, all.byteOffset + 4 * from * columns, into.byteLength))
      if (from + into.byteLength / (4 * columns) === rows) all = undefined
    },
  }
}
