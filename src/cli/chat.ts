// gemma chat: a conversation, at a terminal or line by line from a pipe.

import type { Command } from 'commander'
import { abortedError, GemmaError } from '../error.ts'
import type { Gemma } from '../gemma.ts'
import type { Summary } from '../generate/options.ts'
import type { Verdict } from '../micro/check.ts'
import type { ChatMessage } from '../tokenizer/index.ts'
import { addAdapterOption } from './adapters.ts'
import { report } from './generate.ts'
import type { Interrupts } from './interrupt.ts'
import { readLines } from './lines.ts'
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
import { createPrompt } from './prompt.ts'
import { formatRate, styleFor } from './style.ts'

interface Flags extends LoadFlags, SamplingFlags {
  readonly system?: string
  readonly check?: boolean
  readonly json?: boolean
}

const HELP = `/help   this list
/reset  begin a new conversation
/adapter NAME  answer with this adapter from now on; /adapter none: without
/exit   leave (also Ctrl-D)
Ctrl-C stops an answer; at the prompt it leaves.`

export function addChat(program: Command, interrupts: Interrupts): void {
  const command = program
    .command('chat')
    .summary('have a conversation')
    .description(
      "Holds a conversation in the model's own prompt format. At a terminal: type, and /help shows more.\n" +
        'From a pipe: each line is one message of the same conversation, answered in turn.',
    )
    .argument('[model]', OPTIONAL_MODEL_HELP)
    .option('--system <text>', 'instructions before the conversation, where the model takes them (Gemma 3)')
    .option(
      '--check',
      'say after each answer whether it is right; knows the questions that the small model was taught',
    )
    .option('--json', 'print one JSON object per answer instead of text')
    .action((model: string | undefined, flags: Flags) => runChat(model, flags, interrupts))
  addAdapterOption(
    command,
    'answer with this adapter (LoRA); of several the first, until /adapter names another',
  )
  addSamplingOptions(command)
  addLoadOptions(command)
  addExamples(command, [
    'gemma chat --check',
    'gemma chat google/gemma-2b-it',
    'gemma chat google/gemma-3-1b-it --system "Answer in one sentence." --temperature 1',
    "printf 'Name a city.\\nAnd its river?\\n' | gemma chat google/gemma-2b-it --json",
  ])
}

async function runChat(model: string | undefined, flags: Flags, interrupts: Interrupts): Promise<void> {
  await withModel(model, flags, interrupts, async (gemma) => {
    const conversation = createConversation(gemma, flags, model === undefined)
    if (process.stdin.isTTY) {
      if (model === undefined && !flags.quiet) await introduce()
      await atTerminal(conversation, gemma, flags, interrupts)
    } else await fromPipe(conversation, interrupts)
  })
}

/** What the model that ships with the package can be asked. */
async function introduce(): Promise<void> {
  const { exampleQuestions } = await import('../micro/examples.ts')
  note(
    `Gemma micro, a very small model that ships with gemma-ts. Each question stands for itself; for instance:\n`,
  )
  for (const question of exampleQuestions) note(`  ${question}`)
  note('')
}

interface Conversation {
  /** Answers one message, printing as it goes. An answer that is stopped half-way is kept as far as it came. */
  answer(text: string, signal: AbortSignal): Promise<void>
  reset(): void
  /** Does what a line that begins with /adapter asks for, and says so. */
  useAdapter(name: string): void
}

/** `single`: each question stands for itself, as the small model needs it, which loses its way in long conversations. */
function createConversation(gemma: Gemma, flags: Flags, single: boolean): Conversation {
  const system = flags.system === undefined ? [] : [{ role: 'system', content: flags.system }]
  // A template that refuses a system message says so now, not after the first question.
  if (system.length > 0) gemma.tokenizer.applyChatTemplate([...system, { role: 'user', content: 'x' }])
  let messages: ChatMessage[] = [...system]
  let dropped = 0
  let adapter: string | undefined = gemma.adapters[0]
  const onDropped = (count: number): void => {
    if (count > dropped && !flags.quiet) {
      note(dim(`The context is full: the oldest ${count} messages are left out from now on.`))
    }
    dropped = count
  }
  return {
    reset() {
      messages = [...system]
      dropped = 0
    },
    useAdapter(name) {
      const known = ['none', ...gemma.adapters].join(', ')
      if (name === 'none') adapter = undefined
      else if (gemma.adapters.includes(name)) adapter = name
      else if (name !== '') {
        throw new GemmaError('usage', `There is no adapter ${JSON.stringify(name)}.`, `There are: ${known}.`)
      }
      if (!flags.quiet) note(dim(`Answering with ${adapter ?? 'no adapter'}, of: ${known}.`))
    },
    async answer(text, signal) {
      if (single) messages = [...system]
      messages.push({ role: 'user', content: text })
      let said = ''
      const heard = (piece: string): void => {
        said += piece
      }
      const settle = async (): Promise<void> => {
        messages.push({ role: 'assistant', content: said })
        if (!flags.json && !said.endsWith('\n')) await print('\n')
      }
      let summary: Summary
      try {
        summary = await streamAnswer(gemma, messages, { flags, adapter, signal, onDropped }, heard)
      } catch (error) {
        if (said === '') messages.pop()
        else await settle()
        throw error
      }
      await settle()
      if (!flags.check) {
        if (flags.json) await printJson(report(gemma, summary))
      } else {
        const { checkAnswer, describeVerdict } = await import('../micro/check.ts')
        const verdict = checkAnswer(text, said)
        if (flags.json) await printJson({ ...report(gemma, summary), check: verdictEntries(verdict) })
        else await print(`[${describeVerdict(verdict)}]\n`)
      }
      if (!flags.quiet) note(dim(figures(summary)))
    },
  }
}

/** A verdict without what JSON cannot hold. */
function verdictEntries(verdict: Verdict): Record<string, unknown> {
  if (verdict.kind === 'unknown') return { verdict: verdict.kind, declined: verdict.declined }
  const { kind, task } = verdict
  return { verdict: kind, task: task.name, ...(kind === 'wrong' ? { fault: verdict.fault } : {}) }
}

interface AnswerOptions {
  readonly flags: Flags
  readonly adapter: string | undefined
  readonly signal: AbortSignal
  readonly onDropped: (count: number) => void
}

async function streamAnswer(
  gemma: Gemma,
  messages: readonly ChatMessage[],
  { flags, adapter, signal, onDropped }: AnswerOptions,
  heard: (text: string) => void,
): Promise<Summary> {
  const progress = createProgress('Reading', { unit: 'tokens', quiet: flags.quiet })
  const onPrompt = (done: number, total: number): void => progress.update(done, total)
  const options = { ...samplingOf(flags), adapter, signal, onDropped, onPrompt }
  const texts = gemma.chat(messages, options)
  try {
    for (;;) {
      const { value, done } = await texts.next()
      progress.end()
      if (done) return value
      heard(value)
      if (!flags.json) await printText(value)
    }
  } finally {
    progress.end()
  }
}

function figures({ usage, timing, context }: Summary): string {
  const left = context.length - context.used
  return [
    `${usage.completionTokens} tokens, ${formatRate(timing.decodeTokensPerSecond)} tokens/s`,
    `${context.used} of ${context.length} tokens of context used, ${left} left`,
  ].join(' · ')
}

function dim(text: string): string {
  return styleFor(process.stderr).dim(text)
}

async function fromPipe(conversation: Conversation, { signal }: Interrupts): Promise<void> {
  for await (const { text } of readLines(process.stdin, 'stdin', signal)) {
    if (text === '/exit') return
    const adapter = adapterAsked(text)
    if (adapter !== undefined) conversation.useAdapter(adapter)
    else if (text === '/reset') conversation.reset()
    else if (text.trim() !== '') await conversation.answer(text, signal)
  }
}

/** The name in '/adapter NAME', '' without one; undefined for any other line. */
function adapterAsked(line: string): string | undefined {
  const match = /^\/adapter(\s.*)?$/.exec(line)
  return match === null ? undefined : (match[1] ?? '').trim()
}

async function atTerminal(
  conversation: Conversation,
  gemma: Gemma,
  { quiet }: Flags,
  interrupts: Interrupts,
): Promise<void> {
  if (!quiet) note(dim(`${gemma.description}, ${gemma.contextLength} tokens of context. /help for help.`))
  const prompt = createPrompt('> ', interrupts.signal)
  for (;;) {
    const line = await prompt.ask()
    if (line === undefined || line.trim() === '/exit') return
    if (line.trim() === '') continue
    const adapter = adapterAsked(line)
    if (adapter !== undefined) attempt(() => conversation.useAdapter(adapter))
    else if (line.trim() === '/help') note(HELP)
    else if (line.trim() === '/reset') {
      conversation.reset()
      note(dim('A new conversation.'))
    } else if (/^\/[a-z]+\s*$/.test(line))
      note(`There is no command ${line.trim()}; /help shows those there are.`)
    else await answerAtTerminal(conversation, line, interrupts)
  }
}

/** What a person got wrong at the terminal ends nothing. */
function attempt(work: () => void): void {
  try {
    work()
  } catch (error) {
    if (!(error instanceof GemmaError)) throw error
    note(`gemma: ${error.message}`)
  }
}

/** Ctrl-C stops this answer and leaves the conversation going; a second one, before it has stopped, leaves. */
async function answerAtTerminal(
  conversation: Conversation,
  line: string,
  interrupts: Interrupts,
): Promise<void> {
  const controller = new AbortController()
  const release = interrupts.take(() => {
    if (controller.signal.aborted) interrupts.interrupt()
    controller.abort()
  })
  try {
    await conversation.answer(line, AbortSignal.any([controller.signal, interrupts.signal]))
  } catch (error) {
    if (interrupts.signal.aborted) throw abortedError(interrupts.signal)
    if (!(error instanceof GemmaError) || error.code === 'disposed' || error.code === 'worker') throw error
    note(error.code === 'aborted' ? dim('Stopped.') : `gemma: ${error.message}`)
  } finally {
    release()
  }
}
