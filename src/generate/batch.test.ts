import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { GemmaError } from '../error.ts'
import { type BatchOptions, generateBatch } from './batch.ts'
import { GREEDY_DEFAULTS, type Piece, resolveOptions, type Summary } from './options.ts'
import { createToyEngine, TOY_VOCABULARY, toyAnswer, toyGeneration } from './testing/toy-engine.ts'

type Toy = ReturnType<typeof toyGeneration>

function batch(toy: Toy, prompts: readonly number[][], options: BatchOptions): Promise<Summary[]> {
  return generateBatch(toy, prompts, options, resolveOptions(options, GREEDY_DEFAULTS))
}

function wanted(prompt: readonly number[], options: BatchOptions, index: number): Piece[] {
  const resolved = resolveOptions(options, GREEDY_DEFAULTS)
  const adapter = typeof options.adapter === 'string' ? options.adapter : options.adapter?.[index]
  const own = { ...resolved, seed: resolved.seed + index }
  return toyAnswer(prompt, own, { contextLength: 48 }, [], adapter).pieces
}

const prompts = fc.array(fc.array(fc.nat({ max: TOY_VOCABULARY - 1 }), { minLength: 1, maxLength: 20 }), {
  maxLength: 9,
})

test('every prompt gets the answer it gets alone, whatever the number of sequences', async () => {
  await fc.assert(
    fc.asyncProperty(
      prompts,
      fc.integer({ min: 1, max: 5 }),
      fc.constantFrom(0, 1),
      fc.constantFrom(true, false, 'auto' as const),
      fc.oneof(
        fc.constantFrom(undefined, 'one'),
        fc.array(fc.constantFrom(undefined, 'one', 'two'), { minLength: 9, maxLength: 9 }),
      ),
      async (many, sequences, temperature, speculative, adapter) => {
        const toy = toyGeneration(createToyEngine({ sequences, contextLength: 48 }))
        const heard = many.map((): Piece[] => [])
        const ended: number[] = []
        const options: BatchOptions = {
          maxTokens: 12,
          temperature,
          seed: 5,
          speculative,
          adapter,
          onPiece: (index, piece) => void heard[index]!.push(piece),
          onAnswer: (index) => void ended.push(index),
        }
        const summaries = await batch(toy, many, options)
        expect(heard).toEqual(many.map((prompt, index) => wanted(prompt, options, index)))
        expect(summaries.map(({ tokens }) => tokens)).toEqual(
          heard.map((pieces) => pieces.map((piece) => piece.token)),
        )
        expect(ended.toSorted((a, b) => a - b)).toEqual(many.map((_, i) => i))
        expect(toy.scheduler.active()).toBe(0)
      },
    ),
    { numRuns: 200 },
  )
})

describe('sharing runs', () => {
  const MANY = Array.from({ length: 8 }, (_, i) => [1, i % TOY_VOCABULARY, 2])

  test('four sequences take a quarter of the decoding runs', async () => {
    const engine = createToyEngine({ sequences: 4 })
    await batch(toyGeneration(engine), MANY, { maxTokens: 21, temperature: 0, speculative: false })
    const decoding = engine.runs.filter(({ kind }) => kind === 'choices')
    const rows = decoding.reduce((sum, run) => sum + run.rows.length, 0)
    expect(rows).toBe(8 * 20)
    // Two rounds of 20 steps; a few more while one prompt still waits for its first token.
    expect(decoding.length).toBeLessThanOrEqual(48)
    expect(Math.max(...decoding.map((run) => run.rows.length))).toBe(4)
  })

  test('an answer that ends makes room for the next prompt', async () => {
    const engine = createToyEngine({ sequences: 2, contextLength: 64 })
    // The first prompt leaves room for two tokens only, the others for many.
    const long = Array.from({ length: 62 }, (_, i) => i % 3)
    await batch(toyGeneration(engine), [long, [1], [2], [3]], { maxTokens: 20, speculative: false })
    const shared = engine.runs.filter(({ kind, rows }) => kind === 'choices' && rows.length === 2)
    // 1 + 19 of the first three prompts' 39 decoding steps can be shared; the fourth has nobody left.
    expect(shared.length).toBeGreaterThanOrEqual(18)
  })

  test('each prompt goes to the sequence that holds its beginning', async () => {
    const toy = toyGeneration(createToyEngine({ sequences: 2, contextLength: 64 }))
    const [a, b] = [
      Array.from({ length: 30 }, (_, i) => i % 5),
      Array.from({ length: 30 }, (_, i) => 6 - (i % 4)),
    ]
    const asked = { maxTokens: 2, temperature: 0 }
    await batch(toy, [a, b], asked)
    const engine = toy.scheduler.engine as ReturnType<typeof createToyEngine>
    engine.runs.length = 0
    await batch(
      toy,
      [
        [...b, 1],
        [...a, 1],
      ],
      asked,
    )
    expect(engine.runs.flatMap(({ rows }) => rows).length).toBeLessThan(8)
  })

  test('different sampling is not mixed', async () => {
    const engine = createToyEngine({ sequences: 2 })
    const toy = toyGeneration(engine)
    const options = [0, 1].map((temperature) => ({ temperature, maxTokens: 10, seed: 1, speculative: false }))
    const both = await Promise.all(options.map((one) => batch(toy, [[1, 2]], one)))
    both.forEach(([summary], i) => {
      const pieces = toyAnswer([1, 2], resolveOptions(options[i]!, GREEDY_DEFAULTS)).pieces
      expect(summary!.tokens).toEqual(pieces.map((piece) => piece.token))
    })
    expect(Math.max(...engine.runs.filter((r) => r.kind === 'choices').map((r) => r.rows.length))).toBe(1)
  })
})

describe('failures', () => {
  const code = (promise: Promise<unknown>): Promise<unknown> =>
    promise.then(
      () => undefined,
      (error: unknown) => (error instanceof GemmaError ? error.code : (error as Error).message),
    )

  test('a bad prompt is refused before anything runs', async () => {
    const engine = createToyEngine({ sequences: 2 })
    expect(await code(batch(toyGeneration(engine), [[1], []], {}))).toBe('usage')
    expect(await code(batch(toyGeneration(engine), [[1], new Array(64).fill(1)], {}))).toBe('context')
    expect(engine.runs).toEqual([])
  })

  test('an abort ends all; the model serves on', async () => {
    const toy = toyGeneration(createToyEngine({ sequences: 3 }))
    const controller = new AbortController()
    let pieces = 0
    const running = batch(toy, [[1], [2], [3], [4]], {
      signal: controller.signal,
      onPiece: () => void (++pieces === 10 && controller.abort()),
    })
    expect(await code(running)).toBe('aborted')
    expect(pieces).toBeLessThan(20)
    expect(toy.scheduler.active()).toBe(0)
    const [summary] = await batch(toy, [[1]], { maxTokens: 5 })
    expect(summary!.tokens).toEqual(wanted([1], { maxTokens: 5, seed: 0 }, 0).map(({ token }) => token))
    expect(await code(batch(toy, [[1]], { signal: controller.signal }))).toBe('aborted')
  })

  test("the cause is told, not the others' end", async () => {
    const engine = createToyEngine({ sequences: 3 })
    let runs = 0
    const broken = {
      ...engine,
      run: (...args: Parameters<typeof engine.run>) => {
        if (++runs > 6) throw new Error('the machine is on fire')
        return engine.run(...args)
      },
    }
    expect(await code(batch(toyGeneration(broken), [[1], [2], [3], [4]], {}))).toBe('the machine is on fire')
  })

  test('a listener that throws ends the batch with its error', async () => {
    const toy = toyGeneration(createToyEngine({ sequences: 2 }))
    const onPiece = (): never => {
      throw new Error('no more')
    }
    expect(await code(batch(toy, [[1], [2], [3]], { onPiece }))).toBe('no more')
    expect(toy.scheduler.active()).toBe(0)
  })
})
