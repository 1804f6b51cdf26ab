// Adapters with random values in directories of their own, for tests: what PEFT would have written after training.

import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type ModelConfig, parseConfig } from '../../model/config.ts'
import { LORA_TARGETS, loraSpecs } from '../../model/lora.ts'
import { normals } from '../../ops/testing/stored.ts'
import { encodedBytes, encodeRows } from '../encodings.ts'
import { ADAPTER_CONFIG, ADAPTER_MODEL, adapterConfig } from '../peft.ts'
import { writeSafetensors } from '../safetensors-writer.node.ts'
import type { TensorPlan } from '../tensor-writer.node.ts'

export interface TestAdapter {
  readonly targets?: readonly string[]
  readonly rank?: number
  readonly alpha?: number
  readonly rsLora?: boolean
  readonly seed?: number
  /** Standard deviation of the values of A and B. */
  readonly deviation?: number
  readonly type?: 'F32' | 'F16' | 'BF16'
  /** Put into adapter_config.json in place of what stands there. */
  readonly config?: Readonly<Record<string, unknown>>
  /** Changes the matrices: another name, shape or values; undefined leaves one out. */
  readonly change?: (matrix: TestMatrix) => TestMatrix | undefined
}

export interface TestMatrix {
  readonly name: string
  readonly shape: readonly number[]
  readonly values: Float32Array
}

/** The matrices of an adapter by PEFT's names. */
export function testMatrices(config: ModelConfig, options: TestAdapter = {}): TestMatrix[] {
  const { targets = LORA_TARGETS, rank = 4, seed = 1, deviation = 0.1 } = options
  return loraSpecs(config, targets, rank)
    .flatMap(({ down, up }) => [down, up])
    .map(({ name, shape }, i) => ({
      name,
      shape,
      values: normals(shape[0]! * shape[1]!, seed * 1000 + i, deviation),
    }))
}

/** Writes an adapter for a model of this configuration into a new directory. */
export async function writeTestAdapter(
  directory: string,
  model: ModelConfig,
  options: TestAdapter = {},
): Promise<void> {
  const { targets = LORA_TARGETS, rank = 4, alpha = 8, rsLora = false, type = 'F32', change } = options
  await mkdir(directory, { recursive: true })
  const matrices = testMatrices(model, options).flatMap((matrix) => (change ? change(matrix) : matrix) ?? [])
  const plans = matrices.map(({ name, shape, values }): TensorPlan<'F32' | 'F16' | 'BF16'> => {
    const columns = shape.at(-1)!
    return {
      name,
      shape,
      type,
      rowBytes: encodedBytes(type, columns),
      fill(from, into) {
        const rows = into.byteLength / encodedBytes(type, columns)
        encodeRows(type, values.subarray(from * columns), rows, columns, into, name)
      },
    }
  })
  await writeSafetensors(join(directory, ADAPTER_MODEL), plans)
  const config = adapterConfig({ rank, alpha, dropout: 0.05, rsLora, targets }, 'google/gemma-2b')
  await writeFile(join(directory, ADAPTER_CONFIG), JSON.stringify({ ...config, ...options.config }))
}

/** The configuration of a model in a directory of Hugging Face's layout. */
export async function configIn(directory: string): Promise<ModelConfig> {
  return parseConfig(JSON.parse(await readFile(join(directory, 'config.json'), 'utf8')))
}
