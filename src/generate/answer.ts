// The state of one answer while it grows: its tokens, its text, and whether it has ended. Knows no engine: it
// is told what was drawn, one token after the other.

import type { Choice } from '../ops/sample/sample.ts'
import type { Tokenizer } from '../tokenizer/index.ts'
import type { FinishReason, Piece } from './options.ts'
import { createStopText } from './stop-text.ts'

export interface AnswerOptions {
  readonly tokenizer: Tokenizer
  readonly contextLength: number
  readonly maxTokens: number
  readonly stopTokens: readonly number[]
  readonly stop: readonly string[]
}

export interface Answer {
  /** The prompt and the answer so far. */
  readonly tokens: readonly number[]
  readonly promptTokens: number
  /** Set once the answer has ended. */
  finishReason(): FinishReason | undefined
  /** The text that was handed out. */
  text(): string
  /** How many more tokens there may be. */
  room(): number
  /** Takes the next token; undefined when there is nothing to hand out (a stop token). */
  take(choice: Choice): Piece | undefined
}

export function createAnswer(prompt: readonly number[], options: AnswerOptions): Answer {
  const { tokenizer, contextLength, maxTokens } = options
  const stopTokens = new Set(options.stopTokens)
  const stopText = createStopText(options.stop)
  const stream = tokenizer.stream()
  const tokens = [...prompt]
  let shown = ''
  let finishReason: FinishReason | undefined = maxTokens === 0 ? 'length' : undefined
  const room = (): number =>
    Math.min(maxTokens - (tokens.length - prompt.length), contextLength - tokens.length)
  /** Half a character or the beginning of a stop string that was held back belongs to the answer after all. */
  const heldBack = (): string => stopText.push(stream.flush()).text + stopText.flush()
  const piece = ({ token, logprob }: Choice, text: string): Piece => {
    shown += text
    return { token, text, logprob }
  }
  return {
    tokens,
    promptTokens: prompt.length,
    finishReason: () => finishReason,
    text: () => shown,
    room,
    take(choice) {
      if (stopTokens.has(choice.token)) {
        finishReason = 'stop'
        const rest = heldBack()
        return rest === '' ? undefined : piece(choice, rest)
      }
      tokens.push(choice.token)
      const { text, stopped } = stopText.push(stream.push(choice.token))
      if (stopped) finishReason = 'stop'
      else if (tokens.length - prompt.length >= maxTokens) finishReason = 'length'
      else if (tokens.length >= contextLength) finishReason = 'context'
      return piece(choice, finishReason && !stopped ? text + heldBack() : text)
    },
  }
}
