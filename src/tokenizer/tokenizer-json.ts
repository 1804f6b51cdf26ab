// Reads Hugging Face's tokenizer.json of Gemma into the same vocabulary that tokenizer.model gives. The file
// holds merges in order instead of scores; for a vocabulary that came from SentencePiece the two say the
// same (every split of a piece into two others is a merge, and the splits of one piece stand together), and
// a file of which that is not true is refused, because its ids would come out wrong. Knows nothing about
// encoding text.

import { GemmaError } from '../error.ts'
import { characterLength } from './merge.ts'
import { createPieceTable, findPiece, HASH_BASE, hashBytes, NO_RANK } from './piece-table.ts'
import {
  brokenTokenizer,
  byteOfPiece,
  createVocabulary,
  PIECE_TYPE,
  SPACE_MARK,
  type Vocabulary,
} from './vocabulary.ts'

const FILE = 'tokenizer.json'
// Hugging Face's files mark turn markers as special too; SentencePiece has only these as control pieces.
const CONTROL = new Set(['<pad>', '<eos>', '<bos>'])

// Runs that SentencePiece matches whole, whether or not a file lists them among the added tokens.
const RUN = /^(\n+|\u2581{2,}|\t{2,})$/

type Json = Readonly<Record<string, unknown>>

/** Throws GemmaError 'tokenizer' for a broken file and 'unsupported' for a tokenizer of another kind. */
export function parseTokenizerJson(text: string): Vocabulary {
  let root: unknown
  try {
    root = JSON.parse(text)
  } catch (cause) {
    throw brokenTokenizer(`${FILE}: not JSON.`, cause)
  }
  if (!isObject(root) || !isObject(root.model))
    throw brokenTokenizer(`${FILE}: expected an object with "model".`)
  const { model } = root
  refuseOtherKinds(root, model)
  if (!isObject(model.vocab)) throw brokenTokenizer(`${FILE}: expected "model.vocab" to be an object.`)
  const added = readAddedTokens(root.added_tokens)
  const pieces = placePieces(model.vocab, added)
  const types = new Uint8Array(pieces.length).fill(PIECE_TYPE.normal)
  const unknown = typeof model.unk_token === 'string' ? model.unk_token : '<unk>'
  for (const { id, content } of added) {
    types[id] = CONTROL.has(content) ? PIECE_TYPE.control : PIECE_TYPE.userDefined
  }
  for (let id = 0; id < pieces.length; id++) {
    if (pieces[id] === unknown) types[id] = PIECE_TYPE.unknown
    else if (RUN.test(pieces[id])) types[id] = PIECE_TYPE.userDefined
    else if (model.byte_fallback === true && byteOfPiece(pieces[id]) >= 0) types[id] = PIECE_TYPE.byte
  }
  if (model.byte_fallback === true) restoreTab(pieces, types)
  const scores = scoreMerges(model.merges, pieces, types)
  return createVocabulary(FILE, { pieces, scores, types })
}

function refuseOtherKinds(root: Json, model: Json): void {
  const refuse = (what: string): never => {
    throw new GemmaError(
      'unsupported',
      `${FILE}: ${what}.`,
      'Use the tokenizer files that came with a Gemma model.',
    )
  }
  if (model.type !== undefined && model.type !== 'BPE')
    refuse(`expected a BPE model, found ${JSON.stringify(model.type)}`)
  if (model.ignore_merges === true)
    refuse('it takes whole words before merging (ignore_merges); Gemma does not')
  if (model.continuing_subword_prefix || model.end_of_word_suffix)
    refuse('it marks the parts of words; Gemma does not')
  if (!replacesSpaces(root.normalizer))
    refuse('expected a normalizer that replaces " " by U+2581 and does nothing else')
  const before = root.pre_tokenizer
  // Splitting at spaces that have all been replaced splits nothing.
  if (
    before !== null &&
    before !== undefined &&
    !(isObject(before) && before.type === 'Split' && splitsSpaces(before))
  ) {
    refuse('it splits text before merging; Gemma does not')
  }
}

function replacesSpaces(normalizer: unknown): boolean {
  if (!isObject(normalizer)) return false
  if (
    normalizer.type === 'Sequence' &&
    Array.isArray(normalizer.normalizers) &&
    normalizer.normalizers.length === 1
  ) {
    return replacesSpaces(normalizer.normalizers[0])
  }
  return normalizer.type === 'Replace' && splitsSpaces(normalizer) && normalizer.content === SPACE_MARK
}

function splitsSpaces(step: Json): boolean {
  return isObject(step.pattern) && step.pattern.String === ' '
}

function readAddedTokens(list: unknown): { id: number; content: string }[] {
  if (list === undefined || list === null) return []
  if (!Array.isArray(list)) throw brokenTokenizer(`${FILE}: expected "added_tokens" to be a list.`)
  return list.map((token: unknown, i) => {
    if (!isObject(token) || typeof token.id !== 'number' || typeof token.content !== 'string') {
      throw brokenTokenizer(`${FILE}: expected added token ${i} to have an "id" and a "content".`)
    }
    return { id: token.id, content: token.content }
  })
}

/** Pieces by id. Ids must be exactly 0 to n − 1. */
function placePieces(vocab: Json, added: readonly { id: number; content: string }[]): string[] {
  const entries = Object.entries(vocab)
  const pieces: (string | undefined)[] = new Array(entries.length).fill(undefined)
  const extra: { id: number; content: string }[] = []
  const place = (id: unknown, piece: string): void => {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0) {
      throw brokenTokenizer(`${FILE}: the id of ${JSON.stringify(piece)} is ${JSON.stringify(id)}.`)
    }
    if (id >= pieces.length) extra.push({ id, content: piece })
    else if (pieces[id] !== undefined && pieces[id] !== piece) {
      throw brokenTokenizer(
        `${FILE}: ${JSON.stringify(pieces[id])} and ${JSON.stringify(piece)} both have id ${id}.`,
      )
    } else pieces[id] = piece
  }
  for (const [piece, id] of entries) place(id, piece)
  for (const { id, content } of added) place(id, content)
  extra.sort((a, b) => a.id - b.id)
  for (const { id, content } of extra) {
    if (id === pieces.length) pieces.push(content)
    else if (pieces[id] !== content)
      throw brokenTokenizer(`${FILE}: id ${id} is out of line; expected 0 to ${pieces.length}.`)
  }
  const hole = pieces.indexOf(undefined)
  if (hole >= 0) throw brokenTokenizer(`${FILE}: no piece has id ${hole}.`)
  return pieces as string[]
}

// The published files spell the byte piece <0x09> as the tab itself, which encodes and decodes the same;
// SentencePiece's name for it makes all readers agree.
function restoreTab(pieces: string[], types: Uint8Array): void {
  const tab = pieces.indexOf('\t')
  if (tab > 0 && pieces[tab - 1] === '<0x08>' && pieces[tab + 1] === '<0x0A>' && !pieces.includes('<0x09>')) {
    pieces[tab] = '<0x09>'
    types[tab] = PIECE_TYPE.byte
  }
}

/**
 * [pieces]: 0 for the result of the first merges, then −1, and so on. Single characters come after all
 * merges (their score decides nothing). A longer piece that no merge makes can never be made by encoding:
 * its type becomes unused.
 */
function scoreMerges(merges: unknown, pieces: readonly string[], types: Uint8Array): Float64Array {
  if (!Array.isArray(merges)) throw brokenTokenizer(`${FILE}: expected "model.merges" to be a list.`)
  const ids = new Map<string, number>()
  for (let id = 0; id < pieces.length; id++) ids.set(pieces[id], id)
  const scores = new Float64Array(pieces.length).fill(1) // 1: no merge makes it
  const splits = new Int32Array(pieces.length)
  let last = -1
  let rank = 0
  for (let i = 0; i < merges.length; i++) {
    const [left, right] = readMerge(merges[i], i)
    const id = ids.get(left + right)
    if (id === undefined)
      throw brokenTokenizer(`${FILE}: merge ${i} makes a piece that is not in the vocabulary.`)
    if (types[id] !== PIECE_TYPE.normal) continue // always matched whole, so never merged
    if (id !== last) {
      if (scores[id] !== 1) refuseMerges(pieces[id])
      scores[id] = -rank++
      last = id
    }
    splits[id]++
  }
  const countSplits = createCountSplits(pieces, types)
  for (let id = 0; id < pieces.length; id++) {
    if (types[id] !== PIECE_TYPE.normal) scores[id] = 0
    else if (isSingleCharacter(pieces[id])) scores[id] = -rank++
    else if (scores[id] === 1) {
      types[id] = PIECE_TYPE.unused
      scores[id] = 0
    } else if (splits[id] !== countSplits(id)) refuseMerges(pieces[id])
  }
  return scores
}

function refuseMerges(piece: string): never {
  throw new GemmaError(
    'unsupported',
    `${FILE}: the merges that make ${JSON.stringify(piece)} are not all its splits in one place, so this is not a ` +
      `vocabulary made by SentencePiece.`,
    'Use the tokenizer files that came with a Gemma model.',
  )
}

/** Both forms in use: "left right" and ["left", "right"]. */
function readMerge(merge: unknown, i: number): readonly [string, string] {
  if (typeof merge === 'string') {
    const cut = merge.indexOf(' ')
    if (cut > 0 && cut < merge.length - 1 && merge.indexOf(' ', cut + 1) < 0) {
      return [merge.slice(0, cut), merge.slice(cut + 1)]
    }
  } else if (Array.isArray(merge) && merge.length === 2) {
    const [left, right] = merge
    if (typeof left === 'string' && typeof right === 'string' && left !== '' && right !== '')
      return [left, right]
  }
  throw brokenTokenizer(
    `${FILE}: expected merge ${i} to be two pieces, found ${JSON.stringify(merge).slice(0, 80)}.`,
  )
}

/** In how many ways two pieces spell the piece with this id. */
function createCountSplits(pieces: readonly string[], types: Uint8Array): (id: number) => number {
  const vocabulary = {
    pieces,
    types,
    scores: new Float64Array(pieces.length),
    bosId: 0,
    eosId: 0,
    padId: 0,
    unkId: 0,
  }
  const table = createPieceTable(vocabulary)
  const { bytes, starts, ranks, powers } = table
  const spells = (from: number, to: number, hash: number): boolean => {
    const id = findPiece(table, bytes, from, to, hash)
    return id >= 0 && ranks[id] !== NO_RANK
  }
  return (id) => {
    const end = starts[id + 1]
    const whole = hashBytes(bytes, starts[id], end)
    let count = 0
    let left = 0
    for (let cut = starts[id]; cut < end; ) {
      const next = cut + characterLength(bytes[cut])
      for (; cut < next; cut++) left = (Math.imul(left, HASH_BASE) + bytes[cut]) | 0
      const right = (whole - Math.imul(left, powers[end - cut])) | 0
      if (cut < end && spells(starts[id], cut, left) && spells(cut, end, right)) count++
    }
    return count
  }
}

function isSingleCharacter(piece: string): boolean {
  return piece.length === 1 || (piece.length === 2 && piece.codePointAt(0)! > 0xffff)
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
