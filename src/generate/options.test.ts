import { describe, expect, test } from 'vitest'
import { GemmaError } from '../error.ts'
import { type GenerateOptions, GREEDY_DEFAULTS, resolveOptions, samplingDefaults } from './options.ts'

const GEMMA3 = samplingDefaults({ do_sample: true, top_k: 64, top_p: 0.95 })

describe('defaults', () => {
  test('a checkpoint that asks for nothing is greedy', () => {
    expect(samplingDefaults({})).toEqual(GREEDY_DEFAULTS)
    expect(samplingDefaults({ do_sample: false, temperature: 1, top_k: 3 })).toEqual(GREEDY_DEFAULTS)
    expect(resolveOptions({}, GREEDY_DEFAULTS)).toMatchObject({ temperature: 0, topP: 1, stop: [] })
  })

  test("a checkpoint's own sampling is used when the caller says nothing", () => {
    expect(GEMMA3).toEqual({ temperature: 1, topK: 64, topP: 0.95 })
    expect(resolveOptions({}, GEMMA3)).toMatchObject({ temperature: 1, topK: 64, topP: 0.95 })
  })

  test('what the checkpoint says is ignored where it makes no sense', () => {
    const odd = { do_sample: true, temperature: -1, top_k: 0, top_p: 7 }
    expect(samplingDefaults(odd)).toEqual({ ...GREEDY_DEFAULTS, temperature: 1 })
    expect(samplingDefaults({ do_sample: true, temperature: '1', top_k: null })).toMatchObject({
      temperature: 1,
    })
  })

  test("a caller who names any of the three gets none of the checkpoint's", () => {
    expect(resolveOptions({ temperature: 0 }, GEMMA3)).toMatchObject({ temperature: 0, topP: 1 })
    expect(resolveOptions({ topK: 5 }, GEMMA3)).toMatchObject({ temperature: 1, topK: 5, topP: 1 })
    expect(resolveOptions({ topP: 0.5 }, GREEDY_DEFAULTS)).toMatchObject({ temperature: 1, topP: 0.5 })
    expect(resolveOptions({ topK: 5, temperature: 0.2 }, GEMMA3)).toMatchObject({ temperature: 0.2, topK: 5 })
  })

  test('seeds differ unless they are given', () => {
    const seeds = Array.from({ length: 20 }, () => resolveOptions({}, GEMMA3).seed)
    expect(new Set(seeds).size).toBe(20)
    expect(seeds.every(Number.isSafeInteger)).toBe(true)
    expect(resolveOptions({ seed: -5 }, GEMMA3).seed).toBe(-5)
  })

  test('one stop string or several', () => {
    expect(resolveOptions({ stop: 'x' }, GEMMA3).stop).toEqual(['x'])
    expect(resolveOptions({ stop: ['x', 'yz'] }, GEMMA3).stop).toEqual(['x', 'yz'])
  })

  test('speculative is on where it pays', () => {
    expect(resolveOptions({}, GEMMA3).speculative).toBe('auto')
    expect(resolveOptions({ speculative: false }, GEMMA3).speculative).toBe(false)
  })
})

test.each([
  ['maxTokens', -1],
  ['maxTokens', 1.5],
  ['maxTokens', Number.NaN],
  ['maxTokens', '3'],
  ['temperature', -0.1],
  ['temperature', Number.POSITIVE_INFINITY],
  ['temperature', null],
  ['topK', 0],
  ['topK', 2.5],
  ['topP', 0],
  ['topP', 1.01],
  ['topP', Number.NaN],
  ['seed', 0.5],
  ['seed', 2 ** 60],
  ['stop', ''],
  ['stop', ['a', '']],
  ['stop', [3]],
  ['speculative', 'yes'],
  ['speculative', 1],
])('%s: %j is refused by name', (name, value) => {
  const options = { [name]: value } as unknown as GenerateOptions
  try {
    resolveOptions(options, GREEDY_DEFAULTS)
  } catch (error) {
    expect(error).toBeInstanceOf(GemmaError)
    expect((error as GemmaError).code).toBe('usage')
    expect((error as GemmaError).message).toContain(name)
    return
  }
  throw new Error('it was accepted')
})
