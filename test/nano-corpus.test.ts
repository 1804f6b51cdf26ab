// The nano corpus: its probabilities must be true, since what a model learns is measured against them.

import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { firstNumbers, secondNumbers, workedSum } from '../examples/recipes/corpus/additions.ts'
import {
  derivations,
  entropyOf,
  logProbabilityOf,
  type Writing,
  way,
  word,
  writeDocument,
} from '../examples/recipes/corpus/grammar.ts'
import {
  type Flavour,
  flavourEntropy,
  flavours,
  makeDocuments,
  NANO_CORPUS,
  writeNanoCorpus,
} from '../examples/recipes/corpus/nano-corpus.ts'
import { heldOutPairs, type Pair, trainingPairs } from '../examples/recipes/corpus/pairs.ts'
import { heroes } from '../examples/recipes/corpus/words.ts'
import { createRandom } from '../src/generate/random.ts'

const names = Object.keys(flavours) as Flavour[]

describe('a writer', () => {
  function* coin(): Writing {
    yield (yield* way(3, 1)) === 0 ? 'heads ' : `tails ${yield* word(['a', 'b'])}`
    yield yield* word(['x', 'y'])
  }

  test('has the entropy that a sum over its texts has', () => {
    const texts = ['heads x', 'heads y', 'tails ax', 'tails ay', 'tails bx', 'tails by']
    const logs = texts.map((text) => logProbabilityOf(coin, text))
    expect(logs.slice(0, 3).map(Math.exp)).toEqual([3 / 8, 3 / 8, 1 / 16].map((p) => expect.closeTo(p, 12)))
    expect(logs.reduce((sum, log) => sum + Math.exp(log), 0)).toBeCloseTo(1, 12)
    expect(entropyOf(coin)).toBeCloseTo(-logs.reduce((sum, log) => sum + Math.exp(log) * log, 0), 12)
  })

  test('has no way to a text that it cannot write', () => {
    for (const text of ['', 'heads', 'heads xx', 'tails x', ' heads x']) {
      expect(derivations(coin, text)).toEqual([])
      expect(logProbabilityOf(coin, text)).toBe(Number.NEGATIVE_INFINITY)
    }
  })

  test('that is ambiguous is found out, and its texts still have their true probability', () => {
    function* twice(): Writing {
      yield yield* word(['a', 'ab'])
      yield yield* word(['b', 'c', ''])
    }
    expect(derivations(twice, 'ab').map(Math.exp)).toEqual([expect.closeTo(1 / 6), expect.closeTo(1 / 6)])
    expect(Math.exp(logProbabilityOf(twice, 'ab'))).toBeCloseTo(1 / 3, 12)
  })
})

describe.each(names)('%s', (name) => {
  const write = flavours[name]

  test('each text has one derivation, with the probability that it was given', () => {
    fc.assert(
      fc.property(
        fc.nat(),
        fc.constantFrom('seen' as const, 'unseen' as const, 'all' as const),
        (seed, split) => {
          const { text, logProbability } = writeDocument(() => write(split), createRandom(seed))
          expect(derivations(() => write(split), text)).toEqual([expect.closeTo(logProbability, 9)])
        },
      ),
      { numRuns: 300 },
    )
  })

  test('the mean of −ln p of drawn documents is the entropy', () => {
    const count = 20_000
    const surprises = makeDocuments(name, 'seen', count, 7).map(({ logProbability }) => -logProbability)
    const mean = surprises.reduce((sum, each) => sum + each, 0) / count
    const variance = surprises.reduce((sum, each) => sum + (each - mean) ** 2, 0) / count
    // Four standard errors; the seed is fixed, so that this either holds or does not.
    expect(Math.abs(mean - flavourEntropy(name))).toBeLessThan(4 * Math.sqrt(variance / count))
  })

  test('what is kept is never in training documents, and the other way round', () => {
    for (const { text } of makeDocuments(name, 'unseen', 100, 3)) {
      expect(derivations(() => write('seen'), text)).toEqual([])
      expect(derivations(() => write('all'), text)).toHaveLength(1)
    }
    for (const { text } of makeDocuments(name, 'seen', 100, 3)) {
      expect(derivations(() => write('unseen'), text)).toEqual([])
    }
  })
})

describe('sums', () => {
  test('every first number has as many second numbers, so that all sums are equally likely', () => {
    for (const a of firstNumbers) {
      expect(secondNumbers('seen', a)).toHaveLength(81)
      expect(secondNumbers('unseen', a)).toHaveLength(9)
    }
  })

  test('are worked rightly', () => {
    for (const a of firstNumbers) {
      for (const b of firstNumbers) {
        const lines = workedSum(a, b).split('\n')
        for (const line of lines) {
          const [left, right] = line.split('=')
          expect(left!.split('+').reduce((sum, each) => sum + Number(each), 0)).toBe(Number(right))
        }
        expect(lines.at(-1)).toBe(`${a}+${b}=${a + b}`)
      }
    }
  })
})

describe('questions and answers', () => {
  const training = trainingPairs(5000, createRandom(1))
  const heldOut = heldOutPairs(60, createRandom(2))
  const ofKind = (pairs: readonly Pair[], kind: string): Pair[] => pairs.filter((pair) => pair.kind === kind)

  test('none is in both', () => {
    const asked = new Set(training.map(({ question }) => question))
    expect(heldOut.filter(({ question }) => asked.has(question))).toEqual([])
    expect(new Set(heldOut.map(({ question }) => question)).size).toBe(heldOut.length)
    // What the stories tell is asked for in other words; everything else has another answer, too.
    const answers = new Set(training.map(({ answer }) => answer))
    expect(heldOut.filter(({ kind, answer }) => kind !== 'lookup' && answers.has(answer))).toEqual([])
  })

  test('all kinds are there, with one answer to each question', () => {
    for (const kind of ['sum', 'repeat', 'lookup']) {
      expect(ofKind(training, kind).length).toBeGreaterThan(1500)
      expect(ofKind(heldOut, kind).length).toBeGreaterThanOrEqual(16)
    }
    const answers = new Map<string, string>()
    for (const { question, answer } of [...training, ...heldOut]) {
      expect(answers.get(question) ?? answer).toBe(answer)
      answers.set(question, answer)
    }
  })

  test('what is asked of a hero stands in the stories', () => {
    const stories = makeDocuments('stories', 'seen', 3000, 5).map(({ text }) => text)
    for (const { name, home, food } of heroes) {
      expect(stories.some((text) => text.includes(`A ${name} lived ${home}.`))).toBe(true)
      expect(stories.some((text) => text.includes(`the ${name} ate ${food}.`))).toBe(true)
    }
  })
})

describe('the files', () => {
  let directory: string
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'gemma-nano-corpus-'))
  })
  afterAll(() => rm(directory, { recursive: true, force: true }))

  const sizes = { ...NANO_CORPUS, documents: { stories: 40, code: 30, sums: 20 }, heldOut: 10, pairs: 25 }
  const contents = async (folder: string): Promise<[string, string][]> => {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true })
    const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
    return Promise.all(
      files.sort().map(async (file) => [file.slice(folder.length), await readFile(file, 'utf8')]),
    )
  }

  test('are the same from the same seed, and others from another', async () => {
    const [a, b, c] = ['a', 'b', 'c'].map((name) => join(directory, name))
    await writeNanoCorpus(a!, { seed: 3, sizes })
    await writeNanoCorpus(b!, { seed: 3, sizes })
    await writeNanoCorpus(c!, { seed: 4, sizes })
    const [first, second, third] = await Promise.all([contents(a!), contents(b!), contents(c!)])
    expect(second).toEqual(first)
    expect(first.map(([name]) => name)).toEqual(third.map(([name]) => name))
    expect(first.filter(([name, text], i) => name.endsWith('.jsonl') && third[i]![1] === text)).toEqual([])
  })

  test('hold as many records as was asked, with the probabilities of held-out documents', async () => {
    const folder = join(directory, 'd')
    await writeNanoCorpus(folder, { sizes })
    const records = new Map(
      (await contents(folder))
        .filter(([name]) => name.endsWith('.jsonl'))
        .map(([name, text]) => [
          name,
          text
            .trimEnd()
            .split('\n')
            .map((line) => JSON.parse(line)),
        ]),
    )
    expect(records.get('/stories.jsonl')).toHaveLength(40)
    expect(records.get('/new/sums.jsonl')).toHaveLength(10)
    expect(records.get('/pairs.jsonl')).toHaveLength(25)
    for (const { text, logProbability } of records.get('/held-out/code.jsonl')!) {
      expect(logProbabilityOf(() => flavours.code('seen'), text)).toBeCloseTo(logProbability, 9)
    }
    const { nats_per_document: entropy } = JSON.parse(await readFile(join(folder, 'entropy.json'), 'utf8'))
    expect(entropy).toEqual(Object.fromEntries(names.map((name) => [name, flavourEntropy(name)])))
  })
})
