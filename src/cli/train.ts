// gemma train: trains as a recipe says, shows what it would train on or take, and draws what training recorded.

import { type Command, Option } from 'commander'
import { GemmaError } from '../error.ts'
import type { DeviceChoice } from '../generate/load-choices.ts'
import type { EvaluationRecord } from '../train/metrics.ts'
import type { TrainingPlan } from '../train/prepare.node.ts'
import type { TrainingLine } from '../train/progress-line.ts'
import type { ResolvedRecipe } from '../train/recipe.ts'
import type { TrainEvent, TrainResult } from '../train/train-events.ts'
import { usageError } from './exit.ts'
import type { Interrupts } from './interrupt.ts'
import { addExamples } from './model-options.ts'
import { repeated, wholeNumber } from './option-values.ts'
import { note, print, printJson } from './output.ts'
import { createProgress, type Progress } from './progress.ts'
import { formatBytes, formatCount, formatSeconds, styleFor } from './style.ts'

interface Flags {
  readonly showBatch?: true | number
  readonly dryRun?: boolean
  readonly restart?: boolean
  readonly device?: DeviceChoice
  readonly set?: readonly string[]
  readonly json?: boolean
  readonly quiet?: boolean
}

export function addTrain(program: Command, interrupts: Interrupts): void {
  const command = program
    .command('train')
    .summary('train a model as a recipe says, and report on it')
    .description(
      'Trains a new model, or one that exists, as a recipe in YAML says (every key: examples/recipes/README.md). The run ' +
        'directory gets the curves, the checkpoints and the finished model; after a stop or a crash the same command goes on ' +
        'where training was, bit for bit. Ctrl-C stops at once and writes a checkpoint.',
    )
    .argument('<recipe>', 'a YAML file')
    .option(
      '--show-batch [runs]',
      'print the first batch with what is learned of it, and end',
      wholeNumber(1),
    )
    .option('--dry-run', 'check everything, say what training will take, and end')
    .option('--restart', 'begin anew, and remove the checkpoints of an earlier run')
    .addOption(
      new Option('--device <device>', 'where to train, instead of what the recipe says').choices([
        'auto',
        'cpu',
        'webgpu',
      ]),
    )
    .option('--set <key=value>', 'another value than the recipe’s; may be given several times', repeated)
    .option('--json', 'one JSON object per line on stdout for everything that happens')
    .option('-q, --quiet', 'no progress')
    .action((recipe: string, { device, set = [], ...flags }: Flags) => {
      const changes = device === undefined ? set : [...set, `device=${device}`]
      return runTrain(recipe, { ...flags, set: changes }, interrupts)
    })
  command
    .command('report')
    .summary('draw what training recorded as one HTML page')
    .description('Writes curves, summary and recipe of a run, or of several side by side, as one HTML file.')
    .argument('<run...>', 'run directories')
    .option('--out <file>', 'default: report.html in the run directory')
    .action((runs: string[], flags: { readonly out?: string }) => runReport(runs, flags))
  addExamples(command, [
    'gemma train examples/recipes/nano-pretrain.yaml',
    'gemma train recipe.yaml --show-batch',
    'gemma train recipe.yaml --dry-run',
    'gemma train recipe.yaml --set learningRate=1e-4 --set output=runs/slower',
    'gemma train report runs/nano && xdg-open runs/nano/report.html',
  ])
}

async function runTrain(recipe: string, flags: Flags, interrupts: Interrupts): Promise<void> {
  if (flags.showBatch !== undefined && flags.dryRun) {
    throw usageError('--show-batch and --dry-run both end before training.', 'Give one of them.')
  }
  if (flags.showBatch !== undefined) return showBatch(recipe, flags, interrupts)
  if (flags.dryRun) return tryOut(recipe, flags, interrupts)
  interrupts.neverHurry() // a checkpoint of a large model takes its time
  const { train } = await import('../train/index.ts')
  const { createTrainingLine } = await import('../train/progress-line.ts')
  const quiet = flags.quiet || flags.json
  const line = createTrainingLine({ stream: process.stderr, quiet })
  const tell = flags.json ? jsonTeller() : peopleTeller(line, quiet === true)
  let result: TrainResult
  try {
    const { set, restart } = flags
    result = await train(recipe, { set, restart, signal: interrupts.signal, onProgress: tell })
  } catch (error) {
    line.end()
    if (error instanceof GemmaError && error.code === 'aborted' && !quiet) {
      note(`Stopped. The same command goes on after the last whole step.`)
    }
    throw error
  }
  line.end()
  if (flags.json) return printJson({ event: 'end', ...result })
  if (!quiet) note(summaryOf(result))
  await print(`${result.adapter ?? result.model}\n`)
}

function summaryOf({ steps, tokens, seconds, loss, heldOutLoss }: TrainResult): string {
  const held = heldOutLoss === undefined ? '' : `, held-out ${heldOutLoss.toFixed(4)}`
  return `${formatCount(steps)} steps, ${formatCount(tokens)} tokens in ${formatSeconds(seconds)}; loss ${loss.toFixed(4)}${held}`
}

/** Every event but the steps of loading, as a line of JSON. */
function jsonTeller(): (event: TrainEvent) => void {
  return (event) => {
    if (event.kind === 'download' || event.kind === 'load') return
    const { kind, ...rest } = event
    const { record, text, ...others } = rest as Record<string, unknown>
    const flat = { event: kind, ...others, ...(record as object | undefined) }
    // The recipe's YAML says nothing that the recipe does not.
    void printJson(kind === 'note' ? { ...flat, text } : flat)
  }
}

function peopleTeller(line: TrainingLine, quiet: boolean): (event: TrainEvent) => void {
  const style = styleFor(process.stderr)
  let progress: Progress | undefined
  let bar: TrainEvent['kind'] | undefined
  let taken = 0
  let since = 0
  const barFor = (kind: 'download' | 'load'): Progress => {
    if (bar !== kind) progress?.end()
    if (bar !== kind)
      progress = createProgress(kind === 'load' ? 'Loading' : 'Downloading', { unit: 'bytes', quiet })
    bar = kind
    return progress!
  }
  return (event) => {
    // However quiet it shall be: people hear of what is not as they may think.
    if (quiet && event.kind === 'note' && event.warning) return note(event.text)
    if (event.kind === 'download' || event.kind === 'load') {
      barFor(event.kind).update(event.bytes, event.totalBytes)
      return
    }
    progress?.end()
    if (event.kind === 'recipe') line.say(style.dim(event.text.trimEnd()))
    else if (event.kind === 'start') {
      for (const text of planLines(event.plan, event.steps)) line.say(text)
      if (event.resumedAt > 0) line.say(`Going on after step ${formatCount(event.resumedAt)}.`)
    } else if (event.kind === 'step') {
      line.update({ ...event.record, steps: event.steps })
      // The first step of a session also warms up; what the next three took tells about the rest.
      if (++taken === 1) since = event.record.seconds ?? 0
      const each = ((event.record.seconds ?? 0) - since) / 3
      const left = event.steps - event.record.step
      if (taken === 4 && left > 0) {
        line.say(
          `About ${formatSeconds(each)} a step: ${formatSeconds(each * left)} for the other ${formatCount(left)}.`,
        )
      }
    } else if (event.kind === 'evaluation') line.say(evaluationLine(event.record))
    else if (event.kind === 'checkpoint') line.say(style.dim(`Step ${event.step}: checkpoint ${event.path}`))
    else line.say(event.text)
  }
}

function evaluationLine({ step, loss, accuracy, source }: EvaluationRecord): string {
  const right = accuracy === undefined ? '' : `, ${(100 * accuracy).toFixed(1)} % of tokens right`
  const figures = `loss ${loss.toFixed(4)}, perplexity ${Math.exp(loss).toPrecision(4)}${right}`
  return source === undefined ? `Step ${step}: held-out ${figures}` : `  ${source}: ${figures}`
}

/** What a run is and takes. */
function planLines(plan: TrainingPlan, steps: number): string[] {
  const { parameters, trainableParameters, memory, disk, budget, device, threads } = plan
  const learns =
    parameters === trainableParameters
      ? 'all of which learn'
      : `and ${formatCount(trainableParameters)} of adapters that learn`
  const parts = [
    `weights ${formatBytes(memory.weights)}`,
    `gradients ${formatBytes(memory.gradients)}`,
    `optimiser ${formatBytes(memory.optimizer)}`,
    `inner values ${formatBytes(memory.scratch)}, ${plan.checkpointing ? 'computed again where needed' : 'all kept'}`,
  ]
  const why = device.remark === undefined ? '' : ` (no GPU: ${device.remark})`
  const where = device.kind === 'webgpu' ? `WebGPU on ${device.name}` : `the CPU, ${threads} threads${why}`
  const room = device.kind === 'webgpu' ? '' : ` of ${formatBytes(budget)} free`
  return [
    `${formatCount(parameters)} parameters, ${learns}; ${formatCount(steps)} steps; on ${where}`,
    `Memory: ${formatBytes(memory.total)}${room} (${parts.join('; ')})`,
    `Disk: ${formatBytes(disk.checkpoints)} for checkpoints, ${formatBytes(disk.final)} for the finished weights`,
  ]
}

async function tryOut(path: string, flags: Flags, { signal }: Interrupts): Promise<void> {
  const { dryRun } = await import('../train/prepare.node.ts')
  const progress = createProgress('Downloading', { unit: 'bytes', quiet: flags.quiet })
  const onDownload = (bytes: number, total: number): void => progress.update(bytes, total)
  const { recipe, text, steps, plan, leftOut } = await dryRun(path, {
    set: flags.set,
    signal,
    onDownload,
  }).finally(() => progress.end())
  if (flags.json) return printJson({ recipe, steps, plan, leftOut })
  await print(`${text}\n${planLines(plan, steps).join('\n')}\n${batchLine(recipe)}\n`)
  if (leftOut !== undefined) note(leftOut)
}

function batchLine({ batch, contextLength }: ResolvedRecipe): string {
  const { tokensPerBatch, documents, rowsPerRun } = batch
  const size =
    tokensPerBatch === undefined
      ? `${formatCount(documents!)} documents`
      : `${formatCount(tokensPerBatch)} tokens`
  return (
    `Each step learns from ${size}, as near as whole runs of ${formatCount(rowsPerRun)} tokens allow; ` +
    `documents of at most ${formatCount(contextLength)}`
  )
}

/** Runs that are shown unless told. */
const SHOWN_RUNS = 2

async function showBatch(path: string, flags: Flags, { signal }: Interrupts): Promise<void> {
  const { firstBatch } = await import('../train/prepare.node.ts')
  const { renderRows } = await import('../data/render-rows.ts')
  const progress = createProgress('Downloading', { unit: 'bytes', quiet: flags.quiet })
  const onDownload = (bytes: number, total: number): void => progress.update(bytes, total)
  const { batch, source, leftOut } = await firstBatch(path, { set: flags.set, signal, onDownload }).finally(
    () => progress.end(),
  )
  try {
    if (batch === undefined) throw new GemmaError('data', 'The sources hold nothing to train on.')
    const wanted = flags.showBatch === true ? SHOWN_RUNS : flags.showBatch!
    const width = process.stdout.columns
    for (const run of batch.runs.slice(0, wanted)) {
      const { tokens, positions, sequences, targets } = run
      const lists = {
        tokens: [...tokens],
        positions: [...positions],
        sequences: [...sequences],
        targets: [...targets],
      }
      if (flags.json) await printJson(lists)
      else
        await print(
          `${renderRows(run, source.tokenizer, { color: styleFor(process.stdout).enabled, width })}\n`,
        )
    }
    if (leftOut !== undefined) note(leftOut)
    const { runs, tokens, documents, targets } = batch
    const shown = Math.min(wanted, runs.length)
    if (!flags.quiet && !flags.json) {
      note(
        `The first batch: ${formatCount(runs.length)} runs (${shown} shown), ${formatCount(documents)} documents, ` +
          `${formatCount(tokens)} tokens, ${formatCount(targets)} learned`,
      )
    }
  } finally {
    await source.close()
  }
}

async function runReport(runs: readonly string[], { out }: { readonly out?: string }): Promise<void> {
  const { writeReport } = await import('../train/report.node.ts')
  await print(`${await writeReport(runs, out)}\n`)
}
