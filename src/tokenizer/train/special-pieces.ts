// The pieces that are not learned: control pieces, pieces that are matched whole, bytes; and at which ids they stand. The
// layout is that of Gemma 1 and 2, so that whatever relies on Gemma's ids (templates, masks, other programs) works with a
// small vocabulary too. Knows nothing about texts.

import { GemmaError } from '../../error.ts'
import { PIECE_TYPE, SPACE_MARK } from '../vocabulary.ts'

/**
 * 'gemma': ids 0 to 472 are those of Gemma 1 and 2 (control, 99 unused, turn markers, runs of up to 31 line feeds and
 * spaces, HTML tags, bytes), and runs of tabs stand at the end. 'compact': ids 0 to 108 are Gemma's, then only short runs
 * and the bytes, which leaves a hundred ids more for what is learned.
 */
export type PieceLayout = 'gemma' | 'compact'

export interface SpecialPiece {
  readonly piece: string
  /** A value of PIECE_TYPE. */
  readonly type: number
}

export interface SpecialPieces {
  /** Ids from 0 on. */
  readonly front: readonly SpecialPiece[]
  /** The last ids, behind what is learned. */
  readonly back: readonly SpecialPiece[]
}

/** From here on all of Gemma's runs of tabs have room; below, only the two shortest. */
const ALL_TABS_FROM = 4096

/** What has no room for Gemma's 473 first pieces beside an alphabet and some hundred merges gets the compact layout. */
const GEMMA_FROM = 1024

/** The layout that a vocabulary of `vocabSize` gets when none is asked for. */
export function defaultLayout(vocabSize: number): PieceLayout {
  return vocabSize < GEMMA_FROM ? 'compact' : 'gemma'
}

/** Throws GemmaError 'usage' for an unknown layout. */
export function specialPieces(layout: PieceLayout, vocabSize: number): SpecialPieces {
  const { control, unknown, userDefined } = PIECE_TYPE
  const named: SpecialPiece[] = [
    ...listed(['<pad>', '<eos>', '<bos>'], control),
    ...listed(['<unk>'], unknown),
    ...listed(['<mask>', '<2mass>', '[@BOS@]'], userDefined),
    ...listed(
      Array.from({ length: 99 }, (_, i) => `<unused${i}>`),
      userDefined,
    ),
    ...listed(['<start_of_turn>', '<end_of_turn>'], userDefined),
  ]
  if (layout === 'compact') {
    const short = [...runs('\n', 1, 4), ...runs(SPACE_MARK, 2, 4), ...runs('\t', 2, 2)]
    return { front: [...named, ...listed(short, userDefined), ...bytePieces()], back: [] }
  }
  if (layout !== 'gemma') {
    throw new GemmaError('usage', `The layout of pieces is 'gemma' or 'compact', not '${String(layout)}'.`)
  }
  const long = [...runs('\n', 1, 31), ...runs(SPACE_MARK, 2, 31), ...htmlTags()]
  const last =
    vocabSize < ALL_TABS_FROM
      ? [...runs('\t', 2, 3), '<unused99>']
      : ['[toxicity=0]', ...runs('\t', 2, 31), '<unused99>']
  return {
    front: [...named, ...listed(long, userDefined), ...bytePieces()],
    back: listed(last, userDefined),
  }
}

function listed(pieces: readonly string[], type: number): SpecialPiece[] {
  return pieces.map((piece) => ({ piece, type }))
}

/** The character repeated `least` to `most` times. */
function runs(character: string, least: number, most: number): string[] {
  return Array.from({ length: most - least + 1 }, (_, i) => character.repeat(least + i))
}

function bytePieces(): SpecialPiece[] {
  return Array.from({ length: 256 }, (_, byte) => ({
    piece: `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
    type: PIECE_TYPE.byte,
  }))
}

/** Ids 169 to 216 of Gemma 1 and 2: each group opening, then closing. */
function htmlTags(): string[] {
  const groups = [
    ['table', 'caption', 'thead', 'tbody', 'tfoot', 'tr', 'th', 'td'],
    ['h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'blockquote'],
    ['strong', 'em', 'b', 'i', 'u', 's', 'sub', 'sup', 'code'],
  ]
  return groups.flatMap((names) => [
    ...names.map((name) => `<${name}>`),
    ...names.map((name) => `</${name}>`),
  ])
}
