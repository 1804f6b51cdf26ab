// Runs a checkpoint's own chat template (Jinja) with what Hugging Face gives it. The template comes from a
// file that may be hostile: what it makes is limited in size, it is stopped after some seconds, and it sees nothing
// but the values passed in. Knows nothing about Gemma's turns.

import * as library from '@huggingface/jinja'
import { GemmaError } from '../error.ts'
import type { ChatMessage } from './chat-message.ts'

const LONGEST_SOURCE = 1 << 20
const LONGEST_TEXT = 1 << 24 // beyond what it was given; more than any context holds
const LONGEST_LIST = 1 << 17
const MOST_MILLISECONDS = 5000
const STEPS_PER_LOOK = 16 // between two looks at the clock

// The library's declarations import without file extensions, which this module resolution does not follow;
// these are the parts used here.
interface JinjaLibrary {
  readonly tokenize: (source: string, options: Readonly<Record<string, boolean>>) => unknown
  readonly parse: (tokens: unknown) => unknown
  readonly Environment: new () => Scope
  readonly Interpreter: new (scope: Scope) => Interpreter
}
interface Scope {
  set(name: string, value: unknown): unknown
}
interface Interpreter {
  run(program: unknown): { readonly value: unknown }
  evaluate(statement: unknown, scope: unknown): { readonly value: unknown }
}
const { tokenize, parse, Environment, Interpreter } = library as unknown as JinjaLibrary

export interface TemplateValues {
  readonly messages: readonly ChatMessage[]
  readonly addGenerationPrompt: boolean
  /** bos_token, eos_token and so on. */
  readonly tokens: Readonly<Record<string, string>>
}

/** Parses once; the result renders. Throws GemmaError 'template' for a template that is not Jinja. */
export function createJinjaTemplate(source: string): (values: TemplateValues) => string {
  if (source.length > LONGEST_SOURCE) {
    throw new GemmaError(
      'template',
      `The chat template has ${source.length} characters; at most ${LONGEST_SOURCE} are read.`,
    )
  }
  const program = guard(() => parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true })))
  return (values) => {
    // Plain data only: a function inside a message would become callable from the template.
    const written = JSON.stringify(values.messages)
    const scope = new Environment()
    for (const [name, value] of Object.entries(globals(values, JSON.parse(written)))) scope.set(name, value)
    const interpreter = new Interpreter(scope)
    limit(interpreter, written.length + LONGEST_TEXT)
    return guard(() => String(interpreter.run(program).value))
  }
}

/** Looks at every value that is made, and now and then at the clock. */
function limit(interpreter: Interpreter, longest: number): void {
  const evaluate = interpreter.evaluate.bind(interpreter)
  const deadline = performance.now() + MOST_MILLISECONDS
  let steps = 0
  interpreter.evaluate = (statement, scope) => {
    if (++steps % STEPS_PER_LOOK === 0 && performance.now() > deadline) {
      throw new Error(`it did not end within ${MOST_MILLISECONDS / 1000} seconds.`)
    }
    const result = evaluate(statement, scope)
    const { value } = result
    if (typeof value === 'string' && value.length > longest) throw new Error('it makes too long a text.')
    if (Array.isArray(value) && value.length > LONGEST_LIST) throw new Error('it makes too long a list.')
    return result
  }
}

function globals(values: TemplateValues, messages: unknown): Record<string, unknown> {
  return {
    true: true,
    false: false,
    none: null,
    True: true,
    False: false,
    None: null,
    ...values.tokens,
    messages,
    add_generation_prompt: values.addGenerationPrompt,
    tools: null,
    documents: null,
    raise_exception: (message: unknown) => {
      throw new Refusal(String(message))
    },
    range,
    strftime_now: (format: unknown) => formatDate(new Date(), String(format)),
  }
}

/** The template's own words: raise_exception was called. */
class Refusal extends Error {}

function guard<T>(run: () => T): T {
  try {
    return run()
  } catch (cause) {
    if (cause instanceof Refusal) throw new GemmaError('template', cause.message)
    const message = cause instanceof Error ? cause.message : String(cause)
    throw new GemmaError('template', `The chat template failed: ${message.slice(0, 300)}`, '', { cause })
  }
}

/** Python's range(), refusing what would not fit. */
function range(...args: unknown[]): number[] {
  const numbers = args.filter((value) => typeof value === 'number')
  const [start, stop, step] =
    numbers.length < 2 ? [0, numbers[0] ?? 0, 1] : [numbers[0], numbers[1], numbers[2] ?? 1]
  const count = Math.max(0, Math.ceil((stop - start) / step))
  if (!(count <= LONGEST_LIST)) throw new Error('it makes too long a list.')
  return Array.from({ length: count }, (_, i) => start + i * step)
}

/** The part of Python's strftime that templates use, in English. */
function formatDate(date: Date, format: string): string {
  const two = (value: number): string => String(value).padStart(2, '0')
  const month = (style: 'long' | 'short'): string => date.toLocaleDateString('en-US', { month: style })
  const day = (style: 'long' | 'short'): string => date.toLocaleDateString('en-US', { weekday: style })
  return format.replace(/%[YmdHMSBbAa%]/g, (code) => {
    if (code === '%Y') return String(date.getFullYear())
    if (code === '%m') return two(date.getMonth() + 1)
    if (code === '%d') return two(date.getDate())
    if (code === '%H') return two(date.getHours())
    if (code === '%M') return two(date.getMinutes())
    if (code === '%S') return two(date.getSeconds())
    if (code === '%B') return month('long')
    if (code === '%b') return month('short')
    if (code === '%A') return day('long')
    return code === '%a' ? day('short') : '%'
  })
}
