// Training from a recipe to finished weights: what `gemma train` does. Puts the parts together, and keeps the promise
// that a run that was stopped, however it was, goes on as if nothing had happened. Node only.

import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { openDevice } from '../backends/webgpu/device.ts'
import type { DataPosition, LeftOutRecord } from '../data/training-data.ts'
import type { TrainingRows } from '../data/training-rows.ts'
import { GemmaError } from '../error.ts'
import { type ChosenDevice, chooseDevice } from '../generate/choose-device.ts'
import {
  cleanCheckpoints,
  type FoundCheckpoint,
  findCheckpoint,
  listCheckpoints,
  pruneCheckpoints,
  removeCheckpoints,
  restoreModel,
  restoreWeights,
  writeCheckpoint,
} from './checkpoint.node.ts'
import { describeCounts } from './describe-counts.ts'
import { writeFailed } from './failed-batch.node.ts'
import { alreadyFinished, markFinished, resultOf, unmarkFinished, writeFinished } from './finish.node.ts'
import { evaluateHeldOut } from './held-out.ts'
import { type LeftOutFile, openLeftOut } from './left-out.node.ts'
import { createLeftOutTally } from './left-out.ts'
import { type RunState, runLoop } from './loop.ts'
import { openMetrics } from './metrics.node.ts'
import type { MetricsWriter } from './metrics.ts'
import { type ModelSource, openModelSource } from './model-source.node.ts'
import {
  countSteps,
  type LoadedRecipe,
  loadRecipe,
  openRunData,
  type PlannedDevice,
  planRun,
  type RecipeInput,
  readHeldOut,
  type TrainingParts,
  type TrainingPlan,
  trainingParts,
} from './prepare.node.ts'
import type { ResolvedRecipe } from './recipe.ts'
import { checkChanges } from './recipe-changes.ts'
import { writeRecipe } from './recipe-file.node.ts'
import { modelOptions } from './resources.ts'
import { lockRun } from './run-lock.node.ts'
import type { TrainEvent, TrainOptions, TrainResult } from './train-events.ts'
import type { TrainingModel } from './training-model.ts'

/** What a checkpoint says besides the tensors. */
interface SavedRun {
  readonly run: RunState
  readonly steps: number
  readonly recipe: ResolvedRecipe
  readonly config: unknown
  /** Where it was learned: another device adds in another order. Missing in what older versions saved. */
  readonly device?: PlannedDevice['kind']
}

interface Session {
  readonly loaded: LoadedRecipe
  readonly source: ModelSource
  readonly found: (FoundCheckpoint & { readonly state: SavedRun }) | undefined
  readonly steps: number
  readonly plan: TrainingPlan
  readonly chosen: ChosenDevice
  /** Checkpoints of the run that were on disk. */
  readonly existing: number
  readonly parts: TrainingParts
  readonly tell: (event: TrainEvent) => void
  readonly signal: AbortSignal | undefined
}

const START: RunState = { step: 0, tokens: 0, seconds: 0, loss: Number.NaN, position: undefined }
const DEVICE = { cpu: 'the CPU', webgpu: 'a GPU' } as const
const RESOLVED = 'recipe.resolved.yaml'
const checkpointsOf = ({ output }: ResolvedRecipe): string => join(output, 'checkpoints')

/** See train() in index.ts; `parts` is for tests. */
export async function trainRecipe(
  input: RecipeInput,
  { onProgress, signal, restart = false, set }: TrainOptions = {},
  parts: TrainingParts = trainingParts,
): Promise<TrainResult> {
  const tell = (event: TrainEvent): void => onProgress?.(event)
  const loaded = await loadRecipe(input, set)
  const { recipe } = loaded
  tell({ kind: 'recipe', ...loaded })
  const release = await lockRun(recipe.output)
  try {
    await cleanCheckpoints(checkpointsOf(recipe))
    if (restart) await forget(recipe)
    const found = await findRun(recipe, tell)
    const before = found === undefined ? undefined : await alreadyFinished(recipe, found)
    if (before !== undefined) {
      tell({ kind: 'note', text: `The run in ${recipe.output} is finished; --restart begins it anew.` })
      return before
    }
    const onDownload = (bytes: number, totalBytes: number): void =>
      tell({ kind: 'download', bytes, totalBytes })
    const source = await openModelSource(recipe, { signal, onDownload })
    try {
      sayIfRounded(source, recipe, tell)
      const steps = await stepsOf(recipe, source, found, tell, signal)
      const existing = (await listCheckpoints(checkpointsOf(recipe))).length
      const chosen = await chooseDevice(recipe.device, parts.openGpu)
      const plan = await planRun(recipe, source, parts, chosen, existing)
      return await runSession({ loaded, source, found, steps, plan, chosen, existing, parts, tell, signal })
    } finally {
      await source.close()
    }
  } finally {
    await release()
  }
}

async function forget(recipe: ResolvedRecipe): Promise<void> {
  await removeCheckpoints(checkpointsOf(recipe))
  await unmarkFinished(recipe)
}

/** The newest sound checkpoint, if it belongs to this recipe. */
async function findRun(recipe: ResolvedRecipe, tell: Session['tell']): Promise<Session['found']> {
  const found = await findCheckpoint(checkpointsOf(recipe), (text) =>
    tell({ kind: 'note', text, warning: true }),
  )
  if (found === undefined) return undefined
  const state = found.state as SavedRun
  const changed = checkChanges(state.recipe, recipe)
  if (changed.length > 0) {
    tell({ kind: 'note', text: `Going on with other values of ${changed.join(', ')}.` })
  }
  return { ...found, state }
}

/** Training all weights of a model that was rounded to 8 or 4 bits begins with what the rounding left. */
function sayIfRounded(
  { encoding }: ModelSource,
  { lora, model }: ResolvedRecipe,
  tell: Session['tell'],
): void {
  if (lora !== undefined || ['F32', 'F16', 'BF16'].includes(encoding)) return
  const text = `${model.from} is stored in ${encoding}: training goes on from its rounded values. The original would be better.`
  tell({ kind: 'note', text, warning: true })
}

async function stepsOf(
  recipe: ResolvedRecipe,
  source: ModelSource,
  found: Session['found'],
  tell: Session['tell'],
  signal: AbortSignal | undefined,
): Promise<number> {
  if (found !== undefined && JSON.stringify(found.state.config) !== JSON.stringify(source.config)) {
    throw new GemmaError(
      'training',
      `The run in ${recipe.output} began with another model: its configuration is not the one of ${recipe.model.from ?? 'the recipe'}.`,
      'Put the model back, begin anew with --restart, or choose another output.',
    )
  }
  if (recipe.epochs !== undefined && found !== undefined) return found.state.steps
  if (recipe.epochs !== undefined) tell({ kind: 'note', text: `Counting the steps of the data …` })
  const steps = await countSteps(recipe, source, { signal })
  const taken = found?.step ?? 0
  if (steps >= taken) return steps
  throw new GemmaError(
    'training',
    `The run in ${recipe.output} has taken ${taken} steps, but the recipe now asks for ${steps}.`,
    'Ask for more steps, begin anew with --restart, or choose another output.',
  )
}

async function runSession(session: Session): Promise<TrainResult> {
  const { loaded, found, steps } = session
  const { recipe, text } = loaded
  await mkdir(recipe.output, { recursive: true })
  await unmarkFinished(recipe)
  await writeRecipe(join(recipe.output, RESOLVED), text)
  const leftOut = await openLeftOut(recipe.output, found === undefined)
  const heldOut = await readMeasured(session, leftOut)
  const { model, plan } = await startModel(session)
  try {
    if (found !== undefined) await restoreModel(found.path, model)
    const metrics = await openMetrics(recipe.output, { resumeAtStep: found?.step })
    try {
      metrics.start({
        ...{ stage: recipe.stage, steps, clip: recipe.clip, description: model.description },
        ...{ parameters: plan.parameters, trainableParameters: plan.trainableParameters },
      })
      const result = await learn({ ...session, plan }, model, metrics, heldOut, leftOut)
      metrics.end({ step: result.steps, reason: 'finished' })
      return result
    } finally {
      await metrics.close()
    }
  } finally {
    await model.dispose()
  }
}

/** The model where the plan has it; on the CPU where the GPU turns out to have no room and that may be. */
async function startModel(
  session: Session,
): Promise<{ readonly model: TrainingModel; readonly plan: TrainingPlan }> {
  const { loaded, source, found, steps, plan, chosen, existing, parts, tell, signal } = session
  const { recipe } = loaded
  const before = found?.state.device
  if (before !== undefined && before !== plan.device.kind) {
    const text = `Up to step ${found!.step} it learned on ${DEVICE[before]}, now on ${DEVICE[plan.device.kind]}: what comes is not bit for bit the same.`
    tell({ kind: 'note', text, warning: true })
  }
  tell({ kind: 'start', steps, resumedAt: found?.step ?? 0, plan })
  try {
    const gpu = plan.device.kind === 'webgpu' ? await openDevice(chosen.gpu!) : undefined
    const model = await parts.createModel({
      ...modelOptions(recipe, source.config, plan),
      ...{ weights: source.weights, gpu, signal },
      onProgress: (bytes, totalBytes) => tell({ kind: 'load', bytes, totalBytes }),
    })
    return { model, plan }
  } catch (error) {
    const mayFallBack = plan.device.kind === 'webgpu' && chosen.mayFallBack
    if (!mayFallBack || !(error instanceof GemmaError) || error.code === 'aborted') throw error
    const onCpu = { mayFallBack, remark: `${chosen.gpu!.name}: ${error.message}` }
    const other = await planRun(recipe, source, parts, onCpu, existing)
    return startModel({ ...session, chosen: onCpu, plan: other })
  }
}

/** The held-out documents; what of them cannot be used is told before it is missed. */
async function readMeasured(
  { loaded: { recipe }, source, signal, tell }: Session,
  leftOut: LeftOutFile,
): Promise<ReadonlyMap<string, readonly TrainingRows[]>> {
  const tally = createLeftOutTally()
  const onLeftOut = (record: LeftOutRecord): void => {
    tally.add(record)
    leftOut.add({ ...record, source: `held-out ${record.source}` })
  }
  const heldOut = await readHeldOut(recipe, source, { signal, onLeftOut })
  const told = tally.describe()
  if (told !== undefined) tell({ kind: 'note', text: `Held-out documents: ${told}`, warning: true })
  return heldOut
}

async function learn(
  session: Session,
  model: TrainingModel,
  metrics: MetricsWriter,
  heldOut: ReadonlyMap<string, readonly TrainingRows[]>,
  leftOut: LeftOutFile,
): Promise<TrainResult> {
  const { loaded, source, found, steps, plan, tell, signal } = session
  const { recipe } = loaded
  const from = found?.state.run ?? START
  let step = from.step
  const data = await openRunData(recipe, source, {
    position: found === undefined ? undefined : (from.position as DataPosition),
    signal,
    onLeftOut: leftOut.add,
  })
  let warned = false
  /** As soon as something is left out, rather than when hours have gone. */
  const warnOnce = (): void => {
    const { badRecords, dropped } = data.counts()
    if (warned || badRecords + dropped === 0) return
    warned = true
    const text = `So far: ${describeCounts(data.counts())}. Each is named in ${leftOut.path}.`
    tell({ kind: 'note', text, warning: true })
  }
  try {
    const end = await runLoop({
      ...{ model, recipe, steps, from, data, signal },
      evaluate: heldOut.size === 0 ? undefined : (stop) => evaluateHeldOut(model, heldOut, stop),
      onStep(record) {
        step = record.step
        metrics.step(record)
        tell({ kind: 'step', steps, record })
        warnOnce()
      },
      onEvaluation(record) {
        metrics.evaluation(record)
        tell({ kind: 'evaluation', record })
      },
      async save(run) {
        const saved: SavedRun = { run, steps, recipe, config: source.config, device: plan.device.kind }
        const path = await writeCheckpoint(
          checkpointsOf(recipe),
          run.step,
          finiteModel(model, run.step),
          saved,
        )
        await pruneCheckpoints(checkpointsOf(recipe), recipe.checkpoint.keep, run.best?.step)
        metrics.event('checkpoint', run.step, { path })
        tell({ kind: 'checkpoint', step: run.step, path })
      },
      keepFailed: (at, batch, figures) => writeFailed(recipe, source.tokenizer, at, batch, figures),
      onNote: (text) => tell({ kind: 'note', text, warning: true }),
    })
    const { badRecords, dropped } = data.counts()
    tell({ kind: 'note', text: describeCounts(data.counts()), warning: badRecords + dropped > 0 })
    return await finish(session, model, end)
  } catch (error) {
    endMetrics(metrics, step, error)
    throw error
  } finally {
    await data.close()
  }
}

/**
 * The model, refusing to give what is no number: gradients may be finite and the step too large all the same, and a
 * checkpoint of what it left would be taken for the last good one.
 */
function finiteModel(model: TrainingModel, step: number): TrainingModel {
  const finite = (name: string, values: Float32Array): Float32Array => {
    let zeros = 0
    for (let i = 0; i < values.length; i++) zeros += 0 * values[i]!
    if (zeros === 0) return values
    throw new GemmaError(
      'training',
      `Step ${step}: ${name} is no longer made of finite numbers. No checkpoint of it was written; those before are as they were.`,
      'Go on from the one before with a lower learningRate in a new output, or begin anew (--restart).',
    )
  }
  return {
    ...model,
    read: async (name) => finite(name, await model.read(name)),
    readState: async (name) => finite(name, await model.readState(name)),
  }
}

/** Tells the metrics why the run ended. Where they cannot be written either, the first error is the one to tell. */
function endMetrics(metrics: MetricsWriter, step: number, error: unknown): void {
  const reason = error instanceof GemmaError && error.code === 'aborted' ? 'interrupted' : 'failed'
  const message = error instanceof Error ? error.message : String(error)
  try {
    metrics.end({ step, reason, ...(reason === 'failed' ? { message } : {}) })
  } catch {
    // A full disk has most likely ended the run already.
  }
}

async function finish(session: Session, model: TrainingModel, end: RunState): Promise<TrainResult> {
  const { loaded, source, signal } = session
  const { recipe } = loaded
  if (recipe.saveWeights === 'best') await takeBest(session, model, end)
  const finished = await writeFinished(recipe, source, model, signal)
  const result = resultOf(recipe, end, finished)
  await markFinished(recipe, result)
  return result
}

async function takeBest({ loaded, tell }: Session, model: TrainingModel, end: RunState): Promise<void> {
  const { best } = end
  if (best === undefined || best.step === end.step) return
  const places = await listCheckpoints(checkpointsOf(loaded.recipe))
  const place = places.find(({ step }) => step === best.step)
  if (place === undefined) {
    const text = `The checkpoint of the best step (${best.step}) is gone; the last weights are saved instead.`
    tell({ kind: 'note', text, warning: true })
    return
  }
  await restoreWeights(place.path, model)
  tell({ kind: 'note', text: `The weights of step ${best.step} are saved, the best on what is held out.` })
}
