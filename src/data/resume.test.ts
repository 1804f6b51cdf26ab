// Going on from a position gives exactly the rows that would have come; a position of other data is refused.

import { writeFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { drain, errorOf, type Options, open, testDirectory, tokenizer } from './testing/fixtures.ts'
import type { DataPosition, TrainingData } from './training-data.ts'
import type { TrainingRows } from './training-rows.ts'

/** Texts of about so many words, all different, with a broken line now and then. */
function lines(count: number, words: number, word: string): string {
  const record = (i: number): string =>
    i % 97 === 13
      ? '{"text":'
      : JSON.stringify({ text: `${word} ${i}${` ${word}`.repeat((i * 31) % words)}` })
  return Array.from({ length: count }, (_, i) => `${record(i)}\n`).join('')
}

function mixture(): Options {
  const write = testDirectory()
  const web = [0, 1, 2].map((i) => write(`web${i}.jsonl`, lines(150, 12, `w${i}`)))
  return {
    sources: [
      { name: 'web', files: web },
      { name: 'code', files: [write('code.jsonl.gz', gzipSync(lines(120, 5, 'x = 1;')))] },
      { name: 'maths', files: [write('maths.txt', 'One and one is two. '.repeat(60))] },
    ],
    stages: [
      { until: 0.7, weights: { web: 3, code: 1 } },
      { until: 1, weights: { web: 1, code: 1, maths: 1 } },
    ],
    shuffleWindow: 70,
    seed: 5,
  }
}

const TOTAL = 150
const progress = (run: number): number => Math.min(1, run / TOTAL)

/** The runs from `from` on, with the position and counts before each. */
async function record(data: TrainingData, from: number, to: number) {
  const steps: { rows: TrainingRows | undefined; position: DataPosition; counts: unknown }[] = []
  for (let run = from; run < to; run++) {
    const before = { position: JSON.parse(JSON.stringify(data.position())), counts: data.counts() }
    steps.push({ ...before, rows: await data.next(progress(run)) })
  }
  await data.close()
  return steps
}

describe('resuming', () => {
  test('at every run gives the rows, positions and counts of the uninterrupted training', async () => {
    const options = mixture()
    const whole = await record(await open(options), 0, TOTAL)
    expect(whole.at(-1)!.counts).toMatchObject({ badRecords: 8 })
    expect(new Set(whole.map(({ position }) => position.window.index)).size).toBeGreaterThan(3)
    for (let at = 0; at < TOTAL; at++) {
      const data = await open({ ...options, position: whole[at]!.position })
      expect(await record(data, at, Math.min(TOTAL, at + 2))).toEqual(whole.slice(at, at + 2))
    }
    for (const at of [1, 70, 130]) {
      const data = await open({ ...options, position: whole[at]!.position })
      expect(await record(data, at, TOTAL)).toEqual(whole.slice(at))
    }
  })

  test('again and again, with any options, gives what comes without', async () => {
    const write = testDirectory()
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          packing: fc.boolean(),
          shuffleWindow: fc.constantFrom(1, 7, 50, 1000),
          order: fc.constantFrom('shuffled' as const, 'sequential' as const),
          seed: fc.nat({ max: 9 }),
          rows: fc.integer({ min: 16, max: 40 }),
        }),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 4 }),
        fc.constantFrom(1, 3),
        async (options, stretches, epochs) => {
          const sources = [
            { name: 'a', files: [write('a.jsonl', lines(60, 20, 'a'))], epochs },
            { name: 'b', files: [write('b.jsonl', lines(30, 4, 'b'))], epochs, weight: 0.3 },
          ]
          const all = await drain(await open({ sources, ...options }))
          let position: DataPosition | undefined
          let at = 0
          for (const stretch of [...stretches, Number.POSITIVE_INFINITY]) {
            const data = await open({ sources, ...options, position })
            const some: TrainingRows[] = []
            for (let rows: TrainingRows | undefined; some.length < stretch; some.push(rows)) {
              rows = await data.next(0)
              if (rows === undefined) break
            }
            position = JSON.parse(JSON.stringify(data.position()))
            await data.close()
            expect(some).toEqual(all.slice(at, at + some.length))
            at += some.length
          }
          expect(at).toBe(all.length)
        },
      ),
      { numRuns: 25 },
    )
  })

  test('goes on after an aborted reading as if nothing had been', async () => {
    const options = mixture()
    const whole = await record(await open(options), 0, 30)
    const controller = new AbortController()
    const data = await open({ ...options, signal: controller.signal })
    let run = 0
    for (; run < 5; run++) await data.next(progress(run))
    controller.abort()
    // The runs of the window that is there still come.
    const stopped = await errorOf(async () => {
      for (;;) {
        expect(await data.next(progress(run))).toEqual(whole[run]!.rows)
        run++
      }
    })
    expect(stopped.code).toBe('aborted')
    expect(run).toBeGreaterThan(5)
    const position = data.position()
    await data.close()
    const resumed = await open({ ...options, position })
    expect(await record(resumed, run, 30)).toEqual(whole.slice(run))
  })

  test('leaves a position of some kilobytes', async () => {
    const data = await open(mixture())
    await drain(data, 150, progress)
    expect(JSON.stringify(data.position()).length).toBeLessThan(6000)
  })
})

describe('a position', () => {
  async function taken(options: Options): Promise<DataPosition> {
    const data = await open(options)
    await drain(data, 9)
    return JSON.parse(JSON.stringify(data.position()))
  }

  test('of a file that changed is refused, and the file is named', async () => {
    const write = testDirectory()
    const files = [write('a.jsonl', lines(80, 9, 'a')), write('b.jsonl', lines(80, 9, 'b'))]
    const options: Options = { sources: [{ name: 'web', files }] }
    const position = await taken(options)
    const refused = async (changed: Options): Promise<string> => {
      const error = await errorOf(() => open({ ...changed, position }))
      expect(error.code).toBe('data')
      return error.message
    }
    writeFileSync(files[1]!, lines(80, 9, 'c'))
    const message = await refused(options)
    expect(message).toContain(
      'The files of source "web" have changed since training began (2 files as before;',
    )
    expect(message).toContain(`changed: ${files[1]}`)
    expect(message).not.toContain(files[0])
    writeFileSync(files[1]!, `${lines(80, 9, 'b')}\n`)
    expect(await refused(options)).toContain(`changed: ${files[1]}`)
    writeFileSync(files[1]!, lines(80, 9, 'b'))
    expect(await refused({ sources: [{ name: 'web', files: files.slice(0, 1) }] })).toContain(
      '2 files before, 1 now',
    )
    expect(await refused({ sources: [{ name: 'web', files: files.toReversed() }] })).toContain(
      'another order',
    )
    await (await open({ ...options, position })).close()
    // Where the files lie does not matter.
    const elsewhere = testDirectory()
    const copies = [elsewhere('a.jsonl', lines(80, 9, 'a')), elsewhere('b.jsonl', lines(80, 9, 'b'))]
    await (await open({ sources: [{ name: 'web', files: copies }], position })).close()
  })

  test('taken with other options is refused, and they are named', async () => {
    const files = [testDirectory()('a.jsonl', lines(80, 9, 'a'))]
    const source = { name: 'web', files }
    const position = await taken({ sources: [source] })
    const refused = async (options: Partial<Options>): Promise<string> =>
      (await errorOf(() => open({ sources: [source], ...options, position }))).message
    expect(await refused({ rows: 65 })).toContain('rows (then 64, now 65)')
    expect(await refused({ seed: 3, packing: false })).toMatch(
      /packing \(then true, now false\); seed \(then 0, now 3\)/,
    )
    expect(await refused({ sources: [{ ...source, name: 'b' }] })).toContain(
      'sources (then ["web"], now ["b"])',
    )
    expect(await refused({ sources: [{ ...source, weight: 2 }] })).toContain('stages')
    expect(await refused({ sources: [{ ...source, tooLong: 'drop' }] })).toContain('tooLong of source "web"')
    const { vocabulary } = tokenizer
    const other = {
      ...tokenizer,
      vocabulary: { ...vocabulary, pieces: [...vocabulary.pieces.slice(1), 'x'] },
    }
    expect(await refused({ tokenizer: other })).toContain('what differs: tokenizer.')
  })

  test('that is damaged gives a GemmaError or the data, never something else', async () => {
    const files = [testDirectory()('a.jsonl', lines(80, 9, 'a'))]
    const options: Options = { sources: [{ name: 'web', files, epochs: 1 }] }
    const position = await taken(options)
    const strange = [
      {},
      { ...position, version: 2 },
      { ...position, settings: null },
      { ...position, window: {} },
    ]
    for (const one of [...strange, { ...position, taken: 1e6 }, { ...position, given: [] }]) {
      const error = await errorOf(() => open({ ...options, position: one as never }))
      expect(error.code).toBe('data')
    }
    const text = JSON.stringify(position)
    const values = ['-1', '1e9', 'null', '"x"', '[]', '{}', '1.5']
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.constantFrom(...values), async (pick, value) => {
        const places = [...text.matchAll(/(?<=:)-?[\d.]+(?=[,}])/g)]
        const place = places[pick % places.length]!
        const changed = text.slice(0, place.index) + value + text.slice(place.index + place[0].length)
        try {
          await drain(await open({ ...options, position: JSON.parse(changed) }), 300)
        } catch (error) {
          expect(error).toMatchObject({ name: 'GemmaError' })
        }
      }),
      { numRuns: 100 },
    )
  })
})
