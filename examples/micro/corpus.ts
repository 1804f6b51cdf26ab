// The corpus of the small model as files that the recipes read: documents whose probability is known, and questions with
// answers. From a seed, always the same bytes; each file has a seed of its own, so that its size changes no other.

import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { createRandom } from '../../src/generate/random.ts'
import {
  asMessages,
  conversationsOf,
  heldOutPairs,
  type TaskWeights,
  trainingPairs,
  varyingPairs,
  vocabularyTexts,
} from '../../src/micro/pairs.ts'
import { tasks } from '../../src/micro/tasks.ts'
import { writeAtomically } from '../../src/weights/atomic.node.ts'
import { writeDocument } from '../recipes/corpus/grammar.ts'
import { type DocumentKind, documentKinds } from './documents.ts'

export interface MicroDocumentSizes {
  /** Training documents of each kind. */
  readonly documents: Readonly<Record<DocumentKind, number>>
  /** Held-out documents of each kind. */
  readonly heldOut: number
  /** Pairs to learn the vocabulary from. */
  readonly vocabularyPairs: number
}

/** What one course of fine-tuning learns from. */
export interface CourseSizes {
  readonly pairs: number
  /** How often each task comes. */
  readonly weights: TaskWeights
  /** Whether some questions have words in front. */
  readonly leadIns: boolean
}

export interface MicroConversationSizes {
  /** By file. */
  readonly courses: Readonly<Record<string, CourseSizes>>
  /** Held-out pairs of each task to watch in training, and to test with. */
  readonly heldOutPairs: number
  readonly testPairs: number
}

/**
 * How often tasks come among the texts that the vocabulary is learned from. They have a sample of their own, so that
 * training more of a task makes no other tokens.
 */
const vocabularyWeights: TaskWeights = {
  ...{ addition: 4, subtraction: 6, 'unit conversion': 4 },
  ...{ 'date to ISO': 1.5, 'ISO to date': 1.5, 'days in a month': 1.5, 'days after a date': 3 },
  ...{ 'number in words': 1.5, 'number in digits': 1.5, 'money in words': 2, 'money in digits': 2 },
  ...{ 'case style': 5, slug: 2.5, idiom: 8, command: 3, story: 3 },
  ...{
    hello: 0.6,
    thanks: 0.6,
    'good-bye': 0.6,
    'what it is': 0.6,
    'what it can do': 0.6,
    'out of scope': 8,
  },
}

/** Harder tasks, and those with more to remember, come more often. */
const firstWeights: TaskWeights = {
  ...{ addition: 7, subtraction: 9, 'unit conversion': 5 },
  ...{ 'date to ISO': 1.5, 'ISO to date': 1.5, 'days in a month': 2, 'days after a date': 3.5 },
  ...{ 'number in words': 2, 'number in digits': 2, 'money in words': 2.5, 'money in digits': 2 },
  ...{ 'case style': 8, slug: 3, idiom: 7, command: 2.5, story: 4 },
  ...{ hello: 0.6, thanks: 0.5, 'good-bye': 0.5, 'what it is': 0.8, 'what it can do': 0.6 },
  ...{ 'out of scope': 8, 'other requests': 5 },
}

/** How often they come in the second course, which is for what the first left undone. */
const secondWeights: TaskWeights = {
  ...{ addition: 5, subtraction: 9, 'unit conversion': 6 },
  ...{ 'date to ISO': 1, 'ISO to date': 1, 'days in a month': 3, 'days after a date': 5 },
  ...{ 'number in words': 1.5, 'number in digits': 3, 'money in words': 1.5, 'money in digits': 1.5 },
  ...{ 'case style': 14, slug: 2, idiom: 6, command: 2, story: 9 },
  ...{ hello: 0.8, thanks: 0.6, 'good-bye': 0.5, 'what it is': 1, 'what it can do': 0.6, 'about itself': 1 },
  ...{ 'out of scope': 6, 'other requests': 6, errands: 8 },
}

/**
 * How often in the third, which is for breadth: more wordings of everything that went wrong, and a quarter to decline, most of
 * it with words that come once.
 */
const thirdWeights: TaskWeights = {
  ...{ addition: 5, 'addition again': 2.5, subtraction: 7, 'subtraction again': 4.5, 'unit conversion': 5 },
  ...{ 'date to ISO': 1.2, 'ISO to date': 1.5, 'days in a month': 2.5, 'days after a date': 4.5 },
  ...{ 'number in words': 1.6, 'number in digits': 2, 'money in words': 1.8, 'money in digits': 1.8 },
  ...{ 'case style': 8, 'case style again': 5, slug: 2.5, idiom: 6.5, command: 2.2, story: 5 },
  ...{
    hello: 0.5,
    thanks: 0.4,
    'good-bye': 0.4,
    'what it is': 0.7,
    'what it can do': 0.5,
    'about itself': 0.7,
  },
  ...{ 'hello to somebody': 1, 'thanks to somebody': 0.5, 'good-bye to somebody': 0.8 },
  ...{ 'what it is, in many ways': 1.6 },
  ...{ 'out of scope': 6, 'other requests': 4, errands: 4 },
  ...{ 'strange units': 3, 'strange things': 5, 'strange deeds': 4 },
}

/** Some 8 million tokens of documents and 9 million of conversations, of a vocabulary of 2,048. */
export const MICRO_DOCUMENTS: MicroDocumentSizes = {
  documents: { prose: 12_000, code: 20_000, maths: 32_000, lessons: 12_000 },
  heldOut: 200,
  vocabularyPairs: 20_000,
}
export const MICRO_CONVERSATIONS: MicroConversationSizes = {
  courses: {
    pairs: { pairs: 120_000, weights: firstWeights, leadIns: false },
    'second-pairs': { pairs: 75_000, weights: secondWeights, leadIns: true },
    'third-pairs': { pairs: 40_000, weights: thirdWeights, leadIns: true },
  },
  ...{ heldOutPairs: 10, testPairs: 100 },
}

/** Of the pairs, and of their grouping into conversations, course by course. */
const COURSE_SEEDS: readonly (readonly [drawn: number, grouped: number])[] = [
  [104, 103],
  [105, 106],
  [107, 108],
]

/** JSON lines; atomic, so that a file of this name is a whole one. */
async function writeLines(path: string, records: Iterable<object>): Promise<void> {
  const encoder = new TextEncoder()
  await writeAtomically(path, async (out) => {
    let lines: string[] = []
    const flush = async (): Promise<void> => {
      await out.write(encoder.encode(lines.join('')))
      lines = []
    }
    for (const record of records) {
      lines.push(`${JSON.stringify(record)}\n`)
      if (lines.length === 5000) await flush()
    }
    await flush()
  })
}

function* documents(
  kind: DocumentKind,
  count: number,
  seed: number,
): Generator<{ text: string; logProbability: number }> {
  const random = createRandom(seed)
  for (let i = 0; i < count; i++) yield writeDocument(documentKinds[kind], random)
}

/**
 * Writes what is learned from before any question into a directory:
 *
 *     prose.jsonl code.jsonl maths.jsonl lessons.jsonl   training documents, {text}
 *     held-out/…                                         others of the same kinds, {text, logProbability}
 *     vocabulary.jsonl                                   questions and answers for the tokenizer, {text}
 */
export async function writeMicroDocuments(
  directory: string,
  { seed = 1, sizes = MICRO_DOCUMENTS }: { seed?: number; sizes?: MicroDocumentSizes } = {},
): Promise<void> {
  await mkdir(join(directory, 'held-out'), { recursive: true })
  for (const [index, kind] of (Object.keys(documentKinds) as DocumentKind[]).entries()) {
    const texts = documents(kind, sizes.documents[kind], seed * 1000 + 10 * index)
    await writeLines(
      join(directory, `${kind}.jsonl`),
      texts.map(({ text }) => ({ text })),
    )
    await writeLines(
      join(directory, 'held-out', `${kind}.jsonl`),
      documents(kind, sizes.heldOut, seed * 1000 + 10 * index + 1),
    )
  }
  const vocabulary = vocabularyTexts(
    sizes.vocabularyPairs,
    createRandom(seed * 1000 + 100),
    vocabularyWeights,
  )
  await writeLines(
    join(directory, 'vocabulary.jsonl'),
    vocabulary.map((text) => ({ text })),
  )
}

/**
 * Writes questions with answers into a directory:
 *
 *     pairs.jsonl second-pairs.jsonl third-pairs.jsonl   training pairs of three courses, {messages}
 *     held-out-pairs.jsonl                               {messages}
 *     test-pairs.jsonl                                   {task, question, answer}, drawn from the same held-out wordings
 */
export async function writeMicroConversations(
  directory: string,
  { seed = 1, sizes = MICRO_CONVERSATIONS }: { seed?: number; sizes?: MicroConversationSizes } = {},
): Promise<void> {
  await mkdir(directory, { recursive: true })
  const random = (file: number): (() => number) => createRandom(seed * 1000 + file)
  for (const [i, [file, course]] of Object.entries(sizes.courses).entries()) {
    const draw = course.leadIns ? varyingPairs : trainingPairs
    const [drawn, grouped] = COURSE_SEEDS[i]!
    const conversations = conversationsOf(draw(course.pairs, random(drawn), course.weights), random(grouped))
    await writeLines(join(directory, `${file}.jsonl`), conversations.map(asMessages))
  }
  const names = tasks.map(({ name }) => name)
  const heldOut = heldOutPairs(sizes.heldOutPairs, random(101), names)
  await writeLines(
    join(directory, 'held-out-pairs.jsonl'),
    heldOut.map((pair) => asMessages([pair])),
  )
  await writeLines(join(directory, 'test-pairs.jsonl'), heldOutPairs(sizes.testPairs, random(102), names))
}
