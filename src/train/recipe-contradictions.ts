// Keys of a recipe that contradict each other or make no sense together, each with what to do. Knows no file.

import type { Recipe, RecipeSource } from './recipe.ts'
import type { RecipeFault } from './recipe-schema.ts'

/** Everything that is contradictory in a recipe whose keys and kinds are right. */
export function contradictions(recipe: Recipe): RecipeFault[] {
  return [
    ...modelFaults(recipe),
    ...lengthFaults(recipe),
    ...batchFaults(recipe),
    ...optimizerFaults(recipe),
    ...scheduleFaults(recipe),
    ...loraFaults(recipe),
    ...dataFaults(recipe),
  ]
}

function modelFaults({ model }: Recipe): RecipeFault[] {
  const given = (['from', 'shape', 'config'] as const).filter((key) => model[key] !== undefined)
  const faults: RecipeFault[] = []
  if (given.length !== 1) {
    const came = given.length === 0 ? 'names no model' : `has ${given.join(' and ')}`
    const path = given.length === 0 ? ['model'] : ['model', given[1]!]
    faults.push({ path, message: `model ${came}; expected exactly one of from, shape and config.` })
  }
  if (model.from === undefined && model.tokenizer === undefined && given.length > 0) {
    faults.push({
      path: ['model'],
      message: 'model.tokenizer is missing; a new model needs one.',
      remedy: 'Name a tokenizer.model, or a directory with one; gemma train-tokenizer makes one.',
    })
  }
  if (model.from !== undefined && model.initializerRange !== undefined) {
    faults.push({
      path: ['model', 'initializerRange'],
      message: 'model.initializerRange is for new models, but model.from brings its weights.',
      remedy: 'Leave it out.',
    })
  }
  return faults
}

function lengthFaults(recipe: Recipe): RecipeFault[] {
  const given = (['steps', 'tokens', 'epochs'] as const).filter((key) => recipe[key] !== undefined)
  if (given.length !== 1) {
    const came =
      given.length === 0 ? 'Nothing says how long to train' : `Both ${given.join(' and ')} are given`
    return [
      {
        path: given.length === 0 ? [] : [given[1]!],
        message: `${came}; expected exactly one of steps, tokens and epochs.`,
      },
    ]
  }
  if (recipe.tokens !== undefined && recipe.batch?.documents !== undefined) {
    return [
      {
        path: ['tokens'],
        message: 'tokens cannot be counted in steps when batch.documents says how large a step is.',
        remedy: 'Give batch.tokensPerBatch, or steps or epochs instead of tokens.',
      },
    ]
  }
  return []
}

function batchFaults({ batch = {}, contextLength }: Recipe): RecipeFault[] {
  const { tokensPerBatch, documents, rowsPerRun } = batch
  const faults: RecipeFault[] = []
  if (tokensPerBatch !== undefined && documents !== undefined) {
    faults.push({
      path: ['batch', 'documents'],
      message: 'batch has tokensPerBatch and documents; expected one of them.',
    })
  }
  if (tokensPerBatch !== undefined && rowsPerRun !== undefined && tokensPerBatch % rowsPerRun !== 0) {
    faults.push({
      path: ['batch', 'tokensPerBatch'],
      message: `batch.tokensPerBatch is ${tokensPerBatch}, expected a multiple of batch.rowsPerRun (${rowsPerRun}).`,
      remedy: `${Math.max(1, Math.round(tokensPerBatch / rowsPerRun)) * rowsPerRun} is one.`,
    })
  }
  if (rowsPerRun !== undefined && contextLength !== undefined && rowsPerRun < contextLength) {
    faults.push({
      path: ['batch', 'rowsPerRun'],
      message: `batch.rowsPerRun is ${rowsPerRun}, expected at least contextLength (${contextLength}): a document is never divided between runs.`,
    })
  }
  return faults
}

const OPTIMIZER_KEYS: Readonly<Record<'adamw' | 'adafactor', readonly string[]>> = {
  adamw: ['name', 'beta1', 'beta2', 'epsilon', 'weightDecay'],
  adafactor: ['name', 'decayRate', 'epsilon', 'clipThreshold', 'weightDecay'],
}

function optimizerFaults({ optimizer = {} }: Recipe): RecipeFault[] {
  const name = optimizer.name ?? 'adamw'
  return Object.keys(optimizer)
    .filter((key) => !OPTIMIZER_KEYS[name].includes(key))
    .map((key) => ({
      path: ['optimizer', key],
      key: true,
      message: `optimizer.${key} means nothing to ${name}.`,
      remedy: `Its keys are ${OPTIMIZER_KEYS[name].join(', ')}.`,
    }))
}

function scheduleFaults({ schedule = {} }: Recipe): RecipeFault[] {
  const { name, warmup, finalFraction } = schedule
  const faults: RecipeFault[] = []
  if (warmup !== undefined && warmup >= 1 && !Number.isInteger(warmup)) {
    faults.push({
      path: ['schedule', 'warmup'],
      message: `schedule.warmup is ${warmup}, expected a share below 1 or a whole number of steps.`,
    })
  }
  if (name === 'constant' && finalFraction !== undefined && finalFraction !== 1) {
    faults.push({
      path: ['schedule', 'finalFraction'],
      message: 'schedule.finalFraction contradicts the constant schedule, which never falls.',
      remedy: 'Leave it out, or choose cosine or linear.',
    })
  }
  return faults
}

function loraFaults(recipe: Recipe): RecipeFault[] {
  const { lora, baseDtype, model } = recipe
  const faults: RecipeFault[] = []
  if (lora !== undefined && model.from === undefined) {
    faults.push({
      path: ['lora'],
      message: 'lora adapts a model that has learnt, but model.from is missing.',
      remedy: 'Name the base in model.from, or leave lora out to train all weights.',
    })
  }
  if (lora === undefined && baseDtype !== undefined) {
    faults.push({
      path: ['baseDtype'],
      message: `baseDtype is ${baseDtype}, but without lora all weights learn, in f32.`,
      remedy: 'Leave it out, or add lora.',
    })
  }
  if (lora !== undefined && recipe.saveDtype !== undefined && recipe.saveDtype !== 'f32') {
    faults.push({
      path: ['saveDtype'],
      message: `saveDtype is ${recipe.saveDtype}, but adapters are always written in f32.`,
      remedy: 'Leave it out.',
    })
  }
  if (Array.isArray(lora?.targets) && new Set(lora.targets).size !== lora.targets.length) {
    faults.push({ path: ['lora', 'targets'], message: 'lora.targets names a layer twice.' })
  }
  return faults
}

function dataFaults(recipe: Recipe): RecipeFault[] {
  const { sources, heldOut, evaluateEvery, evaluateTokens } = recipe.data
  const faults = [...nameFaults('sources', sources), ...nameFaults('heldOut', heldOut ?? [])]
  if (sources.every(({ weight = 1 }) => weight === 0)) {
    faults.push({ path: ['data', 'sources'], message: 'The weights of data.sources are all 0.' })
  }
  for (const [i, source] of (heldOut ?? []).entries()) {
    for (const key of ['weight', 'epochs'] as const) {
      if (source[key] === undefined) continue
      const message = `data.heldOut[${i}].${key} means nothing: held-out documents are read once, in order.`
      faults.push({ path: ['data', 'heldOut', i, key], key: true, message, remedy: 'Leave it out.' })
    }
  }
  if (heldOut === undefined) {
    for (const [key, value] of Object.entries({ evaluateEvery, evaluateTokens })) {
      if (value === undefined) continue
      const message = `data.${key} is given, but there are no data.heldOut documents to measure on.`
      faults.push({ path: ['data', key], message })
    }
    if (recipe.saveWeights === 'best') {
      const message = 'saveWeights is best, but without data.heldOut nothing says which weights are.'
      faults.push({ path: ['saveWeights'], message, remedy: 'Add data.heldOut, or take last.' })
    }
  }
  return [...faults, ...stageFaults(recipe)]
}

export function sourceName(source: RecipeSource, index: number): string {
  return source.name ?? `source-${index + 1}`
}

function nameFaults(key: 'sources' | 'heldOut', sources: readonly RecipeSource[]): RecipeFault[] {
  const names = sources.map(sourceName)
  return names.flatMap((name, i) =>
    names.indexOf(name) === i
      ? []
      : [{ path: ['data', key, i], message: `data.${key} has two sources named ${name}.` }],
  )
}

function stageFaults({ data, epochs }: Recipe): RecipeFault[] {
  const { stages, sources } = data
  if (stages === undefined) return []
  const names = sources.map(sourceName)
  const faults: RecipeFault[] = []
  if (epochs !== undefined && stages.length > 1) {
    const message = 'epochs cannot be counted when data.stages change the mixture on the way.'
    faults.push({ path: ['epochs'], message, remedy: 'Give steps or tokens.' })
  }
  for (const [i, { until, weights }] of stages.entries()) {
    const path = ['data', 'stages', i]
    const before = stages[i - 1]?.until ?? 0
    if (until <= before) {
      const message = `data.stages[${i}].until is ${until}, expected more than the stage before (${before}).`
      faults.push({ path: [...path, 'until'], message })
    }
    for (const name of Object.keys(weights)) {
      if (names.includes(name)) continue
      const message = `data.stages[${i}].weights names ${JSON.stringify(name)}, which is no source.`
      faults.push({
        path: [...path, 'weights', name],
        key: true,
        message,
        remedy: `Sources: ${names.join(', ')}.`,
      })
    }
    if (!Object.values(weights).some((weight) => weight > 0)) {
      faults.push({ path: [...path, 'weights'], message: `data.stages[${i}].weights are all 0.` })
    }
  }
  if (stages.at(-1)!.until !== 1) {
    const message = `The last of data.stages ends at ${stages.at(-1)!.until}, expected 1.`
    faults.push({ path: ['data', 'stages', stages.length - 1, 'until'], message })
  }
  return faults
}
