// What training runs, as tapes: forward and backward in one, forward alone, and the optimiser's step. The model is
// the one that inference records; only its products are taken exactly, and its rows see each other without a cache.

import { type Backward, createBackward, removeUnused } from '../graph/gradient.ts'
import { type Adapters, createTape, keep, record, type Step, type Tape, type Tensor } from '../graph/tape.ts'
import type { ModelState } from '../model/blocks.ts'
import type { ModelConfig } from '../model/config.ts'
import { head, models } from '../model/model.ts'
import type { Parameters } from '../model/parameters.ts'
import { add } from '../ops/add/add.ts'
import { backwardRules } from '../ops/gradients.ts'
import { exactStep } from '../ops/linear/linear-backward.ts'
import { logprob } from '../ops/logprob/logprob.ts'
import { logprobGradient } from '../ops/logprob/logprob-backward.ts'
import {
  type AdafactorAttributes,
  type AdamwAttributes,
  adafactorOp,
  adamwOp,
  squaresOp,
  zeroOp,
} from '../ops/optimizer/optimizer.ts'
import type { OptimizerSettings } from './training-model.ts'

/** Vocabulary rows per slice: logits of all tokens never exist at once. A smaller vocabulary is one slice. */
const SLICE = 8192

export interface LearningModel {
  readonly config: ModelConfig
  readonly parameters: Parameters
  readonly state: ModelState
}

export interface TrainingTapeOptions {
  readonly rows: number
  readonly adapters: Adapters
  /** What is learned, with the place of its gradient; undefined: forward alone. */
  readonly accumulators?: ReadonlyMap<Tensor, Tensor>
  /** Compute each layer's inner values again on the way back instead of keeping them. */
  readonly checkpointing?: boolean
}

export interface TrainingTape {
  readonly tape: Tape
  /** The running softmax of each row over the whole vocabulary (ops/logprob), [rows, 4]. */
  readonly scores: Tensor
}

export function recordTraining(model: LearningModel, options: TrainingTapeOptions): TrainingTape {
  const { rows, adapters, accumulators, checkpointing = false } = options
  const { config, parameters, state } = model
  const tape = createTape(rows, adapters)
  const marks: number[] = []
  const hidden = models[config.generation](
    tape,
    config,
    parameters,
    state,
    () => void marks.push(tape.steps.length),
  )
  const { slices, scores } = recordScores(tape, model, hidden)
  tape.steps.splice(0, tape.steps.length, ...tape.steps.map(exactStep))
  keep(tape, scores)
  if (!accumulators) return { tape, scores }
  const forward = [...tape.steps]
  const flow = createBackward(tape, { rules: backwardRules, accumulators, sum: add })
  flow.follow(forward)
  for (const slice of slices) lossBack(flow, forward, slice, scores, slices.length > 1)
  for (let i = marks.length - 1; i >= 0; i--) {
    const stretch = forward.slice(i === 0 ? 0 : marks[i - 1]!, marks[i]!)
    // The first stretch is the embedding, the last the final norm: there is nothing to save in them.
    const layer = i > 0 && i < marks.length - 1
    flow.through(checkpointing && layer ? flow.again(stretch) : stretch)
  }
  removeUnused(tape)
  return { tape, scores }
}

interface SliceRange {
  readonly from: number
  readonly first: number
  readonly last: number
  readonly logits: Tensor
}

function recordScores(
  tape: Tape,
  { config, parameters }: LearningModel,
  hidden: Tensor,
): { slices: SliceRange[]; scores: Tensor } {
  const slices: SliceRange[] = []
  let scores: Tensor | undefined
  for (let from = 0; from < config.vocabSize; from += SLICE) {
    const first = tape.steps.length
    const count = Math.min(SLICE, config.vocabSize - from)
    const logits = head(tape, config, parameters, hidden, { from, count })
    slices.push({ from, first, last: tape.steps.length, logits })
    scores = logprob(tape, logits, from, scores)
  }
  return { slices, scores: scores! }
}

/** The loss's gradient through one slice of the output head. Of several, logits are computed again: they are large. */
function lossBack(
  flow: Backward,
  forward: readonly Step[],
  { from, first, last, logits }: SliceRange,
  scores: Tensor,
  again: boolean,
): void {
  const stretch = forward.slice(first, last)
  const steps = again ? flow.again(stretch) : stretch
  const made = again ? steps.at(-1)!.outputs[0]! : logits
  flow.give(made, logprobGradient(flow.tape, made, scores, from))
  flow.through(steps)
}

/** A weight that learns, and what is kept beside it. */
export interface Learned {
  readonly weight: Tensor
  readonly gradient: Tensor
  /** The optimiser's tensors, in the order of its op's inputs. */
  readonly moments: readonly Tensor[]
}

/** Sums of squares of all gradients: [runs, 1] each. */
export function recordNorm(learned: readonly Learned[]): { tape: Tape; sums: readonly Tensor[] } {
  const tape = createTape(1)
  const sums = learned.map(({ gradient }) => keep(tape, record(tape, squaresOp, [gradient])[0]!))
  return { tape, sums }
}

export function recordReset(learned: readonly Learned[]): Tape {
  const tape = createTape(1)
  for (const { gradient } of learned) record(tape, zeroOp, [gradient])
  return tape
}

export function recordUpdate(learned: readonly Learned[], settings: OptimizerSettings): Tape {
  const tape = createTape(1)
  for (const { weight, gradient, moments } of learned) {
    const decay = settings.decays(weight.name, weight.shape.length) ? settings.weightDecay : 0
    const inputs = [weight, gradient, ...moments]
    if (settings.name === 'adamw') {
      const { beta1, beta2, epsilon } = settings
      const attributes: AdamwAttributes = { beta1, beta2, epsilon, decay }
      record(tape, adamwOp, inputs, { ...attributes })
    } else {
      const { epsilon, clipThreshold } = settings
      const attributes: AdafactorAttributes = { epsilon, clipThreshold, decay }
      record(tape, adafactorOp, inputs, { ...attributes })
    }
  }
  return tape
}

/** Names (after the weight's own) and shapes of what an optimiser keeps beside a weight. */
export function momentSpecs(
  settings: OptimizerSettings,
  shape: readonly number[],
): readonly { readonly suffix: string; readonly shape: readonly number[] }[] {
  if (settings.name === 'adamw') {
    return [
      { suffix: 'm', shape },
      { suffix: 'v', shape },
    ]
  }
  if (shape.length === 1) return [{ suffix: 'v', shape }]
  return [
    { suffix: 'row', shape: [shape[0]!] },
    { suffix: 'column', shape: [shape[1]!] },
  ]
}
