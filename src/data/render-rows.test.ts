// What a person is shown of a run is all of it, marked rightly, and harmless to a terminal.

import { stripVTControlCharacters } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { rowsOf } from './pack.ts'
import { columnNames } from './record-columns.ts'
import { createRecordToDocument } from './record-document.ts'
import { isRefusal } from './refusal.ts'
import { renderRows } from './render-rows.ts'
import { tokenizer } from './testing/fixtures.ts'
import type { RecordKind } from './training-data.ts'
import type { TrainingRows } from './training-rows.ts'

function runOf(kind: RecordKind, ...records: Record<string, unknown>[]): TrainingRows {
  const toDocument = createRecordToDocument(tokenizer, { kind, columns: columnNames(), endOfText: true })
  return rowsOf(
    records.map((record) => {
      const document = toDocument(record, 'test')
      if (isRefusal(document)) throw new Error(document.detail)
      return document
    }),
  )
}

const chat = runOf(
  'messages',
  {
    messages: [
      { role: 'user', content: 'Two lines\nof question' },
      { role: 'assistant', content: 'An answer 語 😀' },
    ],
  },
  {
    messages: [
      { role: 'user', content: 'a' },
      { role: 'assistant', content: 'b' },
    ],
  },
)

describe('a run', () => {
  test('is shown with its documents, counts and what is learned', () => {
    const text = renderRows(chat, tokenizer, { width: 60 })
    const learned = (from: number, to: number): number =>
      [...chat.targets.subarray(from, to)].filter((target) => target >= 0).length
    const second = chat.sequences.indexOf(1)
    const [one, two] = [learned(0, second), learned(second, chat.tokens.length)]
    const line = (title: string): string => `── ${title} `.padEnd(60, '─')
    expect(text.split('\n')).toEqual([
      line(`document 1 of 2: ${second} tokens, ${one} learned`),
      '<bos><start_of_turn>user↵',
      'Two lines↵',
      'of question<end_of_turn>↵',
      '<start_of_turn>model↵',
      '⟦An answer 語 😀<end_of_turn>⟧↵',
      line(`document 2 of 2: ${chat.tokens.length - second} tokens, ${two} learned`),
      '<bos><start_of_turn>user↵',
      'a<end_of_turn>↵',
      '<start_of_turn>model↵',
      '⟦b<end_of_turn>⟧↵',
      line(`${chat.tokens.length} tokens in this run, ${one + two} learned`),
      '',
    ])
  })

  test('says the same with colours', () => {
    const color = renderRows(chat, tokenizer, { width: 60, color: true })
    expect(color).toContain('\u001b[30;42mb<end_of_turn>\u001b[0m')
    expect(color).toContain('\u001b[2ma<end_of_turn>↵\u001b[22m')
    const plain = renderRows(chat, tokenizer, { width: 60 })
    expect(stripVTControlCharacters(color)).toBe(plain.replaceAll(/[⟦⟧]/g, ''))
  })

  test('keeps within the width, with nothing that moves a cursor and every letter', () => {
    const width = fc.integer({ min: 20, max: 90 })
    fc.assert(
      fc.property(fc.string({ unit: 'binary', minLength: 1, maxLength: 200 }), width, (text, columns) => {
        const rows = runOf('text', { text: `\u001b[2J${text}\u202e` })
        const shown = renderRows(rows, tokenizer, { width: columns })
        const lines = shown.split('\n')
        expect(/[\u202e]|(?!\n)\p{Cc}/u.test(shown)).toBe(false)
        const content = lines.slice(1, -2).join('')
        for (const line of lines.slice(1, -2)) {
          expect([...line.replaceAll(/[⟦⟧]/g, '')].length).toBeLessThanOrEqual(columns)
        }
        const letters = [...tokenizer.decode(rows.tokens)]
        const expected = letters.length + '<bos>'.length + '<eos>'.length
        expect([...content.replaceAll(/[⟦⟧]/g, '')].length).toBe(expected - brackets(letters))
      }),
      { numRuns: 100 },
    )
  })
})

function brackets(letters: readonly string[]): number {
  return letters.filter((letter) => letter === '⟦' || letter === '⟧').length
}
