// What the route of a small model keeps account with: its stages, its shares, its marks, its card.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type RunFigures, writeCard } from '../examples/micro/card.ts'
import { drawCurves, smoothed } from '../examples/micro/curves.ts'
import type { AnswerFigures, Evaluation } from '../examples/micro/evaluate.ts'
import { marksOf } from '../examples/micro/marks.ts'
import { type Gap, overall, type Share, shareOf } from '../examples/micro/measure.ts'
import { routes } from '../examples/micro/routes.ts'
import { openStages } from '../examples/micro/stages.ts'
import { DECLINE } from '../src/micro/declining.ts'

describe('stages', () => {
  let directory: string
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'gemma-stages-'))
  })
  afterAll(() => rm(directory, { recursive: true, force: true }))

  /** Walks three stages of which each says that it was done; the second may fail. */
  async function walk(folder: string, inputs: readonly unknown[], failing = false): Promise<string[]> {
    const told: string[] = []
    const stages = await openStages(join(directory, folder), (name, skipped) => {
      if (skipped) told.push(`${name} skipped`)
    })
    for (const [i, name] of ['a', 'b', 'c'].entries()) {
      const result = await stages.run(name, inputs[i], async (restart) => {
        if (failing && name === 'b') throw new Error('power cut')
        told.push(restart ? `${name} anew` : name)
        return { from: inputs[i] }
      })
      expect(result).toEqual({ from: inputs[i] })
    }
    return told
  }

  test('are done once', async () => {
    expect(await walk('once', [1, 2, 3])).toEqual(['a', 'b', 'c'])
    expect(await walk('once', [1, 2, 3])).toEqual(['a skipped', 'b skipped', 'c skipped'])
  })

  test('go on with the one that was stopped, not anew', async () => {
    await expect(walk('stopped', [1, 2, 3], true)).rejects.toThrow('power cut')
    expect(await walk('stopped', [1, 2, 3])).toEqual(['a skipped', 'b', 'c'])
  })

  test('begin anew from the first whose inputs have changed', async () => {
    await walk('changed', [1, 2, 3])
    expect(await walk('changed', [1, 'other', 3])).toEqual(['a skipped', 'b anew', 'c anew'])
  })

  test('a damaged account is no empty one', async () => {
    await walk('damaged', [1, 2, 3])
    await writeFile(join(directory, 'damaged', 'stages.json'), '{')
    await expect(walk('damaged', [1, 2, 3])).rejects.toThrow(SyntaxError)
    expect(await readFile(join(directory, 'damaged', 'stages.json'), 'utf8')).toBe('{')
  })
})

test('shares have intervals of Wilson', () => {
  const tenth = shareOf([1, 1, 1, 1, 1, 1, 1, 1, 1, 0], (one) => one === 1)
  // As R's prop.test(9, 10, correct = FALSE) has it.
  expect(tenth).toEqual({
    hits: 9,
    of: 10,
    share: 0.9,
    low: expect.closeTo(0.5958, 4),
    high: expect.closeTo(0.9821, 4),
  })
  expect(shareOf([1, 1], () => true).high).toBeCloseTo(1, 12)
  expect(shareOf([], () => true)).toMatchObject({ of: 0, low: 0, high: 1 })
})

test('gaps are put together by their tokens', () => {
  const gap = overall([
    { tokens: 100, loss: 1, entropy: 0.5 },
    { tokens: 300, loss: 2, entropy: 1 },
  ])
  expect(gap).toEqual({ tokens: 400, loss: 1.75, entropy: 0.875 })
})

test('curves are drawn within their frame', () => {
  const points = Array.from({ length: 1000 }, (_, i): [number, number] => [i + 1, 9 / (i + 1)])
  expect(smoothed(points, 100)).toHaveLength(100)
  expect(smoothed(points, 100)[0]).toEqual([10, expect.closeTo(2.636, 3)])
  const svg = drawCurves('Loss', [{ label: 'training', color: 'red', points }], {
    value: 0.5,
    label: 'entropy',
  })
  const heights = [...svg.matchAll(/[ML]\d+\.\d (\d+\.\d)/g)].map((match) => Number(match[1]))
  expect(heights.length).toBe(1000)
  expect([Math.min(...heights) >= 30, Math.max(...heights) <= 264]).toEqual([true, true])
  expect(svg).toContain('entropy')
})

describe('marks and card', () => {
  const shared = (part: number): Share =>
    shareOf(
      Array.from({ length: 1000 }, (_, i) => i),
      (i) => i < 1000 * part,
    )
  const { micro } = routes
  const families = [...micro.closedFamilies, 'stories', 'declining']
  const answers = (part: number, loss: number): AnswerFigures => ({
    ...{
      loss,
      closed: shared(1),
      formatValid: shared(1),
      right: shared(part),
      wronglyDeclined: shared(0.01),
    },
    families: Object.fromEntries(families.map((family) => [family, shared(part)])),
    tasks: { addition: shared(part) },
    drills: { 'addition again': shared(part / 2) },
  })
  const gap: Gap = { tokens: 1000, loss: 0.6, entropy: 0.5 }
  const evaluation: Evaluation = {
    route: 'micro',
    gaps: { prose: gap, code: gap },
    baseLoss: { f32: 0.6, bf16: 0.601, int8: 0.602, int4: 0.7 },
    base: { f32: answers(0, 5), bf16: answers(0, 5), int8: answers(0, 5), int4: answers(0, 5) },
    tuned: {
      f32: answers(0.95, 0.1),
      bf16: answers(0.95, 0.1),
      int8: answers(0.945, 0.101),
      int4: answers(0.9, 0.15),
    },
    samples: [
      { question: 'What is 1 + 1?', said: '1+1=2\n1+1=2', right: true },
      { question: 'Hm?', said: 'no', right: false },
    ],
    speed: { loadMs: 50, decodeTokensPerSecond: 900, prefillTokensPerSecond: 9000, threads: 2, bytes: 1.3e6 },
  }

  test('what was missed is said', () => {
    const missed = marksOf(micro, evaluation).filter(({ met }) => !met)
    expect(missed.map(({ name }) => name)).toEqual([
      "int4: rise of the documents' loss",
      'int4: fall of right answers',
    ])
    const worse = { ...evaluation, gaps: { prose: { ...gap, loss: 0.66 } } }
    expect(marksOf(micro, worse).filter(({ met }) => !met)[0]).toMatchObject({
      ...{ name: 'loss above the entropy of held-out documents', wanted: '≤ 0.15 nat/token' },
    })
  })

  test('the card holds them all, and what was measured', () => {
    const run: RunFigures = {
      steps: 10,
      tokens: 1000,
      seconds: 60,
      parameters: 1213568,
      recipe: 'stage: pretrain',
    }
    const card = writeCard(micro, {
      documents: { prose: { records: 10, tokens: 700 } },
      conversations: { pairs: { records: 5, tokens: 300 } },
      ...{ bytesPerToken: 2.3, pretrain: run, courses: [run, run], evaluation },
    })
    for (const { name } of marksOf(micro, evaluation)) expect(card).toContain(`| ${name} | `)
    expect(card).toMatch(/2 of \d+ missed/)
    expect(card).toContain('1,213,568 parameters')
    expect(card).toContain('    1+1=2\n    1+1=2\n')
    expect(card.match(/\*\(wrong\)\*/g)).toHaveLength(1)
    expect(card).toContain('| addition again | 47.5 %')
    expect(card).not.toMatch(/undefined|NaN/)
    expect(card).not.toContain('SHA-256')
  })

  test('a card says what the last course alone went on from', () => {
    const run: RunFigures = { ...{ steps: 10, tokens: 1000, seconds: 60, parameters: 1213568 }, recipe: 'a' }
    const card = writeCard(micro, {
      ...{ documents: {}, conversations: {}, bytesPerToken: 2.3, pretrain: run, courses: [run], evaluation },
      origin: { recipes: ['micro-sft.yaml', 'micro-sft-2.yaml'], sha256: 'ab12' },
    })
    expect(card).toContain('(SHA-256 ab12)')
    expect(card).toContain('`micro-sft.yaml` and `micro-sft-2.yaml`')
    expect(card.match(/!\[loss of fine-tuning\]\((.*)\)/)?.[1]).toBe('sft-3.svg')
  })
})

describe('answers are judged', () => {
  test('of micro by its checkers', () => {
    const question = { task: 'addition', family: 'sums', question: 'What is 1 + 2?', answer: '1+2=3\n1+2=3' }
    const { judge } = routes.micro
    expect(judge(question, question.answer)).toEqual({ right: true, formatValid: true, declined: false })
    expect(judge(question, '1+2=4\n1+2=4')).toEqual({ right: false, formatValid: true, declined: false })
    expect(judge(question, DECLINE)).toEqual({ right: false, formatValid: true, declined: true })
    expect(judge(question, 'three')).toEqual({ right: false, formatValid: false, declined: false })
  })

  test('of nano by the one right answer', () => {
    const question = {
      task: 'repeat',
      family: 'repeat',
      question: 'Say: …',
      answer: 'a red hat and a big box',
    }
    const { judge } = routes.nano
    expect(judge(question, question.answer)).toMatchObject({ right: true, formatValid: true })
    expect(judge(question, 'a red hat and a big hat')).toMatchObject({ right: false, formatValid: true })
    expect(judge(question, 'a hat')).toMatchObject({ right: false, formatValid: false })
  })
})
