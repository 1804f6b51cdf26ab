// A conversation as chat templates take it. Knows nothing about templates.

import { GemmaError } from '../error.ts'

export type ChatContent = string | readonly ChatPart[]

export interface ChatPart {
  /** 'text' with `text`, or 'image' where the template takes images. */
  readonly type: string
  readonly text?: string
  readonly [key: string]: unknown
}

export interface ChatMessage {
  /** 'user', 'assistant' (or 'model'), 'system' where the template takes one. */
  readonly role: string
  readonly content: ChatContent
  readonly [key: string]: unknown
}

/** Throws GemmaError 'template' unless `messages` is a list of messages, with at least one. */
export function checkMessages(messages: unknown): asserts messages is readonly ChatMessage[] {
  if (!Array.isArray(messages) || messages.length === 0) {
    throw new GemmaError('template', 'Expected a list with at least one message.')
  }
  messages.forEach((message: unknown, i) => {
    const { role, content } = (message ?? {}) as Partial<ChatMessage>
    if (typeof role !== 'string') throw new GemmaError('template', `Expected message ${i} to have a "role".`)
    const parts = Array.isArray(content) && content.every(isPart)
    if (typeof content !== 'string' && !parts) {
      throw new GemmaError(
        'template',
        `Expected the "content" of message ${i} to be a string or a list of parts.`,
      )
    }
  })
}

function isPart(part: unknown): boolean {
  const { type, text } = (part ?? {}) as Partial<ChatPart>
  return typeof type === 'string' && (type !== 'text' || typeof text === 'string')
}
