// What a model of the nano corpus has learned: how far its loss is from the entropy, and how it answers.

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Gemma } from '../../../src/index.ts'
import type { Document } from './grammar.ts'
import type { Flavour } from './nano-corpus.ts'

export interface Gap {
  /** Tokens to predict: those of the documents and <eos> after each. */
  readonly tokens: number
  /** Mean −ln p of these tokens under the model, nats per token. */
  readonly loss: number
  /** Mean −ln p of the same documents under what wrote them, nats per token: no model can be expected below. */
  readonly entropy: number
}

async function readRecords<Record>(path: string): Promise<Record[]> {
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n')
  return lines.map((line) => JSON.parse(line) as Record)
}

/**
 * Loss and entropy of one flavour. `documents` is 'held-out' (as in training) or 'new' (combinations that training
 * never has). The entropy takes the flavour as known; a model must find out, which costs it at most ln 3 a document.
 */
export async function measureGap(
  gemma: Gemma,
  corpus: string,
  documents: 'held-out' | 'new',
  flavour: Flavour,
): Promise<Gap> {
  const { bosId, eosId } = gemma.tokenizer
  let [tokens, loss, entropy] = [0, 0, 0]
  for (const { text, logProbability } of await readRecords<Document>(
    join(corpus, documents, `${flavour}.jsonl`),
  )) {
    const all = [bosId, ...gemma.tokenizer.encode(text), eosId]
    tokens += all.length - 1
    loss -= (await gemma.score(all)).sum
    entropy -= logProbability
  }
  return { tokens, loss: loss / tokens, entropy: entropy / tokens }
}

export interface Answer {
  readonly question: string
  readonly expected: string
  readonly answer: string
  /** Whether the model said by <end_of_turn> that its turn is over, rather than going on to the limit. */
  readonly closed: boolean
}

/** Tokens that an answer may have; the longest right one has 25. */
const LONGEST_ANSWER = 48

/** Asks every question of a file of {messages} and takes the most likely answer, token by token. */
export async function askPairs(gemma: Gemma, path: string): Promise<Answer[]> {
  const records = await readRecords<{ messages: { role: string; content: string }[] }>(path)
  const questions = records.map(({ messages }) => messages[0]!.content)
  const prompts = questions.map((content) =>
    gemma.tokenizer.encodeChat([{ role: 'user', content }], { addGenerationPrompt: true }),
  )
  const summaries = await gemma.generateBatch(prompts, {
    maxTokens: LONGEST_ANSWER,
    temperature: 0,
    stopTokens: [gemma.tokenizer.endOfTurnId!],
  })
  return summaries.map(({ text, finishReason }, i) => ({
    question: questions[i]!,
    expected: records[i]!.messages[1]!.content,
    answer: text,
    closed: finishReason === 'stop',
  }))
}
