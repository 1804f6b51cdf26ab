// One chart of the report: curves as SVG that stretches with the page, ticks and legend as HTML over it so that
// text keeps its size on a phone. Knows no run and no file.

import { html, type Markup, trusted } from './report-markup.ts'
import { formatCount, formatNumber, formatPercent, formatShortCount } from './report-numbers.ts'
import { type Axis, linearAxis, thin } from './report-series.ts'

export interface Curve {
  readonly label: string
  /** Place in the palette. */
  readonly color: number
  /** 'faint': single values behind their mean; 'points': values that are few and measured apart. */
  readonly form: 'faint' | 'line' | 'points'
  readonly x: ArrayLike<number>
  readonly y: ArrayLike<number>
}

export interface Chart {
  readonly id: string
  readonly title: string
  /** What the chart shows, in a sentence: for people who cannot see it too. */
  readonly summary: string
  readonly curves: readonly Curve[]
  readonly axis: Axis
  readonly unit: 'number' | 'percent' | 'count'
  /** Lines across, with what they mean. */
  readonly guides?: readonly { readonly value: number; readonly label: string }[]
  /** Steps at which training went on after a pause. */
  readonly marks?: readonly number[]
  /** Steps whose value was NaN or infinite. */
  readonly holes?: readonly number[]
  readonly wide?: boolean
}

/** Units of the picture; the page stretches them. */
const WIDTH = 2000
const HEIGHT = 1000
const MOST_HOLES = 40

/** `lastStep`: where the x axis ends. `columns`: how finely curves are drawn. */
export function renderChart(chart: Chart, lastStep: number, columns: number): Markup {
  const { id, title, summary, axis, wide = false } = chart
  const steps = linearAxis([0, lastStep], { margin: 0, ticks: wide ? 8 : 4 })
  const across = (value: number): number => Math.round(steps.place(value) * WIDTH)
  const up = (value: number): number => Math.round((1 - axis.place(value)) * HEIGHT)
  const grid = axis.ticks.map((tick) => `M0 ${up(tick)}H${WIDTH}`).join('')
  const marks = (chart.marks ?? []).map((step) => `M${across(step)} 0V${HEIGHT}`).join('')
  const guides = chart.guides ?? []
  return html`<figure class="chart${trusted(wide ? ' wide' : '')}">
<figcaption><h3>${title}</h3><p>${summary}</p>${legend(chart.curves)}</figcaption>
<div class="frame"><div class="plot" data-chart="${id}">
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-labelledby="${id}-title"><title id="${id}-title">${`${title}. ${summary}`}</title>
<path class="grid" d="${trusted(grid)}"/>${marks === '' ? undefined : html`<path class="mark" d="${trusted(marks)}"/>`}
${guides.map(({ value }) => html`<path class="guide" d="M0 ${up(value)}H${WIDTH}"/>`)}${chart.curves.map((curve) => path(curve, { across, up, columns, axis }))}
</svg>
${axis.ticks.map((tick) => html`<i class="y" style="top:${percent(1 - axis.place(tick))}">${label(tick, chart.unit)}</i>`)}
${steps.ticks.filter(Number.isInteger).map((tick) => html`<i class="x" style="left:${percent(steps.place(tick))}">${lastStep < 10_000 ? formatCount(tick) : formatShortCount(tick)}</i>`)}
${guides.map((guide) => html`<i class="note" style="top:${percent(1 - axis.place(guide.value))}">${guide.label}</i>`)}
${(chart.holes ?? []).slice(0, MOST_HOLES).map((step) => html`<i class="hole" style="left:${percent(steps.place(step))}" title="${`not a finite number at step ${step}`}">✕</i>`)}
</div></div></figure>
`
}

function percent(share: number): string {
  return `${Number((share * 100).toFixed(2))}%`
}

function label(value: number, unit: Chart['unit']): string {
  if (unit === 'percent') return formatPercent(value).replace('.0 %', ' %')
  return unit === 'count' ? formatShortCount(value) : formatNumber(value)
}

/** Faint curves are told by the words of their means. */
function legend(curves: readonly Curve[]): Markup | undefined {
  const named = curves.filter((curve) => curve.form !== 'faint')
  if (named.length < 2) return undefined
  const item = ({ color, form, label }: Curve): Markup =>
    html`<li><svg viewBox="0 0 28 10" aria-hidden="true"><path class="${form} c${color}" d="${form === 'points' ? 'M6 5h0M22 5h0' : 'M1 5H27'}"/></svg>${label}</li>`
  return html`<ul class="legend">${named.map(item)}</ul>`
}

interface Drawing {
  readonly across: (value: number) => number
  readonly up: (value: number) => number
  readonly columns: number
  readonly axis: Axis
}

function path(curve: Curve, drawing: Drawing): Markup {
  const outline = trusted(trace(curve, drawing))
  if (outline.markup === '') return html``
  const { form, color } = curve
  if (form !== 'points') return html`<path class="${form} c${color}" d="${outline}"/>`
  // Points are lines of no length with round ends: they stay round however the picture is stretched.
  const dots = trusted(outline.markup.replaceAll('l', 'm').replaceAll(/(?!^)(?=[mM]|$)/g, 'h0'))
  return html`<path class="thread c${color}" d="${outline}"/><path class="points c${color}" d="${dots}"/>`
}

/** A path in whole units, each point relative to the one before. */
function trace({ x, y }: Curve, { across, up, columns, axis }: Drawing): string {
  let path = ''
  let drawn: { x: number; y: number } | undefined
  let alone = false
  for (const at of thin(x, y, columns)) {
    if (!Number.isFinite(y[at]) || (axis.logarithmic && y[at] <= 0)) {
      if (alone) path += 'h0' // a value between two holes is a dot
      alone = false
      drawn = undefined
      continue
    }
    const point = { x: across(x[at]), y: up(y[at]) }
    if (drawn === undefined) path += `M${point.x} ${point.y}`
    else path += `l${point.x - drawn.x} ${point.y - drawn.y}`.replace(' -', '-')
    alone = drawn === undefined
    drawn = point
  }
  return alone ? `${path}h0` : path
}
