// Lines and texts become records, from broken files what can be read, with the reason for the rest.

import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readLines } from './lines.node.ts'
import {
  errorOf,
  faultsOf,
  jsonLines,
  records,
  recordsOf,
  START,
  testDirectory,
  valuesOf,
} from './testing/fixtures.ts'
import { readTextFile } from './text-file.node.ts'

describe('lines', () => {
  const half = jsonLines(records.slice(0, 150))
  const rest = jsonLines(records.slice(150))

  test.each<[string, string | Uint8Array]>([
    ['lines', half + rest],
    ['lines with a byte order mark and carriage returns', `\ufeff${(half + rest).replaceAll('\n', '\r\n')}`],
    ['lines without a last line feed', (half + rest).trimEnd()],
  ])('%s gives the records, from any of them on', async (_name, content) => {
    const path = testDirectory()('a.jsonl', content)
    const all = await recordsOf(readLines(path, false, START))
    expect(valuesOf(all)).toEqual(records)
    for (const at of [0, 1, 149, 298]) {
      const some = await recordsOf(readLines(path, false, { from: all[at]!.next }))
      expect(some).toEqual(all.slice(at + 1))
    }
  })

  test('gzip of several members, and padding after them, gives the records, from any of them on', async () => {
    const members = Buffer.concat([gzipSync(half), gzipSync(''), gzipSync(rest), Buffer.alloc(600)])
    const path = testDirectory()('a.jsonl.gz', members)
    const all = await recordsOf(readLines(path, true, START))
    expect(valuesOf(all)).toEqual(records)
    const some = await recordsOf(readLines(path, true, { from: all[200]!.next }))
    expect(some).toEqual(all.slice(201))
  })
})

describe('broken lines', () => {
  test('are told one by one and spoil no others', async () => {
    const lines = [
      Buffer.from('{"text":"one"}'),
      Buffer.from('{"text":"tw'),
      Buffer.from([...Buffer.from('{"text":"'), 0xe8, 0xaa, ...Buffer.from('"}')]), // half of 語
      Buffer.from(''),
      Buffer.from(' \t\r'),
      Buffer.from('[1]'),
      Buffer.from('null'),
      Buffer.from('{"text":"\0"}'),
      Buffer.alloc(9),
      Buffer.from(`{"text":"${'x'.repeat(100)}"}`),
      Buffer.from('{"text":"\ud83d\ude00"}'),
      Buffer.from('{"text":"end"'),
    ]
    const content = Buffer.concat(
      lines.map((line, i) => (i === 0 ? line : Buffer.concat([Buffer.from('\n'), line]))),
    )
    const path = testDirectory()('a.jsonl', content)
    const read = await recordsOf(readLines(path, false, { ...START, longest: 100 }))
    expect(read.map(({ line }) => line)).toEqual(lines.map((_, i) => i + 1))
    expect(faultsOf(read)).toEqual([
      '2 not JSON',
      '3 not UTF-8',
      '4 empty',
      '5 empty',
      '6 not JSON',
      '7 not JSON',
      '8 not JSON',
      '9 not JSON',
      '10 too large',
      '12 not JSON',
    ])
    for (const at of [1, 8, 9]) {
      const some = await recordsOf(readLines(path, false, { from: read[at]!.next, longest: 100 }))
      expect(some).toEqual(read.slice(at + 1))
    }
  })

  test('of many megabytes are left out without being kept', async () => {
    const zeros = Buffer.alloc(70_000_000)
    const bomb = gzipSync(
      Buffer.concat([Buffer.from('{"text":"a"}\n'), zeros, Buffer.from('\n{"text":"b"}\n')]),
    )
    expect(bomb.length).toBeLessThan(100_000)
    const path = testDirectory()('a.jsonl.gz', bomb)
    const read = await recordsOf(readLines(path, true, START))
    expect(valuesOf(read)).toEqual([{ text: 'a' }, undefined, { text: 'b' }])
    expect(faultsOf(read)).toEqual(['2 too large'])
  })

  test('with more lists than memory could hold are refused before they are parsed', async () => {
    const path = testDirectory()('a.jsonl', `{"text":${'['.repeat(3_000_000)}\n{"text":"a"}\n`)
    expect(faultsOf(await recordsOf(readLines(path, false, START)))).toEqual(['1 too large'])
  })

  test('any bytes give records, faults or a GemmaError, and every line is accounted for', async () => {
    const write = testDirectory()
    const piece = fc.oneof(
      fc.constantFrom('{"text":"a"}', '\n', '\r\n', '{', '\0', '\ufeff', '😀'),
      fc.string(),
    )
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(piece, fc.uint8Array({ maxLength: 5 })), { maxLength: 20 }),
        async (parts) => {
          const content = Buffer.concat(parts.map((part) => Buffer.from(part as string)))
          const path = write('a.jsonl', content)
          const read = await recordsOf(readLines(path, false, START))
          const ends = content.filter((byte) => byte === 10).length
          expect(read.length).toBe(ends + (content.length > 0 && content.at(-1) !== 10 ? 1 : 0))
          expect(read.at(-1)?.next.offset ?? 0).toBe(content.length)
          const zipped = await recordsOf(readLines(write('a.jsonl.gz', gzipSync(content)), true, START))
          expect(zipped).toEqual(read)
        },
      ),
      { numRuns: 60 },
    )
  })
})

describe('damaged gzip', () => {
  const zipped = gzipSync(jsonLines(records))

  test.each<[string, Uint8Array, string]>([
    ['cut short', zipped.subarray(0, zipped.length - 100), 'end too early'],
    ['cut within the last bytes', zipped.subarray(0, zipped.length - 3), 'end too early'],
    ['with a second member cut short', Buffer.concat([zipped, zipped.subarray(0, 7)]), 'end too early'],
    ['with other bytes after it', Buffer.concat([zipped, Buffer.from('\0\0more')]), 'not gzip'],
    ['with text after it', Buffer.concat([zipped, Buffer.from('{"text":"x"}\n')]), 'damaged gzip'],
    ['with a changed byte', zipped.map((byte, i) => (i === 500 ? byte ^ 0x55 : byte)), 'damaged gzip'],
    ['that is none', Buffer.from('{"text":"x"}\n'), 'damaged gzip'],
    ['of nothing', Buffer.alloc(0), 'end too early'],
  ])('%s is an error that names the file', async (_name, content, words) => {
    const path = testDirectory()('a.jsonl.gz', content)
    const error = await errorOf(() => recordsOf(readLines(path, true, START)))
    expect(error.code).toBe('file')
    expect(error.message).toContain(path)
    expect(error.message).toContain(words)
  })
})

describe('a text file', () => {
  test('is one record', async () => {
    const write = testDirectory()
    const path = write('a.txt', '\ufeffOne\n\ntext\n')
    const [record, ...others] = await recordsOf(readTextFile(path, 'body', START))
    expect(others).toEqual([])
    expect(record!.content.value).toEqual({ body: 'One\n\ntext\n' })
    expect(await recordsOf(readTextFile(path, 'body', { from: record!.next }))).toEqual([])
  })

  test('with zero bytes, other bytes or too many is refused', async () => {
    const write = testDirectory()
    const one = async (content: Uint8Array): Promise<string[]> =>
      faultsOf(await recordsOf(readTextFile(write('a.txt', content), 'text', { ...START, longest: 50 })))
    expect(await one(Buffer.from('a\0b'))).toEqual(['1 not UTF-8'])
    expect(await one(Uint8Array.of(0x61, 0xff))).toEqual(['1 not UTF-8'])
    expect(await one(Buffer.alloc(51, 'x'))).toEqual(['1 too large'])
  })
})
