// On a GPU the next token's run can be in line before the last token is known here: it takes the token from where the run
// before it left it. So the device need not wait while the host reads, decides and encodes hundreds of dispatches. When another
// token, position or sampling is asked for after all, what was computed ahead is nobody's. Knows no plan by kind.

import type { Backend, Plan } from '../backends/backend.ts'
import type { RunInputs, SamplingInputs, Tensor } from '../graph/tape.ts'

/** A run of one row that draws. */
export interface DrawingRun {
  readonly plan: Plan
  readonly output: Tensor
  readonly inputs: RunInputs
}

export interface LookAhead {
  /** What was drawn for `run`, started now or ahead; and, if wanted, `next` is put in line: its token is not looked at. */
  draw(run: DrawingRun, next?: DrawingRun): Promise<Float32Array>
}

interface Ahead extends DrawingRun {
  readonly result: Promise<ReadonlyMap<Tensor, Float32Array>>
  /** The token that it began with, once that is known. */
  token?: number
}

export function createLookAhead(start: NonNullable<Backend['start']>): LookAhead {
  let ahead: Ahead | undefined
  return {
    async draw(run, next) {
      const current = ahead && isSame(ahead, run) ? ahead.result : start(run.plan, run.inputs)!
      ahead = undefined
      const result = next && start(next.plan, next.inputs, run.output)
      const started: Ahead | undefined = result && { ...next, result }
      // Who asks for it will hear what went wrong with it; when nobody does, it does not matter.
      result?.catch(() => {})
      const drawn = (await current).get(run.output)!
      if (started) ahead = { ...started, token: drawn[0]! }
      return drawn
    },
  }
}

function isSame({ plan, inputs, token }: Ahead, run: DrawingRun): boolean {
  const { rows, tokens, positions, sequences, sampling } = run.inputs
  return (
    plan === run.plan &&
    rows === 1 &&
    tokens[0] === token &&
    positions[0] === inputs.positions[0] &&
    sequences[0] === inputs.sequences[0] &&
    sameDraw(sampling, inputs.sampling)
  )
}

function sameDraw(a: SamplingInputs, b: SamplingInputs): boolean {
  return (
    a.temperature === b.temperature && a.topK === b.topK && a.topP === b.topP && a.uniform[0] === b.uniform[0]
  )
}
