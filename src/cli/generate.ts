// gemma generate: continues one text.

import type { Command } from 'commander'
import type { Gemma } from '../gemma.ts'
import type { GenerateOptions, Piece, Summary } from '../generate/options.ts'
import { addAdapterOption, oneAdapter } from './adapters.ts'
import { usageError } from './exit.ts'
import type { Interrupts } from './interrupt.ts'
import { readText, readTextFile } from './lines.ts'
import {
  addExamples,
  addLoadOptions,
  addSamplingOptions,
  type LoadFlags,
  OPTIONAL_MODEL_HELP,
  type SamplingFlags,
  samplingOf,
  withModel,
} from './model-options.ts'
import { note, print, printJson, printText } from './output.ts'
import { createProgress } from './progress.ts'
import { formatRate, formatSeconds, styleFor } from './style.ts'

interface Flags extends LoadFlags, SamplingFlags {
  readonly prompt?: string
  readonly promptFile?: string
  readonly chat?: boolean
  readonly json?: boolean
  readonly logprobs?: boolean
}

export function addGenerate(program: Command, interrupts: Interrupts): void {
  const command = program
    .command('generate')
    .summary('continue a text')
    .description(
      'Continues a text, streaming it to stdout. The prompt comes from --prompt, from --prompt-file or from stdin ' +
        '(one line feed at the end of a file or of stdin is left out). Without a model the small one that ships with ' +
        'gemma-ts answers, in its chat format; a text in place of the model is a question to it.',
    )
    .argument('[model]', OPTIONAL_MODEL_HELP)
    .option('-p, --prompt <text>', 'the text to continue')
    .option('-f, --prompt-file <path>', 'read the prompt from a file; - is stdin')
    .option('--chat', "put the prompt into the model's chat format, as a user's message")
    .option('--json', 'print one JSON object at the end instead of text')
    .option('--logprobs', 'one line per token: id, log-probability, text; with --json an array "logprobs"')
    .action((model: string | undefined, flags: Flags) => runGenerate(model, flags, interrupts))
  addAdapterOption(command, 'answer with this adapter (LoRA)')
  addSamplingOptions(command)
  addLoadOptions(command)
  addExamples(command, [
    "gemma generate 'What is 384 + 257?'",
    "gemma generate google/gemma-2b --prompt 'The capital of France is' --max-tokens 20",
    "gemma generate google/gemma-2b-it --chat --prompt 'Write a haiku.' --temperature 0.8 --seed 1",
    'gemma generate google/gemma-2b --adapter ./my-adapter --prompt "Once upon a time"',
    'cat question.txt | gemma generate ./gemma-2b.gguf --json',
  ])
}

async function runGenerate(
  modelOrQuestion: string | undefined,
  given: Flags,
  interrupts: Interrupts,
): Promise<void> {
  const adapter = oneAdapter(given)
  const { model, flags } = await divide(modelOrQuestion, given)
  const prompt = await readPrompt(flags, interrupts.signal)
  await withModel(model, flags, interrupts, async (gemma) => {
    const { tokenizer } = gemma
    const tokens = flags.chat
      ? tokenizer.encodeChat([{ role: 'user', content: prompt }], { addGenerationPrompt: true })
      : tokenizer.encode(prompt, { bos: true })
    const options = { ...samplingOf(flags), adapter, signal: interrupts.signal }
    const show = flags.json ? undefined : flags.logprobs ? printPiece : ({ text }: Piece) => printText(text)
    const { summary, logprobs } = await stream(gemma, tokens, options, show, flags.quiet)
    if (flags.json) {
      await printJson({ ...report(gemma, summary), ...(flags.logprobs ? { logprobs } : {}) })
    } else if (!flags.logprobs && !summary.text.endsWith('\n')) await print('\n')
    if (!flags.quiet) note(styleFor(process.stderr).dim(figures(gemma, summary)))
  })
}

/** The argument is a model, or else a question to the one that ships with the package, which only knows chats. */
async function divide(
  modelOrQuestion: string | undefined,
  flags: Flags,
): Promise<{ model: string | undefined; flags: Flags }> {
  if (modelOrQuestion === undefined) return { model: undefined, flags: { ...flags, chat: true } }
  const { prompt, promptFile } = flags
  const { namesModel } = await import('../hub/resolve.node.ts')
  if (prompt !== undefined || promptFile !== undefined || (await namesModel(modelOrQuestion))) {
    return { model: modelOrQuestion, flags }
  }
  return { model: undefined, flags: { ...flags, chat: true, prompt: modelOrQuestion } }
}

async function readPrompt({ prompt, promptFile }: Flags, signal: AbortSignal): Promise<string> {
  if (prompt !== undefined && promptFile !== undefined) {
    throw usageError('--prompt and --prompt-file contradict each other.', 'Give one of them.')
  }
  if (prompt === '') throw usageError('The prompt is empty.', 'Give a text to continue.')
  if (prompt !== undefined) return prompt
  const fromFile = promptFile !== undefined && promptFile !== '-'
  if (promptFile === undefined && process.stdin.isTTY) {
    throw usageError('There is no prompt.', "Give --prompt 'text', --prompt-file path, or a text on stdin.")
  }
  const text = fromFile ? await readTextFile(promptFile) : await readText(process.stdin, 'stdin', signal)
  const trimmed = text.replace(/\r?\n$/, '')
  if (trimmed !== '') return trimmed
  throw usageError(
    `The prompt is empty: ${fromFile ? promptFile : 'stdin'} holds no text.`,
    "Give --prompt 'text', --prompt-file path, or a text on stdin.",
  )
}

function printPiece({ token, logprob, text }: Piece): Promise<void> {
  return print(`${token}\t${logprob.toFixed(4)}\t${JSON.stringify(text)}\n`)
}

async function stream(
  gemma: Gemma,
  tokens: readonly number[],
  options: GenerateOptions,
  show: ((piece: Piece) => Promise<void>) | undefined,
  quiet: boolean | undefined,
): Promise<{ summary: Summary; logprobs: number[] }> {
  const progress = createProgress('Reading the prompt', { unit: 'tokens', quiet })
  const onPrompt = (done: number, total: number): void => progress.update(done, total)
  const pieces = gemma.generate(tokens, { ...options, onPrompt })
  const logprobs: number[] = []
  try {
    for (;;) {
      const { value, done } = await pieces.next()
      progress.end()
      // A last piece may bring text that was held back when the end token came; that token is no answer's.
      if (done) return { summary: value, logprobs: logprobs.slice(0, value.tokens.length) }
      logprobs.push(value.logprob)
      await show?.(value)
    }
  } finally {
    progress.end()
  }
}

/** The JSON object of one answer. */
export function report(gemma: Gemma, summary: Summary): Record<string, unknown> {
  const { text, tokens, finishReason, usage, timing } = summary
  return { text, tokens, finishReason, usage, timing: { loadMs: gemma.loadMs, ...timing } }
}

function figures(gemma: Gemma, { usage, timing, finishReason }: Summary): string {
  const { promptTokens, cachedTokens, completionTokens } = usage
  const reasons = { stop: 'ended by itself', length: 'most tokens reached', context: 'context full' }
  return [
    `${promptTokens} prompt tokens${cachedTokens > 0 ? ` (${cachedTokens} cached)` : ''}, ${formatRate(timing.prefillTokensPerSecond)} tokens/s`,
    `${completionTokens} new tokens, ${formatRate(timing.decodeTokensPerSecond)} tokens/s`,
    `loaded in ${formatSeconds(gemma.loadMs / 1000)}`,
    reasons[finishReason],
  ].join(' · ')
}
