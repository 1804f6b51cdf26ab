// A conversation becomes a document: exactly the tokens that the tokenizer's own chat template gives, and of them
// the model's turns are learned. Whose turn a token belongs to follows from the list of messages; a text that
// holds turn markers could pretend otherwise, so it is refused. Knows no file.

import { GemmaError } from '../error.ts'
import type { ChatContent, ChatMessage, Tokenizer } from '../tokenizer/index.ts'
import type { Document } from './document.ts'
import { columnOf, type JsonRecord } from './record-columns.ts'
import { type Refusal, refuse } from './refusal.ts'

const START = '<start_of_turn>'
const END = '<end_of_turn>'

/** The list of messages in a column; `names`: what role and content are called there. */
export function readMessages(
  value: unknown,
  names: { readonly role: string; readonly content: string },
): ChatMessage[] | Refusal {
  if (!Array.isArray(value)) return refuse('columns', 'expected a list of messages')
  const messages: ChatMessage[] = []
  for (const [i, entry] of value.entries()) {
    const message = (typeof entry === 'object' && entry !== null ? entry : {}) as JsonRecord
    const role = columnOf(message, names.role)
    const content = columnOf(message, names.content)
    if (typeof role !== 'string') return refuse('columns', `message ${i + 1} has no "${names.role}"`)
    if (typeof content !== 'string' && !isTextParts(content)) {
      return refuse(
        'columns',
        `message ${i + 1}: "${names.content}" is neither a text nor a list of text parts`,
      )
    }
    messages.push({ role, content })
  }
  return messages
}

function isTextParts(content: unknown): content is ChatContent {
  if (!Array.isArray(content)) return false
  return content.every((part) => part?.type === 'text' && typeof part.text === 'string')
}

export type EncodeChat = (messages: readonly ChatMessage[], notLearned?: number) => Document | Refusal

/**
 * A function that encodes conversations. Learned are the texts of the model's turns and their <end_of_turn>, neither the
 * header before them nor the line feed after; nothing in the first `notLearned` messages. Throws GemmaError
 * 'unsupported' when the vocabulary has no turn markers.
 */
export function createEncodeChat(tokenizer: Tokenizer): EncodeChat {
  const start = tokenizer.idOf(START)
  const end = tokenizer.endOfTurnId
  if (start === undefined || end === undefined) {
    throw new GemmaError(
      'unsupported',
      `The tokenizer has no ${start === undefined ? START : END}: conversations cannot be told apart from text.`,
      'Use a tokenizer of Gemma 1, 2 or 3, or records of kind "text".',
    )
  }
  const markers = {
    start,
    end,
    headers: [tokenizer.encode('user\n'), tokenizer.encode('model\n')],
    between: tokenizer.encode('\n'),
  }
  return (messages, notLearned = 0) => {
    const refusal = checkTurns(messages)
    if (refusal !== undefined) return refusal
    let tokens: number[]
    try {
      tokens = tokenizer.encodeChat(messages)
    } catch (error) {
      if (error instanceof GemmaError && error.code === 'template') return refuse('template', error.message)
      throw error
    }
    const system = messages[0]!.role === 'system' ? 1 : 0
    return learnTurns(tokens, markers, messages.length - system, Math.max(0, notLearned - system))
  }
}

/** Refuses what is not system?, user, model, user, … and texts that could pass for turns. */
function checkTurns(messages: readonly ChatMessage[]): Refusal | undefined {
  if (messages.length === 0) return refuse('empty', 'no messages')
  const first = messages[0]!.role === 'system' ? 1 : 0
  for (const [i, { role, content }] of messages.entries()) {
    const expected = i < first ? 'system' : (i - first) % 2 === 0 ? 'user' : 'assistant'
    if (role !== expected && !(role === 'model' && expected === 'assistant')) {
      return refuse(
        'turn order',
        `message ${i + 1} is from ${JSON.stringify(role.slice(0, 40))}, expected ${expected}`,
      )
    }
    const texts = typeof content === 'string' ? [content] : content.map(({ text = '' }) => text)
    const marker = [START, END].find((one) => texts.join('').includes(one))
    if (marker !== undefined) {
      return refuse('turn markers', `message ${i + 1} holds ${marker}, which the model would take for a turn`)
    }
  }
  if (messages.length - first < 2) return refuse('nothing to learn', 'no turn of the model')
  return undefined
}

interface Markers {
  readonly start: number
  readonly end: number
  /** Ids after <start_of_turn>, of the user and of the model. */
  readonly headers: readonly (readonly number[])[]
  /** Ids after <end_of_turn>. */
  readonly between: readonly number[]
}

/** Walks over `turns` turns and marks what is learned, from turn `firstLearned` on; refuses other tokens than Gemma's turns. */
function learnTurns(
  ids: readonly number[],
  { start, end, headers, between }: Markers,
  turns: number,
  firstLearned: number,
): Document | Refusal {
  const learned = new Uint8Array(ids.length)
  const strange = refuse('template', 'the chat template does not make Gemma’s turns of these messages')
  let at = 1 // after <bos>
  for (let turn = 0; turn < turns; turn++) {
    const content = at + 1 + headers[turn % 2]!.length
    if (ids[at] !== start || !follows(ids, at + 1, headers[turn % 2]!)) return strange
    const last = ids.indexOf(end, content)
    if (last < 0 || !follows(ids, last + 1, between)) return strange
    if (turn % 2 === 1 && turn >= firstLearned) {
      if (last === content) return refuse('empty', 'a turn of the model is empty')
      learned.fill(1, content, last + 1)
    }
    at = last + 1 + between.length
  }
  if (at !== ids.length) return strange
  if (learned.indexOf(1) < 0) return refuse('nothing to learn', 'no turn of the model in the completion')
  return { tokens: Int32Array.from(ids), learned }
}

function follows(ids: readonly number[], at: number, expected: readonly number[]): boolean {
  return expected.every((id, i) => ids[at + i] === id)
}
