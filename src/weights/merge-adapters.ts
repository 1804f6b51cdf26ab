// Merges low-rank adapters into the weights of a checkpoint: W + scale · B · A (Hu et al. 2021, arXiv 2106.09685,
// section 4.1), row by row while the rows are read, so that a model of any size takes no more memory than without.
// The result is a checkpoint like any other. Knows no container and no command.

import { GemmaError } from '../error.ts'
import type { Checkpoint, StoredAdapter, StoredAdapterLayer, StoredTensor } from './checkpoint.ts'
import { encodedBytes, encodeRows, readFloatRows, readFloats, rowsAndColumns } from './encodings.ts'

export interface MergeOptions {
  /** Also merges into weights that are stored in 8 bits or fewer; see `quantisedTargets`. */
  readonly ontoQuantised?: boolean
}

/** What a merge has done to the rows that were read so far. */
export interface MergeReport {
  /** Weights that were changed. */
  readonly weights: number
  /** Root of Σ (change)² ÷ Σ (weight before)² over all changed rows. */
  readonly relativeChange: number
}

export interface Merged {
  readonly checkpoint: Checkpoint
  report(): MergeReport
}

const exact: ReadonlySet<StoredTensor['encoding']> = new Set(['F32', 'F16', 'BF16'])

/** Of the weights that adapters add to, those stored in a quantised encoding, counted by encoding. */
export function quantisedTargets(
  checkpoint: Checkpoint,
  adapters: readonly StoredAdapter[],
): Map<StoredTensor['encoding'], number> {
  const counts = new Map<StoredTensor['encoding'], number>()
  for (const name of new Set(adapters.flatMap(({ layers }) => [...layers.keys()]))) {
    const encoding = checkpoint.tensors.get(name)?.encoding
    if (encoding === undefined || exact.has(encoding)) continue
    counts.set(encoding, (counts.get(encoding) ?? 0) + 1)
  }
  return counts
}

/**
 * The checkpoint with the adapters added to its weights, one after the other; what they change reads as F32. Nothing
 * is read before the rows are asked for. Closing it closes the checkpoint and the adapters. Throws GemmaError 'config'
 * for an adapter of another model, 'unsupported' for a quantised base.
 */
export function mergeAdapters(
  checkpoint: Checkpoint,
  adapters: readonly StoredAdapter[],
  { ontoQuantised = false }: MergeOptions = {},
): Merged {
  for (const adapter of adapters) checkShapes(checkpoint, adapter)
  if (!ontoQuantised) refuseQuantised(checkpoint, adapters)
  const sums: Sums = { change: 0, before: 0 }
  const tensors = new Map(checkpoint.tensors)
  let weights = 0
  for (const [name, tensor] of checkpoint.tensors) {
    const layers = adapters.flatMap((adapter) => adapter.layers.get(name) ?? [])
    if (layers.length === 0) continue
    tensors.set(name, mergedTensor(tensor, layers, sums))
    weights++
  }
  const close = async (): Promise<void> => {
    await Promise.all([checkpoint.close(), ...adapters.map((adapter) => adapter.close())])
  }
  return {
    checkpoint: { ...checkpoint, tensors, close },
    report: () => ({
      weights,
      relativeChange: sums.before > 0 ? Math.sqrt(sums.change / sums.before) : 0,
    }),
  }
}

function checkShapes({ tensors, name: model }: Checkpoint, { layers, name }: StoredAdapter): void {
  for (const [weight, { down, up }] of layers) {
    const shape = tensors.get(weight)?.shape
    if (shape !== undefined && shape[0] === up.shape[0] && shape[1] === down.shape[1]) continue
    throw new GemmaError(
      'config',
      shape === undefined
        ? `${name} adds to ${weight}, which ${model} does not have.`
        : `${name} adds a matrix of [${up.shape[0]}, ${down.shape[1]}] to ${weight}, which is [${shape.join(', ')}] in ${model}.`,
      'The adapter was trained on another model: give that one.',
    )
  }
}

function refuseQuantised(checkpoint: Checkpoint, adapters: readonly StoredAdapter[]): void {
  const counts = quantisedTargets(checkpoint, adapters)
  if (counts.size === 0) return
  const kinds = [...counts].map(([encoding, count]) => `${count} in ${encoding}`).join(', ')
  throw new GemmaError(
    'unsupported',
    `${checkpoint.name} holds the weights that the adapter adds to in a quantised form (${kinds}): merged, they keep ` +
      'the rounding of that form for good, and written in it again they lose most of what the adapter adds, which is ' +
      'usually smaller than one step of it.',
    'Merge into the unquantised model and quantise the result, or use the adapter unmerged, which loses nothing; ' +
      'ontoQuantised (--merge-onto-quantised) does it all the same.',
  )
}

/** Σ of squares, to say how much a merge has changed. */
interface Sums {
  change: number
  before: number
}

function mergedTensor(tensor: StoredTensor, layers: readonly StoredAdapterLayer[], sums: Sums): StoredTensor {
  const { columns } = rowsAndColumns(tensor.shape)
  const { name, shape } = tensor
  const rowBytes = encodedBytes('F32', columns)
  return {
    name,
    shape,
    encoding: 'F32',
    rowBytes,
    subtract: 0,
    async readRows(from, into) {
      const rows = into.byteLength / rowBytes
      const values = new Float32Array(rows * columns)
      await readFloatRows(tensor, from, rows, values)
      for (const value of values) sums.before += value * value
      for (const layer of layers) await addLowRank(layer, from, rows, values, sums)
      encodeRows('F32', values, rows, columns, into, name)
    },
  }
}

/** Adds rows from `from` on of scale · B · A to `values` [rows, columns]; sums in float64, rounds once. */
async function addLowRank(
  { down, up, scale }: StoredAdapterLayer,
  from: number,
  rows: number,
  values: Float32Array,
  sums: Sums,
): Promise<void> {
  const [rank, columns] = down.shape
  const a = await readFloats(down) // [rank, columns]: small, and read once for some megabytes of rows
  const b = new Float32Array(rows * rank)
  await readFloatRows(up, from, rows, b)
  const change = new Float64Array(columns)
  for (let row = 0; row < rows; row++) {
    change.fill(0)
    for (let k = 0; k < rank; k++) {
      const factor = b[row * rank + k] * scale
      const at = k * columns
      for (let i = 0; i < columns; i++) change[i] += factor * a[at + i]
    }
    const at = row * columns
    for (let i = 0; i < columns; i++) {
      values[at + i] += change[i]
      sums.change += change[i] * change[i]
    }
  }
}
