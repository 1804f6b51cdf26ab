// The whole way of a language model at its smallest: a corpus, a tokenizer, pre-training, fine-tuning, answers. It takes
// about two minutes on two cores and writes into runs/nano, at last what it measured (runs/nano/result.json, which the tests
// look at); stopped, it goes on where it was when it is started again:
//
//   node examples/train-nano.ts

import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { Gemma } from '../src/index.ts' // in a project of your own: from 'gemma-ts'
import { trainTokenizer } from '../src/tokenizer/index.ts' // from 'gemma-ts/tokenizer'
import { type TrainEvent, train } from '../src/train/index.ts' // from 'gemma-ts/train'
import { type Answer, askPairs, measureGap } from './recipes/corpus/measure.ts'
import { type Flavour, flavours, writeNanoCorpus } from './recipes/corpus/nano-corpus.ts'

// As the recipes have it; their paths begin where the program runs.
const corpus = 'runs/nano/corpus'
const tokenizer = 'runs/nano/tokenizer'
const recipe = (name: string): string => fileURLToPath(new URL(`recipes/${name}.yaml`, import.meta.url))
const flavourNames = Object.keys(flavours) as Flavour[]

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

function showTraining(event: TrainEvent): void {
  if (event.kind === 'note') say(`  ${event.text}`)
  if (event.kind !== 'step') return
  const { step, loss, tokensPerSecond = 0 } = event.record
  if (step === 1 || step % 100 === 0 || step === event.steps) {
    say(`  step ${step} of ${event.steps}: loss ${loss.toFixed(3)}, ${Math.round(tokensPerSecond)} tokens/s`)
  }
}

async function* corpusTexts(): AsyncGenerator<string> {
  for (const name of flavourNames) {
    const lines = (await readFile(`${corpus}/${name}.jsonl`, 'utf8')).trimEnd().split('\n')
    for (const line of lines) yield (JSON.parse(line) as { text: string }).text
  }
}

async function makeTokenizer(): Promise<void> {
  const { files, statistics } = await trainTokenizer(corpusTexts(), { vocabSize: 1024 })
  await mkdir(tokenizer, { recursive: true })
  await writeFile(`${tokenizer}/tokenizer.model`, files.sentencePiece)
  say(`  ${statistics.merges} merges, ${statistics.bytesPerToken.toFixed(2)} bytes per token`)
}

/** How far the model is from what wrote the documents, nats per token, by their kind. */
async function measureGaps(gemma: Gemma): Promise<Record<string, number>> {
  const gaps: Record<string, number> = {}
  for (const documents of ['held-out', 'new'] as const) {
    for (const flavour of flavourNames) {
      const { loss, entropy } = await measureGap(gemma, corpus, documents, flavour)
      const gap = loss - entropy
      gaps[`${documents} ${flavour}`] = gap
      const of = `${documents} ${flavour}`.padEnd(17)
      say(
        `  ${of} loss ${loss.toFixed(3)}, entropy ${entropy.toFixed(3)}: ${gap.toFixed(3)} nats per token to learn`,
      )
    }
  }
  return gaps
}

async function showStory(gemma: Gemma): Promise<void> {
  let story = 'Long ago,'
  for await (const { text } of gemma.generate(story, { maxTokens: 120, temperature: 0.7, seed: 1 }))
    story += text
  say(`\n  ${story}`)
}

interface Score {
  readonly asked: number
  readonly closed: number
  readonly right: number
}

function scoreOf(answers: readonly Answer[]): Score {
  const count = (is: (answer: Answer) => boolean): number => answers.filter(is).length
  const score = {
    asked: answers.length,
    closed: count(({ closed }) => closed),
    right: count(({ answer, expected }) => answer === expected),
  }
  say(`  of ${score.asked} turns ${score.closed} are closed, ${score.right} answers are right`)
  return score
}

async function ask(model: string): Promise<Answer[]> {
  await using gemma = await Gemma.load(model, { sequences: 8 })
  return await askPairs(gemma, `${corpus}/held-out-pairs.jsonl`)
}

say('A corpus whose entropy is known')
await writeNanoCorpus(corpus)
say('A tokenizer of 1,024 pieces')
await makeTokenizer()

say('Pre-training: 303,680 random numbers learn the corpus')
const base = await train(recipe('nano-pretrain'), { onProgress: showTraining })
let gaps: Record<string, number>
{
  await using gemma = await Gemma.load(base.model!)
  gaps = await measureGaps(gemma)
  await showStory(gemma)
}

say('\nFine-tuning: questions and answers')
const answering = await train(recipe('nano-sft'), { onProgress: showTraining })

say('Questions that it has never seen, asked of the model before fine-tuning')
const before = scoreOf(await ask(base.model!))
say('… and after')
const answers = await ask(answering.model!)
const after = scoreOf(answers)
await writeFile('runs/nano/result.json', `${JSON.stringify({ gaps, before, after }, null, 2)}\n`)
for (const { question, answer } of [answers[0]!, answers[40]!, answers[80]!])
  say(`\n  > ${question}\n${answer.replace(/^/gm, '  ')}`)

say(`\nBoth models are in runs/nano. Go on with: gemma chat ${answering.model}`)
