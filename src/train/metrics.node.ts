// Keeps the records of a run in files: metrics.jsonl for programs, samples.jsonl for people, event files for
// TensorBoard. The lines are the truth; the event files are made of them anew whenever training goes on, so that
// neither a kill nor a step taken twice leaves a trace in a curve. Knows nothing about training. Node only.

import { closeSync, constants, fstatSync, fsyncSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import { mkdir, readdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { GemmaError } from '../error.ts'
import { type FileWriter, writeAtomically } from '../weights/atomic.node.ts'
import { fileError } from '../weights/source.node.ts'
import {
  evaluationLine,
  formatMetricsLine,
  type MetricsLine,
  type MetricsWriter,
  type MetricValue,
  type OpenMetricsOptions,
  parseMetricsLine,
  scalarsOf,
  startLine,
  stepLine,
} from './metrics.ts'
import { readLines } from './metrics-lines.node.ts'
import { fileVersionEvent, frameRecord, scalarsEvent, sessionStartEvent } from './tensorboard.ts'

export const METRICS_FILE = 'metrics.jsonl'
export const SAMPLES_FILE = 'samples.jsonl'
/** Longest line that is read, in bytes. Ours are some hundred; a longer one is damage. */
export const MOST_LINE_BYTES: number = 64 * 1024
export const MOST_SAMPLE_BYTES: number = 1024 * 1024

/** Most characters of an error's message. */
const MOST_MESSAGE = 4000
const TENSORBOARD = 'tensorboard'
const EVENT_FILE = /^\.?events\.out\.tfevents\.(\d{1,15})\.gemma/
const BUFFER = 1024 * 1024

/**
 * Opens (and makes, where needed) the metrics of the run in `runDirectory`. Going on from a checkpoint, everything
 * later than it is cut off first, together with lines that a kill has torn. Throws GemmaError 'file'.
 */
export async function openMetrics(
  runDirectory: string,
  options: OpenMetricsOptions = {},
): Promise<MetricsWriter> {
  const { resumeAtStep } = options
  const metrics = join(runDirectory, METRICS_FILE)
  const samples = join(runDirectory, SAMPLES_FILE)
  const events = join(runDirectory, TENSORBOARD)
  try {
    await mkdir(events, { recursive: true })
    await cut(metrics, resumeAtStep, MOST_LINE_BYTES)
    await cut(samples, resumeAtStep, MOST_SAMPLE_BYTES)
    const eventFile = await rewriteEvents(events, metrics, resumeAtStep ?? 0)
    return createWriter({ metrics, samples, eventFile, firstStep: resumeAtStep ?? 0 })
  } catch (cause) {
    throw cause instanceof Error && 'syscall' in cause ? fileError(runDirectory, cause) : cause
  }
}

/** Leaves the whole lines up to a step, or none; a file that is not there stays away. */
async function cut(path: string, lastStep: number | undefined, mostBytes: number): Promise<void> {
  if (lastStep === undefined) return removeIfThere(path)
  const lines = readLines(path, mostBytes)
  const first = await lines.next().catch((error: unknown) => {
    if (isMissing(error)) return undefined
    throw error
  })
  if (first === undefined) return
  await writeAtomically(path, async (out) => {
    const buffer = createBuffer(out)
    for (let { value, done } = first; !done; { value, done } = await lines.next()) {
      const line = value === undefined ? undefined : parseMetricsLine(value)
      if (line !== undefined && line.step <= lastStep) await buffer.write(Buffer.from(`${value}\n`))
    }
    await buffer.flush()
  })
}

/** One event file of what metrics.jsonl holds, in the place of all that were there. Returns its path. */
async function rewriteEvents(directory: string, metrics: string, lastStep: number): Promise<string> {
  const old = (await readdir(directory)).filter((name) => EVENT_FILE.test(name))
  const times = old.map((name) => Number(EVENT_FILE.exec(name)![1]))
  const now = Date.now() / 1000
  // A running TensorBoard goes on to the file whose name comes next.
  const time = Math.max(Math.floor(now), ...times.map((one) => one + 1))
  const path = join(directory, `events.out.tfevents.${String(time).padStart(10, '0')}.gemma`)
  await writeAtomically(path, async (out) => {
    const buffer = createBuffer(out)
    await buffer.write(frameRecord(fileVersionEvent(now)))
    if (old.length > 0) await buffer.write(frameRecord(sessionStartEvent(now, 0)))
    for await (const text of linesIfThere(metrics)) {
      const line = text === undefined ? undefined : parseMetricsLine(text)
      const record = line !== undefined && line.step <= lastStep ? eventRecord(line) : undefined
      if (record !== undefined) await buffer.write(record)
    }
    await buffer.flush()
  })
  for (const name of old) await unlink(join(directory, name))
  return path
}

async function* linesIfThere(path: string): AsyncGenerator<string | undefined> {
  try {
    yield* readLines(path, MOST_LINE_BYTES)
  } catch (error) {
    if (!isMissing(error)) throw error
  }
}

function eventRecord(line: MetricsLine): Uint8Array | undefined {
  const scalars = scalarsOf(line)
  const time = typeof line.time === 'number' ? line.time : 0
  return scalars.length === 0 ? undefined : frameRecord(scalarsEvent(time, line.step, scalars))
}

/** Gathers small writes, for files of many lines. */
function createBuffer(out: FileWriter): {
  write(bytes: Uint8Array): Promise<void>
  flush(): Promise<void>
} {
  const buffer = new Uint8Array(BUFFER)
  let used = 0
  const flush = async (): Promise<void> => {
    await out.write(buffer.subarray(0, used))
    used = 0
  }
  return {
    flush,
    async write(bytes) {
      if (used + bytes.byteLength > BUFFER) await flush()
      if (bytes.byteLength > BUFFER) return out.write(bytes)
      buffer.set(bytes, used)
      used += bytes.byteLength
    },
  }
}

interface WriterFiles {
  readonly metrics: string
  readonly samples: string
  readonly eventFile: string
  readonly firstStep: number
}

function createWriter({ metrics, samples, eventFile, firstStep }: WriterFiles): MetricsWriter {
  const lines = openAppended(metrics)
  const events = openAppended(eventFile)
  let sampleLines: AppendedFile | undefined
  let closed = false

  const assertOpen = (): void => {
    if (closed) throw new GemmaError('disposed', 'These metrics were closed.', 'Open them again.')
  }
  const write = (record: MetricsLine): void => {
    assertOpen()
    const line = { ...record, time: Date.now() / 1000 }
    lines.append(Buffer.from(formatMetricsLine(line)))
    const event = eventRecord(line)
    if (event !== undefined) events.append(event)
  }
  return {
    start: (record) => write(startLine(record, firstStep)),
    step: (record) => write(stepLine(record)),
    evaluation: (record) => write(evaluationLine(record)),
    sample({ step, prompt, text }) {
      assertOpen()
      sampleLines ??= openAppended(samples)
      sampleLines.append(Buffer.from(formatMetricsLine({ step, prompt, text })))
    },
    event: (name, step, details: Readonly<Record<string, MetricValue>> = {}) =>
      write({ event: name, step, ...details }),
    end: ({ step, reason, message }) =>
      write({ event: 'end', step, reason, message: message?.slice(0, MOST_MESSAGE) }),
    async close() {
      if (closed) return
      closed = true
      const failures: unknown[] = []
      for (const file of [lines, events, sampleLines]) {
        try {
          file?.close()
        } catch (error) {
          failures.push(error) // the others are still to be closed
        }
      }
      if (failures.length > 0) throw failures[0]
    },
  }
}

interface AppendedFile {
  append(bytes: Uint8Array): void
  close(): void
}

/** Written in the calling thread: a line is soon written, stays in its order, and fails where it was asked for. */
function openAppended(path: string): AppendedFile {
  const file = attempt(path, () =>
    openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND),
  )
  const regular = attempt(path, () => fstatSync(file).isFile()) // a device can be neither cut nor synchronised
  return {
    append(bytes) {
      attempt(path, () => {
        const before = fstatSync(file).size
        try {
          for (let done = 0; done < bytes.byteLength; ) done += writeSync(file, bytes, done)
        } catch (cause) {
          if (regular) ftruncateSync(file, before) // half a line would spoil the next one
          throw cause
        }
      })
    },
    close() {
      attempt(path, () => {
        try {
          if (regular) fsyncSync(file)
        } finally {
          closeSync(file)
        }
      })
    },
  }
}

function attempt<T>(path: string, action: () => T): T {
  try {
    return action()
  } catch (cause) {
    throw fileError(path, cause)
  }
}

async function removeIfThere(path: string): Promise<void> {
  try {
    await unlink(path)
  } catch (cause) {
    if (!isMissing(cause)) throw fileError(path, cause)
  }
}

function isMissing(error: unknown): boolean {
  const cause = error instanceof GemmaError ? error.cause : error
  return (cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT'
}
