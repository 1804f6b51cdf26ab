// Chat templates: the published formats, the checkpoint's own Jinja, and hostile templates.

import { existsSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { GemmaError } from '../error.ts'
import type { TokenizerFiles } from '../weights/checkpoint.ts'
import { type BuiltInTemplate, type ChatMessage, createTokenizer, type Tokenizer } from './index.ts'

interface ChatCase {
  name: string
  template: BuiltInTemplate
  messages: ChatMessage[]
  add_generation_prompt: boolean
  prompt?: string
  error?: string
  ids_small?: number[]
  ids_gemma?: number[]
}

const data = new URL('../../test/data/', import.meta.url)
const cases: ChatCase[] = JSON.parse(readFileSync(new URL('goldens/chat.json', data), 'utf8'))
const sentencePiece: Uint8Array = readFileSync(new URL('models/gemma1-mqa/tokenizer.model', data))
const withFiles = (files: TokenizerFiles): Tokenizer => createTokenizer({ sentencePiece, ...files })
const hello: ChatMessage[] = [{ role: 'user', content: 'Hello' }]

function expectPrompts(
  tokenizerOf: (template: BuiltInTemplate) => Tokenizer,
  ids: 'ids_small' | 'ids_gemma',
): void {
  for (const { name, template, messages, add_generation_prompt, prompt, error, ...golden } of cases) {
    const tokenizer = tokenizerOf(template)
    const options = { addGenerationPrompt: add_generation_prompt }
    if (error !== undefined) {
      expect(errorOf(() => tokenizer.applyChatTemplate(messages, options)).message, name).toBe(error)
      continue
    }
    expect(tokenizer.applyChatTemplate(messages, options), name).toBe(prompt)
    if (golden[ids]) expect(tokenizer.encodeChat(messages, options), name).toEqual(golden[ids])
  }
}

describe('built-in templates', () => {
  test('give every golden prompt, refusal and id', () => {
    expect(cases.length).toBeGreaterThan(90)
    expectPrompts((template) => createTokenizer({ sentencePiece }, { template }), 'ids_small')
  })

  const real = new URL('../../../shared/tokenizer/tokenizer.model', import.meta.url)
  test.skipIf(!existsSync(real))('and with Gemma’s own vocabulary (needs ../shared)', () => {
    const gemma = createTokenizer({ sentencePiece: readFileSync(real) })
    expectPrompts(
      (template) => (template === 'gemma' ? gemma : createTokenizer({ sentencePiece }, { template })),
      'ids_gemma',
    )
  })

  test('a prompt gets exactly one <bos>', () => {
    const tokenizer = withFiles({})
    expect(tokenizer.encodePrompt('<bos>Hello')).toEqual([2, 891, 717, 856])
    expect(tokenizer.encodePrompt('Hello')).toEqual([2, 891, 717, 856])
    expect(tokenizer.encodePrompt('')).toEqual([2])
  })

  test.each([
    [[]],
    [undefined],
    [[{ role: 'user' }]],
    [[{ content: 'x' }]],
    [[null]],
    [[{ role: 'user', content: [1] }]],
  ])('messages %j are refused', (messages) => {
    expect(errorOf(() => withFiles({}).applyChatTemplate(messages as never)).code).toBe('template')
  })
})

// Written for this test: the rules of 'gemma' in Jinja.
const JINJA = `{{ bos_token }}
{%- if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for message in messages -%}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif -%}
{{ '<start_of_turn>' ~ ('model' if message.role == 'assistant' else message.role) ~ '\\n' }}
{{- message.content | trim }}{{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}`

describe('the checkpoint’s own template', () => {
  test('is rendered with what Hugging Face gives it', () => {
    const tokenizer = withFiles({ chatTemplate: JINJA })
    for (const { name, template, messages, add_generation_prompt, prompt, error } of cases) {
      if (template !== 'gemma') continue
      const options = { addGenerationPrompt: add_generation_prompt }
      if (error === undefined) expect(tokenizer.applyChatTemplate(messages, options), name).toBe(prompt)
      else expect(errorOf(() => tokenizer.applyChatTemplate(messages, options)).message, name).toBe(error)
    }
  })

  const config = (chat_template: unknown): TokenizerFiles => ({
    tokenizerConfigJson: JSON.stringify({ bos_token: { content: '<b>' }, chat_template }),
  })
  const sources: [string, TokenizerFiles, string][] = [
    ['a string in the configuration', config('{{ bos_token }}A{{ eos_token }}'), '<b>A<eos>'],
    [
      'named templates',
      config([
        { name: 'tool_use', template: 'T' },
        { name: 'default', template: 'D' },
      ]),
      'D',
    ],
    ['one named template', config([{ name: 'other', template: 'O' }]), 'O'],
    ['GGUF metadata', { gguf: new Map([['tokenizer.chat_template', 'G']]) }, 'G'],
    ['its own file, before the configuration', { ...config('C'), chatTemplate: 'F' }, 'F'],
    ['none', config(undefined), '<bos><start_of_turn>user\nHello<end_of_turn>\n'],
    ['a date', { chatTemplate: "{{ strftime_now('%Y') | length }}" }, '4'],
    [
      'tools and documents that are none',
      { chatTemplate: '{{ tools is none and documents is none }}' },
      'true',
    ],
  ]
  test.each(sources)('is taken from %s', (_name, files, prompt) => {
    expect(withFiles(files).applyChatTemplate(hello)).toBe(prompt)
  })

  test('that is broken leaves the rest of the tokenizer usable', () => {
    const tokenizer = withFiles({ chatTemplate: '{% for %}' })
    expect(tokenizer.encode('Hello')).toEqual([891, 717, 856])
    expect(errorOf(() => tokenizer.applyChatTemplate(hello)).code).toBe('template')
    expect(errorOf(() => withFiles({ tokenizerConfigJson: '[' })).code).toBe('tokenizer')
  })

  const hostile: [string, string][] = [
    ['a long list', '{% for i in range(1000000000) %}x{% endfor %}'],
    ['a range without an end', '{{ range(0, 9, 0) }}'],
    [
      'a text that doubles',
      "{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
    ],
    [
      'a list that doubles',
      '{% set n = namespace(s=[1]) %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}',
    ],
    ['loops in loops', `${'{% for i in range(1000) %}'.repeat(4)}${'{% endfor %}'.repeat(4)}`],
    ['a macro that calls itself', '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}'],
    ['deep brackets', `{{ ${'('.repeat(1e5)}1${')'.repeat(1e5)} }}`],
    ['megabytes of source', 'x'.repeat(2e6)],
    ['JavaScript’s own properties', "{{ messages.constructor.constructor('return 1')() }}"],
    ['a function of the language', '{{ range.constructor("return process")() }}'],
  ]
  test.each(hostile)('cannot harm: %s', (_name, chatTemplate) => {
    expect(errorOf(() => withFiles({ chatTemplate }).applyChatTemplate(hello)).code).toBe('template')
  })

  test('in any mutation gives a prompt or a GemmaError', () => {
    const edit = fc.tuple(fc.nat(), fc.nat({ max: 12 }), fc.string({ maxLength: 4 }))
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 3 }), (edits) => {
        let chatTemplate = JINJA
        for (const [at, remove, insert] of edits) {
          const place = at % JINJA.length
          chatTemplate = chatTemplate.slice(0, place) + insert + chatTemplate.slice(place + remove)
        }
        try {
          expect(typeof small.applyWith(chatTemplate)).toBe('string')
        } catch (error) {
          expect(error).toBeInstanceOf(GemmaError)
        }
      }),
      { numRuns: 500 },
    )
  })
})

const small = {
  applyWith: (chatTemplate: string): string => withFiles({ chatTemplate }).applyChatTemplate(hello),
}

function errorOf(run: () => unknown): GemmaError {
  try {
    run()
  } catch (error) {
    expect(error).toBeInstanceOf(GemmaError)
    return error as GemmaError
  }
  throw new Error('expected an error')
}
