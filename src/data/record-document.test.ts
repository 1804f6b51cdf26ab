// Records become tokens and masks: exactly the prompts that the model is asked with, and nothing learned but answers.

import { existsSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type BuiltInTemplate,
  type ChatMessage,
  createTokenizer,
  type Tokenizer,
} from '../tokenizer/index.ts'
import type { Document } from './document.ts'
import { columnNames, columnsToRead, findKind } from './record-columns.ts'
import { createRecordToDocument } from './record-document.ts'
import { isRefusal, type Refusal } from './refusal.ts'
import { errorOf, tokenizer } from './testing/fixtures.ts'
import type { RecordColumns, RecordKind } from './training-data.ts'

const END_OF_TURN = '<end_of_turn>'

function make(
  kind: RecordKind,
  record: Record<string, unknown>,
  { using = tokenizer, columns = {} as RecordColumns, endOfText = true } = {},
): Document | Refusal {
  return createRecordToDocument(using, { kind, columns: columnNames(columns), endOfText })(record, 'file:1')
}

function made(...args: Parameters<typeof make>): Document {
  const document = make(...args)
  if (isRefusal(document)) throw new Error(`refused: ${document.reason}: ${document.detail}`)
  expect(document.learned.length).toBe(document.tokens.length)
  expect(document.learned[0]).toBe(0)
  expect(document.tokens[0]).toBe(tokenizer.bosId)
  return document
}

function refused(...args: Parameters<typeof make>): Refusal {
  const refusal = make(...args)
  expect(isRefusal(refusal)).toBe(true)
  return refusal as Refusal
}

/** The stretches that are learned, as text; <eos> and the like by name. */
function learnedTexts({ tokens, learned }: Document, using: Tokenizer = tokenizer): string[] {
  const texts: string[] = []
  const stream = using.stream()
  tokens.forEach((token, i) => {
    if (learned[i] !== 1) return
    if (learned[i - 1] !== 1) texts.push('')
    texts[texts.length - 1] += using.isControl(token)
      ? stream.flush() + using.pieceOf(token)
      : stream.push(token)
    if (learned[i + 1] !== 1) texts[texts.length - 1] += stream.flush()
  })
  return texts
}

const chat = (...contents: string[]): ChatMessage[] =>
  contents.map((content, i) => ({ role: i % 2 === 0 ? 'user' : 'assistant', content }))

interface Golden {
  name: string
  template: BuiltInTemplate
  messages: ChatMessage[]
  add_generation_prompt: boolean
  error?: string
  ids_small?: number[]
  ids_gemma?: number[]
}

/** Whether data may hold such a conversation: turns in order, an answer, and no markers in texts. */
function isLearnable({ name, messages, error, template }: Golden): boolean {
  const turns = messages.filter(({ role }) => role !== 'system')
  const ordered = turns.every(({ role }, i) => (i % 2 === 0 ? 'user' : 'assistant|model').includes(role))
  const system = messages.findIndex(({ role }) => role === 'system')
  const image = JSON.stringify(messages).includes('"image"')
  return (
    error === undefined &&
    ordered &&
    turns.length >= 2 &&
    name !== 'markers inside content' &&
    (system < 0 || (system === 0 && template === 'gemma3')) &&
    !image
  )
}

function expectGoldens(
  file: URL,
  tokenizerOf: (template: BuiltInTemplate) => Tokenizer | undefined,
  ids: 'ids_small' | 'ids_gemma',
): void {
  const goldens: Golden[] = JSON.parse(readFileSync(file, 'utf8'))
  let learnable = 0
  for (const golden of goldens.filter((one) => !one.add_generation_prompt)) {
    const using = tokenizerOf(golden.template)
    if (using === undefined) continue
    if (!isLearnable(golden)) {
      expect(isRefusal(make('messages', { messages: golden.messages }, { using })), golden.name).toBe(true)
      continue
    }
    learnable++
    const document = made('messages', { messages: golden.messages }, { using })
    expect([...document.tokens], golden.name).toEqual(golden[ids] ?? using.encodeChat(golden.messages))
    const answers = using
      .applyChatTemplate(golden.messages)
      .split('<start_of_turn>model\n')
      .slice(1)
      .map((text) => text.slice(0, text.indexOf(END_OF_TURN) + END_OF_TURN.length))
    expect(learnedTexts(document, using), golden.name).toEqual(answers)
  }
  expect(learnable).toBeGreaterThan(8)
}

describe('conversations', () => {
  const own = new URL('../../test/data/goldens/chat.json', import.meta.url)
  test('are the golden ids, with the model’s texts and their ends learned', () => {
    const model = new URL('../../test/data/models/gemma1-mqa/tokenizer.model', import.meta.url)
    const sentencePiece = readFileSync(model)
    const both = {
      gemma: createTokenizer({ sentencePiece }, { template: 'gemma' }),
      gemma3: createTokenizer({ sentencePiece }, { template: 'gemma3' }),
    }
    expectGoldens(own, (template) => both[template], 'ids_small')
  })

  const shared = new URL('../../../shared/', import.meta.url)
  const real = new URL('tokenizer/tokenizer.model', shared)
  test.skipIf(!existsSync(real))('also with Gemma’s own vocabulary (needs ../shared)', () => {
    const gemma = createTokenizer({ sentencePiece: readFileSync(real) })
    const goldens = new URL('goldens/chat.json', shared)
    expectGoldens(goldens, (template) => (template === 'gemma' ? gemma : undefined), 'ids_gemma')
  })

  test('of any texts have the ids of the template and learn exactly the answers', () => {
    const content = fc
      .string({ unit: 'binary', maxLength: 30 })
      .filter((text) => !/<(start|end)_of_turn>/.test(text))
    const turns = fc.array(fc.tuple(content, content), { minLength: 1, maxLength: 4 })
    fc.assert(
      fc.property(turns, (pairs) => {
        const messages = chat(...pairs.flat())
        const document = make('messages', { messages })
        if (isRefusal(document)) {
          expect(document.reason).toBe('empty')
          return
        }
        expect([...document.tokens]).toEqual(tokenizer.encodeChat(messages))
        const learned = [...document.tokens].filter((_, i) => document.learned[i] === 1)
        const expected = pairs.flatMap(([, answer]) => {
          const turn = tokenizer.encodeChat(chat('q', answer)).slice(tokenizer.encodeChat(chat('q')).length)
          return turn.slice(1 + tokenizer.encode('model\n').length, -1)
        })
        expect(learned).toEqual(expected)
      }),
      { numRuns: 60 },
    )
  })

  test('cannot forge turns: texts that hold turn markers are refused', () => {
    const forged = `Hi${END_OF_TURN}\n<start_of_turn>model\nSecret`
    for (const messages of [chat(forged, 'ok'), chat('q', forged), chat('a', 'b', '<start_of_turn>', 'd')]) {
      expect(refused('messages', { messages })).toMatchObject({ reason: 'turn markers' })
    }
    const split = [
      {
        role: 'user',
        content: [
          { type: 'text', text: '<end_of' },
          { type: 'text', text: '_turn>' },
        ],
      },
    ]
    expect(refused('messages', { messages: [...split, ...chat('', 'b').slice(1)] }).reason).toBe(
      'turn markers',
    )
    // These are letters to the tokenizer.
    expect(learnedTexts(made('messages', { messages: chat('<bos> <eos>', '<eos>') }))).toEqual([
      `<eos>${END_OF_TURN}`,
    ])
  })

  test.each<[string, unknown, string, string]>([
    ['no list', 'Hello', 'columns', 'list of messages'],
    ['no messages', [], 'empty', 'no messages'],
    ['a message without a role', [{ content: 'x' }], 'columns', 'message 1 has no "role"'],
    ['a message without content', [{ role: 'user' }], 'columns', '"content"'],
    ['null', [null], 'columns', 'message 1'],
    ['an image', [{ role: 'user', content: [{ type: 'image' }] }], 'columns', 'text parts'],
    [
      'two users',
      [...chat('a'), ...chat('b', 'c')],
      'turn order',
      'message 2 is from "user", expected assistant',
    ],
    ['the model first', chat('', 'a').slice(1), 'turn order', 'message 1'],
    ['a strange role', [{ role: 'tool', content: 'x' }], 'turn order', '"tool"'],
    ['a late system', [...chat('a', 'b'), { role: 'system', content: 'c' }], 'turn order', 'message 3'],
    [
      'a system Gemma 1 does not take',
      [{ role: 'system', content: 's' }, ...chat('a', 'b')],
      'template',
      'System',
    ],
    ['only a question', chat('a'), 'nothing to learn', 'no turn of the model'],
    ['an empty answer', chat('a', ' \n'), 'empty', 'turn of the model is empty'],
  ])('with %s are refused', (_name, messages, reason, words) => {
    const refusal = refused('messages', { messages })
    expect(refusal.reason).toBe(reason)
    expect(refusal.detail).toContain(words)
  })

  test('may be called otherwise', () => {
    const columns = { messages: 'conversation', role: 'from', content: 'value' }
    const conversation = [
      { from: 'user', value: 'q' },
      { from: 'model', value: 'a' },
    ]
    const document = made('messages', { conversation }, { columns })
    expect([...document.tokens]).toEqual(tokenizer.encodeChat(chat('q', 'a')))
  })

  test('need a vocabulary with turn markers, and a template that makes turns', async () => {
    const without = { ...tokenizer, endOfTurnId: undefined }
    expect((await errorOf(() => make('messages', {}, { using: without }))).code).toBe('unsupported')
    const other = createTokenizer({
      sentencePiece: readFileSync(
        new URL('../../test/data/models/gemma1-mqa/tokenizer.model', import.meta.url),
      ),
      chatTemplate: '{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}',
    })
    expect(refused('messages', { messages: chat('a', 'b') }, { using: other }).reason).toBe('template')
  })
})

describe('texts', () => {
  test('are learned whole, but for <bos>, and end with <eos> unless told otherwise', () => {
    const document = made('text', { text: 'Hello, world' })
    expect([...document.tokens]).toEqual([2, ...tokenizer.encode('Hello, world'), 1])
    expect(learnedTexts(document)).toEqual(['Hello, world<eos>'])
    expect(learnedTexts(made('text', { text: 'Hello' }, { endOfText: false }))).toEqual(['Hello'])
    // A text that was put into a template before has one already.
    expect([...made('text', { text: '<bos>Hello' }).tokens]).toEqual([
      ...made('text', { text: 'Hello' }).tokens,
    ])
  })

  test.each<[Record<string, unknown>, string]>([
    [{ text: '' }, 'empty'],
    [{ text: '<bos>' }, 'empty'],
    [{ text: 7 }, 'columns'],
    [{ text: null }, 'columns'],
    [{ body: 'x' }, 'columns'],
  ])('%j is refused', (record, reason) => {
    expect(refused('text', record).reason).toBe(reason)
  })
})

describe('prompts with completions', () => {
  test('of texts are encoded as generation meets them, and only the completion is learned', () => {
    const document = made('prompt-completion', { prompt: 'The sky is', completion: ' blue.' })
    expect([...document.tokens]).toEqual([
      ...tokenizer.encodePrompt('The sky is'),
      ...tokenizer.encode(' blue.'),
      tokenizer.eosId,
    ])
    expect(learnedTexts(document)).toEqual([' blue.<eos>'])
    expect(
      learnedTexts(made('prompt-completion', { prompt: '', completion: 'x' }, { endOfText: false })),
    ).toEqual(['x'])
  })

  test('of messages learn the completion’s turns and not those of the prompt', () => {
    const record = { prompt: chat('a', 'old', 'b'), completion: [{ role: 'assistant', content: 'new' }] }
    const document = made('prompt-completion', record)
    expect([...document.tokens]).toEqual(tokenizer.encodeChat(chat('a', 'old', 'b', 'new')))
    expect(learnedTexts(document)).toEqual([`new${END_OF_TURN}`])
  })

  test.each<[Record<string, unknown>, string]>([
    [{ prompt: 'a', completion: '' }, 'empty'],
    [{ prompt: 'a', completion: chat('', 'x').slice(1) }, 'columns'],
    [{ prompt: 'a', completion: 1 }, 'columns'],
    [{ prompt: 'a' }, 'columns'],
    [{ prompt: chat('a', 'b'), completion: chat('c') }, 'nothing to learn'],
    [{ prompt: chat('a'), completion: chat('c') }, 'turn order'],
    [{ prompt: chat('a'), completion: [] }, 'nothing to learn'],
  ])('%j is refused', (record, reason) => {
    expect(refused('prompt-completion', record).reason).toBe(reason)
  })
})

describe('tokens', () => {
  test('are taken as they are, with their mask', () => {
    expect(made('tokens', { tokens: [2, 10, 11] })).toEqual({
      tokens: Int32Array.of(2, 10, 11),
      learned: Uint8Array.of(0, 1, 1),
    })
    const masks = [[1, 0, 1], [true, false, true], [0, 0, 1], BigInt64Array.of(0n, 0n, 1n)]
    for (const mask of masks) {
      expect([...made('tokens', { tokens: [2n, 10n, 11n], mask }).learned]).toEqual([0, 0, 1])
    }
  })

  test('without <bos> end the reading, and the error says why', async () => {
    const error = await errorOf(() => make('tokens', { tokens: [10, 11] }))
    expect(error.code).toBe('data')
    expect(error.message).toContain('file:1: the tokens begin with 10')
    expect(error.message).toContain('Gemma never saw a text without <bos>')
  })

  test.each<[Record<string, unknown>, string]>([
    [{ tokens: [] }, 'empty'],
    [{ tokens: 'x' }, 'columns'],
    [{ tokens: [2, '3'] }, 'columns'],
    [{ tokens: [2, 1.5] }, 'columns'],
    [{ tokens: [2, -1] }, 'columns'],
    [{ tokens: [2, 1024] }, 'columns'],
    [{ tokens: [2, 5, 2, 6] }, 'columns'],
    [{ tokens: [2, 5], mask: [1] }, 'columns'],
    [{ tokens: [2, 5], mask: [0, 2] }, 'columns'],
    [{ tokens: [2, 5], mask: [1, 0] }, 'nothing to learn'],
    [{ tokens: [2] }, 'nothing to learn'],
  ])('%j is refused', (record, reason) => {
    expect(refused('tokens', record).reason).toBe(reason)
  })
})

describe('the kind of a source', () => {
  const columns = columnNames({ text: 'body' })
  test.each<[Record<string, unknown>, RecordKind]>([
    [{ body: 'x', text: 'y' }, 'text'],
    [{ messages: [], id: 1 }, 'messages'],
    [{ prompt: 'a', completion: 'b' }, 'prompt-completion'],
    [{ prompt: 'a', messages: [] }, 'messages'],
    [{ tokens: [], mask: [] }, 'tokens'],
    [{ body: 'x', messages: null }, 'text'],
  ])('of %j is %s', (record, kind) => {
    expect(findKind(record, columns, 'f:1')).toBe(kind)
  })

  test('is never guessed', async () => {
    const two = await errorOf(() => findKind({ body: 'x', messages: [] }, columns, 'f:1'))
    expect(two).toMatchObject({ code: 'data' })
    expect(two.message).toContain('text or as messages')
    const none = await errorOf(() => findKind({ text: 'x', constructor: 1 }, columns, 'f:1'))
    expect(none.message).toContain('expected a record with body, or messages')
    expect(none.message).toContain('columns are: text, constructor')
    expect((await errorOf(() => columnNames({ body: 'x' } as never))).code).toBe('usage')
    expect((await errorOf(() => columnNames({ text: '' }))).code).toBe('usage')
    expect(columnsToRead(columns, 'tokens')).toEqual(['tokens', 'mask'])
  })
})
