import { describe, expect, test } from 'vitest'
import type { GemmaError } from '../error.ts'
import type { ChatMessage, Tokenizer } from '../tokenizer/index.ts'
import { chatPrompt } from './chat.ts'

/** One token for each letter, and two for the frame of each message. */
const tokenizer = {
  encodeChat: (messages: readonly ChatMessage[]) =>
    messages.flatMap(({ role, content }) => [role, ...(content as string), 'end']),
} as unknown as Tokenizer

const turn = (role: string, length: number): ChatMessage =>
  ({ role, content: 'x'.repeat(length) }) as ChatMessage

describe('a conversation that outgrows the context', () => {
  const talk = [
    turn('user', 10),
    turn('assistant', 10),
    turn('user', 10),
    turn('assistant', 10),
    turn('user', 3),
  ]
  // 12 + 12 + 12 + 12 + 5 = 53 tokens

  test('is kept whole while it fits with room for an answer', () => {
    expect(chatPrompt(tokenizer, talk, 63, 10)).toMatchObject({ dropped: 0 })
    expect(chatPrompt(tokenizer, talk, 63, 10).tokens).toHaveLength(53)
  })

  test('loses its oldest question and answer together', () => {
    expect(chatPrompt(tokenizer, talk, 62, 10)).toMatchObject({ dropped: 2 })
    expect(chatPrompt(tokenizer, talk, 62, 10).tokens).toHaveLength(29)
    expect(chatPrompt(tokenizer, talk, 38, 10)).toMatchObject({ dropped: 4 })
  })

  test('keeps the system message', () => {
    const { tokens, dropped } = chatPrompt(tokenizer, [turn('system', 4), ...talk], 50, 10)
    expect(dropped).toBe(2)
    expect(tokens.slice(0, 2)).toEqual(['system', 'x'])
    expect(tokens).toHaveLength(35)
  })

  test('a last message that fits only without room for the answer is taken', () => {
    expect(chatPrompt(tokenizer, [turn('user', 10)], 13, 10)).toMatchObject({ dropped: 0 })
    expect(chatPrompt(tokenizer, talk, 6, 10)).toMatchObject({ dropped: 4 })
  })

  test('a last message that does not fit at all is refused', () => {
    expect.assertions(2)
    try {
      chatPrompt(tokenizer, [turn('user', 11)], 13, 1)
    } catch (error) {
      expect((error as GemmaError).code).toBe('context')
      expect((error as GemmaError).message).toContain('13 tokens')
    }
  })

  test('is cut so rarely that most turns find the last prompt in the cache', () => {
    const history: ChatMessage[] = []
    let before: readonly unknown[] = []
    let kept = 0
    for (let i = 0; i < 60; i++) {
      history.push(turn('user', 5))
      const { tokens } = chatPrompt(tokenizer, history, 200, 20)
      expect(tokens.length).toBeLessThanOrEqual(180)
      if (before.every((token, at) => token === tokens[at])) kept++
      before = tokens
      history.push(turn('assistant', 6))
    }
    // A turn takes 15 tokens; each cut frees 80.
    expect(kept).toBeGreaterThan(45)
  })
})
