// From files to rows: nothing is lost or doubled, shares hold, and the same comes again.

import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readAll } from './open.node.ts'
import {
  documentsOf,
  drain,
  errorOf,
  jsonLines,
  type Options,
  open,
  someLengths,
  testDirectory,
  tokenizer,
  tokenRecords,
} from './testing/fixtures.ts'
import type { DataStage } from './training-data.ts'
import type { TrainingRows } from './training-rows.ts'

const sorted = (documents: readonly number[][]): string[] => documents.map((one) => one.join(' ')).sort()
const order = (runs: readonly TrainingRows[]): string[] => documentsOf(runs).map((one) => one.join(' '))

describe('one pass', () => {
  test('gives each token of each document exactly once, with right positions and targets', async () => {
    const write = testDirectory()
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 3, max: 40 }), { minLength: 1, maxLength: 400 }),
        fc.record({
          rows: fc.integer({ min: 40, max: 80 }),
          packing: fc.boolean(),
          seed: fc.nat(),
          shuffleWindow: fc.integer({ min: 1, max: 100 }),
          order: fc.constantFrom('shuffled' as const, 'sequential' as const),
        }),
        fc.integer({ min: 0, max: 400 }),
        async (lengths, options, cut) => {
          const records = tokenRecords(lengths)
          const one = write('1.jsonl', jsonLines(records.slice(0, cut)))
          const two = write('2.jsonl.gz', gzipSync(jsonLines(records.slice(cut))))
          const files = [one, two]
          const data = await open({
            sources: [{ name: 'a', files, epochs: 1 }],
            contextLength: 40,
            ...options,
          })
          const runs = await drain(data)
          expect(sorted(documentsOf(runs))).toEqual(sorted(records.map(({ tokens }) => tokens)))
          let targets = 0
          for (const { tokens, positions, sequences, targets: predicted } of runs) {
            expect(tokens.length).toBeLessThanOrEqual(options.rows)
            if (!options.packing) expect(new Set(sequences).size).toBe(1)
            for (let i = 0; i < tokens.length; i++) {
              const begins = i === 0 || sequences[i] !== sequences[i - 1]
              expect(positions[i]).toBe(begins ? 0 : positions[i - 1]! + 1)
              const last = i + 1 === tokens.length || sequences[i + 1] !== sequences[i]
              expect(predicted[i]).toBe(last ? -1 : tokens[i + 1])
              if (!last) targets++
            }
          }
          const tokens = lengths.reduce((a, b) => a + b)
          expect(data.counts()).toMatchObject({
            documents: lengths.length,
            documentsRead: lengths.length,
            records: lengths.length,
            badRecords: 0,
            tokens,
            targets,
            runs: runs.length,
            fill: tokens / (runs.length * options.rows),
          })
        },
      ),
      { numRuns: 40 },
    )
  })

  test('fills runs nearly to the edge', async () => {
    const path = testDirectory()('a.jsonl', jsonLines(tokenRecords(someLengths(4000, 250))))
    const data = await open({ sources: [{ name: 'a', files: [path] }], rows: 512, contextLength: 512 })
    await drain(data, 320)
    expect(data.counts().fill).toBeGreaterThan(0.99)
    const single = await open({ sources: [{ name: 'a', files: [path] }], rows: 512, packing: false })
    await drain(single, 320)
    expect(single.counts().fill).toBeLessThan(0.25)
  })

  test('in sequence keeps the order of files and lines; readAll is that', async () => {
    const write = testDirectory()
    const records = tokenRecords(someLengths(700, 60))
    const files = [0, 350].map((at) => write(`${at}.jsonl`, jsonLines(records.slice(at, at + 350))))
    const expected = records.map(({ tokens }) => tokens.join(' '))
    const source = { name: 'a', files }
    const all: TrainingRows[] = []
    for await (const rows of readAll({ source, tokenizer, rows: 64, contextLength: 64 })) all.push(rows)
    expect(order(all)).toEqual(expected)
    const sequential = await open({
      sources: [{ ...source, epochs: 1 }],
      order: 'sequential',
      packing: false,
    })
    expect(order(await drain(sequential))).toEqual(expected)
    const kept = await open({ sources: [{ ...source, epochs: 1 }], shuffleWindow: 1 })
    const own = order(await drain(kept))
    expect(own).not.toEqual(expected)
    expect(own.sort()).toEqual(expected.sort())
  })
})

describe('shuffling', () => {
  const path = (records: readonly unknown[]): string => testDirectory()('a.jsonl', jsonLines(records))

  test('follows from the seed, and each pass has an order of its own', async () => {
    const records = tokenRecords(someLengths(300, 30))
    const files = [path(records)]
    const passes = async (seed: number): Promise<string[][]> => {
      const data = await open({ sources: [{ name: 'a', files, epochs: 3 }], packing: false, seed })
      const all = order(await drain(data))
      return [0, 300, 600].map((at) => all.slice(at, at + 300))
    }
    const first = await passes(1)
    expect(await passes(1)).toEqual(first)
    const orders = [...first, ...(await passes(2))].map((pass) => pass.join())
    expect(new Set(orders).size).toBe(6)
    // Windows of runs reach over the border of two passes, so only all of them together are whole.
    const documents = sorted(records.map(({ tokens }) => tokens))
    expect(first.flat().sort()).toEqual([...documents, ...documents, ...documents].sort())
  })

  test('moves documents about as far as the window', async () => {
    const records = tokenRecords(new Array(1000).fill(4))
    const files = [path(records)]
    const places = async (shuffleWindow: number): Promise<number> => {
      const data = await open({ sources: [{ name: 'a', files, epochs: 1 }], packing: false, shuffleWindow })
      const all = order(await drain(data))
      const moved = records.map(({ tokens }, i) => Math.abs(all.indexOf(tokens.join(' ')) - i))
      return moved.reduce((a, b) => a + b) / 1000
    }
    // Two places drawn from n are n/3 apart on average.
    expect(await places(1000)).toBeGreaterThan(250)
    const near = await places(100)
    expect(near).toBeGreaterThan(20)
    expect(near).toBeLessThan(60)
  })
})

describe('too long documents', () => {
  const text = 'one two three four five six seven eight nine ten eleven twelve'
  const chat = {
    messages: [
      { role: 'user', content: text },
      { role: 'assistant', content: `${text} ${text}` },
    ],
  }
  const run = async (record: unknown, options: Partial<Options> = {}) => {
    const files = [testDirectory()('a.jsonl', jsonLines([record, record, ...Array(3).fill(short(record))]))]
    const data = await open({
      sources: [{ name: 'a', files, epochs: 1 }],
      rows: 24,
      contextLength: 12,
      order: 'sequential',
      ...options,
    })
    return { documents: documentsOf(await drain(data)), counts: data.counts() }
  }
  const short = (record: unknown): unknown =>
    record === chat
      ? {
          prompt: 'a',
          completion: 'b',
          messages: [
            { role: 'user', content: 'a' },
            { role: 'model', content: 'b' },
          ],
        }
      : { text: 'a' }

  test('are split by default, every piece with <bos> in front and every token once', async () => {
    const { documents, counts } = await run({ text })
    const whole = [...tokenizer.encode(text), tokenizer.eosId]
    const pieces = Math.ceil(whole.length / 11)
    expect(documents.slice(0, pieces).flatMap((piece) => piece.slice(1))).toEqual(whole)
    for (const piece of documents) expect(piece[0]).toBe(tokenizer.bosId)
    expect(counts).toMatchObject({ split: 2, records: 5, documents: 2 * pieces + 3, dropped: 0 })
  })

  test('are cut, dropped or an error where that is asked', async () => {
    const cut = await run({ text }, { tooLong: 'truncate' })
    expect(cut.documents[0]).toEqual(tokenizer.encodePrompt(text).slice(0, 12))
    expect(cut.counts).toMatchObject({ truncated: 2, documents: 5 })
    expect((await run({ text }, { tooLong: 'drop' })).counts).toMatchObject({ dropped: 2, documents: 3 })
    const error = await errorOf(() => run({ text }, { tooLong: 'error' }))
    expect(error.code).toBe('data')
    expect(error.message).toMatch(/a\.jsonl:1: the document has \d+ tokens; a run takes 12/)
  })

  test('of conversations are dropped whole by default', async () => {
    const files = [
      testDirectory()(
        'a.jsonl',
        jsonLines([
          chat,
          {
            messages: [
              { role: 'user', content: 'a' },
              { role: 'model', content: 'b' },
            ],
          },
        ]),
      ),
    ]
    const sources = [{ name: 'a', files, epochs: 1 }]
    const data = await open({ sources, rows: 20, contextLength: 20 })
    expect(documentsOf(await drain(data)).length).toBe(1)
    expect(data.counts()).toMatchObject({ dropped: 1, split: 0, truncated: 0 })
    const cut = await open({ sources: [{ ...sources[0]!, tooLong: 'split' }], rows: 20, contextLength: 20 })
    await drain(cut)
    // The first three pieces hold nothing but the question.
    expect(cut.counts()).toMatchObject({ split: 1, piecesLeftOut: 3 })
  })

  test('that leave nothing are told', async () => {
    const files = [testDirectory()('a.jsonl', jsonLines([chat, chat]))]
    const data = await open({ sources: [{ name: 'a', files }], rows: 20 })
    const error = await errorOf(() => data.next(0))
    expect(error.message).toContain('holds nothing to learn from: 2 records; 2 are longer than 20 tokens')
    await data.close()
  })
})

describe('mixtures', () => {
  const sourcesOf = (): { name: string; files: string[] }[] => {
    const write = testDirectory()
    return ['web', 'code', 'maths'].map((name, i) => {
      // Lengths differ much between the sources; the second token tells which one a document is from.
      const lengths = someLengths(200, [60, 12, 30][i]!)
      const records = lengths.map((length) => ({ tokens: [2, 100 + i, ...new Array(length).fill(9)] }))
      return { name, files: [write(`${name}.jsonl`, jsonLines(records))] }
    })
  }
  const sharesOf = (runs: readonly TrainingRows[]): number[] => {
    const tokens = [0, 0, 0]
    for (const document of documentsOf(runs)) tokens[document[1]! - 100]! += document.length
    const sum = tokens.reduce((a, b) => a + b)
    return tokens.map((count) => count / sum)
  }

  test('hold shares by tokens, not by documents', async () => {
    const [web, code, maths] = sourcesOf()
    const sources = [
      { ...web!, weight: 5 },
      { ...code!, weight: 3 },
      { ...maths!, weight: 2 },
    ]
    const data = await open({ sources })
    const shares = sharesOf(await drain(data, 1000))
    for (const [i, share] of [0.5, 0.3, 0.2].entries()) expect(shares[i]).toBeCloseTo(share, 2)
    const { sources: counted, tokens } = data.counts()
    expect(counted.code!.tokens / tokens).toBeCloseTo(0.3, 2)
    expect(counted.code!.epoch).toBeGreaterThan(counted.web!.epoch)
  })

  test('change with progress where a stage ends, by the run', async () => {
    const stages: DataStage[] = [
      { until: 0.5, weights: { web: 1 } },
      { until: 0.8, weights: { web: 1, code: 1 } },
      { until: 1, weights: { maths: 1 } },
    ]
    const total = 400
    const runs = await drain(await open({ sources: sourcesOf(), stages }), total, (run) => run / total)
    const stageOf = (from: number, to: number): number[] => sharesOf(runs.slice(from * total, to * total))
    expect(stageOf(0, 0.5)).toEqual([1, 0, 0])
    const middle = stageOf(0.5, 0.8)
    expect(middle[0]).toBeCloseTo(0.5, 1)
    expect(middle[2]).toBe(0)
    expect(stageOf(0.8, 1)).toEqual([0, 0, 1])
  })

  test('go on with the others when a source has had its passes, and end when all have', async () => {
    const [web, code] = sourcesOf()
    const data = await open({
      sources: [
        { ...web!, epochs: 1 },
        { ...code!, epochs: 4, weight: 0.1 },
      ],
    })
    await drain(data)
    expect(data.counts()).toMatchObject({ documents: 200 + 800 })
    expect(await errorOf(() => data.next(0))).toMatchObject({ code: 'disposed' })
  })

  test('end where the sources of a stage have, though others have not', async () => {
    const [web, code] = sourcesOf()
    const stages: DataStage[] = [
      { until: 0.5, weights: { web: 1 } },
      { until: 1, weights: { code: 1 } },
    ]
    const data = await open({ sources: [{ ...web!, epochs: 1 }, code!], stages })
    while ((await data.next(0.4)) !== undefined);
    expect(await data.next(0.4)).toBeUndefined()
    expect(documentsOf([(await data.next(0.6))!])[0]![1]).toBe(101)
    await data.close()
  })
})
