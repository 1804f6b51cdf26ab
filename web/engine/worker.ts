// The worker that holds the model: it does what methods.ts says and carries values, events and errors across. Calls
// overlap; whoever needs the model to himself waits in methods.ts.

import { GemmaError } from '../../src/index.web.ts'
import { methods } from './methods.ts'
import type { Fault, Reply, Request } from './protocol.ts'
import { borrowThreads, type ThreadReply } from './threads.ts'

const running = new Map<number, AbortController>()
const say = (reply: Reply): void => postMessage(reply)
const hearThread = borrowThreads((call) => postMessage(call))

addEventListener('message', ({ data }: MessageEvent<Request | ThreadReply>) => {
  if ('thread' in data) hearThread(data)
  else if ('abort' in data) running.get(data.id)?.abort()
  else void answer(data)
})

async function answer({ id, method, args }: Extract<Request, { method: unknown }>): Promise<void> {
  const controller = new AbortController()
  running.set(id, controller)
  const context = { signal: controller.signal, emit: (event: unknown) => say({ id, event }) }
  try {
    // The types of both sides come from the same table.
    const run = methods[method] as (context: unknown, ...args: readonly unknown[]) => Promise<unknown>
    say({ id, value: await run(context, ...args) })
  } catch (error) {
    say({ id, fault: faultOf(error) })
  } finally {
    running.delete(id)
  }
}

function faultOf(error: unknown): Fault {
  if (error instanceof GemmaError) return { code: error.code, message: error.message }
  if (error instanceof RangeError && /memory|allocation/i.test(error.message)) {
    return {
      code: 'memory',
      message: `The browser has not enough memory (${error.message}). Choose a narrower precision or a shorter context.`,
    }
  }
  // A fault of ours: the console keeps where it was.
  console.error(error)
  return { code: 'internal', message: error instanceof Error ? error.message : String(error) }
}
