// The loop of training: batch after batch through the model, with everything that follows from a step (learning rate,
// clipping, held-out loss, when a checkpoint is due). What it needs of files it asks for by functions. Knows no file, no
// text and no terminal.

import type { TrainingRows } from '../data/training-rows.ts'
import { GemmaError, throwIfAborted } from '../error.ts'
import { type Batch, collectBatch } from './batch.ts'
import { breathe } from './breathe.ts'
import type { EvaluationRecord, StepRecord } from './metrics.ts'
import type { ResolvedRecipe } from './recipe.ts'
import { learningRateAt } from './schedule.ts'
import { derivedSeed } from './seeds.ts'
import type { TrainingModel } from './training-model.ts'

/** How far a run is: with the weights and the optimiser's state all that going on needs. */
export interface RunState {
  /** Steps taken. */
  readonly step: number
  /** Tokens read and seconds trained since step 0. */
  readonly tokens: number
  readonly seconds: number
  /** Mean loss of the last step's batch; NaN before the first. */
  readonly loss: number
  /** Where the data goes on: what TrainingData.position() said after the last step's batch. */
  readonly position: unknown
  /** The last look at the held-out documents, and the step and loss of the best one. */
  readonly evaluation?: { readonly step: number; readonly loss: number }
  readonly best?: { readonly step: number; readonly loss: number }
}

export interface LoopOptions {
  readonly model: TrainingModel
  readonly recipe: ResolvedRecipe
  /** Steps that the run shall have in all. */
  readonly steps: number
  readonly from: RunState
  readonly data: {
    next(progress: number): Promise<TrainingRows | undefined>
    position(): unknown
  }
  /** Looks at the held-out documents; the first record is the one over all of them. */
  readonly evaluate?: (signal: AbortSignal | undefined) => Promise<readonly Omit<EvaluationRecord, 'step'>[]>
  readonly onStep: (record: StepRecord) => void
  readonly onEvaluation: (record: EvaluationRecord) => void
  /** Writes a checkpoint. */
  readonly save: (state: RunState) => Promise<void>
  /** Keeps the batch that broke training for people to look at; gives the path of the file. */
  readonly keepFailed: (step: number, batch: Batch, figures: FailedFigures) => Promise<string>
  readonly onNote: (text: string) => void
  readonly now?: () => number
  readonly signal?: AbortSignal
}

export interface FailedFigures {
  readonly learningRate: number
  /** Of the whole batch, or of its first runs up to the one that broke. */
  readonly runLosses: readonly number[]
  readonly gradientNorm: number | undefined
}

/**
 * Trains until all steps are taken or the data ends, and returns where that left the run; a checkpoint of it is written.
 * Throws GemmaError 'aborted' (after a checkpoint of the last whole step), 'training' (a loss that is no number; no
 * checkpoint, those before stay), and whatever the functions that it was given throw.
 */
export async function runLoop(options: LoopOptions): Promise<RunState> {
  const { recipe, steps, model, signal, now = () => performance.now() } = options
  let state = options.from
  let saved = { state, time: now() }
  const save = async (): Promise<void> => {
    if (saved.state === state) return
    await options.save(state)
    saved = { state, time: now() }
  }
  try {
    state = await evaluateIfDue(options, state)
    while (state.step < steps) {
      const start = now()
      const taken = await takeStep(options, state)
      if (taken === undefined) {
        if (state.step === 0) throw noData()
        sayDataEnded(options, state.step)
        break
      }
      state = { ...taken.state, seconds: state.seconds + (now() - start) / 1000 }
      options.onStep(recordOf(taken, state, options, (now() - start) / 1000))
      const best = state.best?.step
      state = await evaluateIfDue(options, state)
      if (isCheckpointDue(recipe, state, now() - saved.time) || state.best?.step !== best) await save()
    }
    state = await evaluateIfDue(options, state, true)
    await save()
    return state
  } catch (error) {
    if (!(error instanceof GemmaError && error.code === 'aborted' && signal?.aborted)) throw error
    // The gradients of a step that was not finished are nothing; the weights are those after the last whole one.
    await model.resetGradients()
    await save()
    throw error
  }
}

interface TakenStep {
  readonly state: Omit<RunState, 'seconds'>
  readonly batch: Batch
  readonly correct: number
  readonly learningRate: number
  readonly gradientNorm: number
}

async function takeStep(options: LoopOptions, before: RunState): Promise<TakenStep | undefined> {
  const { model, recipe, steps, data, signal } = options
  const step = before.step + 1
  throwIfAborted(signal)
  const progress = before.step / steps
  const batch = await collectBatch(() => data.next(progress), recipe.batch)
  if (batch === undefined) return undefined
  const position = data.position()
  if (batch.targets === 0) throw nothingToLearn(step, batch)
  const learningRate = learningRateAt(step, steps, recipe.learningRate, recipe.schedule)
  const runLosses: number[] = []
  const fail = async (gradientNorm: number | undefined): Promise<never> => {
    const path = await options.keepFailed(step, batch, { learningRate, runLosses, gradientNorm })
    throw brokenStep(step, gradientNorm, path)
  }
  let correct = 0
  for (const [i, run] of batch.runs.entries()) {
    await breathe()
    const seed = derivedSeed(recipe.seed, 'dropout', step, i)
    const result = await model.accumulate(run, { scale: 1 / batch.targets, seed, signal })
    runLosses.push(result.loss)
    correct += result.correct
    if (!Number.isFinite(result.loss)) await fail(undefined)
  }
  throwIfAborted(signal)
  const gradientNorm = await model.gradientNorm()
  if (!Number.isFinite(gradientNorm)) await fail(gradientNorm)
  const gradientScale = gradientNorm > recipe.clip ? recipe.clip / gradientNorm : 1
  await model.update({ step, learningRate, gradientScale })
  const loss = sum(runLosses) / batch.targets
  const state = { ...before, step, tokens: before.tokens + batch.tokens, loss, position }
  return { state, batch, correct, learningRate, gradientNorm }
}

function recordOf(
  { batch, correct, learningRate, gradientNorm }: TakenStep,
  { step, loss, tokens, seconds }: RunState,
  { recipe, steps }: LoopOptions,
  took: number,
): StepRecord {
  return {
    ...{ step, loss, learningRate, gradientNorm, tokens, seconds },
    meanTokenAccuracy: correct / batch.targets,
    tokensPerSecond: took > 0 ? batch.tokens / took : undefined,
    epoch: recipe.epochs === undefined ? undefined : (recipe.epochs * step) / steps,
  }
}

/** Before the first step, every evaluateEvery steps and at the end; not twice for one step. */
async function evaluateIfDue(options: LoopOptions, state: RunState, atEnd = false): Promise<RunState> {
  const { evaluate, recipe, onEvaluation, signal } = options
  const due = atEnd || state.step % (recipe.data.evaluateEvery ?? 1) === 0
  if (evaluate === undefined || !due || state.evaluation?.step === state.step) return state
  const records = await evaluate(signal)
  for (const record of records) onEvaluation({ step: state.step, ...record })
  const evaluation = { step: state.step, loss: records[0]!.loss }
  // What was there before the first step is not what training made.
  const isBest = state.step > 0 && evaluation.loss < (state.best?.loss ?? Number.POSITIVE_INFINITY)
  return { ...state, evaluation, best: isBest ? evaluation : state.best }
}

function isCheckpointDue(
  { checkpoint: { everySteps, everyMinutes } }: ResolvedRecipe,
  { step }: RunState,
  sinceLast: number,
): boolean {
  if (everySteps !== undefined && step % everySteps === 0) return true
  return everyMinutes !== undefined && sinceLast >= everyMinutes * 60_000
}

function sum(values: readonly number[]): number {
  return values.reduce((all, value) => all + value, 0)
}

function sayDataEnded({ steps, onNote }: LoopOptions, step: number): void {
  onNote(`The data ended after step ${step} of ${steps}; what was learned until then is kept.`)
}

function noData(): GemmaError {
  return new GemmaError(
    'data',
    'The sources hold nothing to train on.',
    'Look at what was left out and why; too short a contextLength drops conversations.',
  )
}

function nothingToLearn(step: number, { runs, documents }: Batch): GemmaError {
  return new GemmaError(
    'training',
    `Step ${step}: its ${documents} documents in ${runs.length} runs have nothing to learn, no token has a target.`,
    'Look at the batch with --show-batch; a conversation needs turns of the model that fit the context.',
  )
}

function brokenStep(step: number, gradientNorm: number | undefined, path: string): GemmaError {
  const what = gradientNorm === undefined ? 'the loss' : 'the gradient'
  return new GemmaError(
    'training',
    `Step ${step}: ${what} is no finite number. Nothing of this step was learned; its batch is in ${path}.`,
    'Begin anew (--restart) with a lower learningRate, a longer warm-up or a smaller clip, or look at that batch.',
  )
}
