// A conversation as a prompt. When it no longer fits the context, the oldest turns go, a question with its
// answer at a time; the caller is told how many. More go at once than must, so that the next turns find the
// beginning of the prompt unchanged, and with it in the cache.

import { GemmaError } from '../error.ts'
import type { ChatMessage, Tokenizer } from '../tokenizer/index.ts'

export interface ChatPrompt {
  readonly tokens: number[]
  /** Messages that were left out at the beginning of the conversation. */
  readonly dropped: number
}

/** `room`: tokens of context to keep free for the answer. Throws GemmaError 'context' or 'template'. */
export function chatPrompt(
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  contextLength: number,
  room: number,
): ChatPrompt {
  const system = messages[0]?.role === 'system' ? messages.slice(0, 1) : []
  const turns = messages.slice(system.length)
  const encode = (kept: readonly ChatMessage[]): number[] =>
    tokenizer.encodeChat([...system, ...kept], { addGenerationPrompt: true })
  const whole = encode(turns)
  if (whole.length + room <= contextLength) return { tokens: whole, dropped: 0 }
  const first = 2 * firstPair(tokenizer, turns, contextLength, room)
  for (let dropped = Math.max(2, first); dropped < turns.length; dropped += 2) {
    const tokens = encode(turns.slice(dropped))
    if (tokens.length + room <= contextLength) return { tokens, dropped }
  }
  const last = turns.slice(-1)
  const tokens = encode(last)
  // A single long message may use up the room for the answer, but not all of the context.
  if (tokens.length < contextLength) return { tokens, dropped: turns.length - 1 }
  throw new GemmaError(
    'context',
    `The last message alone takes ${tokens.length} tokens of a context of ${contextLength}.`,
    'Shorten it, or load the model with a longer contextLength.',
  )
}

/** When turns must go, this share of the context may stay. */
const KEPT_SHARE = 0.6

/**
 * The first question that stays, found by living through the conversation: whenever it outgrew the context, it
 * was cut back to KEPT_SHARE. A longer conversation with the same beginning gives the same cuts.
 */
function firstPair(
  tokenizer: Tokenizer,
  turns: readonly ChatMessage[],
  contextLength: number,
  room: number,
): number {
  const lengths: number[] = []
  for (let i = 0; i < turns.length; i += 2) lengths.push(tokenizer.encodeChat(turns.slice(i, i + 2)).length)
  let first = 0
  let used = 0
  lengths.forEach((length, pair) => {
    used += length
    if (used + room <= contextLength) return
    while (first < pair && used > contextLength * KEPT_SHARE) used -= lengths[first++]!
  })
  return first
}
