// gemma score: log-probabilities of given texts, line by line.

import type { Command } from 'commander'
import { GemmaError } from '../error.ts'
import type { Gemma } from '../gemma.ts'
import type { Tokenizer } from '../tokenizer/index.ts'
import { addAdapterOption } from './adapters.ts'
import { splitContinuation } from './continuation.ts'
import type { Interrupts } from './interrupt.ts'
import { atLine, parseLine, readLines } from './lines.ts'
import { addExamples, addLoadOptions, type LoadFlags, MODEL_HELP, withModel } from './model-options.ts'
import { printJson } from './output.ts'

interface Request {
  readonly tokens: readonly number[]
  /** The first token that counts. */
  readonly from: number
  /** Tokens left out in front because the context is too short for them. */
  readonly truncated: number
  /** Whether tokens before `from` are left out of the answer. */
  readonly continuationOnly: boolean
  /** Name of the adapter that scores. */
  readonly adapter?: string
}

export function addScore(program: Command, interrupts: Interrupts): void {
  const command = program
    .command('score')
    .summary('log-probabilities of given texts')
    .description(
      'Reads JSON objects from stdin, one per line: {"tokens":[…]}, {"text":…} (<bos> is put in front) or ' +
        '{"context":…,"continuation":…}. Writes {"tokens","logprobs","sum","greedy"} per line: natural logarithms, ' +
        'null for the first token, which nothing predicts; of a continuation, only its own tokens. "greedy" says ' +
        'whether each token that counts is the most likely one. A context that is too long loses its beginning ' +
        '("truncated" says how many tokens). With adapters, "adapter" names the one that scores a line, null none; ' +
        'without it the first does.',
    )
    .argument('<model>', MODEL_HELP)
    .option('--json', 'as always: the output is JSON')
    .action((model: string, flags: LoadFlags) => runScore(model, flags, interrupts))
  addAdapterOption(command, 'score with this adapter (LoRA); may be given several times')
  addLoadOptions(command)
  addExamples(command, [
    `echo '{"text":"Hello, how are you?"}' | gemma score google/gemma-2b`,
    `echo '{"context":"The sky is","continuation":" blue"}' | gemma score ./gemma-2b.gguf`,
  ])
}

async function runScore(model: string, flags: LoadFlags, interrupts: Interrupts): Promise<void> {
  await withModel(model, flags, interrupts, async (gemma) => {
    for await (const line of readLines(process.stdin, 'stdin', interrupts.signal)) {
      if (line.text.trim() === '') continue
      await atLine(line, async () => {
        const value = parseLine(line)
        const adapter = readAdapter(value, gemma)
        const request = { ...readRequest(value, gemma), adapter }
        await printJson(await score(gemma, request, interrupts.signal))
      })
    }
  })
}

async function score(
  gemma: Gemma,
  { tokens, from, truncated, continuationOnly, adapter }: Request,
  signal: AbortSignal,
): Promise<Record<string, unknown>> {
  const { logprobs, sum, greedy } = await gemma.score(tokens, { from, adapter, signal })
  const first = continuationOnly ? from : 0
  const answer = { tokens: tokens.slice(first), logprobs: logprobs.slice(first), sum, greedy }
  return truncated > 0 ? { ...answer, truncated } : answer
}

function readAdapter(value: unknown, { adapters }: Gemma): string | undefined {
  const { adapter } = (value ?? {}) as Record<string, unknown>
  if (adapter === null) return undefined
  if (adapter === undefined) return adapters[0]
  if (typeof adapter === 'string' && adapters.includes(adapter)) return adapter
  throw new GemmaError(
    'file',
    `"adapter" is ${JSON.stringify(adapter)}, expected ${[...adapters.map((name) => `"${name}"`), 'null'].join(' or ')}.`,
    'Name it with --adapter name=DIRECTORY.',
  )
}

function readRequest(value: unknown, { tokenizer, contextLength }: Gemma): Request {
  const { tokens, text, context, continuation } = (value ?? {}) as Record<string, unknown>
  if (Array.isArray(tokens) && tokens.every((token) => Number.isSafeInteger(token))) return whole(tokens)
  if (typeof text === 'string') return whole(tokenizer.encode(text, { bos: true }))
  if (typeof context === 'string' && typeof continuation === 'string') {
    return continued(tokenizer, context, continuation, contextLength)
  }
  throw new GemmaError(
    'file',
    'Expected {"tokens":[ids]}, {"text":string} or {"context":string,"continuation":string}.',
  )
}

function whole(tokens: readonly number[]): Request {
  return { tokens, from: 1, truncated: 0, continuationOnly: false }
}

function continued(
  tokenizer: Tokenizer,
  context: string,
  continuation: string,
  contextLength: number,
): Request {
  const { tokens, from } = splitContinuation(tokenizer, context, continuation)
  const count = tokens.length - from
  if (count === 0) {
    throw new GemmaError(
      'file',
      'The continuation adds no token to its context.',
      'Give a text to be scored.',
    )
  }
  if (count >= contextLength) {
    throw new GemmaError(
      'context',
      `The continuation alone has ${count} tokens; with one token before it, a context of ${contextLength} has room for ${contextLength - 1}.`,
      'Shorten it, or give a longer --context.',
    )
  }
  const truncated = Math.max(0, tokens.length - contextLength)
  return { tokens: tokens.slice(truncated), from: from - truncated, truncated, continuationOnly: true }
}
