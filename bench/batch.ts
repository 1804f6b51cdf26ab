// Tokens per second in all when several answers grow at once, and what one run costs by its rows.
//
//   node bench/batch.ts MODEL [new tokens] [rounds]
//
// Decoding reads every weight once per run, however many sequences share the run: that is what a second sequence
// should gain. The table of runs shows how far the kernels for few rows keep that promise.

import { MOST_CHOICES, type Row } from '../src/generate/engine.ts'
import { loadModel } from '../src/generate/load-model.ts'
import { Gemma } from '../src/index.ts'
import { openCheckpoint } from '../src/weights/open.node.ts'

const [model, newTokens = '32', rounds = '3'] = process.argv.slice(2)
if (!model) {
  console.error('Name a model: node bench/batch.ts MODEL [new tokens] [rounds]')
  process.exit(2)
}
const CONTEXT = 512
const SEQUENCES = [1, 2, 4, 8] as const

const throughput = await generations()
const runs = await singleRuns()
console.log(
  JSON.stringify({
    bench: 'batch',
    model: model.split('/').pop(),
    newTokens: Number(newTokens),
    tokensPerSecond: throughput,
    runMilliseconds: runs,
  }),
)

/** Tokens per second of decoding, by how many prompts are answered at once. */
async function generations(): Promise<Record<number, number>> {
  await using gemma = await Gemma.load(model!, { contextLength: CONTEXT, sequences: SEQUENCES.at(-1)! })
  console.log(`${model}: ${gemma.description}`)
  const result: Record<number, number> = {}
  for (const count of SEQUENCES) {
    const rates: number[] = []
    for (let round = 0; round < Number(rounds); round++) rates.push(await decodeRate(gemma, count))
    result[count] = rounded(median(rates))
    console.log(
      `${count} at once: ${result[count].toFixed(1)} tokens/s, ${(result[count] / result[1]!).toFixed(2)} times one`,
    )
  }
  return result
}

/** From the moment all prompts are done to the end. */
async function decodeRate(gemma: Gemma, count: number): Promise<number> {
  const prompts = Array.from({ length: count }, (_, i) => [2, 300 + i, 400 + 7 * i, 500 + i])
  const begun = new Set<number>()
  let start = 0
  let tokens = 0
  await gemma.generateBatch(prompts, {
    maxTokens: Number(newTokens),
    temperature: 0,
    stopTokens: [],
    speculative: false,
    onPiece(index) {
      if (begun.size === count) tokens++
      begun.add(index)
      if (begun.size === count && tokens === 0) start = performance.now()
    },
  })
  return (tokens / (performance.now() - start)) * 1000
}

/** Milliseconds of one run that draws for every row, each of another sequence. */
async function singleRuns(): Promise<Record<number, number>> {
  const checkpoint = await openCheckpoint(model!)
  const threads = (await import('node:os')).availableParallelism()
  const engine = await loadModel(checkpoint, { threads, contextLength: CONTEXT, sequences: MOST_CHOICES })
  const result: Record<number, number> = {}
  for (const count of [1, 2, 3, 4, 6, 8, 12, 16]) {
    const times: number[] = []
    for (let i = 0; i < 6; i++) {
      const rows = Array.from(
        { length: count },
        (_, sequence): Row => ({ token: 300, position: i, sequence }),
      )
      const start = performance.now()
      await engine.run('choices', rows)
      // The first run compiles the plan.
      if (i > 0) times.push(performance.now() - start)
    }
    result[count] = rounded(median(times))
    console.log(
      `${String(count).padStart(2)} rows: ${result[count].toFixed(1)} ms, ${(result[count] / count).toFixed(1)} ms a row`,
    )
  }
  await engine.backend.dispose()
  await checkpoint.close()
  return result
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100
}
