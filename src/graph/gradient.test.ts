// The order and the sums of the way back, with ops that do no arithmetic.

import { describe, expect, test } from 'vitest'
import { type Backward, type BackwardRule, createBackward, removeUnused } from './gradient.ts'
import { createTape, keep, type Op, persistentTensor, record, type Tape, type Tensor } from './tape.ts'

function opOf(name: string, outputs = 1): Op {
  return {
    name,
    shape: ([first]) => Array.from({ length: outputs }, () => ({ shape: first!.shape, dtype: 'f32' })),
    reference: () => {},
  }
}

const [combine, back, sum, change] = [opOf('combine'), opOf('back'), opOf('sum'), opOf('change', 0)]
const split = opOf('split', 2)

/** Every input gets a gradient; weights are summed up where they are learned. */
const rule: BackwardRule = ({ inputs }, gradients, flow) => {
  for (const input of inputs) {
    const accumulator = flow.accumulator(input)
    const known = gradients.filter((gradient) => gradient !== undefined)
    if (accumulator) record(flow.tape, change, [...known, accumulator])
    else if (flow.wants(input)) flow.give(input, record(flow.tape, back, known)[0]!)
  }
}

const weightOf = (name: string): Tensor => persistentTensor('weight', name, [2, 2], 'f32')
const stateOf = (name: string): Tensor => persistentTensor('state', name, [2, 2], 'f32')

function start(...learned: readonly Tensor[]): {
  tape: Tape
  flow: Backward
  gradients: Map<Tensor, Tensor>
} {
  const tape = createTape(2)
  const gradients = new Map(learned.map((tensor) => [tensor, stateOf(`gradient of ${tensor.name}`)]))
  const flow = createBackward(tape, {
    rules: new Map([
      [combine, rule],
      [split, rule],
    ]),
    accumulators: gradients,
    sum: (onto, a, b) => record(onto, sum, [a, b])[0]!,
  })
  return { tape, flow, gradients }
}

const made = (tape: Tape, ...inputs: readonly Tensor[]): Tensor => record(tape, combine, inputs)[0]!
const names = (tape: Tape, from = 0): string[] => tape.steps.slice(from).map(({ op }) => op.name)

/** Follows all steps, begins at `output` and goes back; the steps of the way back. */
function goBack(tape: Tape, flow: Backward, output: Tensor): string[] {
  const forward = [...tape.steps]
  flow.follow(forward)
  flow.give(output, stateOf('seed'))
  flow.through(forward)
  return names(tape, forward.length)
}

describe('the way back', () => {
  test('reaches what is learned, and nothing else', () => {
    const [learned, frozen, input] = [weightOf('learned'), weightOf('frozen'), weightOf('input')]
    const { tape, flow } = start(learned)
    const early = made(tape, input, frozen)
    const late = made(tape, made(tape, early, learned), frozen)
    expect(goBack(tape, flow, late)).toEqual(['back', 'change'])
    expect(flow.wants(early)).toBe(false)
    expect(flow.wants(late)).toBe(true)
    expect(flow.wants(frozen)).toBe(false)
  })

  test('sums the gradients of a value that is read several times, before it goes on', () => {
    const learned = weightOf('learned')
    const { tape, flow } = start(learned)
    const x = made(tape, learned)
    const output = made(tape, made(tape, x), made(tape, x, x))
    // Of the output's two inputs; then x three times, the sums of the second and third; at last the weight.
    expect(goBack(tape, flow, output)).toEqual([
      ...['back', 'back'],
      ...['back', 'back', 'sum'],
      ...['back', 'sum'],
      'change',
    ])
  })

  test('a step whose outputs nobody uses is passed by; of several outputs one is enough', () => {
    const learned = weightOf('learned')
    const { tape, flow } = start(learned)
    made(tape, learned)
    const [first] = record(tape, split, [learned])
    const second = made(tape, first!)
    expect(goBack(tape, flow, second)).toEqual(['back', 'change'])
    expect(flow.take(first!)).toBeUndefined()
  })

  test('what is taken is no longer there, and what nobody wants is not kept', () => {
    const learned = weightOf('learned')
    const { tape, flow } = start(learned)
    const value = made(tape, learned)
    flow.follow(tape.steps)
    const [gradient, stranger] = [stateOf('gradient'), stateOf('stranger')]
    flow.give(value, gradient)
    flow.give(stranger, gradient)
    expect(flow.take(stranger)).toBeUndefined()
    expect(flow.take(value)).toBe(gradient)
    expect(flow.take(value)).toBeUndefined()
  })

  test('an op without a rule is named', () => {
    const learned = weightOf('learned')
    const { tape, flow } = start(learned)
    const [output] = record(tape, opOf('riddle'), [learned])
    expect(() => goBack(tape, flow, output!)).toThrow('riddle has no backward rule')
  })
})

describe('recording again', () => {
  test('copies a stretch with its attributes, reads outside values as they are, and hands gradients over', () => {
    const learned = weightOf('learned')
    const { tape, flow } = start(learned)
    const outside = made(tape, learned)
    const inner = record(tape, combine, [outside, learned], { salt: 7 })[0]!
    const output = made(tape, inner)
    const forward = [...tape.steps]
    flow.follow(forward)
    const seed = stateOf('seed')
    flow.give(output, seed)
    const copies = flow.again(forward.slice(1))
    expect(copies.map(({ op }) => op)).toEqual([combine, combine])
    expect(copies[0]!.inputs).toEqual([outside, learned])
    expect(copies[0]!.attributes).toEqual({ salt: 7 })
    expect(copies[1]!.inputs[0]).toBe(copies[0]!.outputs[0])
    expect(flow.take(output)).toBeUndefined()
    flow.through(copies)
    flow.through(forward.slice(0, 1))
    expect(names(tape, 5)).toEqual(['back', 'back', 'change', 'change'])
  })
})

describe('removeUnused', () => {
  test('leaves what is kept, what changes something, and what these read', () => {
    const [w, state] = [weightOf('w'), stateOf('state')]
    const tape = createTape(2)
    const needed = made(tape, w)
    const dead = made(tape, w)
    made(tape, dead)
    const kept = keep(tape, made(tape, needed))
    const [, other] = record(tape, split, [kept])
    record(tape, change, [other!, state])
    const before = [...tape.steps]
    removeUnused(tape)
    expect(tape.steps).toEqual([before[0], before[3], before[4], before[5]])
    removeUnused(tape)
    expect(tape.steps.length).toBe(4)
  })
})
