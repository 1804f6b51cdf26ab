// Documents become a tokenizer with Gemma's settings: byte-pair encoding as SentencePiece trains it, bytes for what has no
// piece, digits one by one, and Gemma's control pieces at Gemma's ids. Knows nothing about where documents come from or
// where files go.

import { GemmaError, throwIfAborted } from '../../error.ts'
import { toTokenizerJson } from '../to-tokenizer-json.ts'
import { createVocabulary, PIECE_TYPE, type Vocabulary } from '../vocabulary.ts'
import { type Alphabet, chooseAlphabet, PRINTABLE_ASCII } from './alphabet.ts'
import { createClassOfCharacter } from './character-class.ts'
import { countText, type TextCounts } from './count-text.ts'
import { learnMerges } from './learn-merges.ts'
import { sentencePieceModel } from './sentencepiece-model.ts'
import { defaultLayout, type PieceLayout, type SpecialPieces, specialPieces } from './special-pieces.ts'
import { tokenizerConfig } from './tokenizer-config.ts'
import { DEFAULT_MAX_WORDS } from './word-table.ts'

export interface TrainTokenizerOptions {
  /** Pieces, special ones included; ids are 0 to vocabSize − 1. */
  readonly vocabSize: number
  /** Default: 'gemma' from 1 024 pieces on, else 'compact'. */
  readonly layout?: PieceLayout
  /** Share of the text's characters that get pieces; the others are written as bytes. Default 0.9995. */
  readonly characterCoverage?: number
  /** Characters that get pieces even when no text has them. Default: printable ASCII. */
  readonly requiredCharacters?: string
  /** Characters of the longest piece. Default 16. */
  readonly maxPieceLength?: number
  /**
   * Different words (stretches that no piece crosses) counted at once, which bounds the memory; when there are more, the
   * rarest are forgotten. Default 4 194 304, about 300 MB while reading and 1.5 GB while merging when all are used.
   */
  readonly maxWords?: number
  readonly onProgress?: (progress: TrainTokenizerProgress) => void
  readonly signal?: AbortSignal
}

export interface TrainTokenizerProgress {
  readonly phase: 'reading' | 'merging'
  readonly documents: number
  /** UTF-8 read so far. */
  readonly bytes: number
  /** Different words so far. */
  readonly words: number
  readonly merges: number
  /** Merges there will be; 0 while reading. */
  readonly totalMerges: number
}

export interface TrainTokenizerStatistics {
  readonly documents: number
  /** UTF-8. */
  readonly bytes: number
  /** Different words. */
  readonly words: number
  /** By so much the counts of words may be short because rare words were forgotten; 0: all were kept. */
  readonly shortBy: number
  /** Characters that have pieces. */
  readonly alphabet: number
  /** Share of the text's characters that these are. */
  readonly coverage: number
  readonly merges: number
  /** How often the last merge was met. */
  readonly lastMergeCount: number
  /** UTF-8 bytes per token of the text (control pieces spelled out in it count as one token). */
  readonly bytesPerToken: number
}

export interface TrainedTokenizerFiles {
  /** tokenizer.model */
  readonly sentencePiece: Uint8Array
  /** tokenizer.json */
  readonly tokenizerJson: string
  /** tokenizer_config.json */
  readonly tokenizerConfigJson: string
}

export interface TrainedTokenizer {
  readonly vocabulary: Vocabulary
  /** createTokenizer takes them as they are. */
  readonly files: TrainedTokenizerFiles
  readonly statistics: TrainTokenizerStatistics
}

type Settings = Required<Omit<TrainTokenizerOptions, 'onProgress' | 'signal'>>

/**
 * Trains a tokenizer. Documents are read once, one by one. The result depends on the documents and options only: of pairs
 * met equally often, the one that spells fewer characters is merged first, then the one first by code points.
 *
 * The rules for pieces are SentencePiece's with Gemma's flags: split_by_whitespace, split_by_unicode_script,
 * split_by_number, split_digits, allow_whitespace_only_pieces, byte_fallback; no normalization, no space put in front.
 * Scores are minus the rank.
 *
 * Throws GemmaError 'usage' for options out of range, for a vocabulary that the special pieces and characters alone
 * exceed, and for one that is larger than the text can fill; 'aborted' by the signal.
 */
export async function trainTokenizer(
  documents: AsyncIterable<string> | Iterable<string>,
  options: TrainTokenizerOptions,
): Promise<TrainedTokenizer> {
  const settings = checkSettings(options)
  const { signal, onProgress } = options
  const special = specialPieces(settings.layout, settings.vocabSize)
  const specials = [...special.front, ...special.back]
  const classOf = createClassOfCharacter()
  const breathe = createBreathing(signal)

  const reading = { phase: 'reading', merges: 0, totalMerges: 0 } as const
  const counts = await countText(documents, specials, classOf, {
    maxWords: settings.maxWords,
    afterPart: (state) => breathe(() => onProgress?.({ ...reading, ...state })),
  })
  const read = { documents: counts.documents, bytes: counts.bytes, words: counts.words.count }
  onProgress?.({ ...reading, ...read })

  const alphabet = chooseAlphabet(counts.characters, counts.whole, {
    coverage: settings.characterCoverage,
    required: settings.requiredCharacters,
    special: new Set(specials.map(({ piece }) => piece)),
  })
  const totalMerges = settings.vocabSize - specials.length - alphabet.characters.length
  if (totalMerges < 0) throw tooSmall(settings, specials.length, alphabet)
  const merging = { phase: 'merging', ...read, totalMerges } as const
  onProgress?.({ ...merging, merges: 0 })
  throwIfAborted(signal)
  const learned = await learnMerges(counts.words, alphabet.characters, {
    merges: totalMerges,
    maxPieceLength: settings.maxPieceLength,
    classOf,
    pause: (merges) => breathe(() => onProgress?.({ ...merging, merges })),
  })
  if (learned.pieces.length < totalMerges)
    throw tooLarge(settings, totalMerges - learned.pieces.length, counts)
  onProgress?.({ ...merging, merges: totalMerges })

  const vocabulary = assemble(special, learned.pieces, alphabet)
  return {
    vocabulary,
    files: {
      sentencePiece: sentencePieceModel(vocabulary, settings),
      tokenizerJson: `${JSON.stringify(toTokenizerJson(vocabulary), null, 1)}\n`,
      tokenizerConfigJson: `${JSON.stringify(tokenizerConfig(vocabulary), null, 2)}\n`,
    },
    statistics: {
      ...read,
      shortBy: counts.shortBy,
      alphabet: alphabet.characters.length,
      coverage: alphabet.coverage,
      merges: totalMerges,
      lastMergeCount: learned.lastCount,
      bytesPerToken: bytesPerToken(counts, alphabet, learned.tokens),
    },
  }
}

function checkSettings(options: TrainTokenizerOptions): Settings {
  const whole = (name: string, value: number, least: number, most: number): number => {
    if (Number.isSafeInteger(value) && value >= least && value <= most) return value
    throw new GemmaError('usage', `${name}: expected a whole number from ${least} to ${most}, got ${value}.`)
  }
  const { characterCoverage = 0.9995, requiredCharacters = PRINTABLE_ASCII } = options
  if (!(characterCoverage >= 0 && characterCoverage <= 1)) {
    throw new GemmaError(
      'usage',
      `characterCoverage: expected a number from 0 to 1, got ${characterCoverage}.`,
    )
  }
  const vocabSize = whole('vocabSize', options.vocabSize, 1, 1_000_000)
  return {
    vocabSize,
    layout: options.layout ?? defaultLayout(vocabSize),
    characterCoverage,
    requiredCharacters,
    maxPieceLength: whole('maxPieceLength', options.maxPieceLength ?? 16, 1, 64),
    maxWords: whole('maxWords', options.maxWords ?? DEFAULT_MAX_WORDS, 1000, 1 << 24),
  }
}

function tooSmall({ vocabSize, layout }: Settings, specials: number, alphabet: Alphabet): GemmaError {
  const characters = alphabet.characters.length
  return new GemmaError(
    'usage',
    `A vocabulary of ${vocabSize} is too small: ${specials} special pieces and ${characters} characters need ` +
      `${specials + characters}.`,
    layout === 'gemma'
      ? "Ask for more pieces, a lower character coverage, or the layout 'compact'."
      : 'Ask for more pieces or a lower character coverage.',
  )
}

function tooLarge({ vocabSize }: Settings, missing: number, { bytes }: TextCounts): GemmaError {
  return new GemmaError(
    'usage',
    `A vocabulary of ${vocabSize} is too large for ${bytes} bytes of text, which give ${vocabSize - missing} pieces.`,
    `Ask for at most ${vocabSize - missing}, or give more text.`,
  )
}

/** Ids: special pieces, merges in the order of learning, characters by frequency, the last special pieces. */
function assemble(special: SpecialPieces, merges: readonly string[], alphabet: Alphabet): Vocabulary {
  const characters = alphabet.characters.map((point) => String.fromCodePoint(point))
  const learned = [...merges, ...characters].map((piece) => ({ piece, type: PIECE_TYPE.normal }))
  const all = [...special.front, ...learned, ...special.back]
  const first = special.front.length
  return createVocabulary('The trained tokenizer', {
    pieces: all.map(({ piece }) => piece),
    scores: Float64Array.from(all, ({ type }, id) => (type === PIECE_TYPE.normal ? -(id - first) : 0)),
    types: Uint8Array.from(all, ({ type }) => type),
  })
}

function bytesPerToken(counts: TextCounts, { characters }: Alphabet, tokensInWords: number): number {
  const pieces = new Set(characters)
  let tokens = counts.whole + tokensInWords
  for (let point = 0; point < counts.alone.length; point++) {
    if (counts.alone[point] === 0) continue
    const character = point === 0x20 ? 0x2581 : point
    tokens += counts.alone[point] * (pieces.has(character) ? 1 : utf8Length(character))
  }
  return tokens === 0 ? 0 : (counts.bytes - counts.forgottenBytes) / tokens
}

function utf8Length(point: number): number {
  return point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4
}

const BREATH = 40 // milliseconds

/** Now and then tells what was done, lets other work (Ctrl-C, a page's own) have its turn, and looks at the signal. */
function createBreathing(signal: AbortSignal | undefined): (tell: () => void) => Promise<void> | undefined {
  let last = performance.now()
  const turn = async (tell: () => void): Promise<void> => {
    tell()
    await new Promise<void>((resolve) => {
      if (typeof setImmediate === 'function') setImmediate(resolve)
      else setTimeout(resolve, 0)
    })
    throwIfAborted(signal)
    last = performance.now()
  }
  return (tell) => (performance.now() - last < BREATH ? undefined : turn(tell))
}
