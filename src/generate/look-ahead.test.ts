// What is put in line before it is asked for: when it is started, when it serves, and when it is dropped.

import { describe, expect, test } from 'vitest'
import { createTape, persistentTensor, type RunInputs, type Tensor } from '../graph/tape.ts'
import { createLookAhead, type DrawingRun } from './look-ahead.ts'

const output = persistentTensor('state', 'drawn', [1, 2], 'f32')
const plan = { tape: createTape(1) }

function runAt(position: number, token: number, uniform = 0.5): DrawingRun {
  const inputs: RunInputs = {
    rows: 1,
    tokens: Int32Array.of(token),
    positions: Int32Array.of(position),
    sequences: Int32Array.of(0),
    targets: Int32Array.of(-1),
    sampling: { temperature: 1, topK: 10, topP: 1, uniform: Float64Array.of(uniform) },
  }
  return { plan, output, inputs }
}

/** A device whose runs end when they are told to; `log` says what was started and what was read. */
function device(follow = true) {
  const log: string[] = []
  const ends: (() => void)[] = []
  const start = (_: unknown, { positions }: RunInputs, follows?: Tensor) => {
    if (follows && !follow) return undefined
    const position = positions[0]!
    log.push(`${follows ? 'follow' : 'start'} ${position}`)
    return new Promise<ReadonlyMap<Tensor, Float32Array>>((resolve) => {
      ends.push(() => resolve(new Map([[output, Float32Array.of(100 + position, -1)]])))
    })
  }
  const draw = async (run: DrawingRun, next?: DrawingRun): Promise<number> => {
    const drawn = ahead.draw(run, next)
    while (ends.length > 0) ends.shift()!()
    log.push(`have ${run.inputs.positions[0]}`)
    return (await drawn)[0]!
  }
  const ahead = createLookAhead(start)
  return { log, draw }
}

describe('looking ahead', () => {
  test('the next run is in line before the last one has come back, and is not started twice', async () => {
    const { log, draw } = device()
    expect(await draw(runAt(3, 7), runAt(4, 0))).toBe(103)
    expect(await draw(runAt(4, 103), runAt(5, 0))).toBe(104)
    expect(await draw(runAt(5, 104))).toBe(105)
    expect(log).toEqual(['start 3', 'follow 4', 'have 3', 'follow 5', 'have 4', 'have 5'])
  })

  test.each([
    ['another token', runAt(4, 9)],
    ['another position', runAt(6, 103)],
    ['another random number', runAt(4, 103, 0.25)],
    ['another plan', { ...runAt(4, 103), plan: { tape: createTape(1) } }],
  ])('%s is started anew', async (_, asked) => {
    const { log, draw } = device()
    await draw(runAt(3, 7), runAt(4, 0))
    await draw(asked)
    expect(log.slice(3)).toEqual([`start ${asked.inputs.positions[0]}`, `have ${asked.inputs.positions[0]}`])
    // What was dropped does not come back.
    await draw(runAt(4, 103))
    expect(log.slice(5)).toEqual(['start 4', 'have 4'])
  })

  test('where the device cannot follow, runs come one after the other', async () => {
    const { log, draw } = device(false)
    await draw(runAt(3, 7), runAt(4, 0))
    await draw(runAt(4, 103), runAt(5, 0))
    expect(log).toEqual(['start 3', 'have 3', 'start 4', 'have 4'])
  })
})
