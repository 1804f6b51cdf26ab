// The two sizes of the route as data: micro, which ships with the package, and nano, which CI walks. Each says what its
// corpus is, which recipes train on it, how its answers are judged and what it must reach. Knows nothing of the way.

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { faultOf, recogniseQuestion } from '../../src/micro/check.ts'
import { DECLINE } from '../../src/micro/declining.ts'
import type { Pair } from '../../src/micro/pairs.ts'
import { closedFamilies, drills } from '../../src/micro/tasks.ts'
import { flavours, NANO_CORPUS, writeNanoCorpus } from '../recipes/corpus/nano-corpus.ts'
import {
  MICRO_CONVERSATIONS,
  MICRO_DOCUMENTS,
  writeMicroConversations,
  writeMicroDocuments,
} from './corpus.ts'
import { documentKinds } from './documents.ts'

export interface Question {
  readonly task: string
  readonly family: string
  readonly question: string
  /** A right answer. */
  readonly answer: string
  /** Of a task that is for training: measured, but not held against the marks. */
  readonly drill?: boolean
}

export interface Judgement {
  readonly right: boolean
  readonly formatValid: boolean
  readonly declined: boolean
}

/** What a route must reach. Shares are of questions in wordings, or with values, that training never has. */
export interface Marks {
  /** Most that the loss may lie above the entropy, nats per token, over all kinds of documents together. */
  readonly gap: number
  /** Least shares of answers that end their turn, and that have their task's form. */
  readonly closed: number
  readonly formatValid: number
  /** Least share of right answers over the closed families, and in each. */
  readonly right: number
  readonly rightInEach: number
  /** Least share of questions out of scope that are declined, most of those in scope; without them nothing is declined. */
  readonly declined?: number
  readonly wronglyDeclined?: number
  /** Most that each precision may add to the loss (nats per token) and take from the share of right answers. */
  readonly precisions: Readonly<Record<Precision, { readonly loss: number; readonly right: number }>>
}

/** What weights are rounded to; measured against float32. */
export type Precision = 'bf16' | 'int8' | 'int4'

export interface Route {
  readonly name: 'micro' | 'nano'
  readonly seed: number
  /** What the corpus is made from, besides the generators' code: another one is another corpus. */
  readonly corpus: object
  readonly writeCorpus: (directory: string) => Promise<void>
  /** Where conversations are not part of that: what is learned after pre-training, so that others need no other pre-training. */
  readonly later?: {
    readonly corpus: object
    readonly write: (directory: string) => Promise<void>
  }
  /** Kinds of documents; each is a file of this name. */
  readonly kinds: readonly string[]
  /** Documents that are not trained on, by what they are. */
  readonly heldOut: Readonly<Record<string, string>>
  /** What fine-tuning learns from, course by course. */
  readonly conversations: readonly string[]
  /** What the vocabulary is learned from: files of texts, and the most of each that counts. */
  readonly vocabulary: readonly { readonly file: string; readonly most: number }[]
  readonly vocabSize: number
  readonly recipes: { readonly pretrain: string; readonly sft: readonly string[] }
  /** Run directories of the fine-tuning courses, beside that of pre-training; the last has the finished model. */
  readonly courses: readonly string[]
  readonly readQuestions: (corpus: string) => Promise<Question[]>
  readonly judge: (question: Question, said: string) => Judgement
  readonly closedFamilies: readonly string[]
  readonly marks: Marks
  /** Where the finished model goes. */
  readonly model: string
}

const recipe = (name: string): string => fileURLToPath(new URL(`../recipes/${name}.yaml`, import.meta.url))

async function readRecords<Record>(path: string): Promise<Record[]> {
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n')
  return lines.map((line) => JSON.parse(line) as Record)
}

function heldOutFiles(kinds: readonly string[]): Record<string, string> {
  return Object.fromEntries(kinds.map((kind) => [kind, `held-out/${kind}.jsonl`]))
}

const precisions: Marks['precisions'] = {
  bf16: { loss: 0.002, right: 0.005 },
  int8: { loss: 0.01, right: 0.01 },
  int4: { loss: 0.08, right: 0.03 },
}

const micro: Route = {
  name: 'micro',
  seed: 1,
  corpus: MICRO_DOCUMENTS,
  writeCorpus: (directory) => writeMicroDocuments(directory, { seed: micro.seed }),
  later: {
    corpus: MICRO_CONVERSATIONS,
    write: (directory) => writeMicroConversations(directory, { seed: micro.seed }),
  },
  kinds: Object.keys(documentKinds),
  heldOut: heldOutFiles(Object.keys(documentKinds)),
  conversations: Object.keys(MICRO_CONVERSATIONS.courses).map((name) => `${name}.jsonl`),
  vocabulary: [
    ...Object.keys(documentKinds).map((kind) => ({ file: `${kind}.jsonl`, most: 8_000 })),
    { file: 'vocabulary.jsonl', most: 40_000 },
  ],
  vocabSize: 2048,
  recipes: {
    pretrain: recipe('micro-pretrain'),
    sft: ['micro-sft', 'micro-sft-2', 'micro-sft-3'].map(recipe),
  },
  courses: ['sft', 'sft-2', 'sft-3'],
  async readQuestions(corpus) {
    const pairs = await readRecords<Pair>(join(corpus, 'test-pairs.jsonl'))
    return pairs.map((pair) => {
      const { task } = recogniseQuestion(pair.question)!
      return { ...pair, family: task.family, drill: drills.includes(task) }
    })
  },
  judge({ question }, said) {
    const recognised = recogniseQuestion(question)!
    const declined = said === DECLINE
    return {
      right: faultOf(recognised, said) === undefined,
      formatValid: declined || recognised.task.format.test(said),
      declined,
    }
  },
  closedFamilies,
  marks: {
    ...{ gap: 0.15, closed: 0.99, formatValid: 0.98, right: 0.9, rightInEach: 0.75 },
    ...{ declined: 0.9, wronglyDeclined: 0.02, precisions },
  },
  model: fileURLToPath(new URL('../../models/micro', import.meta.url)),
}

const nanoForms: Readonly<Record<string, RegExp>> = {
  sum: /^\d\+\d=\d+\n\d\+\d(\+1)?=\d+\n\d+\+\d+=\d+$/,
  repeat: /^a \w+ \w+ and a \w+ \w+$/,
  lookup: /^The \w+ (lived|ate) .+\.$/,
}

function nanoTask(answer: string): string {
  return Object.keys(nanoForms).find((task) => nanoForms[task]!.test(answer))!
}

const flavourNames = Object.keys(flavours)

const nano: Route = {
  name: 'nano',
  seed: 1,
  corpus: NANO_CORPUS,
  writeCorpus: (directory) => writeNanoCorpus(directory, { seed: nano.seed }),
  kinds: flavourNames,
  heldOut: {
    ...heldOutFiles(flavourNames),
    ...Object.fromEntries(flavourNames.map((kind) => [`${kind} of new combinations`, `new/${kind}.jsonl`])),
  },
  conversations: ['pairs.jsonl'],
  vocabulary: Object.keys(flavours).map((kind) => ({
    file: `${kind}.jsonl`,
    most: Number.POSITIVE_INFINITY,
  })),
  vocabSize: 1024,
  recipes: { pretrain: recipe('nano-pretrain'), sft: [recipe('nano-sft')] },
  courses: ['sft'],
  async readQuestions(corpus) {
    type Conversation = { readonly messages: readonly { readonly content: string }[] }
    const conversations = await readRecords<Conversation>(join(corpus, 'held-out-pairs.jsonl'))
    return conversations.map(({ messages: [question, answer] }): Question => {
      const task = nanoTask(answer!.content)
      return { task, family: task, question: question!.content, answer: answer!.content }
    })
  },
  judge: ({ task, answer }, said) => ({
    ...{ right: said === answer, formatValid: nanoForms[task]!.test(said), declined: false },
  }),
  // Not sums: a million tokens are not enough to learn to carry.
  closedFamilies: ['repeat', 'lookup'],
  // What two minutes of training reach, with room for another machine's rounding.
  marks: {
    ...{ gap: 0.2, closed: 0.98, formatValid: 0.95, right: 0.95, rightInEach: 0.9 },
    precisions: {
      bf16: { loss: 0.004, right: 0.02 },
      int8: { loss: 0.01, right: 0.03 },
      int4: { loss: 0.08, right: 0.1 },
    },
  },
  model: 'runs/nano/model',
}

export const routes: Readonly<Record<'micro' | 'nano', Route>> = { micro, nano }
