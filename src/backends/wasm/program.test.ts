import { describe, expect, test } from 'vitest'
import { createTape, keep, persistentTensor, type Tape, type Tensor } from '../../graph/tape.ts'
import { add } from '../../ops/add/add.ts'
import { embed } from '../../ops/embed/embed.ts'
import { geglu } from '../../ops/geglu/geglu.ts'
import { wasmLowerings } from '../../ops/wasm.ts'
import { compileProgram, type Program, placeKey } from './program.ts'

const table = persistentTensor('weight', 'table', [8, 1024], 'f32')

function compile(tape: Tape): Program {
  return compileProgram(tape, {
    threads: 2,
    integers: { int4: 'dot16', int8: 'dot16' },
    lowerings: wasmLowerings,
    placements: new Map([[table, [{ memory: 0, address: 4096 }]]]),
    memories: 1,
  })
}

const placeOf = (program: Program, tensor: Tensor): number => program.offsets.get(placeKey(tensor, 0))!

describe('results in the place of what they are made from', () => {
  test('where it is not needed any more', () => {
    const tape = createTape(8)
    const [gate, up] = [embed(tape, table, 1), embed(tape, table, 1)]
    const product = keep(tape, geglu(tape, gate, up))
    const program = compile(tape)
    expect(placeOf(program, product)).toBe(placeOf(program, gate))
    expect(program.scratchBytes).toEqual([2 * 8 * 1024 * 4])
  })

  test('one after another', () => {
    const tape = createTape(8)
    const [gate, up] = [embed(tape, table, 1), embed(tape, table, 1)]
    const first = geglu(tape, gate, up)
    const second = keep(tape, geglu(tape, first, up))
    const program = compile(tape)
    expect(placeOf(program, second)).toBe(placeOf(program, gate))
    expect(program.scratchBytes).toEqual([2 * 8 * 1024 * 4])
  })

  test('not where it is read later, kept, or read from the memory of the tensors', () => {
    const read = createTape(8)
    const gate = embed(read, table, 1)
    const product = geglu(read, gate, embed(read, table, 1))
    keep(read, add(read, product, gate))
    const program = compile(read)
    expect(placeOf(program, product)).not.toBe(placeOf(program, gate))

    const kept = createTape(8)
    const keptGate = keep(kept, embed(kept, table, 1))
    const keptProduct = keep(kept, geglu(kept, keptGate, embed(kept, table, 1)))
    const keeping = compile(kept)
    expect(placeOf(keeping, keptProduct)).not.toBe(placeOf(keeping, keptGate))

    const stored = createTape(8)
    const fromTable = keep(stored, geglu(stored, table, embed(stored, table, 1)))
    expect(placeOf(compile(stored), fromTable)).toBeGreaterThanOrEqual(0)
  })

  test('not the place of both when a value is multiplied with itself and read again', () => {
    const tape = createTape(8)
    const x = embed(tape, table, 1)
    const square = keep(tape, geglu(tape, x, x))
    const program = compile(tape)
    expect(placeOf(program, square)).toBe(placeOf(program, x))
    expect(program.scratchBytes).toEqual([8 * 1024 * 4])
  })
})
