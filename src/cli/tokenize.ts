// gemma tokenize: text to token ids and back, line by line.

import type { Command } from 'commander'
import { GemmaError } from '../error.ts'
import type { Tokenizer } from '../tokenizer/index.ts'
import { usageError } from './exit.ts'
import type { Interrupts } from './interrupt.ts'
import { atLine, type Line, parseLine, readLines } from './lines.ts'
import { addExamples } from './model-options.ts'
import { print, printable, printJson, printText } from './output.ts'
import { formatCount, styleFor } from './style.ts'

interface Flags {
  readonly text?: string
  readonly json?: boolean
  readonly decode?: boolean
  readonly bos?: boolean
  readonly control?: boolean
  readonly quiet?: boolean
}

export function addTokenize(program: Command, interrupts: Interrupts): void {
  const command = program
    .command('tokenize')
    .summary('turn text into token ids and back')
    .description(
      'Encodes --text or each line of stdin, and prints ids and pieces. With --json, each line of stdin is a JSON ' +
        'string and becomes {"ids":[…]}; with --json --decode a JSON array of ids becomes {"text":…}.',
    )
    .argument('<model>', 'a model as everywhere, or a bare tokenizer.model or tokenizer.json')
    .option('--text <text>', 'encode this text instead of stdin')
    .option('--json', 'read and write one JSON value per line')
    .option('--decode', 'ids to text')
    .option('--bos', 'put <bos> in front')
    .option('--control', 'read control pieces such as <bos> in the text as what they name')
    .option('-q, --quiet', 'no progress')
    .action((model: string, flags: Flags) => runTokenize(model, flags, interrupts))
  addExamples(command, [
    "gemma tokenize ./tokenizer.model --text 'Hello, how are you?'",
    'printf \'"Hello"\\n\' | gemma tokenize google/gemma-2b --json --bos',
    "printf '[2, 4521]\\n' | gemma tokenize google/gemma-2b --json --decode",
  ])
}

async function runTokenize(model: string, flags: Flags, interrupts: Interrupts): Promise<void> {
  if (flags.decode && (flags.bos || flags.control)) {
    throw usageError('--bos and --control belong to encoding, not to --decode.')
  }
  const { openTokenizer } = await import('./open-tokenizer.ts')
  const tokenizer = await openTokenizer(model, flags, interrupts)
  const handle = handlerFor(tokenizer, flags)
  if (flags.text !== undefined) return handle({ text: flags.text, number: 1 })
  for await (const line of readLines(process.stdin, 'stdin', interrupts.signal)) {
    if (flags.json && line.text.trim() === '') continue
    await atLine(line, () => handle(line))
  }
}

function handlerFor(
  tokenizer: Tokenizer,
  { json, decode, bos, control, text }: Flags,
): (line: Line) => Promise<void> {
  const encode = (value: string): number[] => tokenizer.encode(value, { bos, parseControl: control })
  if (json && decode) return (line) => printJson({ text: tokenizer.decode(asIds(parseLine(line))) })
  // --text is given as it is, also with --json.
  if (json) return (line) => printJson({ ids: encode(text ?? asString(parseLine(line))) })
  if (decode) return (line) => printText(`${tokenizer.decode(idsIn(line.text))}\n`)
  return (line) => print(showTokens(tokenizer, encode(line.text)))
}

function asString(value: unknown): string {
  if (typeof value === 'string') return value
  throw new GemmaError('file', `Expected a JSON string, got ${shorten(value)}.`)
}

function asIds(value: unknown): number[] {
  if (Array.isArray(value) && value.every((id) => Number.isSafeInteger(id))) return value
  throw new GemmaError('file', `Expected a JSON array of token ids, got ${shorten(value)}.`)
}

function idsIn(text: string): number[] {
  return text
    .split(/[\s,[\]]+/)
    .filter((word) => word !== '')
    .map((word) => {
      if (/^\d+$/.test(word)) return Number(word)
      throw new GemmaError('file', `Expected token ids, got ${shorten(word)}.`)
    })
}

function shorten(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length > 60 ? `${text.slice(0, 60)}…` : text
}

/** Pieces side by side, then their ids. */
function showTokens(tokenizer: Tokenizer, ids: readonly number[]): string {
  const style = styleFor(process.stdout)
  const pieces = ids.map((id, i) => style.band(visible(tokenizer.pieceOf(id)), i))
  const count = ids.length === 1 ? '1 token' : `${formatCount(ids.length)} tokens`
  return `${pieces.join(style.enabled ? '' : ' ')}\n${ids.join(' ')}\n${style.dim(count)}\n`
}

function visible(piece: string): string {
  return printable(piece.replaceAll('\n', '\\n').replaceAll('\t', '\\t'))
}
