// What is told, and when reading stops: bad records and options that cannot be.

import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { openTrainingData } from './open.node.ts'
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
import type { TrainingRows } from './training-rows.ts'

describe('bad records', () => {
  const good = { text: 'fine' }
  const filesOf = (lines: readonly string[]): string[] => [testDirectory()('a.jsonl', lines.join('\n'))]
  const lines = (count: number, bad: (i: number) => string | undefined): string[] =>
    Array.from({ length: count }, (_, i) => bad(i) ?? JSON.stringify(good))

  test('are counted by reason and named by file and line, once and not in every pass', async () => {
    const files = filesOf(
      lines(60, (i) => (i === 2 ? '{' : i === 4 ? '' : i === 6 ? '{"text":3}' : undefined)),
    )
    const data = await open({ sources: [{ name: 'a', files, epochs: 5 }] })
    await drain(data)
    expect(data.counts()).toMatchObject({
      records: 60,
      badRecords: 3,
      badByReason: { 'not JSON': 1, empty: 1, columns: 1 },
      documents: 5 * 57,
    })
    const places = data.counts().firstBad.map((text) => text.slice(files[0]!.length))
    expect(places).toEqual([
      expect.stringMatching(/^:3: not JSON: /),
      ':5: empty: an empty line',
      ':7: columns: "text" is no text',
    ])
  })

  test('stop the reading when there are too many', async () => {
    const files = filesOf(lines(500, (i) => (i % 4 === 0 ? `{"messages": ${i}}` : undefined)))
    const source = { name: 'web', files, kind: 'text' as const }
    const many = await open({ sources: [source], maxBadRecords: 7 })
    const error = await errorOf(() => many.next(0))
    expect(error.code).toBe('data')
    expect(error.message).toContain(
      'Source "web": 8 of the first 29 records cannot be used (columns: 8); allowed are 7.',
    )
    expect(error.message).toContain(`${files[0]}:1: columns: no text (it has: messages)`)
    // Again the same, not something else.
    expect((await errorOf(() => many.next(0))).message).toBe(error.message)
    const share = await open({ sources: [source] })
    expect((await errorOf(() => share.next(0))).message).toContain('26 of the first 101 records')
    const allowed = await open({ sources: [source], maxBadRecords: 200, maxBadShare: 0.3 })
    expect((await allowed.next(0))!.tokens.length).toBeGreaterThan(0)
    await Promise.all([many, share, allowed].map((data) => data.close()))
  })

  test('do not change the kind of a source', async () => {
    const files = filesOf(['{', JSON.stringify({ messages: [] }), JSON.stringify(good), JSON.stringify(good)])
    const error = await errorOf(async () => drain(await open({ sources: [{ name: 'a', files, epochs: 1 }] })))
    expect(error.message).toContain('nothing to learn from: 4 records; 4 cannot be used')
    const none = filesOf(['{', ''])
    const nothing = await errorOf(() => open({ sources: [{ name: 'a', files: none }] }))
    expect(nothing.message).toContain('holds no record that can be read')
  })

  test('of a damaged file are not skipped', async () => {
    const zipped = gzipSync(jsonLines(tokenRecords(someLengths(500, 30))))
    const files = [testDirectory()('a.jsonl.gz', zipped.subarray(0, 900))]
    const error = await errorOf(async () => drain(await open({ sources: [{ name: 'a', files }] })))
    expect(error).toMatchObject({ code: 'file' })
    expect(error.message).toContain(`${files[0]}: the gzip data end too early`)
  })
})

describe('options', () => {
  const files = (): string[] => [testDirectory()('a.jsonl', jsonLines(tokenRecords([5, 6])))]

  test.each<[string, Partial<Options>, string]>([
    ['no sources', { sources: [] }, 'at least one source'],
    ['half a row', { rows: 10.5 }, 'rows'],
    ['one row', { rows: 1 }, 'rows'],
    ['no context', { contextLength: 0 }, 'contextLength'],
    ['a negative seed', { seed: -1 }, 'seed'],
    ['no window', { shuffleWindow: 0 }, 'shuffleWindow'],
    ['a negative limit', { maxBadRecords: -1 }, 'maxBadRecords'],
    ['a strange policy', { tooLong: 'cut' as never }, 'tooLong'],
    ['a share over one', { maxBadShare: 2 }, 'maxBadShare'],
  ])('with %s are refused', async (_name, options, words) => {
    const error = await errorOf(() => open({ sources: [{ name: 'a', files: files() }], ...options }))
    expect(error.code).toBe('usage')
    expect(error.message).toContain(words)
  })

  test('of sources are checked, too', async () => {
    const source = { name: 'a', files: files() }
    const refused = async (...sources: Options['sources']): Promise<string> => {
      const error = await errorOf(() => open({ sources }))
      return `${error.code}: ${error.message}`
    }
    expect(await refused(source, source)).toMatch(/^usage: Two sources have the same name/)
    expect(await refused({ ...source, epochs: 0 })).toMatch(/^usage: Expected epochs of source "a"/)
    expect(await refused({ ...source, kind: 'chat' as never })).toMatch(
      /^usage: Expected the kind of source "a"/,
    )
    expect(await refused({ ...source, weight: Number.NaN })).toMatch(/^usage: The weight of source "a"/)
    const text = testDirectory()('b.txt', 'text')
    expect(await refused({ name: 'a', files: [...source.files, text] })).toMatch(
      /^usage: .*b\.txt is plain text/,
    )
  })

  test('take progress from 0 to 1, calls at once in turn, and a signal', async () => {
    const controller = new AbortController()
    const sources = [{ name: 'a', files: files() }]
    const data = await open({ sources, packing: false, signal: controller.signal })
    expect((await errorOf(() => data.next(Number.NaN))).code).toBe('usage')
    const both = await Promise.all([data.next(0), data.next(0)])
    expect(
      documentsOf(both as TrainingRows[])
        .map(({ length }) => length)
        .sort(),
    ).toEqual([5, 6])
    const position = data.position()
    controller.abort()
    await data.close()
    const options = { sources, packing: false, tokenizer, rows: 64, contextLength: 64 }
    const error = await errorOf(() => openTrainingData({ ...options, signal: controller.signal, position }))
    expect(error.code).toBe('aborted')
  })
})
