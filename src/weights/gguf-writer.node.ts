// Writes GGUF version 3 files that llama.cpp reads. Node only. Knows nothing about Gemma: metadata and
// tensors come ready from the caller.

import { dirname } from 'node:path'
import { GemmaError } from '../error.ts'
import { assertSpace, type FileWriter, writeAtomically } from './atomic.node.ts'
import type { Encoding } from './checkpoint.ts'
import { type GgufValueType, ggmlTypes, ggufValueTypes } from './gguf.ts'
import { planBytes, type TensorPlan, type WriteOptions, writeTensor } from './tensor-writer.node.ts'

/** A metadata value with its type in the file. */
export type GgufEntry =
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: Exclude<GgufValueType, 'string' | 'bool' | 'array'>; readonly value: number | bigint }
  | { readonly type: 'array'; readonly of: 'string'; readonly value: readonly string[] }
  | { readonly type: 'array'; readonly of: GgufNumberType; readonly value: ArrayLike<number | bigint> }

export type GgufNumberType = Exclude<GgufValueType, 'string' | 'bool' | 'array'>

export type GgufEncoding = Exclude<Encoding, 'I8'>

const alignment = 32 // GGUF's default when general.alignment is absent

/** Writes one file atomically. A tensor's first side of 1 or the order of its sides is the caller's: row-major. */
export async function writeGguf(
  path: string,
  metadata: ReadonlyMap<string, GgufEntry>,
  tensors: ReadonlyArray<TensorPlan<GgufEncoding>>,
  options: WriteOptions = {},
): Promise<void> {
  const header = ggufHeader(metadata, tensors)
  const totalBytes = tensors.reduce((sum, plan) => sum + planBytes(plan), 0)
  await assertSpace(dirname(path), header.byteLength + totalBytes)
  let written = 0
  await writeAtomically(path, async (out: FileWriter) => {
    await out.write(header)
    for (const plan of tensors) {
      await writeTensor(out, plan, options.signal, (bytes) => {
        written += bytes
        options.onProgress?.({ phase: 'write', tensor: plan.name, bytes: written, totalBytes })
      })
      const padding = padded(planBytes(plan)) - planBytes(plan)
      if (padding > 0) await out.write(new Uint8Array(padding))
    }
  })
}

function padded(bytes: number): number {
  return Math.ceil(bytes / alignment) * alignment
}

function ggufHeader(
  metadata: ReadonlyMap<string, GgufEntry>,
  tensors: ReadonlyArray<TensorPlan<GgufEncoding>>,
): Uint8Array {
  const bytes = growingBytes()
  bytes.u32(0x46554747) // 'GGUF'
  bytes.u32(3)
  bytes.u64(tensors.length)
  bytes.u64(metadata.size)
  for (const [key, entry] of metadata) {
    bytes.text(key)
    putEntry(bytes, entry)
  }
  let offset = 0
  for (const plan of tensors) {
    bytes.text(plan.name)
    bytes.u32(plan.shape.length)
    for (const side of [...plan.shape].reverse()) bytes.u64(side)
    bytes.u32(ggmlTypes[plan.type])
    bytes.u64(offset)
    offset += padded(planBytes(plan))
  }
  return bytes.finish(alignment)
}

function putEntry(bytes: GrowingBytes, entry: GgufEntry): void {
  bytes.u32(ggufValueTypes.indexOf(entry.type))
  if (entry.type === 'string') bytes.text(entry.value)
  else if (entry.type === 'bool') bytes.number('u8', Number(entry.value))
  else if (entry.type !== 'array') bytes.number(entry.type, entry.value)
  else {
    bytes.u32(ggufValueTypes.indexOf(entry.of))
    bytes.u64(entry.value.length)
    if (entry.of === 'string') for (const text of entry.value) bytes.text(text)
    else for (let i = 0; i < entry.value.length; i++) bytes.number(entry.of, entry.value[i])
  }
}

interface GrowingBytes {
  u32(value: number): void
  u64(value: number): void
  number(type: GgufNumberType, value: number | bigint): void
  text(value: string): void
  /** All bytes, with zeros up to a multiple of `multiple`. */
  finish(multiple: number): Uint8Array
}

function growingBytes(): GrowingBytes {
  let bytes = new Uint8Array(1 << 16)
  let view = new DataView(bytes.buffer)
  let length = 0
  const encoder = new TextEncoder()
  const take = (count: number): number => {
    if (length + count > bytes.length) {
      const larger = new Uint8Array(2 * (length + count))
      larger.set(bytes)
      bytes = larger
      view = new DataView(bytes.buffer)
    }
    length += count
    return length - count
  }
  // `take` may replace the view: it must run before the view is looked at.
  const at = (count: number, set: (offset: number) => void): void => set(take(count))
  const put: Record<GgufNumberType, (value: number | bigint) => void> = {
    u8: (value) => at(1, (offset) => view.setUint8(offset, Number(value))),
    i8: (value) => at(1, (offset) => view.setInt8(offset, Number(value))),
    u16: (value) => at(2, (offset) => view.setUint16(offset, Number(value), true)),
    i16: (value) => at(2, (offset) => view.setInt16(offset, Number(value), true)),
    u32: (value) => at(4, (offset) => view.setUint32(offset, Number(value), true)),
    i32: (value) => at(4, (offset) => view.setInt32(offset, Number(value), true)),
    f32: (value) => at(4, (offset) => view.setFloat32(offset, Number(value), true)),
    u64: (value) => at(8, (offset) => view.setBigUint64(offset, BigInt(value), true)),
    i64: (value) => at(8, (offset) => view.setBigInt64(offset, BigInt(value), true)),
    f64: (value) => at(8, (offset) => view.setFloat64(offset, Number(value), true)),
  }
  const text = (value: string): void => {
    if (value.length > 0x3fffffff) throw new GemmaError('usage', 'A text of this length cannot be written.')
    const encoded = encoder.encode(value)
    put.u64(encoded.length)
    at(encoded.length, (offset) => bytes.set(encoded, offset))
  }
  return {
    u32: put.u32,
    u64: put.u64,
    number: (type, value) => put[type](value),
    text,
    finish(multiple) {
      take(Math.ceil(length / multiple) * multiple - length)
      return bytes.subarray(0, length)
    },
  }
}
