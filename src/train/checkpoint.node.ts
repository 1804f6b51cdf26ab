// Checkpoints of a run on disk: one directory for each, RUN/checkpoints/step-000050, that is there whole or not at all and
// says by hashes whether it is still what was written. A process that is killed at any moment loses what it did since the
// last one and nothing else. Knows no recipe's meaning and no data. Node only.

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { GemmaError } from '../error.ts'
import { elementCount } from '../graph/tape.ts'
import { assertSpace, writeAtomically } from '../weights/atomic.node.ts'
import { readSafetensors } from '../weights/safetensors.ts'
import { writeSafetensors } from '../weights/safetensors-writer.node.ts'
import { fileError, openFile } from '../weights/source.node.ts'
import type { TensorPlan } from '../weights/tensor-writer.node.ts'
import type { TrainableTensor, TrainingModel } from './training-model.ts'

/** What training changes in a model: the part of TrainingModel that a checkpoint holds. */
export type CheckpointedModel = Pick<
  TrainingModel,
  'trainable' | 'optimizerState' | 'read' | 'readState' | 'write' | 'writeState'
>

export interface CheckpointPlace {
  readonly step: number
  readonly path: string
}

/** A checkpoint whose files have been read and found to be what was written. */
export interface FoundCheckpoint extends CheckpointPlace {
  /** What `writeCheckpoint` was given. */
  readonly state: unknown
}

const FORMAT = 1
const STATE = 'state.json'
const WEIGHTS = 'weights.safetensors'
const OPTIMIZER = 'optimizer.safetensors'
const NAME = /^step-(\d{6,15})$/
/** Temporary directories; what a killed process left of them is removed by `cleanCheckpoints`. */
const HIDDEN = /^\.step-.*\.tmp$/
const LARGEST_STATE = 64 * 1024 * 1024

interface StateFile {
  readonly format: number
  readonly step: number
  readonly state: unknown
  /** Size and SHA-256 of the other files. */
  readonly files: Readonly<Record<string, { readonly bytes: number; readonly sha256: string }>>
}

/** Bytes that a checkpoint of this model takes on disk, but for a little. */
export function checkpointBytes({
  trainable,
  optimizerState,
}: Pick<TrainingModel, 'trainable' | 'optimizerState'>): number {
  return [...trainable, ...optimizerState].reduce((sum, { shape }) => sum + 4 * elementCount(shape), 0)
}

/**
 * Writes the model and `state` (plain data for JSON) as the checkpoint of a step and returns its path. On failure nothing
 * of it stays, and those before are as they were. Throws GemmaError 'file'.
 */
export async function writeCheckpoint(
  directory: string,
  step: number,
  model: CheckpointedModel,
  state: unknown,
): Promise<string> {
  const name = `step-${String(step).padStart(6, '0')}`
  const temporary = join(directory, `.${name}.${process.pid}.tmp`)
  const target = join(directory, name)
  try {
    await rm(temporary, { recursive: true, force: true })
    await mkdir(temporary, { recursive: true })
    await assertSpace(directory, checkpointBytes(model))
    const { trainable, optimizerState } = model
    await writeTensors(join(temporary, WEIGHTS), trainable, (tensor) => model.read(tensor))
    await writeTensors(join(temporary, OPTIMIZER), optimizerState, (tensor) => model.readState(tensor))
    const files: Record<string, { bytes: number; sha256: string }> = {}
    for (const file of [WEIGHTS, OPTIMIZER]) files[file] = await hashFile(join(temporary, file))
    await writeState(join(temporary, STATE), { format: FORMAT, step, state, files })
    await replaceDirectory(temporary, target)
    await syncDirectory(directory)
    return target
  } catch (cause) {
    await rm(temporary, { recursive: true, force: true }).catch(() => {}) // the first error is the one to tell
    throw notWritten(step, cause instanceof Error && 'syscall' in cause ? fileError(target, cause) : cause)
  }
}

function notWritten(step: number, cause: unknown): unknown {
  if (!(cause instanceof GemmaError) || cause.code !== 'file') return cause
  const remedy = 'Those before it are as they were: the same command goes on from the last one.'
  return new GemmaError('file', `The checkpoint of step ${step} was not written: ${cause.message}`, remedy, {
    cause,
  })
}

async function writeTensors(
  path: string,
  tensors: readonly TrainableTensor[],
  read: (name: string) => Promise<Float32Array>,
): Promise<void> {
  const plans = tensors.map(({ name, shape }): TensorPlan<'F32'> => {
    const rowBytes = 4 * shape.at(-1)!
    let values: Float32Array | undefined
    return {
      ...{ name, shape, rowBytes, type: 'F32' },
      async fill(from, into) {
        // Rows are asked for in order: the whole tensor is copied out at the first and let go at the last.
        if (from === 0) values = await read(name)
        const { buffer, byteOffset, byteLength } = values!
        into.set(new Uint8Array(buffer, byteOffset + from * rowBytes, into.byteLength))
        if (from * rowBytes + into.byteLength === byteLength) values = undefined
      },
    }
  })
  await writeSafetensors(path, plans)
}

/** The state with a hash of itself in front. */
async function writeState(path: string, state: StateFile): Promise<void> {
  const json = JSON.stringify(state)
  const text = `{"sha256":"${hashText(json)}","checkpoint":${json}}\n`
  await writeAtomically(path, (out) => out.write(new TextEncoder().encode(text)))
}

/** Puts a whole directory in the place of another, or of none. */
async function replaceDirectory(from: string, to: string): Promise<void> {
  const aside = `${from.replace(/\.tmp$/, '')}.old.tmp`
  await rm(aside, { recursive: true, force: true })
  const moved = await rename(to, aside).then(
    () => true,
    (cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ENOENT') return false
      throw cause
    },
  )
  await rename(from, to)
  if (moved) await rm(aside, { recursive: true, force: true })
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r').catch(() => undefined) // not every system lets a directory be opened
  await handle?.sync().catch(() => {})
  await handle?.close()
}

/** The checkpoints that lie in a directory, the newest first; none where there is no directory. */
export async function listCheckpoints(directory: string): Promise<CheckpointPlace[]> {
  const names = await readdir(directory).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return []
    throw fileError(directory, cause)
  })
  return names
    .flatMap((name) => {
      const step = Number(NAME.exec(name)?.[1] ?? Number.NaN)
      return Number.isSafeInteger(step) ? [{ step, path: join(directory, name) }] : []
    })
    .sort((a, b) => b.step - a.step)
}

/**
 * The newest sound checkpoint, or undefined where there is none at all. A damaged one is moved aside
 * (`damaged-step-…`) and told of, and the one before is taken. Throws GemmaError 'training' when all are damaged.
 */
export async function findCheckpoint(
  directory: string,
  onDamage: (text: string) => void,
): Promise<FoundCheckpoint | undefined> {
  const places = await listCheckpoints(directory)
  for (const place of places) {
    try {
      return await readCheckpoint(place)
    } catch (cause) {
      if (!(cause instanceof GemmaError) || cause.code !== 'file') throw cause
      const aside = join(directory, `damaged-step-${String(place.step).padStart(6, '0')}`)
      await rm(aside, { recursive: true, force: true })
      await rename(place.path, aside)
      onDamage(`The checkpoint of step ${place.step} is damaged and was moved to ${aside}: ${cause.message}`)
    }
  }
  if (places.length === 0) return undefined
  throw new GemmaError(
    'training',
    `None of the ${places.length} checkpoints in ${directory} can be read.`,
    'Begin anew with --restart, or put a copy of a checkpoint back.',
  )
}

/** Reads and checks one checkpoint. Throws GemmaError 'file' for anything that is not what was written. */
export async function readCheckpoint({ step, path }: CheckpointPlace): Promise<FoundCheckpoint> {
  const found = await readState(join(path, STATE))
  if (found.step !== step) {
    throw new GemmaError('file', `${path} holds the checkpoint of step ${found.step}.`)
  }
  for (const name of [WEIGHTS, OPTIMIZER]) {
    const file = join(path, name)
    const wanted = found.files[name]
    const size = await stat(file).catch((cause) => {
      throw fileError(file, cause)
    })
    if (size.size !== wanted?.bytes) {
      throw new GemmaError('file', `${file} has ${size.size} bytes, expected ${wanted?.bytes}.`)
    }
    const { sha256 } = await hashFile(file)
    if (sha256 === wanted.sha256) continue
    throw new GemmaError('file', `${file} is not what was written: its SHA-256 is ${sha256}.`)
  }
  return { step, path, state: found.state }
}

async function readState(path: string): Promise<StateFile> {
  const { size } = await stat(path).catch((cause) => {
    throw fileError(path, cause)
  })
  if (size > LARGEST_STATE) throw new GemmaError('file', `${path} has ${size} bytes, far too many.`)
  const text = await readFile(path, 'utf8').catch((cause) => {
    throw fileError(path, cause)
  })
  const match = /^\{"sha256":"([0-9a-f]{64})","checkpoint":(.*)\}\n$/s.exec(text)
  if (match === null || hashText(match[2]!) !== match[1]) {
    throw new GemmaError('file', `${path} is not what was written.`)
  }
  const state = JSON.parse(match[2]!) as StateFile
  if (state.format === FORMAT) return state
  throw new GemmaError(
    'training',
    `${path} has the format ${state.format}; this version of gemma-ts reads format ${FORMAT}.`,
    'Go on with the version that wrote it, or begin anew with --restart.',
  )
}

/** Puts the values of a checkpoint into a model. Throws GemmaError 'training' when it belongs to another model. */
export async function restoreModel(path: string, model: CheckpointedModel): Promise<void> {
  const { trainable, optimizerState } = model
  await readTensors(join(path, WEIGHTS), trainable, (name, values) => model.write(name, values))
  await readTensors(join(path, OPTIMIZER), optimizerState, (name, values) => model.writeState(name, values))
}

/** Puts the weights of a checkpoint into a model and leaves its optimiser as it is. */
export function restoreWeights(
  path: string,
  model: Pick<TrainingModel, 'trainable' | 'write'>,
): Promise<void> {
  return readTensors(join(path, WEIGHTS), model.trainable, (name, values) => model.write(name, values))
}

async function readTensors(
  path: string,
  tensors: readonly TrainableTensor[],
  write: (name: string, values: Float32Array) => Promise<void>,
): Promise<void> {
  const source = await openFile(path)
  try {
    const { entries } = await readSafetensors(source)
    if (entries.size !== tensors.length) {
      throw otherModel(path, `it holds ${entries.size} tensors, but the model has ${tensors.length}`)
    }
    for (const { name, shape } of tensors) {
      const entry = entries.get(name)
      if (entry?.dtype !== 'F32' || entry.shape.join() !== shape.join()) {
        const came = entry === undefined ? 'is missing' : `is ${entry.dtype} [${entry.shape.join(', ')}]`
        throw otherModel(path, `${name} ${came}, expected F32 [${shape.join(', ')}]`)
      }
      const values = new Float32Array(elementCount(shape))
      await source.read(entry.offset, new Uint8Array(values.buffer))
      await write(name, values)
    }
  } finally {
    await source.close()
  }
}

function otherModel(path: string, what: string): GemmaError {
  return new GemmaError(
    'training',
    `${path} belongs to another model: ${what}.`,
    'Choose another output directory, or begin anew with --restart.',
  )
}

/** Removes all but the `keep` newest checkpoints and the one of step `best`. */
export async function pruneCheckpoints(
  directory: string,
  keep: number,
  best: number | undefined,
): Promise<void> {
  const places = await listCheckpoints(directory)
  for (const { step, path } of places.slice(keep)) {
    if (step !== best) await removeWhole(directory, path, step)
  }
}

/** Removes every checkpoint, for a run that begins anew. */
export async function removeCheckpoints(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true })
}

/** Removes what a process that was killed left half-done. Only the one process that trains here may call it. */
export async function cleanCheckpoints(directory: string): Promise<void> {
  const names = await readdir(directory).catch(() => []) // there may be no directory yet
  for (const name of names) {
    if (HIDDEN.test(name)) await rm(join(directory, name), { recursive: true, force: true })
  }
}

/** First out of sight, so that a kill half-way leaves no checkpoint that looks whole. */
async function removeWhole(directory: string, path: string, step: number): Promise<void> {
  const aside = join(directory, `.step-${step}.${process.pid}.gone.tmp`)
  await rm(aside, { recursive: true, force: true })
  await rename(path, aside)
  await rm(aside, { recursive: true, force: true })
}

async function hashFile(path: string): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash('sha256')
  let bytes = 0
  try {
    for await (const piece of createReadStream(path, { highWaterMark: 1024 * 1024 })) {
      hash.update(piece as Uint8Array)
      bytes += (piece as Uint8Array).byteLength
    }
  } catch (cause) {
    throw fileError(path, cause)
  }
  return { bytes, sha256: hash.digest('hex') }
}

function hashText(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
