// What a small model has learned: how far its loss is from the entropy of the documents, and how it answers questions in
// wordings that it has never seen. Knows nothing of how the model was made.

import { readFile } from 'node:fs/promises'
import type { Gemma } from '../../src/index.ts'
import type { Document } from '../recipes/corpus/grammar.ts'
import type { Judgement, Question, Route } from './routes.ts'

export interface Gap {
  /** Tokens to predict: those of the documents and <eos> after each. */
  readonly tokens: number
  /** Mean −ln p of these tokens under the model, nats per token. */
  readonly loss: number
  /** Mean −ln p of the same documents under what wrote them, nats per token: no model can be expected below. */
  readonly entropy: number
}

/** Loss and entropy of a file of documents; the entropy takes it as known of what kind they are. */
export async function measureGap(gemma: Gemma, path: string): Promise<Gap> {
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n')
  const { bosId, eosId } = gemma.tokenizer
  let [tokens, loss, entropy] = [0, 0, 0]
  for (const line of lines) {
    const { text, logProbability } = JSON.parse(line) as Document
    const all = [bosId, ...gemma.tokenizer.encode(text), eosId]
    tokens += all.length - 1
    loss -= (await gemma.score(all)).sum
    entropy -= logProbability
  }
  return { tokens, loss: loss / tokens, entropy: entropy / tokens }
}

/** All kinds together. */
export function overall(gaps: readonly Gap[]): Gap {
  const tokens = gaps.reduce((sum, gap) => sum + gap.tokens, 0)
  const mean = (of: (gap: Gap) => number): number =>
    gaps.reduce((sum, gap) => sum + of(gap) * gap.tokens, 0) / tokens
  return { tokens, loss: mean(({ loss }) => loss), entropy: mean(({ entropy }) => entropy) }
}

export interface Answer extends Question, Judgement {
  /** What the model said. */
  readonly said: string
  /** Whether it said by <end_of_turn> that its turn is over, rather than going on to the limit. */
  readonly closed: boolean
}

/** Tokens that an answer may have; the longest right one has about 100. */
const LONGEST_ANSWER = 128
/** Questions between two reports of progress. */
const AT_A_TIME = 64

/** Asks every question and takes the most likely answer, token by token. */
export async function ask(
  gemma: Gemma,
  questions: readonly Question[],
  judge: Route['judge'],
  onProgress: (done: number) => void = () => {},
): Promise<Answer[]> {
  const answers: Answer[] = []
  const options = { maxTokens: LONGEST_ANSWER, temperature: 0, stopTokens: [gemma.tokenizer.endOfTurnId!] }
  for (let at = 0; at < questions.length; at += AT_A_TIME) {
    const some = questions.slice(at, at + AT_A_TIME)
    const summaries = await gemma.generateBatch(
      some.map((one) => promptOf(gemma, one)),
      options,
    )
    for (const [i, { text, finishReason }] of summaries.entries()) {
      const said = text.trim()
      answers.push({ ...some[i]!, ...judge(some[i]!, said), said, closed: finishReason === 'stop' })
    }
    onProgress(answers.length)
  }
  return answers
}

function promptOf(gemma: Gemma, { question }: Question): number[] {
  return [...gemma.tokenizer.encodeChat([{ role: 'user', content: question }], { addGenerationPrompt: true })]
}

/** Mean −ln p of the right answers' tokens and <end_of_turn>, nats per token. */
export async function answerLoss(gemma: Gemma, questions: readonly Question[]): Promise<number> {
  let [tokens, loss] = [0, 0]
  for (const one of questions) {
    const prompt = promptOf(gemma, one)
    const all = [...prompt, ...gemma.tokenizer.encode(one.answer), gemma.tokenizer.endOfTurnId!]
    loss -= (await gemma.score(all, { from: prompt.length })).sum
    tokens += all.length - prompt.length
  }
  return loss / tokens
}

export interface Share {
  readonly hits: number
  readonly of: number
  readonly share: number
  /** Bounds between which the true share lies with 95 % confidence. */
  readonly low: number
  readonly high: number
}

/** A share with its interval of 95 % confidence (Wilson 1927, J. Am. Stat. Assoc. 22, 209). */
export function shareOf<Item>(items: readonly Item[], isHit: (item: Item) => boolean): Share {
  const [hits, of] = [items.filter(isHit).length, items.length]
  if (of === 0) return { hits, of, share: 0, low: 0, high: 1 }
  const z = 1.959964
  const share = hits / of
  const middle = share + (z * z) / (2 * of)
  const spread = z * Math.sqrt((share * (1 - share)) / of + (z * z) / (4 * of * of))
  const whole = 1 + (z * z) / of
  const [low, high] = [(middle - spread) / whole, (middle + spread) / whole]
  return { hits, of, share, low: Math.max(0, low), high: Math.min(1, high) }
}
