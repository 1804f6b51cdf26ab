// The nano corpus: documents in three flavours whose probability is known, and questions with answers, as files that
// the recipes beside it read. A model that is fitted perfectly reaches the entropy of the corpus and nothing below
// it; how far a model is from there says how much it has not learned. From a seed, always the same bytes.

import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { createRandom } from '../../../src/generate/random.ts'
import { writeAtomically } from '../../../src/weights/atomic.node.ts'
import { addition } from './additions.ts'
import { code } from './code.ts'
import { type Document, entropyOf, logProbabilityOf, type Writing, writeDocument } from './grammar.ts'
import { asMessages, heldOutPairs, trainingPairs } from './pairs.ts'
import type { Split } from './split.ts'
import { story } from './stories.ts'

export type Flavour = 'stories' | 'code' | 'sums'

export const flavours: Readonly<Record<Flavour, (split: Split) => Writing>> = {
  stories: story,
  code,
  sums: addition,
}

/** Documents of a flavour, drawn independently. */
export function makeDocuments(flavour: Flavour, split: Split, count: number, seed: number): Document[] {
  const write = flavours[flavour]
  const random = createRandom(seed)
  const documents = Array.from({ length: count }, () => writeDocument(() => write(split), random))
  if (split !== 'unseen') return documents
  // What nobody could know: that these combinations are the kept ones. They count as what they are among all.
  return documents.map(({ text }) => ({ text, logProbability: logProbabilityOf(() => write('all'), text) }))
}

/** Entropy of a flavour as it is in the training documents, nats per document. */
export function flavourEntropy(flavour: Flavour): number {
  return entropyOf(() => flavours[flavour]('seen'))
}

export interface NanoCorpusSizes {
  /** Training documents of each flavour. */
  readonly documents: Readonly<Record<Flavour, number>>
  /** Held-out documents of each flavour: of the same kind, and as many of combinations that were kept. */
  readonly heldOut: number
  /** Training pairs of question and answer. */
  readonly pairs: number
  /** Held-out pairs of each kind. */
  readonly heldOutPairs: number
}

/** Some 1.3 million tokens of a vocabulary of 1,024. */
export const NANO_CORPUS: NanoCorpusSizes = {
  documents: { stories: 12_000, code: 5_000, sums: 8_000 },
  heldOut: 150,
  pairs: 3_000,
  heldOutPairs: 40,
}

/** JSON lines; atomic, so that a file of this name is a whole one. */
async function writeLines(path: string, records: readonly object[]): Promise<void> {
  const bytes = new TextEncoder().encode(records.map((record) => `${JSON.stringify(record)}\n`).join(''))
  await writeAtomically(path, (out) => out.write(bytes))
}

/**
 * Writes the corpus into a directory:
 *
 *     stories.jsonl code.jsonl sums.jsonl   training documents, {text}
 *     held-out/…  new/…                     the same kinds and kept combinations, {text, logProbability}
 *     pairs.jsonl held-out-pairs.jsonl      {messages}
 *     entropy.json                          nats per document of each flavour, exactly
 */
export async function writeNanoCorpus(
  directory: string,
  { seed = 1, sizes = NANO_CORPUS }: { seed?: number; sizes?: NanoCorpusSizes } = {},
): Promise<void> {
  for (const folder of ['', 'held-out', 'new']) await mkdir(join(directory, folder), { recursive: true })
  const names = Object.keys(flavours) as Flavour[]
  // Each file has a seed of its own, so that its size changes no other file.
  for (const [index, name] of names.entries()) {
    const seedOf = (file: number): number => seed * 1000 + 10 * index + file
    const training = makeDocuments(name, 'seen', sizes.documents[name], seedOf(0))
    await writeLines(
      join(directory, `${name}.jsonl`),
      training.map(({ text }) => ({ text })),
    )
    await writeLines(
      join(directory, 'held-out', `${name}.jsonl`),
      makeDocuments(name, 'seen', sizes.heldOut, seedOf(1)),
    )
    await writeLines(
      join(directory, 'new', `${name}.jsonl`),
      makeDocuments(name, 'unseen', sizes.heldOut, seedOf(2)),
    )
  }
  const pairs = trainingPairs(sizes.pairs, createRandom(seed * 1000 + 100))
  await writeLines(join(directory, 'pairs.jsonl'), pairs.map(asMessages))
  const heldOut = heldOutPairs(sizes.heldOutPairs, createRandom(seed * 1000 + 101))
  await writeLines(join(directory, 'held-out-pairs.jsonl'), heldOut.map(asMessages))
  const entropy = Object.fromEntries(names.map((name) => [name, flavourEntropy(name)]))
  await writeLines(join(directory, 'entropy.json'), [{ nats_per_document: entropy }])
}
