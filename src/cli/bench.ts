// gemma bench: how fast a model runs here. Prompts are random token ids, so that nothing is learnt from
// what a model says, and end tokens are ignored, so that each run makes as many tokens.

import type { Command } from 'commander'
import type { Gemma } from '../gemma.ts'
import { createRandom } from '../generate/random.ts'
import { addAdapterOption, oneAdapter } from './adapters.ts'
import type { Interrupts } from './interrupt.ts'
import { addExamples, addLoadOptions, type LoadFlags, MODEL_HELP, withModel } from './model-options.ts'
import { wholeNumber } from './option-values.ts'
import { note, print, printJson } from './output.ts'
import { formatBytes, formatCount, formatRate, formatSeconds, formatTable, styleFor } from './style.ts'

interface Flags extends LoadFlags {
  readonly promptTokens: number
  readonly newTokens: number
  readonly reps: number
  readonly json?: boolean
}

interface Run {
  readonly prefillTokensPerSecond: number
  readonly decodeTokensPerSecond: number
}

export interface BenchReport extends Run {
  readonly model: string
  readonly description: string
  readonly promptTokens: number
  readonly newTokens: number
  readonly reps: number
  readonly loadMs: number
  /** Most memory that the process has held, bytes. */
  readonly peakRss: number
  /** Bytes of weights in memory, and how many of them go by in a second while decoding. */
  readonly weightBytes: number
  readonly decodeGigabytesPerSecond: number
  readonly runs: readonly Run[]
}

export function addBench(program: Command, interrupts: Interrupts): void {
  const command = program
    .command('bench')
    .summary('measure speed and memory')
    .description(
      'Runs random prompts, once to warm up and then --reps times, and prints medians. While decoding, each token ' +
        'reads all weights once: GB/s is that traffic, to be compared with the memory of the machine.',
    )
    .argument('<model>', MODEL_HELP)
    .option('--prompt-tokens <n>', 'length of the prompts', wholeNumber(1), 512)
    .option('--new-tokens <n>', 'tokens to generate', wholeNumber(1), 64)
    .option('--reps <n>', 'repetitions', wholeNumber(1, 1000), 3)
    .option('--json', 'print one JSON object')
    .action((model: string, flags: Flags) => runBench(model, flags, interrupts))
  addAdapterOption(command, 'run with this adapter (LoRA)')
  addLoadOptions(command)
  addExamples(command, [
    'gemma bench ./gemma-2b.gguf',
    'gemma bench google/gemma-2b --dtype int4 --prompt-tokens 1024 --new-tokens 128 --threads 4 --json',
  ])
}

async function runBench(model: string, flags: Flags, interrupts: Interrupts): Promise<void> {
  const adapter = oneAdapter(flags)
  const context = flags.context ?? flags.promptTokens + flags.newTokens + 1
  await withModel(model, { ...flags, context }, interrupts, async (gemma) => {
    const runs: Run[] = []
    for (let rep = 0; rep <= flags.reps; rep++) {
      const run = await runOnce(gemma, flags, rep, { adapter, signal: interrupts.signal })
      if (rep > 0) runs.push(run)
      if (!flags.quiet && !flags.json) note(rep === 0 ? 'warmed up' : runLine(run, rep))
    }
    const report = summarise(model, gemma, flags, runs)
    if (flags.json) await printJson(report)
    else await print(describe(report))
  })
}

async function runOnce(
  gemma: Gemma,
  { promptTokens, newTokens }: Flags,
  rep: number,
  options: { readonly adapter: string | undefined; readonly signal: AbortSignal },
): Promise<Run> {
  const random = createRandom(rep + 1)
  const { vocabSize } = gemma.config
  const prompt = Array.from({ length: promptTokens }, () => Math.floor(random() * vocabSize))
  // Another first token each time: nothing of the last run's cache can serve.
  prompt[0] = (rep + 1) % vocabSize
  const asked = { maxTokens: newTokens, temperature: 0, stopTokens: [] }
  const pieces = gemma.generate(prompt, { ...asked, ...options })
  for (;;) {
    const { value, done } = await pieces.next()
    if (!done) continue
    const { prefillTokensPerSecond, decodeTokensPerSecond } = value.timing
    return { prefillTokensPerSecond, decodeTokensPerSecond }
  }
}

function summarise(model: string, gemma: Gemma, flags: Flags, runs: readonly Run[]): BenchReport {
  const { promptTokens, newTokens, reps } = flags
  const weightBytes = gemma.memory().weights
  const decodeTokensPerSecond = median(runs.map((run) => run.decodeTokensPerSecond))
  return {
    ...{ model, description: gemma.description, promptTokens, newTokens, reps, loadMs: gemma.loadMs },
    prefillTokensPerSecond: median(runs.map((run) => run.prefillTokensPerSecond)),
    decodeTokensPerSecond,
    peakRss: process.resourceUsage().maxRSS * 1024,
    weightBytes,
    decodeGigabytesPerSecond: (decodeTokensPerSecond * weightBytes) / 1e9,
    runs,
  }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

function runLine({ prefillTokensPerSecond, decodeTokensPerSecond }: Run, rep: number): string {
  const prefill = `prompt ${formatRate(prefillTokensPerSecond)} tokens/s`
  return styleFor(process.stderr).dim(
    `run ${rep}: ${prefill}, decoding ${formatRate(decodeTokensPerSecond)} tokens/s`,
  )
}

function describe(report: BenchReport): string {
  const rate = (value: number): string => `${formatRate(value)} tokens/s`
  const table = formatTable([
    ['loading', formatSeconds(report.loadMs / 1000)],
    [`prompt of ${formatCount(report.promptTokens)} tokens`, rate(report.prefillTokensPerSecond)],
    [`decoding ${formatCount(report.newTokens)} tokens`, rate(report.decodeTokensPerSecond)],
    ['weights read while decoding', `${report.decodeGigabytesPerSecond.toFixed(1)} GB/s`],
    ['weights in memory', formatBytes(report.weightBytes)],
    ['most memory of the process', formatBytes(report.peakRss)],
  ])
  return `${report.description}\n${table}\n`
}
