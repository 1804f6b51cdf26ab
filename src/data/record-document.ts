// A record becomes a document: tokens with a mask of what is learned. One function for each kind of record.
// Knows no file and no runs.

import { GemmaError } from '../error.ts'
import type { ChatMessage, Tokenizer } from '../tokenizer/index.ts'
import { createEncodeChat, readMessages } from './chat-document.ts'
import { type Document, hasTargets } from './document.ts'
import { type ColumnNames, columnOf, type JsonRecord, missingColumns } from './record-columns.ts'
import { isRefusal, type Refusal, refuse } from './refusal.ts'
import type { RecordKind } from './training-data.ts'

/** Throws GemmaError 'data' for tokens without <bos>: `place` says where. */
export type RecordToDocument = (record: JsonRecord, place: string) => Document | Refusal

export interface RecordForm {
  readonly kind: RecordKind
  readonly columns: ColumnNames
  /** Whether texts end with <eos>. */
  readonly endOfText: boolean
}

export function createRecordToDocument(tokenizer: Tokenizer, form: RecordForm): RecordToDocument {
  const { kind, columns } = form
  const read = readerOf(tokenizer, form)
  return (record, place) => {
    const missing = missingColumns(record, kind, columns)
    if (missing.length === 0) return read(record, place)
    const there = Object.keys(record).filter((name) => columnOf(record, name) !== undefined)
    const has = there.slice(0, 20).join(', ').slice(0, 200)
    return refuse('columns', `no ${missing.join(' and no ')} (it has: ${has || 'nothing'})`)
  }
}

function readerOf(tokenizer: Tokenizer, { kind, columns, endOfText }: RecordForm): RecordToDocument {
  switch (kind) {
    case 'text':
      return (record) => textDocument(tokenizer, columnOf(record, columns.text), columns.text, endOfText)
    case 'messages': {
      const encodeChat = createEncodeChat(tokenizer)
      return (record) => {
        const messages = readMessages(columnOf(record, columns.messages), columns)
        return isRefusal(messages) ? messages : encodeChat(messages)
      }
    }
    case 'prompt-completion':
      return promptCompletion(tokenizer, columns, endOfText)
    case 'tokens':
      return (record, place) =>
        tokensDocument(tokenizer, columnOf(record, columns.tokens), columnOf(record, columns.mask), place)
  }
}

function textDocument(
  tokenizer: Tokenizer,
  text: unknown,
  column: string,
  endOfText: boolean,
): Document | Refusal {
  if (typeof text !== 'string') return refuse('columns', `"${column}" is no text`)
  const ids = tokenizer.encodePrompt(text)
  if (ids.length < 2) return refuse('empty', `"${column}" is empty`)
  if (endOfText) ids.push(tokenizer.eosId)
  return { tokens: Int32Array.from(ids), learned: new Uint8Array(ids.length).fill(1, 1) }
}

/**
 * Both texts or both messages. Texts are encoded apart from each other, because that is how generation meets them: the
 * model continues the ids of the prompt, whatever its last letters would have merged with.
 */
function promptCompletion(tokenizer: Tokenizer, columns: ColumnNames, endOfText: boolean): RecordToDocument {
  let encodeChat: ReturnType<typeof createEncodeChat> | undefined
  return (record) => {
    const prompt = columnOf(record, columns.prompt)
    const completion = columnOf(record, columns.completion)
    if (typeof prompt === 'string' && typeof completion === 'string') {
      const before = tokenizer.encodePrompt(prompt)
      const after = tokenizer.encode(completion)
      if (after.length === 0) return refuse('empty', `"${columns.completion}" is empty`)
      if (endOfText) after.push(tokenizer.eosId)
      const tokens = Int32Array.from([...before, ...after])
      return { tokens, learned: new Uint8Array(tokens.length).fill(1, before.length) }
    }
    if (!Array.isArray(prompt) || !Array.isArray(completion)) {
      return refuse(
        'columns',
        `"${columns.prompt}" and "${columns.completion}" are neither two texts nor two lists of messages`,
      )
    }
    const question = readMessages(prompt, columns)
    if (isRefusal(question)) return question
    const answer = readMessages(completion, columns)
    if (isRefusal(answer)) return answer
    encodeChat ??= createEncodeChat(tokenizer)
    const messages: ChatMessage[] = [...question, ...answer]
    return encodeChat(messages, question.length)
  }
}

function tokensDocument(
  { vocabSize, bosId, pieceOf }: Tokenizer,
  value: unknown,
  maskValue: unknown,
  place: string,
): Document | Refusal {
  const ids = numbersOf(value)
  if (ids === undefined) return refuse('columns', 'the tokens are no list of numbers')
  if (ids.length === 0) return refuse('empty', 'no tokens')
  const strange = ids.find((id) => !(Number.isInteger(id) && id >= 0 && id < vocabSize))
  if (strange !== undefined) {
    return refuse('columns', `${strange} is no token id: they are 0 to ${vocabSize - 1}`)
  }
  if (ids[0] !== bosId) {
    throw new GemmaError(
      'data',
      `${place}: the tokens begin with ${ids[0]} (${JSON.stringify(pieceOf(ids[0]!))}) and not with <bos>, ${bosId}.`,
      'Gemma never saw a text without <bos>, and its predictions break down there: put it in front of every document.',
    )
  }
  const second = ids.indexOf(bosId, 1)
  if (second > 0) {
    return refuse('columns', `a second <bos> at token ${second}: every document needs a record of its own`)
  }
  const tokens = Int32Array.from(ids)
  const learned = new Uint8Array(tokens.length).fill(1, 1)
  if (maskValue !== undefined) {
    const mask = numbersOf(maskValue)
    if (mask?.length !== ids.length || mask.some((entry) => entry !== 0 && entry !== 1)) {
      return refuse('columns', `the mask is no list of ${ids.length} zeros and ones`)
    }
    learned.set(mask)
    learned[0] = 0 // nothing stands before <bos> that could predict it
  }
  const document = { tokens, learned }
  return hasTargets(document) ? document : refuse('nothing to learn', 'no token is learned')
}

/** A list of numbers, as JSON (also of booleans) or as Parquet (also of bigints) has it. */
function numbersOf(value: unknown): number[] | undefined {
  const list = ArrayBuffer.isView(value) ? Array.from(value as unknown as ArrayLike<unknown>) : value
  if (!Array.isArray(list)) return undefined
  const numbers: number[] = []
  for (const entry of list) {
    if (typeof entry === 'number' || typeof entry === 'bigint' || typeof entry === 'boolean') {
      numbers.push(Number(entry))
    } else return undefined
  }
  return numbers
}
