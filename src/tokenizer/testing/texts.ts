// Random texts for the tests of the tokenizer: words of the vocabulary, characters of all kinds, runs.
// Knows nothing about what the ids should be.

import fc from 'fast-check'
import { SPACE_MARK, type Vocabulary } from '../vocabulary.ts'

/** Lone surrogates, U+2581 and control pieces included. */
export function arbitraryText(vocabulary: Vocabulary): fc.Arbitrary<string> {
  const { pieces } = vocabulary
  const piece = fc.integer({ min: 0, max: pieces.length - 1 }).map((id) => pieces[id])
  const chunk = fc.oneof(
    { weight: 4, arbitrary: piece.map((text) => text.replaceAll(SPACE_MARK, ' ')) },
    { weight: 1, arbitrary: piece },
    { weight: 1, arbitrary: piece.map((text) => text.slice(1)) },
    { weight: 2, arbitrary: fc.string({ unit: 'grapheme', maxLength: 12 }) },
    { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 6 }) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        '\ud83d',
        '\udc00',
        '\u2581',
        '\0',
        '\ufffd',
        '\ufeff',
        '<bos>',
        '<start_of_turn>',
      ),
    },
    {
      weight: 1,
      arbitrary: fc
        .tuple(
          fc.constantFrom('a', ' ', '\n', '\t', '-', '=', 'ab', 'the', '\u0301', '語', '😀'),
          fc.integer({ min: 1, max: 90 }),
        )
        .map(([text, count]) => text.repeat(count)),
    },
    { weight: 1, arbitrary: fc.constantFrom(' ', '  ', '\n', '. ', ', ', "'s", '()', '://') },
  )
  return fc.array(chunk, { maxLength: 12 }).map((chunks) => chunks.join(''))
}
