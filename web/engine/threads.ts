// The threads that a model computes on belong to the page, though the worker that holds the model asks for them: a worker
// that makes workers can hang in Firefox (153), where its constructor and the new thread wait for one and the same signal
// and sometimes the wrong one of them hears it. So here is a Worker for that worker, and who makes the real ones.

/** From the worker that holds the model to the page. */
export type ThreadCall =
  | { readonly thread: number; readonly url: string; readonly options?: WorkerOptions }
  | { readonly thread: number; readonly message: unknown }
  | { readonly thread: number; readonly end: true }

/** The way back. */
export type ThreadReply =
  | { readonly thread: number; readonly message: unknown }
  | { readonly thread: number; readonly error: string }

/** Puts a Worker in place of this thread's own that asks the page for threads. Gives what is to hear the page's replies. */
export function borrowThreads(ask: (call: ThreadCall) => void): (reply: ThreadReply) => void {
  const borrowed = new Map<number, BorrowedWorker>()
  let last = 0
  /** As much of a Worker as the library uses (src/backends/wasm/pool.ts). */
  class BorrowedWorker {
    readonly #thread = ++last
    onmessage: ((event: { readonly data: unknown }) => void) | null = null
    onerror: ((event: { readonly message: string }) => void) | null = null

    constructor(url: string | URL, options?: WorkerOptions) {
      borrowed.set(this.#thread, this)
      ask({ thread: this.#thread, url: String(url), options })
    }

    postMessage(message: unknown): void {
      ask({ thread: this.#thread, message })
    }

    terminate(): void {
      borrowed.delete(this.#thread)
      ask({ thread: this.#thread, end: true })
    }
  }
  globalThis.Worker = BorrowedWorker as unknown as typeof Worker
  return (reply) => {
    const worker = borrowed.get(reply.thread)
    if ('error' in reply) worker?.onerror?.({ message: reply.error })
    else worker?.onmessage?.({ data: reply.message })
  }
}

export interface Threads {
  readonly hear: (call: ThreadCall) => void
  /** Ends all of them. */
  readonly end: () => void
}

/** The page's side: makes the real workers and passes messages on. */
export function lendThreads(answer: (reply: ThreadReply) => void): Threads {
  const workers = new Map<number, Worker>()
  const make = (thread: number, url: string, options?: WorkerOptions): void => {
    const worker = new Worker(url, options)
    worker.addEventListener('message', ({ data }) => answer({ thread, message: data }))
    worker.addEventListener('error', (event) => {
      event.preventDefault()
      answer({ thread, error: event.message || 'its script could not be loaded' })
    })
    workers.set(thread, worker)
  }
  return {
    hear(call) {
      if ('url' in call) return make(call.thread, call.url, call.options)
      const worker = workers.get(call.thread)
      if ('message' in call) return worker?.postMessage(call.message)
      worker?.terminate()
      workers.delete(call.thread)
    },
    end() {
      for (const worker of workers.values()) worker.terminate()
      workers.clear()
    },
  }
}
