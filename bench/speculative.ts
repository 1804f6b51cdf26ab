// Tokens per second with and without checking guessed tokens (src/generate/speculation.ts), on text that repeats
// itself and on text that does not.
//
//   node bench/speculative.ts MODEL [new tokens] [rounds]
//
// A model with random weights serves for the speed: taking the most likely token it soon runs in circles (text
// that repeats), sampling at temperature 1 it never says a thing twice (text that does not). How often guesses
// are right in real text, only a trained model can tell.

import { Gemma } from '../src/index.ts'

const [model, newTokens = '64', rounds = '3'] = process.argv.slice(2)
if (!model) {
  console.error('Name a model: node bench/speculative.ts MODEL [new tokens] [rounds]')
  process.exit(2)
}

const CASES = { repeating: 0, 'not repeating': 1 } as const

await using gemma = await Gemma.load(model, { contextLength: 1024 })
console.log(`${model}: ${gemma.description}`)
const prompt = Array.from({ length: 32 }, (_, i) => (i === 0 ? 2 : 200 + ((i * 37) % 50)))
const results: Record<string, unknown> = {}
for (const [name, temperature] of Object.entries(CASES)) {
  const rates: Record<string, number[]> = { false: [], auto: [], true: [] }
  const share: Record<string, number> = {}
  const offered: Record<string, number> = {}
  let texts = new Set<string>()
  for (let round = 0; round < Number(rounds); round++) {
    texts = new Set()
    for (const speculative of [false, 'auto', true] as const) {
      const { tokens, timing, drafts } = await run(temperature, speculative)
      rates[`${speculative}`]!.push(timing.decodeTokensPerSecond)
      share[`${speculative}`] = drafts.offered > 0 ? drafts.accepted / drafts.offered : 0
      offered[`${speculative}`] = drafts.offered
      texts.add(tokens.join())
    }
  }
  const [off, auto, on] = [median(rates.false!), median(rates.auto!), median(rates.true!)]
  const same = texts.size === 1
  console.log(
    `${name.padEnd(14)} off ${off.toFixed(1)} tokens/s, auto ${auto.toFixed(1)} (${percent(auto / off)}, ` +
      `${percent(share.auto!)} of ${offered.auto} guesses right), always ${on.toFixed(1)} (${percent(on / off)}, ` +
      `${percent(share.true!)} of ${offered.true} right); ${same ? 'same text' : 'DIFFERENT TEXT'}`,
  )
  results[name] = {
    off: rounded(off),
    auto: rounded(auto),
    always: rounded(on),
    offered,
    right: { auto: rounded(share.auto!), always: rounded(share.true!) },
    same,
  }
}
console.log(
  JSON.stringify({
    bench: 'speculative',
    model: model.split('/').pop(),
    newTokens: Number(newTokens),
    results,
  }),
)

async function run(
  temperature: number,
  speculative: boolean | 'auto',
): Promise<Awaited<ReturnType<typeof gemma.generateBatch>>[number]> {
  const options = { maxTokens: Number(newTokens), temperature, seed: 1, stopTokens: [], speculative }
  const [summary] = await gemma.generateBatch([prompt], options)
  return summary!
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`
}
