// Stands in for the tokenizer of a checkpoint that has none: tokens can still be scored and continued, and
// anything that needs text says what is missing.

import { GemmaError } from '../error.ts'
import type { Tokenizer } from './tokenizer.ts'

/** `name`: what to call the checkpoint. Everything but an (empty) stream throws GemmaError 'tokenizer'. */
export function missingTokenizer(name: string): Tokenizer {
  const refuse = (): never => {
    throw new GemmaError(
      'tokenizer',
      `${name} has no tokenizer.`,
      'Put its tokenizer.model beside the weights.',
    )
  }
  const stream = { push: (): string => '', flush: (): string => '' }
  const known: Partial<Tokenizer> = { endOfTurnId: undefined, stream: () => stream, isControl: () => false }
  return new Proxy(known as Tokenizer, {
    get: (target, key) =>
      typeof key === 'symbol' || key === 'then' || key in target ? Reflect.get(target, key) : refuse(),
  })
}
