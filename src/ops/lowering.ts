// How an op asks for WebAssembly kernels. An op's lowering turns one recorded step into kernel calls on
// buffers; the planner (backends/wasm) gives the buffers addresses and writes the calls down as a program.
// Knows the shape of that conversation, not the planner.

import type { Dtype } from '../graph/dtype.ts'
import type { Op, Step, Tensor } from '../graph/tape.ts'

/** Scratch that lives from the first to the last call that names it. */
export interface ScratchBuffer {
  readonly scratch: number
  readonly bytes: number
}

export type BufferLike = Tensor | ScratchBuffer

export type Argument =
  | {
      readonly kind: 'read' | 'write' | 'update'
      readonly buffer: BufferLike
      readonly offset: number
      /** What the result may take the place of, see `writesOver`. */
      readonly over?: BufferLike
    }
  | { readonly kind: 'int' | 'float'; readonly value: number }

/** How the machine multiplies small integers; decides packing and kernels (see backends/wasm/variant.ts). */
export interface IntegerVariant {
  /**
   * For 4-bit weights: 8-bit activations, four products at once into 32 bits, or two at once into 16 bits (x86
   * without VNNI), or 16-bit activations (no relaxed SIMD).
   */
  readonly int4: 'dot8' | 'pairs8' | 'dot16'
  /** The same for 8-bit weights; 'dot8u': the weight side is taken as unsigned, so weights carry an offset of 128. */
  readonly int8: 'dot8u' | 'dot8s' | 'dot16'
}

/** The number by which the kernels know the order of packed weights (ops/linear/pack.wasm.ts). */
export function packingOrder(dtype: Dtype, integers: IntegerVariant): number {
  const variant = dtype === 'int4' || dtype === 'int4min' ? integers.int4 : integers.int8
  return variant === 'dot16' ? 1 : variant === 'dot8u' ? 2 : 0
}

export interface Lowering {
  /** Capacity of rows of the plan. */
  readonly rows: number
  readonly threads: number
  readonly integers: IntegerVariant
  /** Appends one kernel call; every worker runs it on its own share. */
  call(kernel: string, args: readonly Argument[]): void
  scratch(bytes: number): ScratchBuffer
  /** What several steps need of the same thing (quantised activations) is made by the first and remembered. */
  shared<T>(key: string, make: () => T): T
}

export type WasmLowering = (step: Step, lower: Lowering) => void

export type Lowerings = ReadonlyMap<Op, WasmLowering>

export function reads(buffer: BufferLike, offset = 0): Argument {
  return { kind: 'read', buffer, offset }
}
export function writes(buffer: BufferLike, offset = 0): Argument {
  return { kind: 'write', buffer, offset }
}
/**
 * A result of which each value depends on the value of `over` at the same place and no other of it: it may be written
 * there, if this call is the last that reads `over`.
 */
export function writesOver(over: BufferLike, buffer: BufferLike): Argument {
  return { kind: 'write', buffer, offset: 0, over }
}
/** Reads and writes in place (caches). */
export function updates(buffer: BufferLike, offset = 0): Argument {
  return { kind: 'update', buffer, offset }
}
export function int(value: number): Argument {
  return { kind: 'int', value }
}
export function float(value: number): Argument {
  return { kind: 'float', value }
}
