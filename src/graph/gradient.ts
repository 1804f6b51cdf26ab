// The way back: from recorded steps to the steps that carry gradients through them (reverse accumulation). Each op
// brings a rule that records its own backward steps; this file keeps the sums and the order, and can record a
// stretch of the forward pass once more, so that its inner values need not live until they are used (Chen et al.
// 2016, arXiv 1604.06174). Knows no op by name and no backend.

import { type Op, record, type Step, type Tape, type Tensor } from './tape.ts'

/** What a rule may ask and do. */
export interface Flow {
  readonly tape: Tape
  /** Whether anybody needs the gradient of this value. */
  wants(tensor: Tensor): boolean
  /** Where the gradient of a weight is summed up, [as the weight], role 'state'; undefined: the weight is frozen. */
  accumulator(weight: Tensor): Tensor | undefined
  /** Adds to the gradient of a value; gradients are never changed in place, so one may be given to several. */
  give(tensor: Tensor, gradient: Tensor): void
  /** The gradient of a value so far, which the caller takes over: it gives back the sum with its own part. */
  take(tensor: Tensor): Tensor | undefined
}

/** Records the backward steps of one step; `gradients` belong to its outputs, undefined where nobody uses one. */
export type BackwardRule = (step: Step, gradients: readonly (Tensor | undefined)[], flow: Flow) => void

export type BackwardRules = ReadonlyMap<Op, BackwardRule>

export interface Backward extends Flow {
  /** Learns which values depend on what is learned; for steps in the order in which they were recorded. */
  follow(steps: readonly Step[]): void
  /** Carries gradients back through steps that were followed. */
  through(steps: readonly Step[]): void
  /** Records steps again, with the gradients of their outputs handed over, and returns the copies, followed. */
  again(steps: readonly Step[]): readonly Step[]
}

export interface BackwardOptions {
  readonly rules: BackwardRules
  /** What is learned, and where its gradient goes. */
  readonly accumulators: ReadonlyMap<Tensor, Tensor>
  /** Records the sum of two gradients. */
  readonly sum: (tape: Tape, a: Tensor, b: Tensor) => Tensor
}

export function createBackward(tape: Tape, { rules, accumulators, sum }: BackwardOptions): Backward {
  const wanted = new Set<Tensor>(accumulators.keys())
  const gradients = new Map<Tensor, Tensor>()
  const flow: Backward = {
    tape,
    wants: (tensor) => wanted.has(tensor),
    accumulator: (weight) => accumulators.get(weight),
    give(tensor, gradient) {
      if (!wanted.has(tensor)) return
      const before = gradients.get(tensor)
      gradients.set(tensor, before ? sum(tape, before, gradient) : gradient)
    },
    take(tensor) {
      const gradient = gradients.get(tensor)
      gradients.delete(tensor)
      return gradient
    },
    follow(steps) {
      for (const { inputs, outputs } of steps) {
        if (inputs.some((input) => wanted.has(input))) for (const output of outputs) wanted.add(output)
      }
    },
    through(steps) {
      for (const step of steps.toReversed()) {
        const own = step.outputs.map((output) => flow.take(output))
        if (own.every((gradient) => gradient === undefined)) continue
        const rule = rules.get(step.op)
        if (!rule) throw new Error(`${step.op.name} has no backward rule`)
        rule(step, own, flow)
      }
    },
    again(steps) {
      const copies = new Map<Tensor, Tensor>()
      const first = tape.steps.length
      for (const { op, inputs, outputs, attributes } of steps) {
        const made = record(
          tape,
          op,
          inputs.map((input) => copies.get(input) ?? input),
          attributes,
        )
        outputs.forEach((output, i) => {
          copies.set(output, made[i]!)
        })
      }
      const recorded = tape.steps.slice(first)
      flow.follow(recorded)
      for (const [original, copy] of copies) {
        const gradient = flow.take(original)
        if (gradient) flow.give(copy, gradient)
      }
      return recorded
    },
  }
  return flow
}

/** Leaves out steps whose outputs nobody reads. Steps without outputs work by what they change, and stay. */
export function removeUnused(tape: Tape): void {
  const used = new Set<Tensor>(tape.kept)
  const kept = tape.steps
    .toReversed()
    .filter(({ inputs, outputs }) => {
      if (outputs.length > 0 && !outputs.some((output) => used.has(output))) return false
      for (const input of inputs) used.add(input)
      return true
    })
    .reverse()
  tape.steps.splice(0, tape.steps.length, ...kept)
}
