// What paths, directories and patterns stand for.

import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { findDataFiles } from './data-files.node.ts'
import { errorOf, testDirectory } from './testing/fixtures.ts'

describe('finding files', () => {
  function tree(): string {
    const write = testDirectory()
    const root = dirname(write('b.jsonl', '1'))
    const put = (name: string, content = name): void => {
      mkdirSync(dirname(join(root, name)), { recursive: true })
      writeFileSync(join(root, name), content)
    }
    for (const name of ['a.jsonl.gz', 'sub/c.parquet', 'sub/d.txt', 'e.ndjson', 'f.json', 'g.csv']) {
      put(name, name === 'a.jsonl.gz' ? gzipSync('x').toString('latin1') : name)
    }
    for (const name of ['.cache/h.jsonl', '.i.jsonl', 'sub/.j.txt', 'empty/k.csv']) put(name)
    return root
  }
  const names = async (root: string, ...patterns: string[]): Promise<string[]> => {
    const found = await findDataFiles(
      's',
      patterns.map((pattern) => join(root, pattern)),
    )
    return found.map(({ path }) => path.slice(root.length + 1).replaceAll('\\', '/'))
  }

  test('takes directories and patterns by name, and no file twice', async () => {
    const root = tree()
    const all = ['a.jsonl.gz', 'b.jsonl', 'e.ndjson', 'sub/c.parquet', 'sub/d.txt']
    expect(await names(root, '')).toEqual(all)
    expect(await names(root, 'sub', '*.jsonl', 'b.jsonl', 'f.json')).toEqual([
      'sub/c.parquet',
      'sub/d.txt',
      'b.jsonl',
      'f.json',
    ])
    expect(await names(root, '**/*.{txt,parquet}')).toEqual(['sub/c.parquet', 'sub/d.txt'])
  })

  test('refuses what is missing, unknown or named falsely', async () => {
    const root = tree()
    const refused = async (...patterns: string[]): Promise<string> => {
      const error = await errorOf(() => names(root, ...patterns))
      return `${error.code}: ${error.message}`
    }
    expect(await refused('missing.jsonl')).toMatch(/^file: .*missing.jsonl does not exist/)
    expect(await refused('*.zip')).toMatch(/^file: Source "s": no file matches .*\*\.zip/)
    expect(await refused('b.jsonl', 'empty')).toMatch(/^file: .*holds no data files/)
    expect(await refused('g.csv')).toMatch(/^usage: .*g\.csv: the name does not say/)
    expect(await refused()).toMatch(/^usage: .*names no files/)
    writeFileSync(join(root, 'b.jsonl'), gzipSync('{}'))
    expect(await refused('b.jsonl')).toMatch(/^file: .*b\.jsonl is gzip-compressed/)
  })

  test('tells files apart by name, size and beginning', async () => {
    const write = testDirectory()
    const prints = new Set<string>()
    for (const [name, content] of [
      ['a.jsonl', 'x'],
      ['b.jsonl', 'x'],
      ['a.jsonl', 'y'],
      ['a.jsonl', 'xx'],
    ] as const) {
      const [file] = await findDataFiles('s', [write(name, content)])
      prints.add(file!.fingerprint)
    }
    expect(prints.size).toBe(4)
    expect(prints).toContain((await findDataFiles('s', [write('a.jsonl', 'x')]))[0]!.fingerprint)
  })
})
