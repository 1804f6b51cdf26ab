// A run as a person wants to see it before training: every document with its border, and which of its tokens are
// learned. Knows no terminal; what data could do to one is taken out of the text.

import type { Tokenizer } from '../tokenizer/index.ts'
import type { TrainingRows } from './training-rows.ts'

export interface RenderOptions {
  /** Learned tokens on green, the others dim; without colour learned ones stand in ⟦ ⟧. Default false. */
  readonly color?: boolean
  /** Letters of a line, borders apart. Default 100. */
  readonly width?: number
}

/** Some letters that are learned or not. */
interface Span {
  readonly text: string
  readonly learned: boolean
}

/** Text of several lines; a line feed in the data shows as ↵ and begins a new line. */
export function renderRows(rows: TrainingRows, tokenizer: Tokenizer, options: RenderOptions = {}): string {
  const { color = false, width = 100 } = options
  const columns = Math.max(20, width)
  const starts = documentStarts(rows)
  const lines: string[] = []
  starts.forEach((start, i) => {
    const end = starts[i + 1] ?? rows.tokens.length
    const learned = learnedFlags(rows, start, end)
    const count = learned.filter(Boolean).length
    const title = `document ${i + 1} of ${starts.length}: ${plural(end - start)}, ${count} learned`
    const border = `── ${title} `.padEnd(columns, '─')
    const spans = spansOf(rows.tokens.subarray(start, end), learned, tokenizer)
    lines.push(color ? bold(border) : border, ...layOut(spans, columns).map((line) => paint(line, color)))
  })
  const targets = rows.targets.reduce((sum, target) => sum + (target >= 0 ? 1 : 0), 0)
  const foot = `── ${plural(rows.tokens.length)} in this run, ${targets} learned `.padEnd(columns, '─')
  return `${[...lines, color ? bold(foot) : foot].join('\n')}\n`
}

function plural(tokens: number): string {
  return `${tokens} ${tokens === 1 ? 'token' : 'tokens'}`
}

function documentStarts({ sequences }: TrainingRows): number[] {
  const starts: number[] = []
  for (let i = 0; i < sequences.length; i++) if (i === 0 || sequences[i] !== sequences[i - 1]) starts.push(i)
  return starts
}

/** A token is learned when the row before it has it as its target. */
function learnedFlags({ targets }: TrainingRows, start: number, end: number): boolean[] {
  return Array.from({ length: end - start }, (_, i) => i > 0 && targets[start + i - 1]! >= 0)
}

/** Neighbours of the same kind are decoded together, so that letters of several tokens come out whole. */
function spansOf(tokens: Int32Array, learned: readonly boolean[], tokenizer: Tokenizer): Span[] {
  const spans: Span[] = []
  let from = 0
  for (let i = 1; i <= tokens.length; i++) {
    if (i < tokens.length && learned[i] === learned[from]) continue
    spans.push({ text: textOf(tokens.subarray(from, i), tokenizer), learned: learned[from]! })
    from = i
  }
  return spans
}

function textOf(tokens: Int32Array, tokenizer: Tokenizer): string {
  const stream = tokenizer.stream()
  let text = ''
  for (const token of tokens) {
    text += tokenizer.isControl(token) ? stream.flush() + tokenizer.pieceOf(token) : stream.push(token)
  }
  return visible(text + stream.flush())
}

/** Control characters as pictures (U+2400 and up): they, and marks that turn the direction, could change what was shown. */
function visible(text: string): string {
  return text.replaceAll(/[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, (letter) => {
    const code = letter.codePointAt(0)!
    if (letter === '\n') return letter
    if (letter === '\t') return '⇥'
    return code < 0x20 ? String.fromCodePoint(0x2400 + code) : code === 0x7f ? '␡' : '�'
  })
}

/** Lines of at most `columns` letters; spans are cut where a line ends. */
function layOut(spans: readonly Span[], columns: number): Span[][] {
  const lines: Span[][] = [[]]
  let used = 0
  const newLine = (): void => {
    lines.push([])
    used = 0
  }
  for (const { text, learned } of spans) {
    for (const [i, part] of text.split('\n').entries()) {
      if (i > 0) {
        lines.at(-1)!.push({ text: '↵', learned })
        newLine()
      }
      const letters = [...part]
      for (let from = 0; from < letters.length; ) {
        if (used >= columns - 1) newLine()
        const some = letters.slice(from, from + columns - 1 - used)
        lines.at(-1)!.push({ text: some.join(''), learned })
        used += some.length
        from += some.length
      }
    }
  }
  if (lines.at(-1)!.length === 0) lines.pop()
  return lines
}

function paint(line: readonly Span[], color: boolean): string {
  const joined: Span[] = []
  for (const span of line) {
    const before = joined.at(-1)
    if (before?.learned === span.learned)
      joined[joined.length - 1] = { ...span, text: before.text + span.text }
    else joined.push(span)
  }
  return joined
    .map(({ text, learned }) => {
      if (!color) return learned ? `⟦${text}⟧` : text
      return learned ? `\u001b[30;42m${text}\u001b[0m` : `\u001b[2m${text}\u001b[22m`
    })
    .join('')
}

function bold(text: string): string {
  return `\u001b[1m${text}\u001b[22m`
}
