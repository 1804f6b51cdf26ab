// Writes a vocabulary as Hugging Face's tokenizer.json: what a converted checkpoint needs, and what other
// libraries read. Knows nothing about where the vocabulary came from.

import { PIECE_TYPE, SPACE_MARK, type Vocabulary } from './vocabulary.ts'

/**
 * The object of a tokenizer.json (for JSON.stringify). Every split of a piece into two others is a merge,
 * as ordered by the scores: SentencePiece joins any two neighbours that spell a piece.
 */
export function toTokenizerJson(vocabulary: Vocabulary): Record<string, unknown> {
  const { pieces, types, bosId, unkId } = vocabulary
  const bos = pieces[bosId]
  const bosBlock = { SpecialToken: { id: bos, type_id: 0 } }
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: addedTokens(vocabulary),
    normalizer: { type: 'Replace', pattern: { String: ' ' }, content: SPACE_MARK },
    pre_tokenizer: null,
    post_processor: {
      type: 'TemplateProcessing',
      single: [bosBlock, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [
        bosBlock,
        { Sequence: { id: 'A', type_id: 0 } },
        { SpecialToken: { id: bos, type_id: 1 } },
        { Sequence: { id: 'B', type_id: 1 } },
      ],
      special_tokens: { [bos]: { id: bos, ids: [bosId], tokens: [bos] } },
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: SPACE_MARK }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
      ],
    },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: pieces[unkId],
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: types.includes(PIECE_TYPE.byte),
      ignore_merges: false,
      vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
      merges: listMerges(vocabulary),
    },
  }
}

/** A piece that is matched whole, before merges. */
export interface AddedToken {
  readonly id: number
  readonly content: string
  readonly single_word: boolean
  readonly lstrip: boolean
  readonly rstrip: boolean
  readonly normalized: boolean
  readonly special: boolean
}

export function addedTokens(vocabulary: Vocabulary): AddedToken[] {
  const added: AddedToken[] = []
  for (let id = 0; id < vocabulary.pieces.length; id++) {
    const type = vocabulary.types[id]
    if (type !== PIECE_TYPE.control && type !== PIECE_TYPE.unknown && type !== PIECE_TYPE.userDefined)
      continue
    added.push({
      id,
      content: vocabulary.pieces[id],
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: vocabulary.pieces[id].includes(SPACE_MARK), // matched after spaces are written as U+2581
      special: type !== PIECE_TYPE.userDefined,
    })
  }
  return added
}

/** Best score first; the splits of one piece stand together, the shortest left half first. */
function listMerges({ pieces, types, scores }: Vocabulary): [string, string][] {
  const isNormal = new Set<string>()
  const order: number[] = []
  for (let id = 0; id < pieces.length; id++) {
    if (types[id] !== PIECE_TYPE.normal) continue
    isNormal.add(pieces[id])
    order.push(id)
  }
  order.sort((a, b) => scores[b] - scores[a] || a - b)
  const merges: [string, string][] = []
  for (const id of order) {
    const piece = pieces[id]
    for (let cut = 1; cut < piece.length; cut++) {
      const left = piece.slice(0, cut)
      const right = piece.slice(cut)
      if (isNormal.has(left) && isNormal.has(right)) merges.push([left, right])
    }
  }
  return merges
}
