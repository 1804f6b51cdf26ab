// From a tape to a program: ops are lowered to kernel calls, calls are given to memories, values get
// addresses in scratch memory by their lifetimes, and barriers are left out where calls do not touch each
// other's data. Knows no kernel by name.

import { cacheRowBytes, layoutOf } from '../../graph/dtype.ts'
import { elementCount, matrixSize, type Tape, type Tensor } from '../../graph/tape.ts'
import type {
  Argument,
  BufferLike,
  IntegerVariant,
  Lowering,
  Lowerings,
  ScratchBuffer,
} from '../../ops/lowering.ts'

/** Where a tensor that outlives programs lies; a constant lies in several memories. */
export interface Placement {
  readonly memory: number
  readonly address: number
}

export type Placements = ReadonlyMap<Tensor, readonly Placement[]>

export interface KernelCall {
  readonly kind: 'kernel'
  readonly kernel: string
  readonly memory: number
  readonly args: readonly Argument[]
  barrier: boolean
}

/** The hidden state on its way from one memory to the next. */
export interface TransferCall {
  readonly kind: 'transfer'
  readonly buffer: BufferLike
  readonly bytes: number
  readonly from: number
  readonly to: number
  barrier: boolean
}

export type Call = KernelCall | TransferCall

export interface Program {
  readonly rows: number
  readonly calls: readonly Call[]
  /** Scratch offset of each buffer in each memory where it is used: key → offset. */
  readonly offsets: ReadonlyMap<string, number>
  /** Bytes of scratch per memory. */
  readonly scratchBytes: readonly number[]
  /** Memory where each kept value ends up. */
  readonly homes: ReadonlyMap<Tensor, number>
}

export interface ProgramOptions {
  readonly threads: number
  readonly integers: IntegerVariant
  readonly lowerings: Lowerings
  readonly placements: Placements
  readonly memories: number
}

const ALIGNMENT = 64

export function compileProgram(tape: Tape, options: ProgramOptions): Program {
  const lowered = lowerTape(tape, options)
  const { calls, homes } = assignMemories(lowered, options.placements)
  const { offsets, scratchBytes } = planScratch(calls, tape, homes, options)
  placeBarriers(calls, offsets, options.placements)
  const kept = new Map<Tensor, number>()
  for (const tensor of tape.kept) kept.set(tensor, homes.get(bufferKey(tensor))!)
  return { rows: tape.rows, calls, offsets, scratchBytes, homes: kept }
}

/** Where a value lies in one memory: the key of `offsets`. */
export function placeKey(buffer: BufferLike, memory: number): string {
  return `${bufferKey(buffer)}@${memory}`
}

export function isPersistent(buffer: BufferLike): buffer is Tensor {
  return 'role' in buffer && buffer.role !== 'value'
}

/** Bytes of any buffer in memory. */
export function bufferBytes(buffer: BufferLike): number {
  if (!('role' in buffer)) return buffer.bytes
  if (buffer.role === 'weight' && buffer.shape.length === 2) {
    const { rows, columns } = matrixSize(buffer.shape)
    return layoutOf(buffer.dtype, rows, columns).bytes
  }
  if (buffer.role === 'cache') return buffer.shape[0]! * cacheRowBytes(buffer.dtype, buffer.shape[1]!)
  return elementCount(buffer.shape) * 4
}

export function align(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT
}

function bufferKey(buffer: BufferLike): string {
  return 'role' in buffer ? `t${buffer.id}` : `s${buffer.scratch}`
}

interface LoweredCall {
  readonly kernel: string
  readonly args: readonly Argument[]
}

function lowerTape(tape: Tape, { threads, integers, lowerings }: ProgramOptions): LoweredCall[] {
  const calls: LoweredCall[] = []
  const made = new Map<string, unknown>()
  let scratches = 0
  const lowering: Lowering = {
    rows: tape.rows,
    threads,
    integers,
    call: (kernel, args) => void calls.push({ kernel, args }),
    scratch: (bytes): ScratchBuffer => ({ scratch: scratches++, bytes }),
    shared: <T>(key: string, make: () => T): T => {
      if (!made.has(key)) made.set(key, make())
      return made.get(key) as T
    },
  }
  for (const step of tape.steps) {
    const lower = lowerings.get(step.op)
    if (!lower) throw new Error(`no WebAssembly lowering for ${step.op.name}`)
    lower(step, lowering)
  }
  return calls
}

/** A call runs where its weight or cache lies; values follow it there. */
function assignMemories(
  lowered: readonly LoweredCall[],
  placements: Placements,
): { calls: Call[]; homes: Map<string, number> } {
  const calls: Call[] = []
  const homes = new Map<string, number>()
  const copies = new Map<string, Set<number>>()
  let current = 0
  for (const { kernel, args } of lowered) {
    const memory = memoryOf(args, placements, current)
    current = memory
    for (const argument of args) {
      if (!('buffer' in argument) || isPersistent(argument.buffer)) continue
      const key = bufferKey(argument.buffer)
      if (argument.kind === 'write') {
        homes.set(key, memory)
        copies.set(key, new Set([memory]))
      } else if (!copies.get(key)?.has(memory)) {
        const bytes = bufferBytes(argument.buffer)
        calls.push({
          kind: 'transfer',
          buffer: argument.buffer,
          bytes,
          from: homes.get(key)!,
          to: memory,
          barrier: true,
        })
        copies.get(key)!.add(memory)
      }
    }
    calls.push({ kind: 'kernel', kernel, memory, args, barrier: true })
  }
  return { calls, homes }
}

function memoryOf(args: readonly Argument[], placements: Placements, current: number): number {
  for (const argument of args) {
    if (!('buffer' in argument) || !isPersistent(argument.buffer)) continue
    const places = placements.get(argument.buffer)
    if (!places) throw new Error(`tensor ${argument.buffer.name} was never placed`)
    if (argument.buffer.role !== 'constant') return places[0]!.memory
  }
  return current
}

function planScratch(
  calls: readonly Call[],
  tape: Tape,
  homes: ReadonlyMap<string, number>,
  { memories }: ProgramOptions,
): { offsets: Map<string, number>; scratchBytes: number[] } {
  const lives = livesOf(calls, tape, homes)
  const places = joinLives(lives, calls)
  const offsets = new Map<string, number>()
  const scratchBytes = new Array<number>(memories).fill(0)
  const placed: { memory: number; bytes: number; first: number; last: number; offset: number }[] = []
  // Large buffers first: they are hardest to fit, and the small ones fill the gaps.
  const order = [...lives].sort(([, a], [, b]) => b.bytes - a.bytes)
  for (const [key, life] of order) {
    const rivals = placed
      .filter((p) => p.memory === life.memory && p.first <= life.last && p.last >= life.first)
      .sort((a, b) => a.offset - b.offset)
    let offset = 0
    for (const rival of rivals) {
      if (offset + life.bytes <= rival.offset) break
      offset = Math.max(offset, rival.offset + rival.bytes)
    }
    placed.push({ ...life, offset })
    offsets.set(key, offset)
    scratchBytes[life.memory] = Math.max(scratchBytes[life.memory]!, offset + life.bytes)
  }
  for (const [key, place] of places) offsets.set(key, offsets.get(place)!)
  return { offsets, scratchBytes }
}

/** From the call that first touches a buffer to the last one. */
interface Life {
  readonly memory: number
  readonly bytes: number
  readonly first: number
  last: number
}

function livesOf(calls: readonly Call[], tape: Tape, homes: ReadonlyMap<string, number>): Map<string, Life> {
  const lives = new Map<string, Life>()
  const touch = (buffer: BufferLike, memory: number, at: number): void => {
    if (isPersistent(buffer)) return
    const key = placeKey(buffer, memory)
    const life = lives.get(key)
    if (life) life.last = at
    else lives.set(key, { memory, bytes: align(bufferBytes(buffer)), first: at, last: at })
  }
  calls.forEach((call, at) => {
    if (call.kind === 'transfer') {
      touch(call.buffer, call.from, at)
      touch(call.buffer, call.to, at)
      return
    }
    for (const argument of call.args) if ('buffer' in argument) touch(argument.buffer, call.memory, at)
  })
  for (const tensor of tape.kept) touch(tensor, homes.get(bufferKey(tensor))!, calls.length)
  return lives
}

/**
 * Lets results take the place of what they are made from (`writesOver`) where that ends there: the two lives become one.
 * Returns the keys that were joined, each with the key whose place it has.
 */
function joinLives(lives: Map<string, Life>, calls: readonly Call[]): Map<string, string> {
  const places = new Map<string, string>()
  calls.forEach((call, at) => {
    if (call.kind === 'transfer') return
    for (const argument of call.args) {
      if (!('buffer' in argument) || !argument.over || isPersistent(argument.over)) continue
      const key = placeKey(argument.buffer, call.memory)
      const overKey = placeKey(argument.over, call.memory)
      const place = places.get(overKey) ?? overKey
      const [life, over] = [lives.get(key)!, lives.get(place)!]
      if (over.last !== at || life.first !== at || life.bytes !== over.bytes) continue
      over.last = life.last
      lives.delete(key)
      places.set(key, place)
    }
  })
  return places
}

interface Range {
  readonly memory: number
  readonly from: number
  readonly to: number
}

/** A barrier stands only where a call touches what an earlier one since the last barrier wrote, or the reverse. */
function placeBarriers(
  calls: readonly Call[],
  offsets: ReadonlyMap<string, number>,
  placements: Placements,
): void {
  let written: Range[] = []
  let read: Range[] = []
  calls.forEach((call, index) => {
    const { reading, writing } = rangesOf(call, offsets, placements)
    const conflict = overlaps(reading, written) || overlaps(writing, written) || overlaps(writing, read)
    if (index > 0) calls[index - 1]!.barrier = conflict
    if (conflict) {
      written = []
      read = []
    }
    written.push(...writing)
    read.push(...reading)
  })
  if (calls.length > 0) calls[calls.length - 1]!.barrier = true
}

function rangesOf(
  call: Call,
  offsets: ReadonlyMap<string, number>,
  placements: Placements,
): { reading: Range[]; writing: Range[] } {
  const range = (buffer: BufferLike, memory: number): Range => {
    if (isPersistent(buffer)) {
      const place = placements.get(buffer)!.find((p) => p.memory === memory)!
      // Above all scratch offsets, so that the two never look alike.
      const from = 2 ** 40 + place.address
      return { memory, from, to: from + bufferBytes(buffer) }
    }
    const from = offsets.get(placeKey(buffer, memory))!
    return { memory, from, to: from + bufferBytes(buffer) }
  }
  if (call.kind === 'transfer') {
    return { reading: [range(call.buffer, call.from)], writing: [range(call.buffer, call.to)] }
  }
  const reading: Range[] = []
  const writing: Range[] = []
  for (const argument of call.args) {
    if (!('buffer' in argument)) continue
    const at = range(argument.buffer, call.memory)
    if (argument.kind !== 'write') reading.push(at)
    if (argument.kind !== 'read') writing.push(at)
  }
  return { reading, writing }
}

function overlaps(a: readonly Range[], b: readonly Range[]): boolean {
  return a.some((x) => b.some((y) => x.memory === y.memory && x.from < y.to && y.from < x.to))
}
