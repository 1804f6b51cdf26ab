// gemma train-tokenizer as its users meet it: real processes, what they write, mistakes, Ctrl-C.

import { mkdir, mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTokenizer, trainTokenizer } from '../tokenizer/index.ts'
import { testDocuments } from '../tokenizer/train/testing/documents.ts'
import { hasTerminal, runAtTerminal, runCli } from './testing/run-cli.ts'

let scratch: string
const lines = testDocuments(1500, 21).map((text) => text.toWellFormed().replaceAll(/\s+/g, ' '))

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'gemma-train-tokenizer-'))
  await writeFile(path('lines.txt'), `${lines.join('\n')}\n`)
  const records = (column: string): string =>
    lines.map((text) => `${JSON.stringify({ [column]: text })}\n`).join('')
  await writeFile(join(scratch, 'body.jsonl.gz'), gzipSync(records('body')))
  await writeFile(join(scratch, 'good.jsonl'), records('text'))
  await writeFile(join(scratch, 'spoilt.jsonl'), `${records('text')}{"text": 1}\n{"other": ""}\nnothing\n`)
  await writeFile(join(scratch, 'useless.jsonl'), '{"other": "a"}\n'.repeat(200))
  await writeFile(path('terminal.jsonl'), '\u001b[2J\n'.repeat(200))
  await writeFile(join(scratch, 'empty.txt'), '')
})

afterAll(() => rm(scratch, { recursive: true, force: true }))

const path = (name: string): string => join(scratch, name)
const train = (...args: string[]) => runCli(['train-tokenizer', ...args])

describe.concurrent('train-tokenizer', () => {
  test('lines of a text file: three files, figures, and ids from them', async () => {
    const out = path('from-lines')
    const { code, stdout, stderr } = await train(
      path('lines.txt'),
      '--vocab-size',
      '1100',
      '--out',
      out,
      '--json',
    )
    expect([code, stderr]).toEqual([
      0,
      expect.stringMatching(/: 1,100 pieces from 1,500 texts \(.* kB\) in /),
    ])
    const figures = JSON.parse(stdout)
    expect(figures).toMatchObject({ out, vocabSize: 1100, documents: 1500, shortBy: 0, badRecords: 0 })
    expect((await readdir(out)).sort()).toEqual([
      'tokenizer.json',
      'tokenizer.model',
      'tokenizer_config.json',
    ])
    const wanted = await trainTokenizer(lines, { vocabSize: 1100 })
    expect(await readFile(join(out, 'tokenizer.json'), 'utf8')).toBe(wanted.files.tokenizerJson)
    expect(figures.words).toBe(wanted.statistics.words)
    const input = `${JSON.stringify('the water  12\n')}\n`
    for (const name of ['tokenizer.model', 'tokenizer.json']) {
      const tokenized = await runCli(['tokenize', join(out, name), '--json'], { input })
      expect(JSON.parse(tokenized.stdout).ids).toEqual(
        createTokenizer(wanted.files).encode('the water  12\n'),
      )
    }
  })

  test('a column of compressed records, a compact layout, a coverage', async () => {
    const out = path('from-records')
    const flags = ['--column', 'body', '--layout', 'compact', '--coverage', '0.99', '--vocab-size', '1030']
    const { code, stdout, stderr } = await train(path('body.jsonl.gz'), ...flags, '--out', out, '--quiet')
    expect([code, stdout, stderr]).toEqual([0, '', ''])
    const wanted = await trainTokenizer(lines, {
      vocabSize: 1030,
      layout: 'compact',
      characterCoverage: 0.99,
    })
    expect(await readFile(join(out, 'tokenizer.json'), 'utf8')).toBe(wanted.files.tokenizerJson)
  })

  test('several files; records that cannot be used are left out and counted', async () => {
    const args = [path('spoilt.jsonl'), path('lines.txt'), path('good.jsonl')]
    const { code, stdout, stderr } = await train(
      ...args,
      '--vocab-size',
      '700',
      '--out',
      path('several'),
      '--json',
    )
    expect(code).toBe(0)
    expect(stderr).toMatch(/^3 records could not be used\.\n/)
    expect(JSON.parse(stdout)).toMatchObject({ documents: 4500, badRecords: 3 })
  })

  const mistakes: [string, string[], number, RegExp][] = [
    ['no size', ['lines.txt'], 2, /required option '--vocab-size <n>' not specified/],
    ['a size that is no number', ['lines.txt', '--vocab-size', 'many'], 2, /whole number/],
    ['a size that the text does not fill', ['lines.txt', '--vocab-size', '50000'], 2, /Ask for at most \d+/],
    ['a size too small', ['lines.txt', '--vocab-size', '400'], 2, /too small/],
    ['a file that is not there', ['nowhere.txt', '--vocab-size', '700'], 1, /nowhere\.txt/],
    ['a name that says no format', ['lines.pdf', '--vocab-size', '700'], 1, /lines\.pdf/],
    ['no text', ['empty.txt', '--vocab-size', '700'], 1, /hold no text/],
    ['no JSON', ['terminal.jsonl', '--vocab-size', '700'], 1, /terminal\.jsonl:\d+: not JSON/],
    ['another column', ['useless.jsonl', '--vocab-size', '700'], 1, /column "text" is missing/],
  ]
  test.each(mistakes)('%s is told in one line, and nothing is left', async (name, args, code, message) => {
    const out = path(`mistake-${name.replaceAll(' ', '-')}`)
    const outcome = await train(path(args[0]), ...args.slice(1), '--out', out)
    expect(outcome.stderr).toMatch(message)
    expect(outcome.stderr).not.toContain('\u001b')
    expect([outcome.code, outcome.stdout]).toEqual([code, ''])
    expect((await readdir(scratch)).filter((entry) => entry.includes('mistake'))).toEqual([])
  })

  test('what is there is replaced only by --force, and that is said before anything is read', async () => {
    const out = path('taken')
    const args = ['--vocab-size', '700', '--out', out, '--quiet']
    expect((await train(path('good.jsonl'), ...args)).code).toBe(0)
    const refused = await train(path('nowhere.jsonl'), ...args)
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringMatching(/tokenizer\.model exists/)])
    expect((await train(path('lines.txt'), ...args, '--force')).code).toBe(0)
  })

  test.skipIf(!hasTerminal)(
    'progress at a terminal; Ctrl-C leaves nothing behind (needs script)',
    async () => {
      const directory = join(scratch, 'patient')
      const text = await readFile(path('lines.txt'))
      await mkdir(directory)
      const long = await open(join(directory, 'long.txt'), 'w')
      for (let i = 0; i < 400; i++) await long.write(text)
      await long.close()
      const out = join(directory, 'out')
      const args = ['train-tokenizer', join(directory, 'long.txt'), '--vocab-size', '900', '--out', out]
      const { code, stdout } = await runAtTerminal(args, [
        { waitFor: /Reading .* % .* words/, type: '\u0003' },
      ])
      expect(stdout).not.toContain('pieces from')
      expect(code).toBe(130)
      expect(await readdir(directory)).toEqual(['long.txt'])
    },
  )
})
