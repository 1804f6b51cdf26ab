// The files of a tokenizer that a finished model gets, and its chat template.

import { Template } from '@huggingface/jinja'
import { describe, expect, test } from 'vitest'
import { createTokenizer } from '../tokenizer/index.ts'
import { CHAT_TEMPLATE } from './chat-template.ts'
import { completeTokenizer } from './finish.node.ts'
import { firstBatch } from './prepare.node.ts'
import { fakeRecipe } from './testing/fake-run.ts'
import { useDirectory } from './testing/told-run.ts'

const directory = useDirectory()

describe('tokenizer files', () => {
  test('the template renders what the built-in one does, and refuses what it refuses', async () => {
    const { source } = await firstBatch(await fakeRecipe(directory()))
    await source.close()
    const { tokenizer } = source
    const template = new Template(CHAT_TEMPLATE)
    const render = (messages: { role: string; content: string }[], add_generation_prompt: boolean): string =>
      template.render({
        ...{ messages, add_generation_prompt, bos_token: '<bos>' },
      })
    const turns = ['One', '  two\n', '', 'fo<ur>'].map((content, i) => ({
      role: i % 2 === 0 ? 'user' : 'assistant',
      content,
    }))
    for (let length = 1; length <= 4; length++) {
      for (const addGenerationPrompt of [false, true]) {
        const messages = turns.slice(0, length)
        expect(render(messages, addGenerationPrompt)).toBe(
          tokenizer.applyChatTemplate(messages, { addGenerationPrompt }),
        )
      }
    }
    expect(() => render([{ role: 'system', content: 'x' }], false)).toThrow('System role not supported')
    expect(() => render([turns[0]!, turns[0]!], false)).toThrow('Conversation roles must alternate')
  })

  test('what is there stays, what is missing is made', async () => {
    const { source } = await firstBatch(await fakeRecipe(directory()))
    await source.close()
    const { tokenizer, tokenizerFiles } = source
    const all = completeTokenizer(tokenizer, tokenizerFiles)
    expect(all.sentencePiece).toBe(tokenizerFiles.sentencePiece)
    const fromJson = createTokenizer({ tokenizerJson: all.tokenizerJson })
    expect(fromJson.encode('The fox runs home. 12')).toEqual(tokenizer.encode('The fox runs home. 12'))
    expect(JSON.parse(all.tokenizerConfigJson!)).toMatchObject({
      bos_token: '<bos>',
      chat_template: CHAT_TEMPLATE,
    })
    const own = completeTokenizer(tokenizer, { ...tokenizerFiles, tokenizerConfigJson: '{"x":1}' })
    expect(JSON.parse(own.tokenizerConfigJson!)).toEqual({ x: 1, chat_template: CHAT_TEMPLATE })
    const theirs = '{"chat_template":"mine"}'
    expect(
      JSON.parse(
        completeTokenizer(tokenizer, { ...tokenizerFiles, tokenizerConfigJson: theirs }).tokenizerConfigJson!,
      ),
    ).toEqual({ chat_template: 'mine' })
    const broken = completeTokenizer(tokenizer, { ...tokenizerFiles, tokenizerConfigJson: '{' })
    expect(broken.tokenizerConfigJson).toBe('{')
  })
})
