// The corpus of the small model: the probabilities of its documents must be true, since what the model learns is measured
// against them; its conversations must hold what training may see and nothing of what is kept for testing.

import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  MICRO_CONVERSATIONS,
  MICRO_DOCUMENTS,
  type MicroConversationSizes,
  type MicroDocumentSizes,
  writeMicroConversations,
  writeMicroDocuments,
} from '../examples/micro/corpus.ts'
import { documentKinds, lineWriters } from '../examples/micro/documents.ts'
import { derivations, writeDocument } from '../examples/recipes/corpus/grammar.ts'
import { createRandom } from '../src/generate/random.ts'
import { recogniseQuestion } from '../src/micro/check.ts'
import { withoutLeadIn, wordingsOf } from '../src/micro/task.ts'
import { tasks } from '../src/micro/tasks.ts'

const lines = Object.entries(lineWriters)

describe('documents', () => {
  test.each(lines)('%s: one derivation, of the probability that was counted', (_, writer) => {
    const random = createRandom(3)
    for (let i = 0; i < 3; i++) {
      const { text, logProbability } = writeDocument(writer, random)
      const found = derivations(writer, text)
      expect([text, found.length]).toEqual([text, 1])
      expect(found[0]).toBeCloseTo(logProbability, 9)
      expect(text.endsWith('\n')).toBe(true)
    }
  })

  test('no line could have come from another writer, so that mixtures are unambiguous too', () => {
    const random = createRandom(4)
    for (const [name, writer] of lines) {
      const { text } = writeDocument(writer, random)
      const able = lines.filter(([other, one]) => other === name || derivations(one, text).length > 0)
      expect([text, able.map(([other]) => other)]).toEqual([text, [name]])
    }
  })

  test('whole ones as well', () => {
    const random = createRandom(5)
    for (const kind of ['prose', 'code'] as const) {
      const { text, logProbability } = writeDocument(documentKinds[kind], random)
      expect(derivations(documentKinds[kind], text)).toEqual([expect.closeTo(logProbability, 9)])
    }
  })
})

describe('the files', () => {
  let directory: string
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'gemma-micro-corpus-'))
  })
  afterAll(() => rm(directory, { recursive: true, force: true }))

  const documents: MicroDocumentSizes = {
    ...{ documents: { prose: 20, code: 20, maths: 20, lessons: 20 }, heldOut: 5 },
    vocabularyPairs: MICRO_DOCUMENTS.vocabularyPairs,
  }
  const conversations: MicroConversationSizes = {
    courses: Object.fromEntries(
      Object.entries(MICRO_CONVERSATIONS.courses).map(([file, course]) => [file, { ...course, pairs: 3000 }]),
    ),
    ...{ heldOutPairs: 3, testPairs: 10 },
  }
  const write = async (folder: string, seed: number): Promise<void> => {
    await writeMicroDocuments(folder, { seed, sizes: documents })
    await writeMicroConversations(folder, { seed, sizes: conversations })
  }
  const contents = async (folder: string): Promise<[string, string][]> => {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true })
    const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
    return Promise.all(
      files.sort().map(async (file) => [file.slice(folder.length + 1), await readFile(file, 'utf8')]),
    )
  }

  test('are the same from the same seed, and others from another', async () => {
    const [a, b, c] = ['a', 'b', 'c'].map((name) => join(directory, name))
    await write(a!, 3)
    await write(b!, 3)
    await write(c!, 4)
    const [first, second, third] = await Promise.all([contents(a!), contents(b!), contents(c!)])
    expect(second).toEqual(first)
    expect(first.map(([name]) => name)).toEqual(third.map(([name]) => name))
    expect(first.filter(([, text], i) => third[i]![1] === text)).toEqual([])
  })

  test('hold every task in training wordings, and in testing the others', async () => {
    const folder = join(directory, 'd')
    await write(folder, 1)
    const read = async (name: string): Promise<Record<string, never>[]> =>
      (await readFile(join(folder, name), 'utf8'))
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line))
    type Conversation = { messages: { role: string; content: string }[] }
    const questions: string[] = []
    for (const [file, { pairs, weights, leadIns }] of Object.entries(conversations.courses)) {
      const trained = (await read(`${file}.jsonl`)) as unknown as Conversation[]
      const own = trained.flatMap(({ messages }) =>
        messages.filter(({ role }) => role === 'user').map(({ content }) => content),
      )
      expect(own.length).toBe(pairs)
      expect(own.some((question) => withoutLeadIn(question) !== question)).toBe(leadIns)
      expect(new Set(trained.map(({ messages }) => messages.length))).toEqual(new Set([2, 4, 6]))
      const names = own.map((question) => recogniseQuestion(question)!.task.name)
      const sum = Object.values(weights).reduce((total, weight) => total + weight)
      for (const { name } of tasks) {
        const share = names.filter((other) => other === name).length / pairs
        expect([name, share]).toEqual([name, expect.closeTo((weights[name] ?? 0) / sum, 1)])
        expect(share > 0).toBe(weights[name] !== undefined)
      }
      questions.push(...own)
    }
    expect(Object.keys(conversations.courses['third-pairs']!.weights).toSorted()).toEqual(
      tasks.map(({ name }) => name).toSorted(),
    )
    const asked = (await read('test-pairs.jsonl')) as unknown as { task: string; question: string }[]
    expect(new Set(asked.map(({ task }) => task))).toEqual(new Set(tasks.map(({ name }) => name)))
    // The words of a held-out wording around its gaps never stand in a question of training, of whatever task.
    const plain = (text: string): string =>
      withoutLeadIn(text)
        .toLowerCase()
        .replace(/[.?!]$/, '')
    const plainQuestions = questions.map(plain)
    for (const task of tasks) {
      for (const wording of wordingsOf(task, true)) {
        const pieces = plain(wording).split(/\{(\w+)\}/)
        const pattern = new RegExp(
          `^${pieces
            .map((piece, i) =>
              i % 2 === 1
                ? `(?:${task.gaps[piece] ?? '.+'})`.replace(/\(\?<\w+>/g, '(?:')
                : piece.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'),
            )
            .join('')}$`,
          'i',
        )
        expect([wording, plainQuestions.filter((question) => pattern.test(question))]).toEqual([wording, []])
      }
    }
  })
})
