// The parts of the program that need no process: numbers, colours, bars, lines, continuations.

import { Readable } from 'node:stream'
import { InvalidArgumentError } from 'commander'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { GemmaError } from '../error.ts'
import { estimateMemory } from '../generate/estimate.ts'
import { parseConfig } from '../model/config.ts'
import { modelSizes } from '../model/configs.ts'
import { createTokenizer } from '../tokenizer/index.ts'
import { readTokenizerFiles } from '../weights/directory.node.ts'
import { median } from './bench.ts'
import { endOfText, splitContinuation } from './continuation.ts'
import { describeInspection } from './inspect-text.ts'
import { type Line, readLines } from './lines.ts'
import { assertFits } from './memory-estimate.ts'
import { decimal, repeated, wholeNumber } from './option-values.ts'
import { printable } from './output.ts'
import { createProgress, progressLine } from './progress.ts'
import { formatBytes, formatSeconds, formatTable, wantsColor } from './style.ts'

describe('option values', () => {
  test('whole numbers within their bounds', () => {
    const read = wholeNumber(1, 256)
    expect(read('1')).toBe(1)
    expect(read('256')).toBe(256)
    for (const text of ['0', '257', '-1', '1.5', '1e2', '0x10', '', ' 1', 'one', '99999999999999999999']) {
      expect(() => read(text)).toThrow(InvalidArgumentError)
    }
  })

  test('numbers', () => {
    expect(decimal(0)('0.75')).toBe(0.75)
    expect(decimal(0)('1e-3')).toBe(0.001)
    for (const text of ['-1', 'abc', '', 'NaN', 'Infinity', '1,5', '1e999']) {
      expect(() => decimal(0)(text)).toThrow(InvalidArgumentError)
    }
    const share = decimal(0, { above: true, most: 1 })
    expect(share('1')).toBe(1)
    for (const text of ['0', '1.01']) expect(() => share(text)).toThrow('above 0, at most 1')
  })

  test('repeated texts', () => {
    expect(repeated('b', repeated('a'))).toEqual(['a', 'b'])
    expect(() => repeated('')).toThrow(InvalidArgumentError)
  })
})

describe('what people read', () => {
  test('bytes, times, tables', () => {
    expect([0, 999, 1000, 5_012_345_678, 99_960_000].map(formatBytes)).toEqual([
      '0 B',
      '999 B',
      '1.0 kB',
      '5.0 GB',
      '100 MB',
    ])
    expect([0.25, 12.4, 75, 3725].map(formatSeconds)).toEqual(['0.3 s', '12 s', '1 min 15 s', '1 h 2 min'])
    expect(
      formatTable([
        ['a', '10'],
        ['long', '5'],
      ]),
    ).toBe('a      10\nlong    5')
  })

  test('NO_COLOR, then FORCE_COLOR, then the stream', () => {
    const terminal = { isTTY: true }
    expect(wantsColor(terminal, {})).toBe(true)
    expect(wantsColor({}, {})).toBe(false)
    expect(wantsColor(terminal, { NO_COLOR: '1' })).toBe(false)
    expect(wantsColor(terminal, { NO_COLOR: '' })).toBe(true)
    expect(wantsColor({}, { FORCE_COLOR: '1' })).toBe(true)
    expect(wantsColor(terminal, { FORCE_COLOR: '0' })).toBe(false)
    expect(wantsColor(terminal, { FORCE_COLOR: '1', NO_COLOR: '1' })).toBe(false)
    expect(wantsColor(terminal, { TERM: 'dumb' })).toBe(false)
  })

  test('no control character reaches a terminal', () => {
    expect(printable('a\n\tb\u001b[31mc\u0007\u007f\u009b')).toBe('a\n\tb␛[31mc␇␡\ufffd')
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
        expect(printable(text)).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/)
      }),
    )
  })

  test('the median', () => {
    expect(median([3, 1, 2])).toBe(2)
    expect(median([4, 1, 2, 3])).toBe(2.5)
  })
})

describe('progress', () => {
  const streamOf = (isTTY: boolean) => {
    const written: string[] = []
    return { written, isTTY, columns: 100, write: (text: unknown) => written.push(String(text)) > 0 }
  }

  test('a bar with amount, speed and time left', () => {
    const line = progressLine({
      label: 'Loading',
      unit: 'bytes',
      done: 1e9,
      total: 4e9,
      rate: 5e8,
      secondsLeft: 6,
    })
    expect(line).toBe('Loading █████░░░░░░░░░░░░░░░  25 %  1.0 GB of 4.0 GB  500 MB/s  6.0 s left')
  })

  test('on a terminal, after a moment, and gone at the end', () => {
    let time = 0
    const stream = streamOf(true)
    const bar = createProgress('Loading', { unit: 'bytes', stream, now: () => time })
    bar.update(0, 1000)
    expect(stream.written).toEqual([])
    time = 500
    bar.update(500, 1000)
    expect(stream.written.join('')).toContain('50 %')
    expect(stream.written.join('')).toContain('1.0 kB/s')
    bar.end()
    expect(stream.written.at(-1)).toBe('\r\u001b[K')
  })

  test('nothing elsewhere, and nothing when quiet; messages are lines', () => {
    for (const [isTTY, quiet] of [
      [false, false],
      [true, true],
    ]) {
      let time = 0
      const stream = streamOf(isTTY)
      const bar = createProgress('Loading', { unit: 'bytes', stream, quiet, now: () => (time += 1000) })
      bar.update(1, 2)
      bar.say('waiting')
      bar.end()
      expect(stream.written).toEqual(quiet ? [] : ['waiting\n'])
    }
  })
})

describe('lines', () => {
  const linesOf = async (bytes: Uint8Array, pieces: number): Promise<Line[]> => {
    const size = Math.max(1, Math.ceil(bytes.length / pieces))
    const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
      bytes.subarray(i * size, (i + 1) * size),
    )
    const lines: Line[] = []
    for await (const line of readLines(Readable.from(chunks), 'input')) lines.push(line)
    return lines
  }

  test('are cut at line feeds only, however the bytes come in', async () => {
    const unit = fc.constantFrom('a', 'é', '𝒳', '\u2028', '\u0085', '\v', '\r')
    const line = fc.string({ unit }).filter((text) => !text.endsWith('\r'))
    await fc.assert(
      fc.asyncProperty(fc.array(line), fc.integer({ min: 1, max: 9 }), async (texts, pieces) => {
        const bytes = new TextEncoder().encode(texts.map((text) => `${text}\n`).join(''))
        const lines = await linesOf(bytes, pieces)
        expect(lines).toEqual(texts.map((text, i) => ({ text, number: i + 1 })))
      }),
    )
  })

  test('the last needs no end, and \\r\\n ends lines too', async () => {
    const lines = await linesOf(new TextEncoder().encode('a\r\n\nb'), 1)
    expect(lines.map(({ text }) => text)).toEqual(['a', '', 'b'])
  })

  test('that are not UTF-8 are refused', async () => {
    await expect(linesOf(Uint8Array.of(0x61, 0xff, 0x0a), 1)).rejects.toThrow('input is not UTF-8 text')
    await expect(linesOf(Uint8Array.of(0x61, 0xc3), 1)).rejects.toThrow(GemmaError)
  })
})

describe('continuations', async () => {
  const tokenizer = createTokenizer(await readTokenizerFiles('test/data/models/gemma1-mqa'))

  test('white space at the end of the context goes over', () => {
    expect(endOfText('a b \t\n\u00a0\u3000')).toBe(3)
    expect(endOfText('a\ufeff')).toBe(2) // no space to Python
    expect(endOfText(' \n')).toBe(0)
    const together = splitContinuation(tokenizer, 'Hello, how', ' are you?')
    expect(splitContinuation(tokenizer, 'Hello, how ', 'are you?')).toEqual(together)
    expect(tokenizer.decode(together.tokens.slice(together.from))).toBe(' are you?')
  })

  test('an empty context is <bos> alone', () => {
    const { tokens, from } = splitContinuation(tokenizer, '', 'Hello')
    expect(from).toBe(1)
    expect(tokens).toEqual(tokenizer.encode('Hello', { bos: true }))
  })

  test('all tokens are those of the whole text', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme' }),
        fc.string({ unit: 'grapheme' }),
        (context, continuation) => {
          const { tokens, from } = splitContinuation(tokenizer, context, continuation)
          expect(tokens).toEqual(tokenizer.encode(context + continuation, { bos: true }))
          expect(from).toBeGreaterThanOrEqual(1)
          expect(from).toBeLessThanOrEqual(tokens.length)
        },
      ),
    )
  })
})

describe('memory', () => {
  const large = modelSizes.find(({ name }) => name === '7b')!

  test('is reckoned for each precision', () => {
    const { precisions, kvPerToken, contextLength } = estimateMemory(parseConfig(large.config), 17e9, 30e9)
    expect(contextLength).toBe(8192)
    // 28 layers, keys and values, 16 heads of 256; a cache of 8 192 tokens is large enough to be kept in f16
    expect(kvPerToken).toBe(28 * 2 * 16 * 256 * 2)
    expect(precisions.map(({ dtype }) => dtype)).toEqual(['auto', 'bf16', 'int8', 'int4'])
    const [auto, bf16, int8, int4] = precisions.map(({ weights }) => weights)
    expect(auto).toBe(17e9)
    // 8.54 billion parameters of two bytes; 34 and 18 bytes per 32 of them
    expect(bf16 / 8.54e9).toBeCloseTo(2, 1)
    expect(int8 / 8.54e9).toBeCloseTo(34 / 32, 1)
    expect(int4 / 8.54e9).toBeCloseTo(18 / 32, 1)
  })

  test('that no machine has is refused before a download', () => {
    const config = { ...large.config, num_hidden_layers: 1000, vocab_size: 4_000_000 }
    const description = { config, files: [{ name: 'model.safetensors', size: 6e14 }], totalBytes: 6e14 }
    expect(() => assertFits('some/model', description, {})).toThrow(
      /would need 600 TB.*nothing was downloaded/,
    )
    expect(() => assertFits('some/model', description, { context: 10_000_000 })).toThrow('at most 8192')
  })

  test('is shown for people', () => {
    const config = parseConfig(large.config)
    const { precisions, kvPerToken } = estimateMemory(config, 17e9, 30e9)
    const style = { enabled: false, dim: String, bold: String, band: String }
    const text = describeInspection(
      {
        ...{ model: 'google/gemma-7b', downloaded: false, container: null, generation: 1, size: '7b' },
        ...{
          config: large.config,
          parameters: { total: 8537680896, embedding: 786432000, nonEmbedding: 7751248896 },
        },
        ...{ dtypes: null, bytes: 17e9, downloadBytes: 17e9, contextLength: 8192, precisions, unknown: [] },
        memory: { weights: 17e9, kvPerToken, kv: 8192 * kvPerToken, available: 30e9 },
      },
      style,
    )
    expect(text).toContain('Gemma 1, size 7B, not on this machine; 17.0 GB to download')
    expect(text).toContain('8,537,680,896')
    expect(text).toMatch(/^int4 +\S+ GB +\S+ GB +\S+ GB +(yes|no)$/m)
  })
})
