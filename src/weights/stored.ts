// Makes StoredTensors: a window of rows in a source. Shared by the readers of all containers. Knows
// nothing about how a container describes its tensors.

import { GemmaError } from '../error.ts'
import type { Encoding, StoredTensor } from './checkpoint.ts'
import { encodedBytes, fitsBlocks, rowsAndColumns } from './encodings.ts'
import { assertRange, type Source } from './source.ts'

export interface StoredFields {
  readonly name: string
  readonly shape: readonly number[]
  readonly encoding: Encoding
  readonly source: Source
  /** Byte offset of the first row in the source. */
  readonly offset: number
  readonly subtract?: number
  readonly rowScales?: StoredTensor
}

/** A tensor whose rows follow each other in a source. Checks shape, block size and byte range. */
export function storedTensor(fields: StoredFields): StoredTensor {
  const { name, shape, encoding, source, offset, subtract = 0, rowScales } = fields
  if (shape.length < 1 || shape.length > 2 || shape.some((side) => !Number.isSafeInteger(side) || side < 1)) {
    throw new GemmaError(
      'file',
      `${source.name}: ${name} has shape [${shape.join(', ')}]; expected a vector or a matrix of at least one value.`,
    )
  }
  const { rows, columns } = rowsAndColumns(shape)
  if (!fitsBlocks(encoding, columns)) {
    throw new GemmaError(
      'file',
      `${source.name}: ${name} has rows of ${columns} values, not whole ${encoding} blocks.`,
    )
  }
  if (rowScales !== undefined && (rowScales.shape[0] !== rows || shape.length !== 2)) {
    throw new GemmaError(
      'file',
      `${source.name}: ${name} has shape [${shape.join(', ')}] but ${rowScales.shape[0]} row scales.`,
    )
  }
  const rowBytes = encodedBytes(encoding, columns)
  assertRange(source, offset, rows * rowBytes)
  return {
    name,
    shape,
    encoding,
    rowBytes,
    subtract,
    rowScales,
    async readRows(from: number, into: Uint8Array): Promise<void> {
      const count = into.byteLength / rowBytes
      if (!Number.isInteger(count) || !Number.isInteger(from) || from < 0 || from + count > rows) {
        throw new GemmaError(
          'usage',
          `${name}: rows ${from} to ${from + count} asked for; it has ${rows} of ${rowBytes} bytes.`,
        )
      }
      await source.read(offset + from * rowBytes, into)
    },
  }
}

/** A view of rows [from, from + count) of a stored matrix under another name, for stacked projections. */
export function rowWindow(tensor: StoredTensor, name: string, from: number, count: number): StoredTensor {
  return {
    ...tensor,
    name,
    shape: [count, tensor.shape[1]],
    rowScales: tensor.rowScales && vectorWindow(tensor.rowScales, `${name}_scaler`, from, count),
    async readRows(row: number, into: Uint8Array): Promise<void> {
      if (row < 0 || row + into.byteLength / tensor.rowBytes > count) {
        throw new GemmaError(
          'usage',
          `${name}: row ${row} and the ${into.byteLength} bytes after it are not in it.`,
        )
      }
      await tensor.readRows(from + row, into)
    },
  }
}

// A vector is one row, so a part of it is read by reading all of it; row scales are small.
function vectorWindow(tensor: StoredTensor, name: string, from: number, count: number): StoredTensor {
  const valueBytes = tensor.rowBytes / tensor.shape[0]
  return {
    ...tensor,
    name,
    shape: [count],
    rowBytes: count * valueBytes,
    async readRows(row: number, into: Uint8Array): Promise<void> {
      if (row !== 0 || into.byteLength > count * valueBytes) {
        throw new GemmaError('usage', `${name}: a vector has one row of ${count * valueBytes} bytes.`)
      }
      const all = new Uint8Array(tensor.rowBytes)
      await tensor.readRows(0, all)
      into.set(all.subarray(from * valueBytes, from * valueBytes + into.byteLength))
    },
  }
}
