// Parquet as records. The decoding runs in a process of its own (parquet-child.node.ts says why); this side asks for
// rows, some at a time, and ends the process when it is done, fails or does not answer. Node only.

import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { abortedError, GemmaError, throwIfAborted } from '../error.ts'
import { fileError } from '../weights/source.node.ts'
import { type FileRecord, type FileRecords, LONGEST_RECORD, type ReadOptions } from './file-record.ts'
import type { ParquetAnswer, ParquetRequest } from './parquet-child.node.ts'

/** The build makes parquet-child.node.js of it. */
const child = fileURLToPath(new URL('./parquet-child.node.ts', import.meta.url))

/** Megabytes of the child's heap; a row group is decoded in steps that take far less. */
const HEAP_MB = 2048
/** The slowest honest step is some hundred megabytes of nested rows: seconds. */
const PATIENCE_MS = 120_000

/**
 * The rows of a file with those of `columns` that it has. Throws GemmaError 'file' where it cannot be read or is no valid
 * Parquet, 'aborted'.
 */
export async function* readParquet(
  path: string,
  columns: readonly string[],
  { from, signal, longest = LONGEST_RECORD }: ReadOptions,
  patience: number = PATIENCE_MS,
): FileRecords {
  throwIfAborted(signal)
  const decoder = startDecoder(path)
  try {
    for (let row = from.line; ; ) {
      const answer = await decoder.ask({ path, columns, row, longest }, patience, signal)
      if ('failed' in answer) throw damaged(path, `${answer.failed} (at row ${row + 1} or after)`)
      if ('unreadable' in answer) {
        const { code, message } = answer.unreadable
        throw fileError(path, Object.assign(new Error(message), { code }))
      }
      if (answer.rows.length === 0) return
      yield answer.rows.map((content): FileRecord => {
        row++
        return { content, line: row, next: { offset: row, line: row } }
      })
    }
  } finally {
    decoder.end()
  }
}

function damaged(path: string, what: string): GemmaError {
  return new GemmaError(
    'file',
    `${path} is no Parquet file that can be read: ${what}.`,
    'The file is truncated or damaged, or of a kind that hyparquet does not read; fetch or make it again.',
  )
}

interface Decoder {
  ask(request: ParquetRequest, patience: number, signal: AbortSignal | undefined): Promise<ParquetAnswer>
  end(): void
}

function startDecoder(path: string): Decoder {
  const forked = fork(child, [], {
    // None of this process's own flags.
    execArgv: [`--max-old-space-size=${HEAP_MB}`],
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  })
  hold(forked, false)
  let gone: GemmaError | undefined
  let settle: { resolve(answer: ParquetAnswer): void; reject(error: GemmaError): void } | undefined
  const fail = (error: GemmaError): void => {
    gone ??= error
    settle?.reject(gone)
  }
  forked.on('message', (answer: ParquetAnswer) => settle?.resolve(answer))
  forked.on('error', (error) => fail(damaged(path, error.message)))
  forked.on('exit', (code, signal) =>
    fail(damaged(path, `reading it took more than ${HEAP_MB} MB of memory or crashed (${signal ?? code})`)),
  )
  return {
    ask(request, patience, signal) {
      const answer = new Promise<ParquetAnswer>((resolve, reject) => {
        settle = { resolve, reject }
      })
      if (gone !== undefined) return Promise.reject(gone)
      const seconds = patience / 1000
      const timer = setTimeout(
        () => fail(damaged(path, `a part of it was not read within ${seconds} s`)),
        patience,
      )
      const abort = (): void => fail(abortedError(signal!))
      signal?.addEventListener('abort', abort)
      hold(forked, true)
      forked.send(request, (error) => {
        if (error !== null) fail(damaged(path, error.message))
      })
      return answer.finally(() => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', abort)
        hold(forked, false)
      })
    },
    end: () => void forked.kill('SIGKILL'),
  }
}

/** Whether the child keeps this process alive: only while something is asked of it. */
function hold(forked: ChildProcess, alive: boolean): void {
  if (alive) {
    forked.ref()
    forked.channel?.ref()
  } else {
    forked.unref()
    forked.channel?.unref()
  }
}
