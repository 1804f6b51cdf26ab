// Parquet becomes records, whatever its compression; damaged files are told as such and harm nothing.

import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib'
import { parquetWriteBuffer } from 'hyparquet-writer'
import { describe, expect, test } from 'vitest'
import { readLines } from './lines.node.ts'
import { readParquet } from './parquet.node.ts'
import {
  drain,
  errorOf,
  faultsOf,
  jsonLines,
  type Options,
  open,
  records,
  recordsOf,
  START,
  testDirectory,
  valuesOf,
} from './testing/fixtures.ts'
import type { TrainingRows } from './training-rows.ts'

/** As the columns of a Parquet file with small pages and row groups. */
function parquetOf(codec: 'SNAPPY' | 'UNCOMPRESSED' | 'GZIP' | 'ZSTD' | 'BROTLI'): Uint8Array {
  const text = { type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'OPTIONAL' } as const
  const list = (name: string) =>
    [
      { name, num_children: 1, converted_type: 'LIST', repetition_type: 'OPTIONAL' },
      { name: 'list', num_children: 1, repetition_type: 'REPEATED' },
    ] as const
  return new Uint8Array(
    parquetWriteBuffer({
      columnData: [
        { name: 'text', data: records.map((record) => record.text) },
        { name: 'messages', data: records.map(({ messages }) => messages) },
        { name: 'tokens', data: records.map(({ tokens }) => tokens) },
      ],
      schema: [
        { name: 'root', num_children: 3 },
        { name: 'text', ...text },
        ...list('messages'),
        { name: 'element', num_children: 2, repetition_type: 'OPTIONAL' },
        { name: 'role', ...text },
        { name: 'content', ...text },
        ...list('tokens'),
        { name: 'element', type: 'INT32', repetition_type: 'OPTIONAL' },
      ],
      codec,
      compressors: {
        GZIP: (bytes: Uint8Array) => gzipSync(bytes),
        ZSTD: (bytes: Uint8Array) => zstdCompressSync(bytes),
        BROTLI: (bytes: Uint8Array) => brotliCompressSync(bytes),
      },
      rowGroupSize: 100,
      pageSize: 2000,
    }),
  )
}

const COLUMNS = ['text', 'messages', 'tokens']

describe('Parquet', () => {
  test.each(['SNAPPY', 'UNCOMPRESSED', 'GZIP', 'ZSTD', 'BROTLI'] as const)(
    'with %s gives the records, from any of them on',
    async (codec) => {
      const path = testDirectory()('a.parquet', parquetOf(codec))
      const all = await recordsOf(readParquet(path, COLUMNS, START))
      expect(valuesOf(all)).toEqual(records)
      expect(all.map(({ line }) => line)).toEqual(records.map((_, i) => i + 1))
      for (const at of codec === 'SNAPPY' ? [99, 250] : []) {
        const some = await recordsOf(readParquet(path, COLUMNS, { from: all[at]!.next }))
        expect(some).toEqual(all.slice(at + 1))
      }
    },
  )

  test('gives the rows that the same records give as lines, also after resuming', async () => {
    const write = testDirectory()
    const rowsOf = async (path: string): Promise<TrainingRows[]> => {
      const options: Options = {
        sources: [{ name: 'a', files: [path], kind: 'messages' }],
        shuffleWindow: 40,
      }
      const first = await open(options)
      const rows = [await first.next(0), await first.next(0)]
      const position = first.position()
      await first.close()
      return [...(rows as TrainingRows[]), ...(await drain(await open({ ...options, position }), 100))]
    }
    const expected = await rowsOf(write('a.jsonl', jsonLines(records)))
    expect(await rowsOf(write('a.jsonl.gz', gzipSync(jsonLines(records))))).toEqual(expected)
    expect(await rowsOf(write('a.parquet', parquetOf('SNAPPY')))).toEqual(expected)
    expect(expected.length).toBe(102)
  })

  test('without the columns gives records that say which there are', async () => {
    const path = testDirectory()('a.parquet', parquetOf('SNAPPY'))
    const [first] = await recordsOf(readParquet(path, ['body'], START))
    expect(Object.keys(first!.content.value!)).toEqual(COLUMNS)
    const one = await recordsOf(readParquet(path, ['tokens', 'mask'], START))
    expect(valuesOf(one)).toEqual(records.map(({ tokens }) => ({ tokens })))
  })

  test('that is none, cut short or changed is an error or whole', async () => {
    const write = testDirectory()
    const whole = parquetOf('SNAPPY')
    const plain = parquetOf('UNCOMPRESSED')
    const damaged = [
      Buffer.from('PAR1'),
      Buffer.from('{"text":"x"}\n{"text":"y"}\n'),
      whole.subarray(0, whole.length - 1),
      whole.subarray(100),
      Buffer.concat([whole.subarray(0, 4000), whole.subarray(4100)]),
    ]
    for (const [i, content] of damaged.entries()) {
      const path = write(`a${i}.parquet`, content)
      const error = await errorOf(() => recordsOf(readParquet(path, COLUMNS, START)))
      expect(error.code).toBe('file')
      expect(error.message).toContain(`${path} is no Parquet file`)
    }
    for (let i = 0; i < 8; i++) {
      const content = i % 2 === 0 ? whole.slice() : plain.slice()
      content[Math.floor((content.length * (i + 0.5)) / 8)]! ^= 0xff
      const path = write('changed.parquet', content)
      try {
        expect((await recordsOf(readParquet(path, COLUMNS, START))).length).toBe(records.length)
      } catch (error) {
        expect(error).toMatchObject({ name: 'GemmaError', code: 'file' })
      }
    }
  })

  test('a row of Parquet that is no UTF-8, no JSON or too large spoils no others', async () => {
    const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))
    const text = [bytes('a'), Uint8Array.of(0xe8, 0xaa), bytes('b'), bytes('c'.repeat(200)), bytes('d')]
    const messages = [[], [], [], [], ['broken']]
    const file = parquetWriteBuffer({
      columnData: [
        { name: 'text', data: text },
        { name: 'messages', data: messages },
      ],
      schema: [
        { name: 'root', num_children: 2 },
        { name: 'text', type: 'BYTE_ARRAY', repetition_type: 'REQUIRED' },
        { name: 'messages', type: 'BYTE_ARRAY', converted_type: 'JSON', repetition_type: 'REQUIRED' },
      ],
      codec: 'UNCOMPRESSED',
      statistics: false,
    })
    const content = Buffer.from(file)
    content.write('[broken,', content.indexOf('["broken"]'))
    const path = testDirectory()('a.parquet', content)
    const read = await recordsOf(readParquet(path, COLUMNS, { ...START, longest: 100 }))
    expect(faultsOf(read)).toEqual(['2 not UTF-8', '4 too large', '5 not JSON'])
    expect(valuesOf(read).slice(0, 3)).toEqual([
      { text: 'a', messages: [] },
      undefined,
      { text: 'b', messages: [] },
    ])
  })

  test('what a decoder never answers to ends', async () => {
    const path = testDirectory()('a.parquet', parquetOf('SNAPPY'))
    const error = await errorOf(() => recordsOf(readParquet(path, COLUMNS, START, 1)))
    expect(error.message).toContain('was not read within 0.001 s')
  })

  test('an aborted reading ends', async () => {
    const write = testDirectory()
    const signal = AbortSignal.abort()
    const lines = write('a.jsonl', jsonLines(records))
    const parquet = write('a.parquet', parquetOf('SNAPPY'))
    expect((await errorOf(() => recordsOf(readLines(lines, false, { ...START, signal })))).code).toBe(
      'aborted',
    )
    expect((await errorOf(() => recordsOf(readParquet(parquet, COLUMNS, { ...START, signal })))).code).toBe(
      'aborted',
    )
    const controller = new AbortController()
    const reading = recordsOf(readParquet(parquet, COLUMNS, { ...START, signal: controller.signal }))
    controller.abort()
    expect((await errorOf(() => reading)).code).toBe('aborted')
  })
})
