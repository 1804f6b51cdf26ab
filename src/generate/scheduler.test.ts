import { describe, expect, test } from 'vitest'
import type { GemmaError } from '../error.ts'
import type { SamplingInputs } from '../graph/tape.ts'
import { MOST_CHOICES, type Row } from './engine.ts'
import { createScheduler, type RunRequest, type Scheduler } from './scheduler.ts'
import { createSession } from './session.ts'
import { createSessionPool } from './session-pool.ts'
import { createToyEngine, type ToyEngine } from './testing/toy-engine.ts'

const sampling = (uniform = 0, temperature = 1): SamplingInputs => ({
  temperature,
  topK: 7,
  topP: 1,
  uniform: new Float64Array(MOST_CHOICES).fill(uniform),
})

function request(sequence: number, more: Partial<RunRequest> = {}, rows = 1): RunRequest {
  const tokens = Array.from({ length: rows }, (_, position): Row => ({ token: 1, position, sequence }))
  return { kind: 'choices', rows: tokens, sampling: sampling(), ...more }
}

function setUp(sequences = 8): { engine: ToyEngine; scheduler: Scheduler } {
  const engine = createToyEngine({ sequences })
  const scheduler = createScheduler(engine)
  for (let i = 0; i < sequences; i++) scheduler.enter()
  return { engine, scheduler }
}

const sizes = ({ runs }: ToyEngine): number[] => runs.map(({ rows }) => rows.length)

describe('joining runs', () => {
  test('what waits at one moment becomes one run, and each gets its own rows', async () => {
    const { engine, scheduler } = setUp()
    const uniforms = [0.05, 0.5, 0.95]
    const alone: Float32Array[] = []
    for (const [i, u] of uniforms.entries()) {
      alone.push(await createScheduler(engine).run(request(i, { sampling: sampling(u) }, i + 1)))
    }
    engine.runs.length = 0
    const joined = await Promise.all(
      uniforms.map((u, i) => scheduler.run(request(i, { sampling: sampling(u) }, i + 1))),
    )
    expect(sizes(engine)).toEqual([6])
    expect(joined).toEqual(alone)
    expect(new Set(joined.map(([token]) => token)).size).toBeGreaterThan(1)
  })

  test('no more rows than a run may have', async () => {
    const { engine, scheduler } = setUp()
    await Promise.all([5, 6, 7, 3, 2].map((rows, i) => scheduler.run(request(i, {}, rows))))
    expect(sizes(engine)).toEqual([16, 7])
  })

  test('rows of different adapters never share a run', async () => {
    const { engine, scheduler } = setUp()
    const adapters = ['one', undefined, 'two', 'one', undefined, 'one']
    const alone: Float32Array[] = []
    for (const [i, adapter] of adapters.entries()) alone.push(await scheduler.run(request(i, { adapter })))
    engine.runs.length = 0
    const joined = await Promise.all(adapters.map((adapter, i) => scheduler.run(request(i, { adapter }))))
    expect(joined).toEqual(alone)
    expect(engine.runs.map(({ rows, adapter }) => [rows.length, adapter])).toEqual([
      [3, 'one'],
      [2, undefined],
      [1, 'two'],
    ])
  })

  test('prompts run by themselves, in turn', async () => {
    const { engine, scheduler } = setUp()
    await Promise.all([
      scheduler.run(request(0)),
      scheduler.run(request(1, { kind: 'cache' }, 4)),
      scheduler.run(request(2)),
    ])
    expect(engine.runs.map(({ kind, rows }) => `${kind} ${rows.length}`)).toEqual(['choices 2', 'cache 4'])
  })
})

describe('ends', () => {
  test('who is aborted while waiting leaves the others alone', async () => {
    const { engine, scheduler } = setUp()
    const controller = new AbortController()
    const three = [0, 1, 2].map((sequence) =>
      scheduler.run(request(sequence, { signal: sequence === 1 ? controller.signal : undefined })),
    )
    controller.abort('enough')
    const outcomes = await Promise.allSettled(three)
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    const { reason } = outcomes[1] as PromiseRejectedResult
    expect((reason as GemmaError).code).toBe('aborted')
    expect((reason as GemmaError).cause).toBe('enough')
    expect(sizes(engine)).toEqual([2])
  })

  test('a failed run fails for all that shared it, and the next one runs', async () => {
    const { engine } = setUp()
    let broken = true
    const scheduler = createScheduler({
      ...engine,
      run: async (...args) => {
        if (broken) throw new Error('out of order')
        return engine.run(...args)
      },
    })
    scheduler.enter()
    scheduler.enter()
    const outcomes = await Promise.allSettled([scheduler.run(request(0)), scheduler.run(request(1))])
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    broken = false
    expect(await scheduler.run(request(0))).toHaveLength(2)
  })

  test('leaving twice counts once', () => {
    const scheduler = createScheduler(createToyEngine())
    const [leave] = [scheduler.enter(), scheduler.enter()]
    leave!()
    leave!()
    expect(scheduler.active()).toBe(1)
  })
})

describe('lending sessions', () => {
  test('the one that holds most of the prompt, else the one unused for longest', async () => {
    const scheduler = createScheduler(createToyEngine({ sequences: 3 }))
    const pool = createSessionPool([0, 1, 2].map((sequence) => createSession(scheduler, sequence)))
    const use = async (tokens: number[]): Promise<number> => {
      const { session, end } = pool.take(tokens)
      await session.next({ tokens, sampling: sampling() })
      end()
      return sessions.indexOf(session)
    }
    const sessions = [0, 1, 2]
      .map(() => pool.take([]))
      .map(({ session, end }) => {
        end()
        return session
      })
    const all = [0, 1, 2].map(() => pool.take([]))
    expect(new Set(all.map(({ session }) => session)).size).toBe(3)
    for (const { end } of all) end()
    const places = [await use([1, 2, 3]), await use([2, 3, 4]), await use([3, 4, 5])]
    expect(new Set(places).size).toBe(3)
    expect(await use([2, 3, 5])).toBe(places[1])
    expect(await use([1, 2])).toBe(places[0])
    // Nothing is shared: the third was used longest ago.
    expect(await use([6, 6])).toBe(places[2])
  })

  test('when all are taken they are shared evenly', () => {
    const scheduler = createScheduler(createToyEngine({ sequences: 2 }))
    const pool = createSessionPool([0, 1].map((sequence) => createSession(scheduler, sequence)))
    const taken = Array.from({ length: 4 }, () => pool.take([1]))
    expect(taken.filter(({ session }) => session === taken[0]!.session)).toHaveLength(2)
    taken[0]!.end()
    taken[0]!.end()
    const again = pool.take([1])
    expect(again.session).toBe(taken[0]!.session)
  })
})
