// The report of one run, or of several side by side, as one page of HTML that needs nothing else: no network, no
// other file, and no script but for read-outs. Knows no file.

import type { SampleRecord } from './metrics.ts'
import { type Chart, renderChart } from './report-chart.ts'
import { type ChartedRun, chartRuns, lastStepOf, readoutsOf } from './report-charts.ts'
import { embeddedJson, html, type Markup, shorten, trusted } from './report-markup.ts'
import { formatCount } from './report-numbers.ts'
import { listSteps, type ReportedRun, summarize } from './report-run.ts'
import { SCRIPT } from './report-script.ts'
import { STYLE } from './report-style.ts'
import { comparison, differences, numbers, statusLine, tiles } from './report-tables.ts'

/** Most runs in one report: as many as there are colours. */
export const MOST_RUNS = 8
/** What a page may weigh, in bytes. */
export const MOST_PAGE_BYTES = 300_000

/** How finely things are drawn and how much is quoted; all of it shrinks together until a page is light enough. */
interface Detail {
  readonly columns: number
  readonly readouts: number
  readonly rows: number
  readonly prompts: number
  readonly textCharacters: number
  readonly recipeCharacters: number
}

/** `scriptHash`: SHA-256 of SCRIPT in base64, by which browsers know that they may run it. */
export function renderReport(reported: readonly ReportedRun[], scriptHash: string): string {
  const runs = reported.map((run): ChartedRun => ({ run, summary: summarize(run) }))
  const charts = chartRuns(runs)
  for (let scale = 1; ; scale /= 2) {
    const page = renderPage({ runs, charts, detail: detailOf(runs.length, scale), scriptHash }).markup
    if (new TextEncoder().encode(page).byteLength < MOST_PAGE_BYTES || scale < 1e-3) return page
  }
}

function detailOf(runs: number, scale: number): Detail {
  const part = (whole: number, least: number): number => Math.max(least, Math.round((whole * scale) / runs))
  return {
    columns: Math.max(20, Math.round((scale * 700) / Math.min(runs, 3))),
    readouts: part(500, 2),
    rows: part(40, 4),
    prompts: part(6, 1),
    textCharacters: Math.max(10, Math.round(1500 * scale)),
    recipeCharacters: part(40_000, 20),
  }
}

interface PageParts {
  readonly runs: readonly ChartedRun[]
  readonly charts: readonly Chart[]
  readonly detail: Detail
  readonly scriptHash: string
}

function renderPage({ runs, charts, detail, scriptHash }: PageParts): Markup {
  const title = runs.length === 1 ? runs[0].run.label : `${runs.length} runs compared`
  const lastStep = lastStepOf(runs)
  const readouts = readoutsOf(charts, lastStep, detail.readouts)
  const policy = `default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-${scriptHash}'`
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<title>${shorten(title, 200)} · training report</title>
<style>${trusted(STYLE)}</style>
</head>
<body>
<main>
<header>
<p class="eyebrow">Training report</p>
<h1>${shorten(title, 200)}</h1>
${runs.length === 1 ? header(runs[0]) : undefined}${runs.flatMap((one) => callouts(one, runs.length > 1))}
</header>
${runs.length === 1 ? tiles(runs[0].summary) : [comparison(runs), differences(runs, detail.rows)]}
${charts.length === 0 ? html`<p class="callout">Nothing has been recorded yet.</p>` : html`<h2>Curves</h2>`}
<div class="charts">
${charts.map((chart) => renderChart(chart, lastStep, detail.columns))}</div>
${runs.map(({ run }) => samples(run, runs.length > 1, detail))}
${charts.length === 0 ? undefined : numbersSection(runs, detail)}${recipes(runs, detail)}
<footer>Steps run from left to right. Lines are means over about a hundredth of a run to each side, faint lines single steps, dots evaluations on text that was held out. ✕ marks steps whose value was not a finite number.</footer>
</main>
<script type="application/json" id="readouts">${embeddedJson(readouts)}</script>
<script>${trusted(SCRIPT)}</script>
</body>
</html>
`
}

function header({ run, summary }: ChartedRun): Markup {
  const began = run.history.events.find(({ event }) => event === 'start')?.time
  const stage = { pretrain: 'Pre-training', sft: 'Supervised fine-tuning' }[summary.stage] ?? summary.stage
  const parts = [shorten(stage, 100), shorten(summary.description, 500)]
  const lead = parts.filter((part) => part !== '').join(' · ')
  const status = statusLine(summary, typeof began === 'number' ? day(began) : '')
  return html`${lead === '' ? undefined : html`<p class="lead">${lead}</p>`}${status}`
}

/** 1767225600 → 'begun 2026-01-01 00:00 UTC'. */
function day(seconds: number): string {
  const date = new Date(seconds * 1000)
  const known = !Number.isNaN(date.getTime())
  return known ? `begun ${date.toISOString().slice(0, 16).replace('T', ' ')} UTC` : ''
}

/** What went wrong, if anything. */
function callouts({ run, summary }: ChartedRun, named: boolean): Markup[] {
  const { holes, message } = summary
  const lines = [
    message === '' ? '' : shorten(message, 2000),
    holes.loss.length === 0 ? '' : `The loss was not a finite number at step ${listSteps(holes.loss)}.`,
    holes.grad_norm.length === 0
      ? ''
      : `The gradient norm was not a finite number at step ${listSteps(holes.grad_norm)}.`,
    run.history.unreadable === 0
      ? ''
      : `${formatCount(run.history.unreadable)} lines of metrics.jsonl could not be read and are left out.`,
  ].filter((line) => line !== '')
  if (lines.length === 0) return []
  const text = lines.join('\n')
  return [html`<p class="callout ${summary.status}">${named ? `${run.label}: ${text}` : text}</p>`]
}

/** By prompt, so that one sees a text grow better with the steps. */
function samples({ samples, label }: ReportedRun, named: boolean, detail: Detail): Markup | undefined {
  if (samples.length === 0) return undefined
  const prompts = [...Map.groupBy(samples, ({ prompt }) => prompt)].slice(0, detail.prompts)
  const entry = ({ step, text }: SampleRecord): Markup =>
    html`<li><span>Step ${formatCount(step)}</span><blockquote dir="auto">${shorten(text.replace(/^ /, ''), detail.textCharacters)}</blockquote></li>`
  const card = ([prompt, written]: [string, SampleRecord[]]): Markup => {
    const [first, ...later] = written
    const shown =
      later.length <= 4
        ? written
        : [first, ...[0.1, 0.3, 0.6, 1].map((share) => later[Math.round(share * (later.length - 1))])]
    const heading =
      prompt === ''
        ? html`Without a prompt`
        : html`After <q dir="auto">${shorten(prompt, detail.textCharacters)}</q>`
    return html`<section class="sample"><p>${heading}</p><ol>${shown.map(entry)}</ol></section>`
  }
  return html`<h2>What it writes${named ? html`: ${label}` : undefined}</h2><div class="samples">${prompts.map(card)}</div>`
}

function numbersSection(runs: readonly ChartedRun[], detail: Detail): Markup {
  return html`<p class="hint">Point at a chart, or walk along it with the arrow keys, to read its values.</p>
<h2>Details</h2><details><summary>Numbers<small>the curves as a table</small></summary>${runs.map((one) => numbers(one, detail.rows))}</details>`
}

function recipes(runs: readonly ChartedRun[], { recipeCharacters }: Detail): Markup[] {
  return runs.flatMap(({ run }) => {
    if (run.recipe === undefined) return []
    const name = runs.length > 1 ? `: ${run.label}` : ''
    const text = shorten(run.recipe.trimEnd(), recipeCharacters)
    return [
      html`<details><summary>Recipe${name}<small>with every default</small></summary><pre tabindex="0">${text}</pre></details>`,
    ]
  })
}
