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
      for (const [i, layer] of layers.entries()) {
        const { change, before } = await addLowRank(layer, from, rows, values)
        sums.change += change
        if (i === 0) sums.before += before
      }
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
): Promise<Sums> {
  const [rank, columns] = down.shape
  const a = await readFloats(down) // [rank, columns]: small, and read once for some megabytes of rows
  const b = new Float32Array(rows * rank)
  await readFloatRows(up, from, rows, b)
  const added = new Float64Array(columns)
  let change = 0
  let before = 0
  for (let row = 0; row < rows; row++) {
    combine(a, b.subarray(row * rank, (row + 1) * rank), scale, added)
    const at = row * columns
    for (let i = 0; i < columns; i++) {
      const value = values[at + i]
      before += value * value
      change += added[i] * added[i]
      values[at + i] = value + added[i]
    }
  }
  return { change, before }
}

/** scale · b · A for one row b of B; four rows of A at a time, since the sums cost as much as the products. */
function combine(a: Float32Array, b: Float32Array, scale: number, into: Float64Array): void {
  const columns = into.length
  const factor = (k: number): number => (k < b.length ? b[k] * scale : 0)
  const place = (k: number): number => (k < b.length ? k * columns : 0)
  into.fill(0)
  for (let k = 0; k < b.length; k += 4) {
    const [b0, b1, b2, b3] = [factor(k), factor(k + 1), factor(k + 2), factor(k + 3)]
    const [at0, at1, at2, at3] = [place(k), place(k + 1), place(k + 2), place(k + 3)]
    for (let i = 0; i < columns; i++) {
      into[i] += b0 * a[at0 + i] + b1 * a[at1 + i] + b2 * a[at2 + i] + b3 * a[at3 + i]
    }
  }
}
