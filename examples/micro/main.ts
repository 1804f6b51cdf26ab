// The whole route of a small Gemma: corpus → tokenizer → pre-training → conversations → fine-tuning → 8 bits → evaluation → model card.
// Stopped, it goes on where it was when it is started again:
//
//   npm run micro                  about two hours on two cores; writes models/micro, which ships with the package
//   npm run nano                   the same in minutes, a quarter of the size; writes runs/nano/model
//   npm run micro -- --evaluate    only measures what is there, and holds it against the marks
//   npm run micro -- --from FILE   takes the courses of fine-tuning but the last from a published FILE, in 8 bits
//
// Filtering of raw texts has its place before the tokenizer, alignment before the rounding. Exits with 1 when a mark was missed.

import { createHash } from 'node:crypto'
import { cp, mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { parseArgs } from 'node:util'
import { formatBytes } from '../../src/cli/style.ts'
import { createTokenizer, type Tokenizer, trainTokenizer } from '../../src/tokenizer/index.ts'
import { type TrainEvent, train } from '../../src/train/index.ts'
import { createTrainingLine } from '../../src/train/progress-line.ts'
import { openCheckpoint } from '../../src/weights/open.node.ts'
import { convertCheckpoint } from '../../src/weights/save.node.ts'
import { type CardFigures, type RunFigures, writeCard } from './card.ts'
import { drawCurves, smoothed } from './curves.ts'
import { evaluate, evaluatePublished, evaluationFile } from './evaluate.ts'
import { answerMarks, type Mark, marksOf } from './marks.ts'
import { overall } from './measure.ts'
import { type Route, routes } from './routes.ts'
import { openStages } from './stages.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { evaluate: { type: 'boolean', default: false }, from: { type: 'string' } },
})
const [name = 'micro'] = positionals
if (name !== 'micro' && name !== 'nano') {
  process.stderr.write(`There is no route ${JSON.stringify(name)}; there are micro and nano.\n`)
  process.exit(2)
}
process.exit((await walk(routes[name], values)) ? 0 : 1)

interface Way {
  /** Only measures. */
  readonly evaluate: boolean
  /** A published model that has all courses but the last behind it. */
  readonly from?: string | undefined
}

/** All stages, or only the measuring; says whether every mark was met. */
async function walk(route: Route, { evaluate: onlyEvaluate, from }: Way): Promise<boolean> {
  const directory = join('runs', route.name)
  const corpus = join(directory, 'corpus')
  const say = createTeller()
  const { later } = route
  const names = [
    ...['corpus', 'tokenizer', 'pretrain', ...(later === undefined ? [] : ['conversations'])],
    ...[...(from === undefined ? route.courses : route.courses.slice(-2)), 'int8', 'evaluation', 'card'],
  ]
  const stages = await openStages(directory, (stage, skipped) => {
    say.line(`${names.indexOf(stage) + 1} of ${names.length}: ${stage}${skipped ? ', there already' : ''}`)
  })
  const published = join(directory, `${route.name}.gguf`)
  const base = join(directory, 'pretrain', 'model')
  const tuned = join(directory, route.courses.at(-1)!, 'model')
  const models = { base, tuned, published }
  if (onlyEvaluate) {
    await route.writeCorpus(corpus)
    await later?.write(corpus)
    const found = await stat(published).catch(() => undefined)
    if (found !== undefined) {
      return report(
        marksOf(
          route,
          await evaluate(route, corpus, { ...models, publishedBytes: found.size }, say.progress),
        ),
      )
    }
    const file = join(route.model, `${route.name}.gguf`)
    say.line(`${directory} has no models: only ${file} is measured, as it is`)
    return report(answerMarks(route, await evaluatePublished(route, corpus, file, say.progress)))
  }
  await stages.run('corpus', { seed: route.seed, corpus: route.corpus }, () => route.writeCorpus(corpus))
  const { bytesPerToken } = await stages.run(
    'tokenizer',
    { vocabSize: route.vocabSize, from: route.vocabulary },
    () => makeTokenizer(route, directory, say.line),
  )
  const learn = async (stage: string, recipe: string): Promise<RunFigures> =>
    stages.run(stage, await readFile(recipe, 'utf8'), (restart) => trainStage(recipe, restart))
  const pretrain = await learn('pretrain', route.recipes.pretrain)
  if (later !== undefined) await stages.run('conversations', later.corpus, () => later.write(corpus))
  const courses: RunFigures[] = []
  let origin: CardFigures['origin']
  for (const [i, course] of route.courses.entries()) {
    if (from === undefined || i === route.courses.length - 1) {
      courses.push(await learn(course, route.recipes.sft[i]!))
    } else if (i === route.courses.length - 2) {
      const sha256 = createHash('sha256')
        .update(await readFile(from))
        .digest('hex')
      origin = { recipes: route.recipes.sft.slice(0, -1).map((path) => basename(path)), sha256 }
      await stages.run(course, origin, () => widen(from, join(directory, course, 'model')))
    }
  }
  const { bytes } = await stages.run('int8', {}, () => round(models.tuned, published))
  say.line(`  ${published}: ${formatBytes(bytes)}`)
  const evaluation = await stages.run('evaluation', route.closedFamilies, async () => {
    const found = await evaluate(route, corpus, { ...models, publishedBytes: bytes }, say.progress)
    await writeFile(evaluationFile(directory), `${JSON.stringify(found, undefined, 1)}\n`)
    return found
  })
  await stages.run('card', {}, () =>
    publish(route, directory, {
      ...{ bytesPerToken, pretrain, courses, evaluation },
      ...(origin && { origin }),
    }),
  )
  say.line(`${route.model}: the model, its tokenizer and its card`)
  return report(marksOf(route, evaluation))
}

interface Teller {
  readonly line: (text: string) => void
  /** At a terminal one line that changes, elsewhere a line every ten seconds. */
  readonly progress: (text: string) => void
}

function createTeller(): Teller {
  const { stderr } = process
  let [open, last] = [false, 0]
  const close = (): void => {
    if (open) stderr.write('\r\u001b[K')
    open = false
  }
  return {
    line(text) {
      close()
      stderr.write(`${text}\n`)
    },
    progress(text) {
      if (stderr.isTTY) {
        stderr.write(`\r  ${text}\u001b[K`)
        open = true
      } else if (performance.now() - last > 10_000) {
        last = performance.now()
        stderr.write(`  ${text}\n`)
      }
    },
  }
}

async function* linesOf(path: string, most: number): AsyncGenerator<string> {
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n')
  yield* lines.slice(0, most)
}

async function* vocabularyTexts(route: Route, corpus: string): AsyncGenerator<string> {
  for (const { file, most } of route.vocabulary) {
    for await (const line of linesOf(join(corpus, file), most))
      yield (JSON.parse(line) as { text: string }).text
  }
}

async function makeTokenizer(
  route: Route,
  directory: string,
  say: (text: string) => void,
): Promise<{ bytesPerToken: number }> {
  const { files, statistics } = await trainTokenizer(vocabularyTexts(route, join(directory, 'corpus')), {
    vocabSize: route.vocabSize,
  })
  await mkdir(join(directory, 'tokenizer'), { recursive: true })
  await writeFile(join(directory, 'tokenizer', 'tokenizer.model'), files.sentencePiece)
  const { merges, bytesPerToken } = statistics
  say(`  ${merges} merges, ${bytesPerToken.toFixed(2)} bytes per token`)
  return { bytesPerToken }
}

/** Trains, or goes on with training that was stopped. */
async function trainStage(recipe: string, restart: boolean): Promise<RunFigures> {
  const line = createTrainingLine({ stream: process.stderr })
  const onProgress = (event: TrainEvent): void => {
    if (event.kind === 'step') line.update({ ...event.record, steps: event.steps })
    if (event.kind === 'evaluation' && event.record.source === undefined) {
      line.say(`  step ${event.record.step}: held-out loss ${event.record.loss.toFixed(4)}`)
    }
    if (event.kind === 'note') line.say(`  ${event.text}`)
  }
  try {
    const { steps, tokens, seconds, output, model } = await train(recipe, { restart, onProgress })
    const text = await readFile(join(output, 'recipe.resolved.yaml'), 'utf8')
    return { steps, tokens, seconds, parameters: await countParameters(model!), recipe: text }
  } finally {
    line.end()
  }
}

async function countParameters(model: string): Promise<number> {
  const checkpoint = await openCheckpoint(model)
  const sizes = [...checkpoint.tensors.values()].map(({ shape }) =>
    shape.reduce((size, length) => size * length),
  )
  await checkpoint.close()
  return sizes.reduce((sum, size) => sum + size)
}

/** Weights in float32 again, for training to go on with; what rounding took is gone. */
async function widen(file: string, model: string): Promise<void> {
  const checkpoint = await openCheckpoint(file)
  try {
    await convertCheckpoint(checkpoint, model, { dtype: 'f32', format: 'safetensors' })
  } finally {
    await checkpoint.close()
  }
}

/** The published form: one file with 8-bit weights and the tokenizer. */
async function round(model: string, file: string): Promise<{ bytes: number }> {
  const checkpoint = await openCheckpoint(model)
  try {
    await convertCheckpoint(checkpoint, file, { dtype: 'int8', format: 'gguf' })
  } finally {
    await checkpoint.close()
  }
  return { bytes: (await stat(file)).size }
}

async function countTokens(path: string, tokenizer: Tokenizer): Promise<{ records: number; tokens: number }> {
  let [records, tokens] = [0, 0]
  for await (const line of linesOf(path, Number.POSITIVE_INFINITY)) {
    const record = JSON.parse(line) as { text?: string; messages?: { role: string; content: string }[] }
    records++
    tokens +=
      record.text === undefined
        ? tokenizer.encodeChat(record.messages!).length
        : tokenizer.encode(record.text).length + 2 // <bos> and <eos>
  }
  return { records, tokens }
}

async function curvesOf(run: string): Promise<{ training: [number, number][]; heldOut: [number, number][] }> {
  const training: [number, number][] = []
  const heldOut: [number, number][] = []
  for await (const line of linesOf(join(run, 'metrics.jsonl'), Number.POSITIVE_INFINITY)) {
    const { step, loss, eval_loss, eval_source } = JSON.parse(line) as {
      readonly [key in 'step' | 'loss' | 'eval_loss' | 'eval_source']?: number
    }
    if (step === undefined) continue
    if (loss !== undefined) training.push([step, loss])
    if (eval_loss !== undefined && eval_source === undefined) heldOut.push([step, eval_loss])
  }
  return { training, heldOut }
}

async function draw(run: string, title: string, floor?: number): Promise<string> {
  const { training, heldOut } = await curvesOf(run)
  return drawCurves(
    title,
    [
      { label: 'training', color: '#2563eb', points: smoothed(training, 150) },
      { label: 'held-out', color: '#c2410c', points: heldOut },
    ],
    floor === undefined ? undefined : { value: floor, label: 'entropy' },
  )
}

/** The model, its tokenizer and its card, in the directory that ships. */
async function publish(
  route: Route,
  directory: string,
  measured: Omit<CardFigures, 'documents' | 'conversations'>,
): Promise<void> {
  const corpus = join(directory, 'corpus')
  const tokenizerFile = join(directory, 'tokenizer', 'tokenizer.model')
  const tokenizer = createTokenizer({ sentencePiece: new Uint8Array(await readFile(tokenizerFile)) })
  const counts = async (names: readonly string[]): Promise<CardFigures['documents']> => {
    const made: [string, { records: number; tokens: number }][] = []
    for (const name of names) made.push([name, await countTokens(join(corpus, `${name}.jsonl`), tokenizer)])
    return Object.fromEntries(made)
  }
  const card = writeCard(route, {
    ...measured,
    documents: await counts(route.kinds),
    conversations: await counts(route.conversations.map((file) => file.replace(/\.jsonl$/, ''))),
  })
  await mkdir(route.model, { recursive: true })
  await cp(join(directory, `${route.name}.gguf`), join(route.model, `${route.name}.gguf`))
  await cp(tokenizerFile, join(route.model, 'tokenizer.model'))
  await writeFile(join(route.model, 'README.md'), card)
  const { entropy } = overall(Object.values(measured.evaluation.gaps))
  for (const run of ['pretrain', ...route.courses.slice(-measured.courses.length)]) {
    const picture = await draw(
      join(directory, run),
      `Loss: ${run}, nats per token`,
      run === 'pretrain' ? entropy : undefined,
    )
    await writeFile(join(route.model, `${run}.svg`), picture)
  }
}

/** The marks on stdout; says whether all were met. */
function report(marks: readonly Mark[]): boolean {
  const width = Math.max(...marks.map(({ name }) => name.length))
  for (const { name, wanted, reached, met } of marks) {
    process.stdout.write(
      `${met ? 'met   ' : 'MISSED'} ${name.padEnd(width)}  ${wanted.padEnd(18)} ${reached}\n`,
    )
  }
  return marks.every(({ met }) => met)
}
