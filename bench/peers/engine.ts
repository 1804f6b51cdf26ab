// Engines in processes of their own: in a child of Node, or in a page of a headless Chromium. To the caller both
// look the same.

import { spawn } from 'node:child_process'
import { basename, dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openPage } from '../chromium.ts'
import { childrenMemory } from './noise.ts'
import type { Setting, Started, Timing } from './prompt.ts'

export interface Engine {
  /** From the start of the process to the first token of a short prompt. */
  readonly firstTokenMs: number
  /** From the call that loads to a model that is ready. */
  readonly loadMs: number
  /** See Calls in prompt.ts. */
  run(seed: number, prompt: number, tokens: number): Promise<Timing>
  fill(seed: number, length: number, tokens: number): Promise<Timing>
  /** Ends the engine; gives the most memory that its (largest) process has held, bytes. */
  stop(): Promise<number>
}

export type StartEngine = (setting: Setting) => Promise<Engine>

const here = (file: string): string => fileURLToPath(new URL(file, import.meta.url))
const now = (): number => performance.timeOrigin + performance.now()

/** An engine in a child process; `script` is one of the .child.ts files here, `folder` where its package lies. */
export function inChild(script: string, folder: string): StartEngine {
  return async (setting) => {
    const startedAt = now()
    const child = spawn(process.execPath, [here(script), folder], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    let errors = ''
    child.stderr!.on('data', (chunk: Buffer) => {
      errors = (errors + chunk.toString()).slice(-2000)
    })
    const ended = new Promise<never>((_, reject) => {
      child.once('exit', (code, signal) => reject(new Error(`It ended (${code ?? signal}): ${errors}`)))
      child.once('error', reject)
    })
    ended.catch(() => {})
    const call = <T>(name: string, ...args: readonly unknown[]): Promise<T> => {
      const answered = new Promise<T>((resolve, reject) => {
        child.once('message', ({ value, error }: { value: T; error?: string }) => {
          if (error === undefined) resolve(value)
          else reject(new Error(error))
        })
      })
      child.send({ name, args })
      return Promise.race([answered, ended])
    }
    try {
      const { loadMs, firstTokenAt } = await call<Started>('start', setting)
      return {
        loadMs,
        firstTokenMs: firstTokenAt - startedAt,
        run: (...args) => call('run', ...args),
        fill: (...args) => call('fill', ...args),
        async stop() {
          const peak = await call<number>('dispose')
          child.disconnect()
          await ended.catch(() => {})
          return peak
        },
      }
    } catch (error) {
      child.kill('SIGKILL')
      throw error
    }
  }
}

/** An engine in a page; `script` is one of the .page.ts files here, `folder` is served under /package/. */
export function inPage(script: string, folder: string): StartEngine {
  return async (setting) => {
    const startedAt = now()
    const { file, parts, vocabulary } = setting.model
    const models = dirname(file)
    const address = (path: string): string => `/models/${basename(path)}`
    const page = await openPage({
      isolated: true,
      module: `/bench/${script}`,
      imports: { '@huggingface/jinja': '/node_modules/@huggingface/jinja/dist/index.js' },
      routes: {
        '/bench/': here('.'),
        '/package/': folder,
        '/node_modules/': here('../../node_modules'),
        '/models/': models,
      },
    })
    try {
      const model = { file: address(file), parts: parts.map(address), vocabulary }
      const { loadMs, firstTokenAt } = await page.call<Started>('start', { ...setting, model })
      return {
        loadMs,
        firstTokenMs: firstTokenAt - startedAt,
        run: (...args) => page.call('run', ...args),
        fill: (...args) => page.call('fill', ...args),
        async stop() {
          const { largestPeak } = childrenMemory()
          await page.close()
          return largestPeak
        },
      }
    } catch (error) {
      await page.close()
      throw error
    }
  }
}
