// The prompt formats of Gemma, for checkpoints that bring no template: turns between <start_of_turn> and
// <end_of_turn>, roles user and model (ai.google.dev/gemma/docs/core/prompt-structure). Refusals carry
// the words that the published templates use, since programs look for them. Knows nothing about Jinja.

import { GemmaError } from '../error.ts'
import type { ChatContent, ChatMessage } from './chat-message.ts'

/** 'gemma': generations 1 and 2. 'gemma3': takes a system message, put before the first user turn. */
export type BuiltInTemplate = 'gemma' | 'gemma3'

// What Python's str.strip() removes; JavaScript's trim() also removes U+FEFF, and leaves U+0085 and U+001C–1F.
const SPACE = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000'
const LEADING = new RegExp(`^[${SPACE}]+`)
const IS_SPACE = new RegExp(`[${SPACE}]`)

/** The prompt, beginning with the text <bos>. Throws GemmaError 'template' for what the model was not made for. */
export function renderBuiltIn(
  template: BuiltInTemplate,
  messages: readonly ChatMessage[],
  addGenerationPrompt: boolean,
): string {
  let turns = messages
  let prefix = ''
  if (messages[0].role === 'system') {
    if (template === 'gemma') throw new GemmaError('template', 'System role not supported')
    prefix = `${systemText(messages[0].content)}\n\n`
    turns = messages.slice(1)
  }
  let prompt = '<bos>'
  turns.forEach(({ role, content }, i) => {
    if ((role === 'user') !== (i % 2 === 0)) {
      throw new GemmaError('template', 'Conversation roles must alternate user/assistant/user/assistant/...')
    }
    const name = role === 'assistant' ? 'model' : role
    prompt += `<start_of_turn>${name}\n${i === 0 ? prefix : ''}${turnText(template, content)}<end_of_turn>\n`
  })
  return addGenerationPrompt ? `${prompt}<start_of_turn>model\n` : prompt
}

function systemText(content: ChatContent): string {
  if (typeof content === 'string') return content
  const text = content[0]?.text
  if (text === undefined) throw new GemmaError('template', 'Expected the system message to begin with text.')
  return text
}

function turnText(template: BuiltInTemplate, content: ChatContent): string {
  if (typeof content === 'string') return strip(content)
  let text = ''
  for (const part of content) {
    if (part.type === 'text') text += strip(part.text ?? '')
    else if (part.type === 'image' && template === 'gemma3') text += '<start_of_image>'
    else throw new GemmaError('template', `This model takes no parts of type ${JSON.stringify(part.type)}.`)
  }
  return text
}

function strip(text: string): string {
  let end = text.length
  while (end > 0 && IS_SPACE.test(text[end - 1])) end--
  return text.slice(0, end).replace(LEADING, '')
}
