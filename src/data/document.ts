// One document as a model sees it: its tokens, and which of them it learns to predict. What is too long is
// cut or left out here. Knows no text, no file and no run.

import type { TooLong } from './training-data.ts'

export interface Document {
  /** The first one is <bos>. */
  readonly tokens: Int32Array
  /** One entry per token: 1 where predicting the token is learned. Never for the first. */
  readonly learned: Uint8Array
}

export interface Fitted {
  readonly documents: readonly Document[]
  /** What was done, if something was. */
  readonly done?: 'split' | 'truncated' | 'dropped'
  /** Pieces with nothing to learn, which are left out. */
  readonly leftOut: number
}

/** Makes a document fit into `longest` tokens. `tooLong` 'error' is for the caller, who knows where the document is from. */
export function fitDocument(document: Document, longest: number, tooLong: Exclude<TooLong, 'error'>): Fitted {
  const { tokens, learned } = document
  if (tokens.length <= longest) return { documents: [document], leftOut: 0 }
  if (tooLong === 'drop') return { documents: [], done: 'dropped', leftOut: 0 }
  if (tooLong === 'truncate') {
    const start = { tokens: tokens.slice(0, longest), learned: learned.slice(0, longest) }
    const taught = hasTargets(start)
    return { documents: taught ? [start] : [], done: taught ? 'truncated' : 'dropped', leftOut: 0 }
  }
  const pieces: Document[] = []
  let leftOut = 0
  for (let from = 1; from < tokens.length; from += longest - 1) {
    const piece = pieceOf(document, from, Math.min(from + longest - 1, tokens.length))
    if (hasTargets(piece)) pieces.push(piece)
    else leftOut++
  }
  return { documents: pieces, done: 'split', leftOut }
}

/** <bos> and the tokens [from, to). */
function pieceOf({ tokens, learned }: Document, from: number, to: number): Document {
  const piece = { tokens: new Int32Array(to - from + 1), learned: new Uint8Array(to - from + 1) }
  piece.tokens[0] = tokens[0]!
  piece.tokens.set(tokens.subarray(from, to), 1)
  piece.learned.set(learned.subarray(from, to), 1)
  return piece
}

export function hasTargets({ learned }: Document): boolean {
  return learned.indexOf(1, 1) > 0
}
