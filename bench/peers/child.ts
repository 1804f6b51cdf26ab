// The other end of engine.ts: an engine in a child process answers calls that come as messages, one by one.

import { type Adapter, createCalls } from './prompt.ts'

/** Serves the parent process until it lets go. */
export function serve(adapter: Adapter): void {
  const calls = createCalls(adapter) as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>
  // However the parent ends, nothing stays behind.
  process.once('disconnect', () => process.exit())
  process.on('message', async ({ name, args }: { name: string; args: unknown[] }) => {
    try {
      const value = await calls[name]!(...args)
      // Kilobytes, says libuv.
      process.send!({ value: name === 'dispose' ? process.resourceUsage().maxRSS * 1024 : value })
    } catch (error) {
      process.send!({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
    }
  })
}
