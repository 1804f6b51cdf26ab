// The report in numbers: the figures at its head, the comparison of runs, and what the charts show once more as
// tables. Knows no file.

import type { ChartedRun } from './report-charts.ts'
import { html, type Markup, shorten, trusted } from './report-markup.ts'
import {
  formatCount,
  formatNumber,
  formatPercent,
  formatSeconds,
  formatShortCount,
} from './report-numbers.ts'
import { recipeDifferences } from './report-recipe.ts'
import { type HeldOut, type RunSummary, sharedHeldOut } from './report-run.ts'
import { spread } from './report-series.ts'

const STATUS: Readonly<Record<RunSummary['status'], string>> = {
  finished: 'Finished',
  interrupted: 'Interrupted',
  failed: 'Failed',
  open: 'Still going, or killed',
}

export function statusLine({ status, steps, plannedSteps }: RunSummary, began: string): Markup {
  const of = plannedSteps === undefined ? '' : ` of ${formatCount(plannedSteps)}`
  const text = `${STATUS[status]} · step ${formatCount(steps)}${of}`
  const share = plannedSteps === undefined || plannedSteps === 0 ? 1 : Math.min(1, steps / plannedSteps)
  const bar =
    status === 'finished' || plannedSteps === undefined
      ? undefined
      : html`<div class="bar ${status}"><i style="width:${`${(share * 100).toFixed(1)}%`}"></i></div>`
  return html`<p class="status ${status}">${text}<span>${began}</span></p>${bar}`
}

interface Tile {
  readonly name: string
  readonly value: string
  readonly more: string
}

/** The figures of one run. What is not known has no tile. */
export function tiles(summary: RunSummary): Markup {
  const tile = ({ name, value, more }: Tile): Markup =>
    html`<div><dt>${name}</dt><dd class="value">${value}</dd><dd class="more">${more}</dd></div>`
  const shown = [
    ...(summary.steps > 0 ? [lossTile(summary)] : []),
    ...summary.heldOut.slice(0, 2).map(heldOutTile),
    ...accuracyTile(summary),
    ...amountTiles(summary),
    ...sizeTile(summary),
  ]
  if (shown.length === 0) return html``
  const across = shown.length <= 6 ? shown.length : Math.ceil(shown.length / 2)
  return html`<dl class="tiles" style="--across:${across}">${shown.map(tile)}</dl>`
}

function lossTile({ loss, lastSteps, firstLoss }: RunSummary): Tile {
  const over = lastSteps === 1 ? 'last step' : `mean of the last ${lastSteps} steps`
  return { name: 'Training loss', value: formatLoss(loss), more: `${over}, from ${formatLoss(firstLoss)}` }
}

function heldOutTile({ source, last, best }: HeldOut): Tile {
  const name = source === '' ? 'Held-out loss' : `Held-out loss: ${shorten(source, 40)}`
  const lowest =
    best.step === last.step
      ? 'its lowest'
      : `lowest ${formatLoss(best.loss)} at step ${formatCount(best.step)}`
  return {
    name,
    value: formatLoss(last.loss),
    more: `perplexity ${formatNumber(Math.exp(last.loss))} · ${lowest}`,
  }
}

function accuracyTile({ accuracy, heldOut }: RunSummary): Tile[] {
  const measured = heldOut.find(({ last }) => Number.isFinite(last.accuracy))?.last.accuracy
  if (measured !== undefined) {
    const training = Number.isFinite(accuracy) ? `training ${formatPercent(accuracy)}` : ''
    return [{ name: 'Held-out accuracy', value: formatPercent(measured), more: training }]
  }
  if (!Number.isFinite(accuracy)) return []
  return [{ name: 'Accuracy', value: formatPercent(accuracy), more: 'most likely token, training' }]
}

function amountTiles({ tokens, seconds, epochs }: RunSummary): Tile[] {
  const found: Tile[] = []
  if (Number.isFinite(tokens)) {
    const passes = Number.isFinite(epochs) ? `${Number(epochs.toPrecision(3))} × over the data` : ''
    found.push({ name: 'Tokens', value: formatShortCount(tokens), more: passes })
  }
  if (Number.isFinite(seconds)) {
    const speed = tokens > 0 && seconds > 0 ? `${formatShortCount(tokens / seconds)} tokens/s on average` : ''
    found.push({ name: 'Time', value: formatSeconds(seconds), more: speed })
  }
  return found
}

function sizeTile({ parameters, trainableParameters }: RunSummary): Tile[] {
  if (parameters === undefined) return []
  const learns =
    trainableParameters === undefined || trainableParameters === parameters
      ? 'numbers, all of which learn'
      : `numbers; ${formatShortCount(trainableParameters)} learn (${formatPercent(trainableParameters / parameters)})`
  return [{ name: 'Model', value: formatShortCount(parameters), more: learns }]
}

/** Losses are compared by their third decimal. */
export function formatLoss(loss: number): string {
  return Number.isFinite(loss) && Math.abs(loss) < 1000 && (loss === 0 || Math.abs(loss) >= 0.001)
    ? loss.toFixed(3).replace('-', '−')
    : formatNumber(loss)
}

/** One row per run. */
export function comparison(runs: readonly ChartedRun[]): Markup {
  const shared = sharedHeldOut(runs.map(({ summary }) => summary))
  const row = ({ run, summary }: ChartedRun, index: number): Markup => {
    const held = shared[index]
    const cells = [
      STATUS[summary.status],
      formatCount(summary.steps),
      cell(summary.loss, formatLoss),
      cell(held?.last.loss, formatLoss),
      held === undefined ? '–' : `${formatLoss(held.best.loss)} at ${formatCount(held.best.step)}`,
      cell(held?.last.accuracy, formatPercent),
      cell(summary.tokens, formatShortCount),
      cell(summary.seconds, formatSeconds),
      cell(summary.tokens / summary.seconds, formatShortCount),
      cell(summary.parameters, formatShortCount),
    ]
    const swatch = html`<span class="swatch" style="--swatch:var(--c${index})"></span>`
    return html`<tr><th scope="row">${swatch}${run.label}</th>${cells.map((text) => html`<td>${text}</td>`)}</tr>`
  }
  const source = shared.find((heldOut) => heldOut !== undefined)?.source ?? ''
  const held = source === '' ? '' : ` (${shorten(source, 40)})`
  const names = [
    ...['Run', 'State', 'Steps', 'Training loss', `Held-out loss${held}`, 'Lowest', 'Held-out accuracy'],
    ...['Tokens', 'Time', 'Tokens/s', 'Model'],
  ]
  return html`<h2>Side by side</h2>${table('The state in which each run is; losses are means over its last steps', names, runs.map(row))}`
}

/** The keys of the recipes that are not the same. */
export function differences(runs: readonly ChartedRun[], most: number): Markup {
  const found = recipeDifferences(runs.map(({ run }) => run.recipe))
  if (found.length === 0) return html``
  const row = ([key, values]: [string, string[]]): Markup =>
    html`<tr><th scope="row">${shorten(key, 100)}</th>${values.map((value) => html`<td>${shorten(value, 200)}</td>`)}</tr>`
  const names = ['Key', ...runs.map(({ run }) => run.label)]
  const left = found.length - most
  const caption =
    left > 0 ? `Keys of the recipes that differ; ${left} more do` : 'Keys of the recipes that differ'
  return html`<h2>What differs</h2>${table(caption, names, found.slice(0, most).map(row), 'words')}`
}

/** What the charts show of one run, at evenly spread steps and where there were evaluations. */
export function numbers({ run, summary }: ChartedRun, rows: number): Markup {
  const { steps, columns } = run.history
  const evaluated = new Map(
    summary.heldOut.map((heldOut) => [heldOut, new Map(heldOut.evaluations.map((one) => [one.step, one]))]),
  )
  const withEvaluation = [...new Set(run.history.evaluations.map(({ step }) => step))]
  const indices = new Map(spread(steps.length, rows).map((at) => [steps[at], at]))
  for (const at of spread(withEvaluation.length, rows)) {
    const step = withEvaluation[at]
    if (!indices.has(step)) indices.set(step, findStep(steps, step))
  }
  const names = [
    ...['Step', 'Loss'],
    ...summary.heldOut.map(({ source }) =>
      source === '' ? 'Held-out loss' : `Held out: ${shorten(source, 40)}`,
    ),
    ...['Accuracy', 'Learning rate', 'Gradient norm', 'Tokens/s'],
  ]
  const row = ([step, at]: [number, number]): Markup => {
    const cells = [
      cell(columns.loss[at], formatLoss),
      ...summary.heldOut.map((heldOut) => cell(evaluated.get(heldOut)!.get(step)?.loss, formatLoss)),
      cell(columns.mean_token_accuracy[at], formatPercent),
      cell(columns.learning_rate[at], formatNumber),
      cell(columns.grad_norm[at], formatNumber),
      cell(columns.tokens_per_second[at], formatShortCount),
    ]
    return html`<tr><th scope="row">${formatCount(step)}</th>${cells.map((text) => html`<td>${text}</td>`)}</tr>`
  }
  const ordered = [...indices].sort(([one], [other]) => one - other)
  const caption = ordered.length < steps.length ? `${run.label}: ${ordered.length} of its steps` : run.label
  return table(caption, names, ordered.map(row))
}

/** −1 for a step that was not recorded. */
function findStep(steps: Float64Array, step: number): number {
  let [low, high] = [0, steps.length - 1]
  while (low < high) {
    const middle = (low + high) >> 1
    if (steps[middle] < step) low = middle + 1
    else high = middle
  }
  return steps[low] === step ? low : -1
}

/** NaN stands for what was not written: the charts tell where a value was none. */
function cell(value: number | undefined, format: (value: number) => string): string {
  return value === undefined || Number.isNaN(value) ? '–' : format(value)
}

function table(caption: string, names: readonly string[], rows: readonly Markup[], kind?: 'words'): Markup {
  return html`<div class="scroll" tabindex="0" role="region" aria-label="${caption}"><table${trusted(kind === undefined ? '' : ` class="${kind}"`)}><caption>${caption}</caption>
<thead><tr>${names.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
<tbody>${rows}</tbody></table></div>
`
}
