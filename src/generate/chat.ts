// A conversation as a prompt. When it no longer fits the context, the oldest turns go, a question with its
// answer at a time, until the last message and room for an answer fit; the caller is told how many.

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
  for (let dropped = 0; dropped < Math.max(1, turns.length); dropped += 2) {
    const kept = [...system, ...turns.slice(dropped)]
    const tokens = tokenizer.encodeChat(kept, { addGenerationPrompt: true })
    if (tokens.length + room <= contextLength) return { tokens, dropped }
  }
  const last = turns.slice(-1)
  const tokens = tokenizer.encodeChat([...system, ...last], { addGenerationPrompt: true })
  // A single long message may use up the room for the answer, but not all of the context.
  if (tokens.length < contextLength) return { tokens, dropped: turns.length - 1 }
  throw new GemmaError(
    'context',
    `The last message alone takes ${tokens.length} tokens of a context of ${contextLength}.`,
    'Shorten it, or load the model with a longer contextLength.',
  )
}
