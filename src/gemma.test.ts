// Generation on real (tiny) models: what drafts, batches, reused prefixes, rings and interruptions must not change.

import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { expectedOf, largestDifference, MODELS, modelPath, PROMPTS } from '../test/goldens.ts'
import { GemmaError } from './error.ts'
import type { GenerateOptions, Piece, Summary } from './generate/options.ts'
import { Gemma } from './index.ts'

interface Outcome {
  readonly tokens: number[]
  readonly logprobs: number[]
  readonly summary: Summary
}

async function answer(
  gemma: Gemma,
  prompt: string | readonly number[],
  options: GenerateOptions = {},
): Promise<Outcome> {
  const pieces: Piece[] = []
  const running = gemma.generate(prompt, { temperature: 0, stopTokens: [], ...options })
  for (;;) {
    const { value, done } = await running.next()
    if (done) {
      return {
        tokens: pieces.map(({ token }) => token),
        logprobs: pieces.map(({ logprob }) => logprob),
        summary: value,
      }
    }
    pieces.push(value)
  }
}

/** A golden model whose positions reach further, so that the rings of its sliding layers come round. */
async function stretched(name: string): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'gemma-stretched-'))
  onTestFinished(() => rm(directory, { recursive: true }))
  await cp(modelPath(name), directory, { recursive: true })
  const path = join(directory, 'config.json')
  const config = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>
  await writeFile(path, JSON.stringify({ ...config, max_position_embeddings: 4096 }))
  return directory
}

/** Empties a cache of one sequence: how much of a prompt is computed anew moves the last bits of its results. */
async function forget(gemma: Gemma): Promise<void> {
  await gemma.score([473])
}

const idsOf = (name: string, prompt = 'long'): number[] => expectedOf(name).prompts[prompt]!.ids

/** The golden prompt twice over: a text that repeats itself, up to a place in its middle. */
const repeating = (name: string): number[] => [...idsOf(name), ...idsOf(name).slice(1, 40)]

/** Ordinary tokens in no order. */
const noise = (count: number, seed = 1): number[] =>
  Array.from({ length: count }, (_, i) => (i === 0 ? 2 : 473 + ((i * i * 31 + i * 97 * seed) % 500)))

describe.each(MODELS)('drafts on %s', (name) => {
  test('greedy text in float32 is the golden one', async () => {
    await using gemma = await Gemma.load(modelPath(name), { dtype: 'f32', threads: 2 })
    for (const prompt of PROMPTS) {
      const { ids, greedy } = expectedOf(name).prompts[prompt]!
      const { tokens, logprobs } = await answer(gemma, ids, { maxTokens: 32, speculative: true })
      expect(tokens).toEqual(greedy.ids)
      expect(largestDifference(greedy.logprobs, logprobs)).toBeLessThan(1e-4)
    }
    const asked = { maxTokens: 60 }
    const plain = await answer(gemma, repeating(name), { ...asked, speculative: false })
    const drafted = await answer(gemma, repeating(name), { ...asked, speculative: true })
    expect(drafted.tokens).toEqual(plain.tokens)
    expect(drafted.summary.drafts.offered).toBeGreaterThan(0)
  })

  test.each(['int8', 'int4'] as const)('every bit is the same in %s, greedy and sampled', async (dtype) => {
    await using gemma = await Gemma.load(modelPath(name), { dtype, threads: 2 })
    let accepted = 0
    for (const prompt of [repeating(name), idsOf(name, 'short')]) {
      for (const asked of [
        {},
        { temperature: 0.4, seed: 3 },
        { temperature: 0.7, topK: 20, topP: 0.8, seed: 4 },
      ]) {
        const outcomes: Outcome[] = []
        for (const speculative of [false, true, 'auto'] as const) {
          await forget(gemma)
          outcomes.push(await answer(gemma, prompt, { ...asked, maxTokens: 40, speculative }))
        }
        const [plain, ...drafted] = outcomes
        for (const { tokens, logprobs, summary } of drafted) {
          expect(tokens).toEqual(plain!.tokens)
          expect(logprobs).toEqual(plain!.logprobs)
          accepted += summary.drafts.accepted
        }
      }
    }
    expect(accepted).toBeGreaterThan(0)
  })
})

describe.each(MODELS)('several sequences on %s', (name) => {
  test('a batch gives what single generations give', async () => {
    const prompts = [
      ...PROMPTS.map((prompt) => idsOf(name, prompt)),
      ...[1, 2, 3, 4].map((s) => noise(20 + s, s)),
    ]
    await using single = await Gemma.load(modelPath(name), { dtype: 'int8', threads: 2 })
    await using gemma = await Gemma.load(modelPath(name), { dtype: 'int8', threads: 2, sequences: 3 })
    expect(gemma.sequences).toBe(3)
    for (const temperature of [0, 0.8]) {
      const asked = { temperature, maxTokens: 20, seed: 11, stopTokens: [], speculative: false }
      const pieces = prompts.map((): Piece[] => [])
      const summaries = await gemma.generateBatch(prompts, {
        ...asked,
        onPiece: (index, piece) => void pieces[index]!.push(piece),
      })
      for (const [index, prompt] of prompts.entries()) {
        const alone = await answer(single, prompt, { ...asked, seed: 11 + index })
        expect(summaries[index]!.tokens).toEqual(alone.tokens)
        const logprobs = pieces[index]!.map(({ logprob }) => logprob)
        expect(largestDifference(alone.logprobs, logprobs)).toBeLessThan(1e-5)
        expect(summaries[index]!.finishReason).toBe('length')
      }
    }
  })

  test('in float32 a batch gives the golden texts', async () => {
    await using gemma = await Gemma.load(modelPath(name), { dtype: 'f32', threads: 2, sequences: 3 })
    const prompts = PROMPTS.map((prompt) => idsOf(name, prompt))
    const summaries = await gemma.generateBatch(prompts, { maxTokens: 32, temperature: 0 })
    expect(summaries.map(({ tokens }) => tokens)).toEqual(
      PROMPTS.map((prompt) => expectedOf(name).prompts[prompt]!.greedy.ids),
    )
  })
})

describe.each(['gemma2', 'gemma3'])('the cache of %s', (name) => {
  test('two generations at once do not disturb each other, on one sequence or on two', async () => {
    const prompts = [idsOf(name, 'long'), idsOf(name, 'short')]
    const wanted = [expectedOf(name).prompts.long!.greedy.ids, expectedOf(name).prompts.short!.greedy.ids]
    for (const sequences of [1, 2]) {
      await using gemma = await Gemma.load(modelPath(name), { dtype: 'f32', threads: 2, sequences })
      const both = await Promise.all(prompts.map((prompt) => answer(gemma, prompt, { maxTokens: 32 })))
      expect(both.map(({ tokens }) => tokens)).toEqual(wanted)
      // One after the other, token by token.
      const [a, b] = prompts.map((prompt) =>
        gemma.generate(prompt, { temperature: 0, maxTokens: 6, stopTokens: [] }),
      )
      const tokens: [number[], number[]] = [[], []]
      for (let i = 0; i < 6; i++) {
        tokens[0].push(((await a!.next()).value as Piece).token)
        tokens[1].push(((await b!.next()).value as Piece).token)
      }
      expect(tokens).toEqual(wanted.map((ids) => ids.slice(0, 6)))
    }
  })

  test('a conversation that grows computes only what is new', async () => {
    await using gemma = await Gemma.load(modelPath(name), { dtype: 'f32', threads: 2 })
    const heard: number[] = []
    const asked = { maxTokens: 8, onPrompt: (done: number) => void heard.push(done) }
    const first = await answer(gemma, noise(50), asked)
    const grown = [...noise(50), ...first.tokens, ...noise(20, 5).slice(1)]
    const second = await answer(gemma, grown, asked)
    // The last token of the first answer was drawn, but never run.
    expect(heard).toEqual([0, 57])
    await using fresh = await Gemma.load(modelPath(name), { dtype: 'f32', threads: 2 })
    const again = await answer(fresh, grown, { maxTokens: 8 })
    expect(second.tokens).toEqual(again.tokens)
    expect(largestDifference(second.logprobs, again.logprobs)).toBeLessThan(1e-4)
  })

  test('a ring that has forgotten the beginning is filled anew, one that has not is used', async () => {
    const source = await stretched(name)
    await using gemma = await Gemma.load(source, { dtype: 'f32', threads: 2, contextLength: 2048 })
    await using fresh = await Gemma.load(source, { dtype: 'f32', threads: 2, contextLength: 2048 })
    const text = noise(1400)
    const other = noise(9, 7).slice(1)
    // [tokens kept of the text, whether the rings still hold the window before them]
    for (const [kept, holds] of [
      [1395, true],
      [1300, true],
      [700, false],
      [100, false],
    ] as const) {
      await answer(gemma, text, { maxTokens: 5 })
      const heard: number[] = []
      const turned = [...text.slice(0, kept), ...other]
      const reused = await answer(gemma, turned, {
        maxTokens: 5,
        speculative: true,
        onPrompt: (done) => void heard.push(done),
      })
      expect(heard[0]).toBe(holds ? kept : 0)
      // A score starts from nothing, whatever was cached before.
      const { logprobs } = await fresh.score([...turned, ...reused.tokens])
      expect(largestDifference(logprobs.slice(-5) as number[], reused.logprobs)).toBeLessThan(1e-4)
    }
  })

  test('drafts on a ring that has come round', async () => {
    const source = await stretched(name)
    await using gemma = await Gemma.load(source, { dtype: 'int8', threads: 2, contextLength: 2048 })
    const text = [...noise(400), ...noise(400).slice(1), ...noise(60).slice(1)]
    const plain = await answer(gemma, text, { maxTokens: 60, speculative: false })
    const drafted = await answer(gemma, text, { maxTokens: 60, speculative: true })
    expect(drafted.tokens).toEqual(plain.tokens)
    expect(drafted.summary.drafts.offered).toBeGreaterThan(0)
    expect(largestDifference(plain.logprobs, drafted.logprobs)).toBeLessThan(1e-4)
  })

  test('an abort in the prompt keeps what was done', async () => {
    const source = await stretched(name)
    await using gemma = await Gemma.load(source, { dtype: 'f32', threads: 2, contextLength: 2048 })
    const controller = new AbortController()
    const heard: number[] = []
    const stopped = answer(gemma, noise(1600), {
      signal: controller.signal,
      onPrompt(done) {
        heard.push(done)
        if (done >= 1024) controller.abort()
      },
    })
    await expect(stopped).rejects.toMatchObject({ code: 'aborted' })
    expect(heard).toEqual([0, 512, 1024])
    const again = await answer(gemma, noise(1600), {
      maxTokens: 4,
      onPrompt: (done) => void heard.push(done),
    })
    expect(heard.slice(3)[0]).toBe(1024)
    const { logprobs } = await gemma.score([...noise(1600), ...again.tokens])
    expect(largestDifference(logprobs.slice(-4) as number[], again.logprobs)).toBeLessThan(1e-4)
  })
})

describe('limits and sums', () => {
  const name = 'gemma1-mqa'

  test('log-probabilities of an answer add up to its score', async () => {
    await using gemma = await Gemma.load(modelPath(name), { dtype: 'f32', threads: 2, sequences: 2 })
    for (const temperature of [0, 1]) {
      const prompt = idsOf(name, 'short')
      const { tokens, logprobs } = await answer(gemma, prompt, { maxTokens: 30, temperature, seed: 9 })
      const { sum, greedy } = await gemma.score([...prompt, ...tokens], { from: prompt.length })
      expect(Math.abs(sum - logprobs.reduce((a, b) => a + b, 0))).toBeLessThan(1e-3)
      expect(greedy).toBe(temperature === 0)
    }
  })

  test('the answer ends with the context, drafted or not', async () => {
    await using gemma = await Gemma.load(modelPath(name), { dtype: 'int8', threads: 2, contextLength: 100 })
    for (const speculative of [false, true]) {
      const { tokens, summary } = await answer(gemma, noise(70), { speculative })
      expect(tokens).toHaveLength(30)
      expect(summary).toMatchObject({ finishReason: 'context', context: { used: 100, length: 100 } })
    }
    await expect(answer(gemma, noise(100))).rejects.toMatchObject({ code: 'context' })
    await expect(answer(gemma, [])).rejects.toMatchObject({ code: 'usage' })
    expect((await answer(gemma, '', { maxTokens: 1 })).summary.usage.promptTokens).toBe(1)
  })

  test('chat leaves out the oldest turns and goes on', async () => {
    await using gemma = await Gemma.load(modelPath(name), { dtype: 'int8', threads: 2, contextLength: 200 })
    const turns = Array.from({ length: 21 }, (_, i) => ({
      role: i % 2 === 0 ? ('user' as const) : ('assistant' as const),
      content: 'one two three four five',
    }))
    const dropped: number[] = []
    let text = ''
    const options = { maxTokens: 5, temperature: 0, onDropped: (count: number) => void dropped.push(count) }
    for await (const part of gemma.chat(turns, options)) text += part
    expect(dropped).toHaveLength(1)
    expect(dropped[0]! % 2).toBe(0)
    let short = ''
    for await (const part of gemma.chat(turns.slice(dropped[0]), options)) short += part
    expect(short).toBe(text)
    expect(dropped).toHaveLength(1)
  })

  test('leaving a chat early gives its session back', async () => {
    await using gemma = await Gemma.load(modelPath(name), { dtype: 'int8', threads: 2 })
    for await (const _ of gemma.chat([{ role: 'user', content: 'Hello' }], { temperature: 0 })) break
    const { tokens } = await answer(gemma, idsOf(name, 'short'), { maxTokens: 5 })
    expect(tokens).toHaveLength(5)
  })

  test('sequences out of range are refused, and their caches are counted', async () => {
    for (const sequences of [0, 17, 1.5]) {
      const loading = Gemma.load(modelPath(name), { sequences })
      await expect(loading).rejects.toBeInstanceOf(GemmaError)
      await expect(loading).rejects.toMatchObject({ code: 'usage' })
    }
    await using one = await Gemma.load(modelPath(name), { threads: 1 })
    await using four = await Gemma.load(modelPath(name), { threads: 1, sequences: 4 })
    expect(four.memory().caches).toBe(4 * one.memory().caches)
  })

  test('generating after dispose is refused', async () => {
    const gemma = await Gemma.load(modelPath(name), { threads: 1 })
    await gemma.dispose()
    await expect(answer(gemma, [2])).rejects.toMatchObject({ code: 'disposed' })
    await expect(gemma.generateBatch([[2]])).rejects.toMatchObject({ code: 'disposed' })
  })
})
