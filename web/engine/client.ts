// The page's side of the worker: a call is a promise that can be aborted and hears events. When the worker dies, all
// calls that wait fail, and the next one starts a new worker.

import type { Fault, Method, Methods, Reply, Request } from './protocol.ts'
import { lendThreads, type ThreadCall, type ThreadReply } from './threads.ts'

export interface CallOptions<M extends Method> {
  readonly onEvent?: (event: Methods[M]['event']) => void
  readonly signal?: AbortSignal
}

export interface Engine {
  call<M extends Method>(
    method: M,
    args: Methods[M]['args'],
    options?: CallOptions<M>,
  ): Promise<Methods[M]['value']>
}

/** What the worker said went wrong. */
export class EngineError extends Error {
  override readonly name: string = 'EngineError'
  readonly code: string

  constructor({ code, message }: Fault) {
    super(message)
    this.code = code
  }
}

/** An error's message; undefined for what the person stopped. */
export function messageOf(error: unknown): string | undefined {
  if (error instanceof EngineError && error.code === 'aborted') return undefined
  return error instanceof Error ? error.message : String(error)
}

interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
  readonly onEvent?: (event: unknown) => void
}

/** `onDeath` hears when the worker is gone and with it the model. */
export function createEngine(start: () => Worker, onDeath: (error: EngineError) => void): Engine {
  const waiting = new Map<number, Waiting>()
  let worker: Worker | undefined
  let last = 0
  const threads = lendThreads((reply) => worker?.postMessage(reply satisfies ThreadReply))
  const die = (message: string): void => {
    worker?.terminate()
    worker = undefined
    threads.end()
    const error = new EngineError({
      code: 'worker',
      message: `The model's thread ended: ${message} Load the model again.`,
    })
    for (const { reject } of waiting.values()) reject(error)
    waiting.clear()
    onDeath(error)
  }
  const hear = ({ data }: MessageEvent<Reply | ThreadCall>): void => {
    if ('thread' in data) {
      threads.hear(data)
      return
    }
    const call = waiting.get(data.id)
    if (call === undefined) return
    if ('event' in data) {
      call.onEvent?.(data.event)
      return
    }
    waiting.delete(data.id)
    if ('fault' in data) call.reject(new EngineError(data.fault))
    else call.resolve(data.value)
  }
  const alive = (): Worker => {
    if (worker) return worker
    worker = start()
    worker.addEventListener('message', hear)
    worker.addEventListener('error', (event) => {
      event.preventDefault()
      die(event.message ? `${event.message}.` : 'its script could not be loaded.')
    })
    worker.addEventListener('messageerror', () => die('a message could not be read.'))
    return worker
  }
  return {
    async call(method, args, { onEvent, signal } = {}) {
      const id = ++last
      const to = alive()
      const done = new Promise<unknown>((resolve, reject) => {
        waiting.set(id, { resolve, reject, onEvent: onEvent as ((event: unknown) => void) | undefined })
      })
      const abort = (): void => to.postMessage({ id, abort: true } satisfies Request)
      to.postMessage({ id, method, args } satisfies Request)
      if (signal?.aborted) abort()
      signal?.addEventListener('abort', abort)
      try {
        return (await done) as never
      } finally {
        signal?.removeEventListener('abort', abort)
      }
    },
  }
}
