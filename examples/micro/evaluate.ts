// Measures both models of a route, before and after it learned to answer, in every precision, and holds the figures
// against the marks. Knows nothing of how they were made.

import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { Gemma } from '../../src/index.ts'
import {
  type Answer,
  answerLoss,
  ask,
  type Gap,
  measureGap,
  overall,
  type Share,
  shareOf,
} from './measure.ts'
import type { Precision, Question, Route } from './routes.ts'

/** How one model answers in one precision. */
export interface AnswerFigures {
  /** Mean −ln p of right answers, nats per token. */
  readonly loss: number
  readonly closed: Share
  readonly formatValid: Share
  /** Right answers over the closed families. */
  readonly right: Share
  readonly families: Readonly<Record<string, Share>>
  readonly tasks: Readonly<Record<string, Share>>
  /** Right answers of tasks that are for training only; nothing else here counts them. */
  readonly drills: Readonly<Record<string, Share>>
  /** Questions in scope that were declined. */
  readonly wronglyDeclined: Share
}

export interface Evaluation {
  readonly route: string
  /** The base model in float32, kind by kind; and the loss over all kinds in each precision. */
  readonly gaps: Readonly<Record<string, Gap>>
  readonly baseLoss: Readonly<Record<'f32' | Precision, number>>
  readonly base: Readonly<Record<'f32' | Precision, AnswerFigures>>
  readonly tuned: Readonly<Record<'f32' | Precision, AnswerFigures>>
  /** Some answers as they were given, wrong ones among them. */
  readonly samples: readonly { readonly question: string; readonly said: string; readonly right: boolean }[]
  readonly speed: {
    readonly loadMs: number
    readonly decodeTokensPerSecond: number
    readonly prefillTokensPerSecond: number
    readonly threads: number
    readonly bytes: number
  }
}

export interface Models {
  readonly base: string
  readonly tuned: string
  /** The tuned model as it is published, in 8 bits. */
  readonly published: string
  readonly publishedBytes: number
}

/** The family of questions that are to be declined. */
export const OUT_OF_SCOPE = 'declining'
const PRECISIONS = ['f32', 'bf16', 'int8', 'int4'] as const
/** The base model does not end its answers, so that asking it takes long: it gets one question in so many. */
const BASE_SHARE = 8

function sharesBy(key: 'family' | 'task', answers: readonly Answer[]): Record<string, Share> {
  const names = [...new Set(answers.map((answer) => answer[key]))]
  const ofName = (name: string): Answer[] => answers.filter((one) => one[key] === name)
  return Object.fromEntries(names.map((name) => [name, shareOf(ofName(name), ({ right }) => right)]))
}

function figuresOf(all: readonly Answer[], loss: number, { closedFamilies }: Route): AnswerFigures {
  const answers = all.filter(({ drill }) => drill !== true)
  const inScope = answers.filter(({ family }) => family !== OUT_OF_SCOPE)
  return {
    loss,
    closed: shareOf(answers, ({ closed }) => closed),
    formatValid: shareOf(answers, ({ formatValid }) => formatValid),
    right: shareOf(
      answers.filter(({ family }) => closedFamilies.includes(family)),
      ({ right }) => right,
    ),
    families: sharesBy('family', answers),
    tasks: sharesBy('task', answers),
    drills: sharesBy(
      'task',
      all.filter(({ drill }) => drill === true),
    ),
    wronglyDeclined: shareOf(inScope, ({ declined }) => declined),
  }
}

async function loaded<Result>(
  path: string,
  dtype: 'auto' | 'f32' | Precision,
  work: (gemma: Gemma) => Promise<Result>,
): Promise<Result> {
  await using gemma = await Gemma.load(path, { dtype, sequences: 8 })
  return await work(gemma) // before it is disposed of
}

/** Of each task that marks count two right answers, and up to two wrong ones. */
function samplesOf(all: readonly Answer[]): Evaluation['samples'] {
  const answers = all.filter(({ drill }) => drill !== true)
  const tasks = [...new Set(answers.map(({ task }) => task))]
  return tasks.flatMap((task) => {
    const own = answers.filter((answer) => answer.task === task)
    const wrong = own.filter(({ right }) => !right).slice(0, 2)
    return [...own.filter(({ right }) => right).slice(0, 2), ...wrong].map(({ question, said, right }) => ({
      ...{ question, said, right },
    }))
  })
}

export async function evaluate(
  route: Route,
  corpus: string,
  models: Models,
  say: (text: string) => void,
): Promise<Evaluation> {
  const questions = await route.readQuestions(corpus)
  const some = questions.filter(({ drill }) => drill !== true).filter((_, i) => i % BASE_SHARE === 0)
  const gaps: Record<string, Gap> = {}
  const baseLoss = {} as Record<'f32' | Precision, number>
  const base = {} as Record<'f32' | Precision, AnswerFigures>
  const tuned = {} as Record<'f32' | Precision, AnswerFigures>
  let samples: Evaluation['samples'] = []
  const answersOf = async (
    gemma: Gemma,
    what: string,
    asked: readonly Question[],
  ): Promise<AnswerFigures> => {
    const answers = await ask(gemma, asked, route.judge, (done) =>
      say(`${what}: ${done} of ${asked.length} questions`),
    )
    if (asked === questions) samples = samplesOf(answers)
    return figuresOf(answers, await answerLoss(gemma, some), route)
  }
  for (const precision of PRECISIONS) {
    await loaded(models.base, precision, async (gemma) => {
      const own: Gap[] = []
      for (const [kind, file] of Object.entries(route.heldOut)) {
        const gap = await measureGap(gemma, join(corpus, file))
        own.push(gap)
        if (precision === 'f32') gaps[kind] = gap
        say(`before fine-tuning, ${precision}: loss of ${kind}`)
      }
      baseLoss[precision] = overall(own).loss
      base[precision] = await answersOf(gemma, `before fine-tuning, ${precision}`, some)
    })
    // What is published is what must answer: the file in 8 bits itself.
    const [path, dtype] =
      precision === 'int8' ? ([models.published, 'auto'] as const) : ([models.tuned, precision] as const)
    await loaded(path, dtype, async (gemma) => {
      tuned[precision] = await answersOf(gemma, `after fine-tuning, ${precision}`, questions)
    })
  }
  const speed = await measureSpeed(models)
  return { route: route.name, gaps, baseLoss, base, tuned, samples, speed }
}

/** One sequence, as in a chat: a plain document, continued to the end of the context. */
async function measureSpeed({ published, publishedBytes }: Models): Promise<Evaluation['speed']> {
  await using gemma = await Gemma.load(published)
  const run = async (): Promise<{ decodeTokensPerSecond: number; prefillTokensPerSecond: number }> => {
    const prompt = gemma.tokenizer.encode('1 + 2 = 3. '.repeat(20), { bos: true })
    const pieces = gemma.generate(prompt, { maxTokens: 200, temperature: 1, seed: 1, speculative: false })
    for (;;) {
      const { value, done } = await pieces.next()
      if (done) return value.timing
    }
  }
  await run()
  const runs = [await run(), await run(), await run()]
  const median = (of: (timing: (typeof runs)[number]) => number): number =>
    runs.map(of).sort((a, b) => a - b)[1]!
  return {
    loadMs: gemma.loadMs,
    decodeTokensPerSecond: median((timing) => timing.decodeTokensPerSecond),
    prefillTokensPerSecond: median((timing) => timing.prefillTokensPerSecond),
    threads: availableParallelism(),
    bytes: publishedBytes,
  }
}

/** The published model alone, where the others are not at hand. */
export async function evaluatePublished(
  route: Route,
  corpus: string,
  published: string,
  say: (text: string) => void,
): Promise<AnswerFigures> {
  const questions = await route.readQuestions(corpus)
  return loaded(published, 'auto', async (gemma) => {
    const answers = await ask(gemma, questions, route.judge, (done) =>
      say(`${done} of ${questions.length} questions`),
    )
    const loss = await answerLoss(
      gemma,
      questions.filter(({ drill }) => drill !== true),
    )
    return figuresOf(answers, loss, route)
  })
}

/** Where a route keeps the figures. */
export const evaluationFile = (directory: string): string => join(directory, 'evaluation.json')
