// One line that tells how training goes: on a terminal it is redrawn, elsewhere it is a plain line now and then.
// Knows nothing about what trains, nor about files.

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
