// One line that tells how training goes: on a terminal it is redrawn, elsewhere it is a plain line now and then.
// Knows nothing about what trains, nor about files.

import { formatCount, formatNumber, formatSeconds } from './report-numbers.ts'

/** How far training is, after one step. */
export interface TrainingProgress {
  /** Steps taken so far, and how many there shall be. */
  readonly step: number
  readonly steps: number
  /** Mean loss of this step's batch; the line shows it smoothed over the last steps. */
  readonly loss: number
  readonly tokensPerSecond?: number
  readonly learningRate?: number
  readonly gradientNorm?: number
  /** Worked out from the pace of the last steps when the caller does not know better. */
  readonly secondsLeft?: number
}

export interface TrainingLineOptions {
  /** Where the line goes: process.stderr. */
  readonly stream: {
    readonly isTTY?: boolean
    readonly columns?: number
    write(text: string): unknown
  }
  readonly quiet?: boolean
  /** NO_COLOR, FORCE_COLOR and TERM are looked at. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Milliseconds. */
  readonly now?: () => number
  /** Seconds between two plain lines where there is no terminal. */
  readonly everySeconds?: number
}

/** What `createTrainingLine(options)` gives. */
export interface TrainingLine {
  update(progress: TrainingProgress): void
  /** A line for people above the progress: an evaluation, a checkpoint, a warning. */
  say(text: string): void
  /** Takes the line away on a terminal; elsewhere writes the last one if it was not yet. */
  end(): void
}

const CELLS = 16
/** Milliseconds between two drawings on a terminal. */
const PAUSE = 100
const EVERY_SECONDS = 10
/** How far back the pace is measured, and how close together the marks are that it is measured between. */
const PACE_WINDOW = 60_000
const PACE_MARK = 500
/** What the smoothed loss keeps of itself at every step: it follows about the last twenty. */
const SMOOTHING = 0.95

/** A line that follows training; see TrainingLine. */
export function createTrainingLine(options: TrainingLineOptions): TrainingLine {
  const { stream, quiet = false, env = environment(), everySeconds = EVERY_SECONDS } = options
  const { now = () => performance.now() } = options
  const terminal = stream.isTTY === true && env.TERM !== 'dumb'
  const color = wantsColor(stream, env)
  const smooth = createSmoother()
  const pace = createPace()
  let last: { progress: TrainingProgress; loss: number; secondsLeft: number | undefined } | undefined
  let written = Number.NEGATIVE_INFINITY
  let pending = false
  let visible = false

  const clear = (): void => {
    if (visible) stream.write('\r\u001b[K')
    visible = false
  }
  const draw = (time: number): void => {
    if (quiet || last === undefined) return
    const width = terminal ? (stream.columns || 80) - 1 : Number.POSITIVE_INFINITY
    const line = formatTrainingLine(last.progress, { ...last, color, width, bar: terminal })
    stream.write(terminal ? `\r${line}\u001b[K` : `${line}\n`)
    visible = terminal
    written = time
    pending = false
  }
  return {
    update(progress) {
      const time = now()
      const measured = pace(progress.step, progress.steps, time)
      last = { progress, loss: smooth(progress.loss), secondsLeft: progress.secondsLeft ?? measured }
      pending = true
      if (time - written >= (terminal ? PAUSE : everySeconds * 1000)) draw(time)
    },
    say(text) {
      clear()
      if (!quiet) stream.write(`${text}\n`)
    },
    end() {
      if (!terminal && pending) draw(now())
      clear()
    },
  }
}

export interface TrainingLineForm {
  /** The loss to show. */
  readonly loss: number
  readonly secondsLeft: number | undefined
  readonly color: boolean
  /** Columns that there are: what matters least is left out first. */
  readonly width: number
  readonly bar: boolean
}

/** 'step 120 of 1,000 ██░░░ 12 %  loss 2.314  18,432 tokens/s  rate 3e−4  norm 0.82  12 min 5 s left' */
export function formatTrainingLine(progress: TrainingProgress, form: TrainingLineForm): string {
  const { step, steps, tokensPerSecond, learningRate, gradientNorm } = progress
  const share = steps > 0 ? Math.min(1, step / steps) : 0
  const full = Math.round(share * CELLS)
  const loss = Number.isFinite(form.loss) ? form.loss.toFixed(3) : formatNumber(form.loss)
  const norm = gradientNorm === undefined ? '' : `norm ${formatNumber(gradientNorm)}`
  const left = form.secondsLeft === undefined ? '' : `${formatSeconds(form.secondsLeft)} left`
  // Most important first; shown in the order of `place`.
  const parts: Part[] = [
    { place: 0, text: `step ${formatCount(step)} of ${formatCount(steps)}`, style: 'plain' },
    { place: 3, text: `loss ${loss}`, style: Number.isFinite(form.loss) ? 'bold' : 'alarm' },
    { place: 7, text: Number.isFinite(form.secondsLeft) ? left : '', style: 'plain' },
    { place: 2, text: `${Math.floor(share * 100)} %`, style: 'dim' },
    { place: 4, text: tokensPerSecond === undefined ? '' : speed(tokensPerSecond), style: 'dim' },
    { place: 5, text: learningRate === undefined ? '' : `rate ${formatNumber(learningRate)}`, style: 'dim' },
    {
      place: 6,
      text: norm,
      style: gradientNorm === undefined || Number.isFinite(gradientNorm) ? 'dim' : 'alarm',
    },
    { place: 1, text: form.bar ? '█'.repeat(full) + '░'.repeat(CELLS - full) : '', style: 'dim' },
  ]
  const shown: Part[] = []
  let used = 0
  for (const part of parts) {
    if (part.text === '' || (shown.length > 0 && used + 2 + part.text.length > form.width)) continue
    used += (shown.length > 0 ? 2 : 0) + part.text.length
    shown.push(part)
  }
  shown.sort((one, other) => one.place - other.place)
  return shown.map(({ text, style }) => paint(text.slice(0, form.width), style, form.color)).join('  ')
}

interface Part {
  readonly place: number
  readonly text: string
  readonly style: 'plain' | 'bold' | 'dim' | 'alarm'
}

const CODES = { plain: undefined, bold: ['1', '22'], dim: ['2', '22'], alarm: ['1;31', '22;39'] } as const

function paint(text: string, style: Part['style'], color: boolean): string {
  const codes = CODES[style]
  return color && codes !== undefined ? `\u001b[${codes[0]}m${text}\u001b[${codes[1]}m` : text
}

function speed(tokensPerSecond: number): string {
  const shown = tokensPerSecond >= 99.5 ? formatCount(tokensPerSecond) : formatNumber(tokensPerSecond)
  return `${shown} tokens/s`
}

/**
 * An exponential mean that counts its first values in full (Kingma & Ba 2014, arXiv 1412.6980, section 3). A loss
 * that is no number is shown at once and does not stay.
 */
function createSmoother(): (value: number) => number {
  let mean = 0
  let weight = 0
  return (value) => {
    if (!Number.isFinite(value)) return value
    mean = SMOOTHING * mean + (1 - SMOOTHING) * value
    weight = SMOOTHING * weight + (1 - SMOOTHING)
    return mean / weight
  }
}

/** Seconds left by the pace of the last minute, evaluations and checkpoints included. */
function createPace(): (step: number, steps: number, time: number) => number | undefined {
  const marks: { step: number; time: number }[] = []
  return (step, steps, time) => {
    const newest = marks.at(-1)
    const oldest = marks[0]
    if (newest === undefined || time - newest.time >= PACE_MARK) marks.push({ step, time })
    while (marks.length > 2 && time - marks[1].time > PACE_WINDOW) marks.shift()
    if (oldest === undefined || step <= oldest.step || time <= oldest.time) return undefined
    return (((time - oldest.time) / (step - oldest.step)) * Math.max(0, steps - step)) / 1000
  }
}

/** NO_COLOR (https://no-color.org) before FORCE_COLOR before what the stream is. */
function wantsColor(
  stream: { readonly isTTY?: boolean },
  env: Readonly<Record<string, string | undefined>>,
): boolean {
  if (env.NO_COLOR) return false
  if (env.FORCE_COLOR !== undefined && env.FORCE_COLOR !== '')
    return !['0', 'false'].includes(env.FORCE_COLOR)
  return stream.isTTY === true && env.TERM !== 'dumb'
}

function environment(): Readonly<Record<string, string | undefined>> {
  return typeof process === 'undefined' ? {} : process.env
}
