// Where a continuation begins among the tokens of context and continuation, by the rule of
// EleutherAI/lm-evaluation-harness (TemplateLM._encode_pair), so that scores compare with published ones.

import type { Tokenizer } from '../tokenizer/index.ts'

export interface Continuation {
  /** <bos>, context, continuation. */
  readonly tokens: number[]
  /** Index of the continuation's first token. */
  readonly from: number
}

/**
 * White space at the end of the context goes over to the continuation; both are encoded as one text, and
 * what comes after as many tokens as the context alone has is the continuation.
 */
export function splitContinuation(tokenizer: Tokenizer, context: string, continuation: string): Continuation {
  const end = endOfText(context)
  const tokens = tokenizer.encode(context + continuation, { bos: true })
  const from = tokenizer.encode(context.slice(0, end), { bos: true }).length
  return { tokens, from: Math.min(from, tokens.length) }
}

/** Length without the white space at the end, as Python's str.rstrip() counts it. */
export function endOfText(text: string): number {
  let end = text.length
  while (end > 0 && isPythonSpace(text.charCodeAt(end - 1))) end--
  return end
}

// The characters for which Python's str.isspace() holds.
function isPythonSpace(code: number): boolean {
  if (code < 0x80) return code === 0x20 || (code >= 0x09 && code <= 0x0d) || (code >= 0x1c && code <= 0x1f)
  if (code >= 0x2000 && code <= 0x200a) return true
  return [0x85, 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000].includes(code)
}
