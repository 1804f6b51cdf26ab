// Which memory each tensor of a model lies in, and how much scratch each memory needs beside its tensors: known before
// anything is set aside, so that what cannot be placed is refused early. Knows addresses, no values.

import { GemmaError } from '../../error.ts'
import type { Tape, Tensor } from '../../graph/tape.ts'
import type { IntegerVariant, Lowerings } from '../../ops/lowering.ts'
import { FIRST_ADDRESS } from './addresses.ts'
import { STAGING_BYTES } from './load.ts'
import { LARGEST_MEMORY } from './memory.ts'
import { align, bufferBytes, compileProgram, type Placement, type Placements } from './program.ts'

/**
 * Room for the words of programs in each memory; a plan of a large model takes about 50 kB, with an adapter twice
 * that. When it is full, all programs are forgotten, and written again when they run.
 */
export const PROGRAM_BYTES: number = 4 << 20

export interface PlacingOptions {
  /** Weights, caches and state in the order in which a run meets them: neighbours share a memory. */
  readonly tensors: readonly Tensor[]
  /** Copied into every memory. */
  readonly constants: readonly Tensor[]
  /** Tapes that need the most scratch. */
  readonly sizing: readonly Tape[]
  readonly threads: number
  readonly lowerings: Lowerings
  readonly integers?: IntegerVariant
  /** Largest memory in bytes; smaller only in tests. */
  readonly limit?: number
}

export interface MemoryLayout {
  readonly placements: Placements
  /** First free address of each memory. */
  readonly ends: readonly number[]
  /** Scratch of each memory. */
  readonly scratchBytes: readonly number[]
  readonly weightBytes: number
  readonly cacheBytes: number
}

/**
 * Fills one memory after the other, in the order of use, beside scratch for whole tapes. A tensor (with its state) that
 * leaves less room than that lies alone: only the part of a tape that touches it needs scratch there. Throws GemmaError
 * 'unsupported' where not even that fits.
 */
export function layOutMemories(options: PlacingOptions): MemoryLayout {
  const { tensors, constants, limit = LARGEST_MEMORY } = options
  const persistent = [...tensors, ...constants]
  const all = new Map(persistent.map((tensor) => [tensor, [{ memory: 0, address: 0 }]]))
  const [whole] = scratchOf(options, all, 1)
  const layout = placeTensors(options, limit - PROGRAM_BYTES - whole!)
  if (layout.ends.length === 1 && layout.crowded.size === 0) return { ...layout, scratchBytes: [whole!] }
  const scratchBytes = scratchOf(options, layout.placements, layout.ends.length)
  for (const [memory, together] of layout.crowded) {
    if (layout.ends[memory]! + PROGRAM_BYTES + scratchBytes[memory]! > limit) throw tooLarge(together)
  }
  return { ...layout, scratchBytes }
}

/** Bytes of scratch that the tapes need in each memory, found by compiling them. */
function scratchOf(
  { sizing, threads, lowerings, integers = { int4: 'dot16', int8: 'dot16' } }: PlacingOptions,
  placements: Placements,
  memories: number,
): number[] {
  const bytes = new Array<number>(memories).fill(STAGING_BYTES)
  for (const tape of sizing) {
    const settings = { threads: Math.max(1, threads), integers, lowerings, placements, memories }
    for (const [memory, need] of compileProgram(tape, settings).scratchBytes.entries()) {
      bytes[memory] = Math.max(bytes[memory]!, need)
    }
  }
  return bytes
}

interface Placing extends Omit<MemoryLayout, 'scratchBytes'> {
  /** Memories with less room left than wanted, each with what fills it. */
  readonly crowded: ReadonlyMap<number, readonly Tensor[]>
}

function placeTensors({ tensors, constants }: PlacingOptions, limit: number): Placing {
  const placements = new Map<Tensor, Placement[]>()
  const constantBytes = constants.reduce((sum, tensor) => sum + align(bufferBytes(tensor)), 0)
  const first = FIRST_ADDRESS + constantBytes
  const ends: number[] = []
  const crowded = new Map<number, readonly Tensor[]>()
  let weightBytes = 0
  let cacheBytes = 0
  const open = (): void => {
    let at = FIRST_ADDRESS
    for (const tensor of constants) {
      placements.set(tensor, [...(placements.get(tensor) ?? []), { memory: ends.length, address: at }])
      at += align(bufferBytes(tensor))
    }
    ends.push(at)
  }
  open()
  for (const together of inseparable(tensors)) {
    const bytes = together.reduce((sum, tensor) => sum + align(bufferBytes(tensor)), 0)
    const end = ends.at(-1)!
    if (end > first && end + bytes > limit) open()
    const memory = ends.length - 1
    if (first + bytes > limit) crowded.set(memory, together)
    for (const tensor of together) {
      placements.set(tensor, [{ memory, address: ends[memory]! }])
      ends[memory]! += align(bufferBytes(tensor))
    }
    if (together[0]!.role === 'cache') cacheBytes += bytes
    else weightBytes += bytes
  }
  return { placements, ends, crowded, weightBytes, cacheBytes }
}

/**
 * What one call reads or changes must share a memory: keys and values of a layer, which stand side by side, and a
 * weight with the state that training keeps, which follows it.
 */
function inseparable(tensors: readonly Tensor[]): Tensor[][] {
  const groups: Tensor[][] = []
  let last: Tensor | undefined
  for (const tensor of tensors) {
    const joined = tensor.role === 'state' || (tensor.role === 'cache' && last?.role === 'cache')
    if (joined && groups.length > 0) groups[groups.length - 1]!.push(tensor)
    else groups.push([tensor])
    last = tensor
  }
  return groups
}

function tooLarge(together: readonly Tensor[]): GemmaError {
  const { name, role } = together[0]!
  const bytes = together.reduce((sum, tensor) => sum + bufferBytes(tensor), 0)
  const learns = together.some((tensor) => tensor.role === 'state')
  const what = learns ? `${name}, its gradient and what the optimiser keeps take` : `The tensor ${name} takes`
  // Training knows ways out that depend on the rest of the recipe (train/resources.ts).
  const remedy = learns
    ? ''
    : role === 'cache'
      ? 'Choose a shorter contextLength.'
      : 'Choose a narrower dtype.'
  return new GemmaError(
    'unsupported',
    `${what} ${(bytes / 1e9).toFixed(2)} GB, which with working memory is more than one WebAssembly memory of 4 GiB can hold.`,
    remedy,
  )
}
